//! A principal's policy in IAM: inline while it fits, managed when it is larger (docs/decisions/policy.md).

use std::borrow::Cow;

use super::{
    Aws, PolicyChange, gone, next,
    user::{Additions, UserSpec},
};
use crate::{
    access::{Meaning, PolicyDocument, policy::only_denies},
    api::backup_target::PolicyForm,
    names::POLICY_NAME,
    provider::{Error, Kind, Occupied, Place, Rights, StoredPolicy, answers::word},
};

/// The most versions that IAM keeps of a managed policy.
const VERSIONS: usize = 5;

/// What there is under the ARN of a target's managed policy.
enum Managed {
    /// Nothing.
    Absent,
    /// A policy that is not this target's, which this shows.
    Foreign(String),
    /// This target's, with this default version.
    Ours(StoredPolicy),
}

impl Aws {
    /// What others put on the user, and which of its own managed policies are attached.
    pub(super) async fn additions(&self, spec: &UserSpec) -> Result<(Additions, Vec<String>), Error> {
        let (user, client) = (&spec.name, &self.client);
        let (action, mut inline) = ("iam:ListUserPolicies", Vec::new());
        let page = |marker| client.list_user_policies().user_name(user).set_marker(marker).send();
        self.list(action, page, |page| {
            inline.extend(page.policy_names.into_iter().filter(|name| name != POLICY_NAME));
            Ok((inline.len(), next(page.is_truncated, page.marker)))
        })
        .await?;
        let inline = words(action, inline)?;
        let policies = self.attached(spec).await?;
        let (action, mut groups) = ("iam:ListGroupsForUser", Vec::new());
        let page = |marker| client.list_groups_for_user().user_name(user).set_marker(marker).send();
        self.list(action, page, |page| {
            groups.extend(page.groups.into_iter().map(|group| group.group_name));
            Ok((groups.len(), next(page.is_truncated, page.marker)))
        })
        .await?;
        let groups = words(action, groups)?;
        let (own, attached): (Vec<String>, Vec<String>) = policies.into_iter().partition(|arn| spec.owns_policy(arn));
        let mut additions = Additions { inline, attached, groups, ..Additions::default() };
        self.read_additions(spec, &mut additions).await?;
        Ok((additions, own))
    }

    /// The ARNs of all managed policies that are attached to the user.
    pub(super) async fn attached(&self, spec: &UserSpec) -> Result<Vec<String>, Error> {
        let (action, mut policies) = ("iam:ListAttachedUserPolicies", Vec::new());
        let page = |marker| self.client.list_attached_user_policies().user_name(&spec.name).set_marker(marker).send();
        self.list(action, page, |page| {
            let found = page.attached_policies.unwrap_or_default();
            policies.extend(found.into_iter().filter_map(|policy| policy.policy_arn));
            Ok((policies.len(), next(page.is_truncated, page.marker)))
        })
        .await?;
        words(action, policies)
    }

