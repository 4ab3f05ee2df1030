//! What a store's administrator says about IAM users: where they are, and what bounds them. Pure.

use std::fmt;

use crate::{
    access::{Invalid, terms::AccountId},
    api::backup_store::BackupStoreSpec,
    names::{self, offending},
    provider::Bound,
};

/// Where users are, and what bounds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Their path, if the store names one.
    pub path: Option<IamPath>,
    /// Their permissions boundary.
    pub boundary: Option<BoundaryArn>,
}

impl Settings {
    /// Parses the spec of a store.
    ///
    /// # Errors
    /// The first field that breaks a rule. The API server refuses the same at apply.
    pub fn parse(spec: &BackupStoreSpec) -> Result<Self, Invalid> {
        Ok(Self {
            path: spec.aws.iam_path.as_deref().map(IamPath::parse).transpose()?,
            boundary: spec.aws.permissions_boundary.as_deref().map(BoundaryArn::parse).transpose()?,
        })
    }

    /// The path of the users of a cluster.
    #[must_use]
    pub fn path_in(&self, cluster: &str) -> String {
        self.path.as_ref().map_or_else(|| names::default_path(cluster), ToString::to_string)
    }

    /// Whether the boundary lies where the operator may change policies in that cluster, so that it bounds nothing.
    #[must_use]
    pub fn boundary_is_within_path(&self, cluster: &str) -> bool {
        self.boundary.as_ref().is_some_and(|boundary| boundary.path().starts_with(&self.path_in(cluster)))
    }
}

/// The path of a store's users, as its spec says.
#[must_use]
pub fn place(spec: &BackupStoreSpec, cluster: &str) -> String {
    spec.aws.iam_path.clone().unwrap_or_else(|| names::default_path(cluster))
}

/// Why the users of a store would no longer be found: they live where they were made first. A cluster whose id changed is
/// another matter: its users are told one by one.
#[must_use]
pub fn moved(spec: &BackupStoreSpec, cluster: &str, pinned: &str) -> Option<Invalid> {
    let (path, was_default) = (place(spec, cluster), names::cluster_of_default_path(pinned).is_some());
    if path == pinned || spec.aws.iam_path.is_none() && was_default {
        return None;
    }
    let way_back = if was_default { "leave it out".to_owned() } else { format!("write {pinned} there") };
    let problem = format!(
        "the users of this store live under {pinned} (status.iamPath), and nothing is changed or deleted under {path}: {way_back}, or \
         create another BackupStore"
    );
    Some(Invalid { field: "spec.aws.iamPath", problem })
}

/// What bounds a store's users, for people.
#[must_use]
pub fn bound(spec: &BackupStoreSpec, cluster: &str) -> Bound {
    let Some(boundary) = spec.aws.permissions_boundary.as_deref() else {
        return Bound::None(super::dialect(spec.provider).unbounded.to_owned());
    };
    let path = place(spec, cluster);
    if Settings::parse(spec).is_ok_and(|settings| settings.boundary_is_within_path(cluster)) {
        return Bound::CanBeChanged(format!(
            "the permissions boundary lies under {path}, where the operator may change policies; move it to another path"
        ));
    }
    Bound::Holds(format!("every principal has the permissions boundary {boundary}"))
}

/// An IAM path: whole segments, between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IamPath(String);

impl IamPath {
    fn parse(path: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Err(Invalid::new("spec.aws.iamPath", problem));
        if let Some(found) = offending(path, |c| c.is_ascii_alphanumeric() || "/.,+@=_-".contains(c)) {
            return refuse(format!("an IAM path has letters, digits and / . , + @ = _ -; found {found}"));
        }
        let inner = path.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        if path.len() > 512 || !inner.is_some_and(|inner| inner.split('/').all(|segment| !segment.is_empty())) {
            return refuse("an IAM path begins and ends with '/', such as /backup-target/prod/".into());
        }
        Ok(Self(path.to_owned()))
    }
}

/// ARN of a managed policy that serves as permissions boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundaryArn(String);

