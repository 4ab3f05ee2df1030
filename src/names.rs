//! Every name that the operator derives or reserves, and the rule for those that users write.

use std::{borrow::Borrow, fmt};

use kube::Resource;

/// Name of an object: a DNS subdomain, as Kubernetes wants it. Nothing else may become a part of a URL, where `default#x` and
/// `default` would be the same object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName(String);

impl ObjectName {
    /// Parses a name that somebody wrote.
    ///
    /// # Errors
    /// What is wrong with it, when Kubernetes would not take it.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.len() > 253 {
            return Err("a name has 1 to 253 characters".to_owned());
        }
        if let Some(found) = offending(name, |c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')) {
            return Err(format!("a name has lower-case letters, digits, '-' and '.'; found {found}"));
        }
        let whole = |part: &str| !part.is_empty() && !part.starts_with('-') && !part.ends_with('-');
        if !name.split('.').all(whole) {
            return Err("each part of a name between dots begins and ends with a letter or digit".to_owned());
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ObjectName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Finalizer on targets: their principal is removed first.
pub const TARGET_FINALIZER: &str = "backup-target.dev/principal";
/// Finalizer on stores: it stays while targets use it.
pub const STORE_FINALIZER: &str = "backup-target.dev/in-use";
/// Annotation with the intent to create a target's first key.
pub const INTENT_ANNOTATION: &str = "backup-target.dev/first-key-intent";
/// Annotation on targets: a time (RFC 3339) at which the key is to be tried anew; one that has passed means at once.
pub const VERIFY_AT_ANNOTATION: &str = "backup-target.dev/verify-at";
/// Annotation on targets: what somebody else changes on the principal or the Secret is told and left, for as long as it is
/// there and not `false`.
pub const PAUSED_REPAIR_ANNOTATION: &str = "backup-target.dev/paused-drift-repair";
/// Annotation on stores: a time (RFC 3339). Access keys that somebody else switched off before it are switched on again.
pub const REACTIVATE_KEYS_ANNOTATION: &str = "backup-target.dev/reactivate-keys";
/// Label of what this operator writes; the Secret watch selects by it.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of that label, field manager of our writes, and reporter of our events.
pub const OPERATOR: &str = "backup-target-operator";
/// Label on Secrets: the target that they belong to.
pub const TARGET_LABEL: &str = "backup-target.dev/target";
/// Label on Secrets that were left behind on purpose.
pub const RETAINED_LABEL: &str = "backup-target.dev/retained";
/// Key of the Secret's only entry.
pub const RCLONE_CONF: &str = "rclone.conf";
/// Name of the inline policy on a principal.
pub const POLICY_NAME: &str = "backup-target";

/// Tags on a principal that say whose it is.
pub mod tag {
    /// Id of the cluster.
    pub const CLUSTER: &str = "backup-target.dev/cluster";
    /// Namespace of the target.
    pub const NAMESPACE: &str = "backup-target.dev/namespace";
    /// Name of the target.
    pub const NAME: &str = "backup-target.dev/name";
    /// UID of the target; the one that ownership goes by.
    pub const UID: &str = "backup-target.dev/uid";
    /// Set when a target was deleted with `deletionPolicy: Retain`.
    pub const RETAINED: &str = "backup-target.dev/retained";
    /// Set by people in AWS, and by nobody else: as long as it is there, with whatever value, the operator gives nothing to the
    /// principal and puts nothing on it right.
    pub const HOLD: &str = "backup-target.dev/hold";
}

/// How the names of principals begin.
pub const PRINCIPAL_PREFIX: &str = "btgt-";

/// Name of a target's principal: from its UID, so that no name that a user chooses decides whose principal it is
/// (docs/decisions/names.md). 41 characters; IAM allows 64.
#[must_use]
pub fn principal(uid: &str) -> String {
    format!("{PRINCIPAL_PREFIX}{uid}")
}

/// Path of a store's principals, when the store does not name one.
#[must_use]
pub fn default_path(cluster_id: &str) -> String {
    format!("/backup-target/{cluster_id}/")
}

/// The cluster of a path that [`default_path`] made.
#[must_use]
pub fn cluster_of_default_path(path: &str) -> Option<&str> {
    path.strip_prefix("/backup-target/")?.strip_suffix('/').filter(|id| !id.is_empty() && !id.contains('/'))
}

/// `namespace/name`, for logs.
#[must_use]
pub fn qualified(target: &impl Resource) -> String {
    let metadata = target.meta();
    format!("{}/{}", metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// The first character that `allowed` refuses, told with its place, counted from 1.
#[must_use]
pub fn offending(text: &str, allowed: impl Fn(char) -> bool) -> Option<String> {
    text.chars()
        .enumerate()
        .find(|(_, c)| !allowed(*c))
        .map(|(at, c)| format!("{} at place {}", c.escape_debug(), at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects_are_those_of_kubernetes() {
        for good in ["a", "dataset-1", "a.b-c.d", "0", &"x".repeat(253)] {
            assert!(ObjectName::parse(good).is_ok_and(|name| name.as_str() == good), "{good}");
        }
        let bad = ["", "A", "a_b", "-a", "a-", "a.-b", "a-.b", "a..b", ".a", "ü", &"x".repeat(254), &"x".repeat(255)];
        let in_urls =
            ["default#x", "default#", "default?x", "default/", "%64efault", "..", "../secrets", "a\n", "a\u{202e}"];
        for bad in bad.into_iter().chain(in_urls) {
            assert!(ObjectName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_default_path_says_whose_it_is() {
        assert_eq!(cluster_of_default_path(&default_path("c")), Some("c"));
        for other in ["/backup-target/", "/backup-target/a/b/", "/else/c/", "/"] {
            assert_eq!(cluster_of_default_path(other), None, "{other}");
        }
    }

    #[test]
    fn names_fit_their_limits() {
        assert!(principal("6f1c7b0e-8f0a-4f57-9d0b-0a3f4c6a2b11").len() <= 64);
        for key in [tag::CLUSTER, tag::NAMESPACE, tag::NAME, tag::UID, tag::RETAINED, tag::HOLD] {
            assert!(key.starts_with(crate::api::GROUP) && key.len() <= 128);
        }
    }

    #[test]
    fn the_offending_character_is_told_with_its_place() {
        assert_eq!(offending("abc", char::is_alphabetic), None);
        assert_eq!(offending("ü1c2", char::is_alphabetic), Some("1 at place 2".to_owned()));
    }
}
