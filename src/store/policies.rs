//! A principal's policy in IAM: inline while it fits, managed when it is larger (docs/decisions/policy.md).

use std::borrow::Cow;

use super::{
    Additions, Error, Kind, Managed, Policies, StoredPolicy, UserSpec,
    answers::{List, word},
    aws::{Iam, foreign, gone, tags},
};
use crate::{
    access::{Meaning, PolicyDocument, policy::only_denies},
    api::backup_target::PolicyForm,
    names::POLICY_NAME,
};

/// The most versions that IAM keeps of a managed policy.
const VERSIONS: usize = 5;

impl Iam {
    /// What others put on the principal, and whether its own managed policy is attached.
    pub(super) async fn additions(&self, spec: &UserSpec) -> Result<(Additions, bool), Error> {
        let (user, client) = (&spec.name, &self.client);
        let action = "iam:ListUserPolicies";
        let (mut inline, mut list) = (Vec::new(), List::default());
        let mut pages = client.list_user_policies().user_name(user).into_paginator().send();
        while let Some(page) = self.call(action, async { pages.next().await.transpose() }).await? {
            inline.extend(page.policy_names.into_iter().filter(|name| name != POLICY_NAME));
            list.page(action, inline.len())?;
        }
        let inline = words(action, inline)?;
        let action = "iam:ListAttachedUserPolicies";
        let (mut policies, mut list) = (Vec::new(), List::default());
        let mut pages = client.list_attached_user_policies().user_name(user).into_paginator().send();
        while let Some(page) = self.call(action, async { pages.next().await.transpose() }).await? {
            policies
                .extend(page.attached_policies.unwrap_or_default().into_iter().filter_map(|found| found.policy_arn));
            list.page(action, policies.len())?;
        }
        let policies = words(action, policies)?;
        let action = "iam:ListGroupsForUser";
        let (mut groups, mut list) = (Vec::new(), List::default());
        let mut pages = client.list_groups_for_user().user_name(user).into_paginator().send();
        while let Some(page) = self.call(action, async { pages.next().await.transpose() }).await? {
            groups.extend(page.groups.into_iter().map(|group| group.group_name));
            list.page(action, groups.len())?;
        }
        let groups = words(action, groups)?;
        let (own, attached): (Vec<String>, Vec<String>) = policies.into_iter().partition(|arn| *arn == spec.policy_arn);
        let mut additions = Additions { inline, attached, groups, ..Additions::default() };
        self.read_additions(spec, &mut additions).await?;
        Ok((additions, !own.is_empty()))
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
                Err(Error { kind: Kind::Denied, .. }) => drop(additions.unread.insert(policy)),
                Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn inline_document(&self, user: &str, name: &str) -> Result<Option<String>, Error> {
        let request = self.client.get_user_policy().user_name(user).policy_name(name).send();
        found(self.call("iam:GetUserPolicy", request).await.map(|output| output.policy_document))
    }

    async fn managed_document(&self, arn: &str) -> Result<Option<String>, Error> {
        let policy = self.call("iam:GetPolicy", self.client.get_policy().policy_arn(arn).send()).await;
        let version = found(policy)?.and_then(|output| output.policy?.default_version_id);
        match version {
            Some(version) => found(self.version_document(arn, &version).await),
            None => Ok(None),
        }
    }

    pub(super) async fn policies(
        &self,
        spec: &UserSpec,
        attached: bool,
        look_for_managed: bool,
    ) -> Result<Policies, Error> {
        let inline = self.inline_policy(&spec.name).await?;
        let managed =
            if attached || look_for_managed { self.managed_policy(spec, attached).await? } else { Managed::Absent };
        Ok(Policies { inline, managed })
    }

    async fn inline_policy(&self, user: &str) -> Result<Option<StoredPolicy>, Error> {
        Ok(self.inline_document(user, POLICY_NAME).await?.map(|document| read(&document)))
    }

    async fn managed_policy(&self, spec: &UserSpec, attached: bool) -> Result<Managed, Error> {
        let action = "iam:GetPolicy";
        let policy = match self.call(action, self.client.get_policy().policy_arn(&spec.policy_arn).send()).await {
            Ok(output) => output.policy.ok_or(Error::new(action, Kind::Unreadable))?,
            Err(Error { kind: Kind::NotFound, .. }) => return Ok(Managed::Absent),
            Err(error) => return Err(error),
        };
        if let Some(why) = foreign(spec, policy.tags(), false) {
            return Ok(Managed::Foreign { why });
        }
        let version = policy.default_version_id.ok_or(Error::new(action, Kind::Unreadable))?;
        let document = read(&self.version_document(&spec.policy_arn, &version).await?);
        Ok(Managed::Ours { document, attached })
    }

    /// Deletes the managed policy of a principal that is gone, if it is this target's.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn delete_policy_left_behind(&self, spec: &UserSpec) -> Result<(), Error> {
        let managed = self.managed_policy(spec, false).await?;
        self.delete_managed_policy(spec, &managed).await
    }

    async fn version_document(&self, arn: &str, version: &str) -> Result<String, Error> {
        let action = "iam:GetPolicyVersion";
        let request = self.client.get_policy_version().policy_arn(arn).version_id(version).send();
        let document = self.call(action, request).await?.policy_version.and_then(|version| version.document);
        document.ok_or(Error::new(action, Kind::Unreadable))
    }