impl BoundaryArn {
    /// The ARN itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(arn: &str) -> Result<Self, Invalid> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let fits = matches!(parts.as_slice(), ["arn", partition, "iam", "", account, policy]
            if partition.strip_prefix("aws").is_some_and(|rest| rest.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                && (*account == "aws" || AccountId::is_one(account))
                && policy.strip_prefix("policy/").is_some_and(|name| !name.is_empty() && !name.contains('\n')));
        if !fits || arn.chars().count() > 2_048 {
            let problem = "it is the ARN of a managed policy, such as arn:aws:iam::123456789012:policy/backup-boundary";
            return Err(Invalid::new("spec.aws.permissionsBoundary", problem));
        }
        Ok(Self(arn.to_owned()))
    }

    /// The account that the policy is in; `None` for one of AWS's own.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.0.split(':').nth(4).filter(|account| *account != "aws")
    }

    /// The path of the policy, with its slashes.
    #[must_use]
    pub fn path(&self) -> &str {
        let name = self.0.split_once(":policy").map_or("", |(_, name)| name);
        &name[..=name.rfind('/').unwrap_or(0)]
    }
}

impl fmt::Display for IamPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BoundaryArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(aws: &serde_json::Value) -> Result<Settings, Invalid> {
        let spec = json!({"region": "eu-central-1", "aws": aws});
        Settings::parse(&serde_json::from_value(spec).expect("a spec"))
    }

    #[test]
    fn users_live_in_a_path_of_their_cluster_unless_another_is_written() {
        let parse = |aws| parse(&aws).expect("valid").path_in("c");
        assert_eq!(parse(json!({})), "/backup-target/c/");
        assert_eq!(parse(json!({"iamPath": "/a/b/"})), "/a/b/");
    }

    #[test]
    fn users_are_looked_for_where_they_were_made() {
        let (own, other) = ("/backup-target/c/", "/a/");
        let table = [
            (json!({}), own, true),
            (json!({}), "/backup-target/former-id/", true),
            (json!({}), other, false),
            (json!({"iamPath": other}), other, true),
            (json!({"iamPath": other}), own, false),
            (json!({"iamPath": "/b/"}), other, false),
        ];
        for (aws, pinned, taken) in table {
            let spec = serde_json::from_value(json!({"region": "r", "aws": aws})).expect("a spec");
            let moved = moved(&spec, "c", pinned);
            assert_eq!(moved.is_none(), taken, "{aws} {pinned}");
            assert!(moved.is_none_or(|moved| moved.problem.contains(pinned)), "{aws} {pinned}");
        }
    }

    #[test]
    fn who_can_name_no_boundary_is_not_told_to() {
        let bound = |spec| match bound(&serde_json::from_value(spec).expect("a spec"), "c") {
            Bound::None(message) => message,
            other => panic!("{other:?}"),
        };
        assert!(bound(json!({"region": "r"})).contains("spec.aws"));
        let seaweedfs = bound(json!({"region": "r", "provider": "SeaweedFS", "endpoint": "https://s3.example.com"}));
        assert!(!seaweedfs.contains("spec.aws") && seaweedfs.contains("guard"), "{seaweedfs}");
    }

    #[test]
    fn a_boundary_has_an_account_and_a_path() {
        let table = [
            ("arn:aws-cn:iam::123456789012:policy/team/b", Some("123456789012"), "/team/", false),
            ("arn:aws:iam::aws:policy/ReadOnlyAccess", None, "/", false),
            ("arn:aws:iam::123456789012:policy/backup-target/c/b", Some("123456789012"), "/backup-target/c/", true),
        ];
        for (arn, account, path, within) in table {
            let settings = parse(&json!({"permissionsBoundary": arn})).expect("valid");
            let boundary = settings.boundary.as_ref().expect("given");
            assert_eq!((boundary.account(), boundary.path()), (account, path), "{arn}");
            assert_eq!(settings.boundary_is_within_path("c"), within, "{arn}");
        }
    }

    #[test]
    fn each_field_says_what_is_wrong_with_it() {
        let table = [
            (json!({"iamPath": "/a b/"}), "spec.aws.iamPath", "at place 3"),
            (json!({"iamPath": "//"}), "spec.aws.iamPath", "begins and ends"),
            (json!({"iamPath": "/a"}), "spec.aws.iamPath", "begins and ends"),
            (json!({"permissionsBoundary": "x"}), "spec.aws.permissionsBoundary", "ARN"),
        ];
        for (json, field, why) in table {
            let error = parse(&json).expect_err("invalid");
            assert!(error.field == field && error.problem.contains(why), "{json}: {error}");
        }
    }
}