    /// Finds out which of them only deny. Only where there are some does this cost requests.
    async fn read_additions(&self, spec: &UserSpec, additions: &mut Additions) -> Result<(), Error> {
        let mut documents = Vec::new();
        for name in &additions.inline {
            documents.push((name.clone(), self.inline_document(&spec.name, name).await));
        }
        for arn in &additions.attached {
            documents.push((arn.clone(), self.managed_document(arn).await));
        }
        for (policy, document) in documents {
            match document {
                Ok(Some(document)) if only_denies(&decoded(&document)) => drop(additions.denials.insert(policy)),
                // Where the operator's own policy is of an older release, it may not look.
                Err(Error { kind: Kind::Denied(_), .. }) => drop(additions.unread.insert(policy)),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn inline_document(&self, user: &str, name: &str) -> Result<Option<String>, Error> {
        let request = || self.client.get_user_policy().user_name(user).policy_name(name).send();
        found(self.call("iam:GetUserPolicy", request).await.map(|output| output.policy_document))
    }

    pub(super) async fn managed_document(&self, arn: &str) -> Result<Option<String>, Error> {
        let policy = self.call("iam:GetPolicy", || self.client.get_policy().policy_arn(arn).send()).await;
        let version = found(policy)?.and_then(|output| output.policy?.default_version_id);
        match version {
            Some(version) => found(self.version_document(arn, &version).await),
            None => Ok(None),
        }
    }

    /// What this operator gave the user, in whichever form, or in the only one that there can be; `own` are its own managed
    /// policies that are attached.
    pub(super) async fn rights(
        &self,
        spec: &UserSpec,
        own: &[String],
        only: Option<PolicyForm>,
    ) -> Result<Rights, Error> {
        let mut rights = Rights::default();
        let can_be = |form| self.limits().forms.iter().any(|(known, _)| *known == form);
        if can_be(PolicyForm::Inline)
            && let Some(document) = self.inline_policy(&spec.name).await?
        {
            rights.places.push(Place { form: PolicyForm::Inline, document, in_force: true });
        }
        if spec.change == PolicyChange::Replacement {
            rights.places.extend(self.replaced_policies(own).await?);
            return Ok(rights);
        }
        let may_be = only.is_none_or(|only| only == PolicyForm::Managed);
        if !own.is_empty() || can_be(PolicyForm::Managed) && may_be {
            let (form, in_force) = (PolicyForm::Managed, !own.is_empty());
            match self.managed_policy(spec).await? {
                Managed::Absent => {}
                Managed::Foreign(why) => {
                    rights.occupied = Some(Occupied { form, name: spec.policy_arn.clone(), why });
                }
                Managed::Ours(document) => rights.places.push(Place { form, document, in_force }),
            }
        }
        Ok(rights)
    }

    async fn inline_policy(&self, user: &str) -> Result<Option<StoredPolicy>, Error> {
        Ok(self.inline_document(user, POLICY_NAME).await?.map(|document| read(&document)))
    }

    async fn managed_policy(&self, spec: &UserSpec) -> Result<Managed, Error> {
        let action = "iam:GetPolicy";
        let policy = match self.call(action, || self.client.get_policy().policy_arn(&spec.policy_arn).send()).await {
            Ok(output) => output.policy.ok_or(Error::new(action, Kind::Unreadable))?,
            Err(Error { kind: Kind::NotFound, .. }) => return Ok(Managed::Absent),
            Err(error) => return Err(error),
        };
        if let Some(why) = spec.foreign(policy.tags(), false) {
            return Ok(Managed::Foreign(why));
        }
        let version = policy.default_version_id.ok_or(Error::new(action, Kind::Unreadable))?;
        let document = read(&self.version_document(&spec.policy_arn, &version).await?);
        Ok(Managed::Ours(document))
    }

    /// Deletes the managed policy of a user that is gone, if it is this target's.
    pub(in crate::provider) async fn delete_policy_left_behind(&self, spec: &UserSpec) -> Result<(), Error> {
        if spec.change == PolicyChange::Replacement {
            return self.delete_replaced_policies(spec).await;
        }
        match self.managed_policy(spec).await? {
            Managed::Ours(_) => self.delete_managed_policy(spec).await,
            Managed::Absent | Managed::Foreign(_) => Ok(()),
        }
    }

    async fn version_document(&self, arn: &str, version: &str) -> Result<String, Error> {
        let action = "iam:GetPolicyVersion";
        let request = || self.client.get_policy_version().policy_arn(arn).version_id(version).send();
        let document = self.call(action, request).await?.policy_version.and_then(|version| version.document);
        document.ok_or(Error::new(action, Kind::Unreadable))
    }

    /// Takes an inline policy off the principal; one that is gone is fine.
    pub(super) async fn delete_inline(&self, spec: &UserSpec, name: &str) -> Result<(), Error> {
        let request = self.client.delete_user_policy().user_name(&spec.name).policy_name(name);
        gone(self.about_user(&spec.name, "iam:DeleteUserPolicy", || request.clone().send()).await)
    }

    /// Takes a managed policy off the principal; the policy itself stays.
    pub(super) async fn detach(&self, spec: &UserSpec, arn: &str) -> Result<(), Error> {
        let request = self.client.detach_user_policy().user_name(&spec.name).policy_arn(arn);
        gone(self.about_user(&spec.name, "iam:DetachUserPolicy", || request.clone().send()).await)
    }

    pub(in crate::provider) async fn put_policy(
        &self,
        spec: &UserSpec,
        document: &PolicyDocument,
        form: PolicyForm,
        before: &Rights,
    ) -> Result<(), Error> {
        match form {
            PolicyForm::Inline => {
                let request = self.client.put_user_policy().user_name(&spec.name).policy_name(POLICY_NAME);
                let request = request.policy_document(document.to_json());
                self.about_user(&spec.name, "iam:PutUserPolicy", || request.clone().send()).await?;
            }
            PolicyForm::Managed if spec.change == PolicyChange::Replacement => {
                self.replace_policy(spec, document).await?;
            }
            PolicyForm::Managed => self.put_managed_policy(spec, document, before.place(form)).await?,
            PolicyForm::External => {}
        }
        self.delete_places(spec, before, |place| place.form != form).await
    }

    async fn put_managed_policy(
        &self,
        spec: &UserSpec,
        document: &PolicyDocument,
        before: Option<&Place>,
    ) -> Result<(), Error> {
        match before.map(|place| &place.document) {
            None => self.create_policy(spec, document).await?,
            Some(known) if *known == StoredPolicy::Known(document.meaning()) => {}
            Some(_) => self.create_policy_version(spec, document).await?,
        }
        if before.is_some_and(|place| place.in_force) {
            return Ok(());
        }
        let request = self.client.attach_user_policy().user_name(&spec.name).policy_arn(&spec.policy_arn);
        self.about_user(&spec.name, "iam:AttachUserPolicy", || request.clone().send()).await.map(|_| ())
    }

    async fn create_policy(&self, spec: &UserSpec, document: &PolicyDocument) -> Result<(), Error> {
        let request = self.client.create_policy().policy_name(&spec.name).path(&spec.path);
        let request = request.policy_document(document.to_json()).set_tags(Some(spec.tags()));
        self.call("iam:CreatePolicy", || request.clone().send()).await.map(|_| ())
    }

    async fn create_policy_version(&self, spec: &UserSpec, document: &PolicyDocument) -> Result<(), Error> {
        let former = self.former_versions(spec).await?;
        let too_many = (former.len() + 2).saturating_sub(VERSIONS);
        for oldest in former.iter().take(too_many) {
            self.delete_version(spec, oldest).await?;
        }
        let request = self.client.create_policy_version().policy_arn(&spec.policy_arn).set_as_default(true);
        let request = request.policy_document(document.to_json());
        self.call("iam:CreatePolicyVersion", || request.clone().send()).await.map(|_| ())
    }

    /// The versions that are not the default one, oldest first.
    async fn former_versions(&self, spec: &UserSpec) -> Result<Vec<String>, Error> {
        let (action, mut versions) = ("iam:ListPolicyVersions", Vec::new());
        let page = |marker| self.client.list_policy_versions().policy_arn(&spec.policy_arn).set_marker(marker).send();
        let read = self.list(action, page, |page| {
            let found = page.versions.unwrap_or_default().into_iter();
            versions
                .extend(found.filter(|version| !version.is_default_version).filter_map(|version| version.version_id));
            Ok((versions.len(), next(page.is_truncated, page.marker)))
        });
        found(read.await)?;
        // v1, v2, …, v10
        versions.sort_by_key(|version| version.trim_start_matches('v').parse().unwrap_or(u64::MAX));
        Ok(versions)
    }

    async fn delete_version(&self, spec: &UserSpec, version: &str) -> Result<(), Error> {
        let request = self.client.delete_policy_version().policy_arn(&spec.policy_arn).version_id(version);
        gone(self.call("iam:DeletePolicyVersion", || request.clone().send()).await)
    }

    pub(in crate::provider) async fn delete_policies(&self, spec: &UserSpec, before: &Rights) -> Result<(), Error> {
        self.delete_places(spec, before, |_| true).await
    }

    async fn delete_places(
        &self,
        spec: &UserSpec,
        before: &Rights,
        goes: impl Fn(&Place) -> bool,
    ) -> Result<(), Error> {
        for place in before.places.iter().filter(|place| goes(place)) {
            match place.form {
                PolicyForm::Inline => self.delete_inline(spec, POLICY_NAME).await?,
                PolicyForm::Managed if spec.change == PolicyChange::Replacement => {
                    self.delete_replaced_policies(spec).await?;
                }
                PolicyForm::Managed => self.delete_managed_policy(spec).await?,
                PolicyForm::External => {}
            }
        }
        Ok(())
    }

    async fn delete_managed_policy(&self, spec: &UserSpec) -> Result<(), Error> {
        self.detach(spec, &spec.policy_arn).await?;
        for version in self.former_versions(spec).await? {
            self.delete_version(spec, &version).await?;
        }
        gone(self.call("iam:DeletePolicy", || self.client.delete_policy().policy_arn(&spec.policy_arn).send()).await)
    }
}

fn words(action: &'static str, texts: Vec<String>) -> Result<Vec<String>, Error> {
    texts.into_iter().map(|text| word(action, text)).collect()
}

pub(super) fn read(encoded: &str) -> StoredPolicy {
    Meaning::read(&decoded(encoded)).map_or(StoredPolicy::Other, StoredPolicy::Known)
}

/// IAM returns documents URL-encoded, and stores that speak as it does may return them plain.
fn decoded(document: &str) -> Cow<'_, str> {
    if document.starts_with('{') {
        return document.into();
    }
    percent_encoding::percent_decode_str(document).decode_utf8_lossy()
}

/// What was listed a moment ago may be gone.
fn found<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error { kind: Kind::NotFound, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_come_url_encoded() {
        let encoded = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%5D%7D";
        assert!(matches!(read(encoded), StoredPolicy::Known(_)));
        assert_eq!(read("%7B%7D"), StoredPolicy::Other);
    }
}