    /// Takes an inline policy off the principal; one that is gone is fine.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn delete_inline(&self, spec: &UserSpec, name: &str) -> Result<(), Error> {
        let request = self.client.delete_user_policy().user_name(&spec.name).policy_name(name);
        gone(self.call("iam:DeleteUserPolicy", request.send()).await)
    }

    /// Takes a managed policy off the principal; the policy itself stays.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn detach(&self, spec: &UserSpec, arn: &str) -> Result<(), Error> {
        let request = self.client.detach_user_policy().user_name(&spec.name).policy_arn(arn);
        gone(self.call("iam:DetachUserPolicy", request.send()).await)
    }

    /// Makes this document, in that form, the principal's policy. The old form goes last, so that there is no moment
    /// without rights.
    ///
    /// # Errors
    /// When IAM refuses or does not answer; doing it again goes on from there.
    pub async fn put_policy(
        &self,
        spec: &UserSpec,
        document: &PolicyDocument,
        form: PolicyForm,
        before: &Policies,
    ) -> Result<(), Error> {
        match form {
            PolicyForm::Inline => {
                let request = self.client.put_user_policy().user_name(&spec.name).policy_name(POLICY_NAME);
                self.call("iam:PutUserPolicy", request.policy_document(document.to_json()).send()).await?;
                self.delete_managed_policy(spec, &before.managed).await
            }
            PolicyForm::Managed => {
                self.put_managed_policy(spec, document, &before.managed).await?;
                self.delete_inline_policy(spec, before).await
            }
        }
    }

    async fn put_managed_policy(
        &self,
        spec: &UserSpec,
        document: &PolicyDocument,
        before: &Managed,
    ) -> Result<(), Error> {
        let (known, attached) = match before {
            Managed::Ours { document, attached } => (Some(document), *attached),
            Managed::Absent | Managed::Foreign { .. } => (None, false),
        };
        match known {
            None => self.create_policy(spec, document).await?,
            Some(known) if *known == StoredPolicy::Known(document.meaning()) => {}
            Some(_) => self.create_policy_version(spec, document).await?,
        }
        if attached {
            return Ok(());
        }
        let request = self.client.attach_user_policy().user_name(&spec.name).policy_arn(&spec.policy_arn);
        self.call("iam:AttachUserPolicy", request.send()).await.map(|_| ())
    }

    async fn create_policy(&self, spec: &UserSpec, document: &PolicyDocument) -> Result<(), Error> {
        let request = self.client.create_policy().policy_name(&spec.name).path(&spec.path);
        let request = request.policy_document(document.to_json()).set_tags(Some(tags(spec)));
        self.call("iam:CreatePolicy", request.send()).await.map(|_| ())
    }

    async fn create_policy_version(&self, spec: &UserSpec, document: &PolicyDocument) -> Result<(), Error> {
        let former = self.former_versions(spec).await?;
        let too_many = (former.len() + 2).saturating_sub(VERSIONS);
        for oldest in former.iter().take(too_many) {
            self.delete_version(spec, oldest).await?;
        }
        let request = self.client.create_policy_version().policy_arn(&spec.policy_arn).set_as_default(true);
        self.call("iam:CreatePolicyVersion", request.policy_document(document.to_json()).send()).await.map(|_| ())
    }

    /// The versions that are not the default one, oldest first.
    async fn former_versions(&self, spec: &UserSpec) -> Result<Vec<String>, Error> {
        let action = "iam:ListPolicyVersions";
        let mut pages = self.client.list_policy_versions().policy_arn(&spec.policy_arn).into_paginator().send();
        let (mut versions, mut list) = (Vec::new(), List::default());
        loop {
            match self.call(action, async { pages.next().await.transpose() }).await {
                Ok(Some(page)) => {
                    let former =
                        page.versions.unwrap_or_default().into_iter().filter(|version| !version.is_default_version);
                    versions.extend(former.filter_map(|version| version.version_id));
                    list.page(action, versions.len())?;
                }
                Ok(None) | Err(Error { kind: Kind::NotFound, .. }) => break,
                Err(error) => return Err(error),
            }
        }
        // v1, v2, …, v10
        versions.sort_by_key(|version| version.trim_start_matches('v').parse().unwrap_or(u64::MAX));
        Ok(versions)
    }

    async fn delete_version(&self, spec: &UserSpec, version: &str) -> Result<(), Error> {
        let request = self.client.delete_policy_version().policy_arn(&spec.policy_arn).version_id(version);
        gone(self.call("iam:DeletePolicyVersion", request.send()).await)
    }

    /// Deletes the principal's policies; what is gone is fine.
    ///
    /// # Errors
    /// [`Kind::DeleteConflict`] when somebody attached the managed policy to another principal.
    pub async fn delete_policies(&self, spec: &UserSpec, before: &Policies) -> Result<(), Error> {
        self.delete_inline_policy(spec, before).await?;
        self.delete_managed_policy(spec, &before.managed).await
    }

    async fn delete_inline_policy(&self, spec: &UserSpec, before: &Policies) -> Result<(), Error> {
        if before.inline.is_none() {
            return Ok(());
        }
        self.delete_inline(spec, POLICY_NAME).await
    }

    async fn delete_managed_policy(&self, spec: &UserSpec, before: &Managed) -> Result<(), Error> {
        if !matches!(before, Managed::Ours { .. }) {
            return Ok(());
        }
        self.detach(spec, &spec.policy_arn).await?;
        for version in self.former_versions(spec).await? {
            self.delete_version(spec, &version).await?;
        }
        gone(self.call("iam:DeletePolicy", self.client.delete_policy().policy_arn(&spec.policy_arn).send()).await)
    }
}

fn words(action: &'static str, texts: Vec<String>) -> Result<Vec<String>, Error> {
    texts.into_iter().map(|text| word(action, text)).collect()
}

fn read(encoded: &str) -> StoredPolicy {
    Meaning::read(&decoded(encoded)).map_or(StoredPolicy::Other, StoredPolicy::Known)
}

/// IAM returns documents URL-encoded.
fn decoded(document: &str) -> Cow<'_, str> {
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
