//! A principal's policy where a policy cannot be changed as it is needed: another one takes its place, whose name has the digest of
//! what is in it.

use super::{Aws, gone, next, policies::read, user::UserSpec};
use crate::{
    access::PolicyDocument,
    api::backup_target::PolicyForm,
    provider::{Error, Kind, Place, StoredPolicy, answers::word},
};

/// So many digits of a digest tell the policies of one user apart.
const DIGITS: usize = 12;

impl Aws {
    /// What is in the user's own policies, which are attached.
    pub(super) async fn replaced_policies(&self, own: &[String]) -> Result<Vec<Place>, Error> {
        let mut places = Vec::new();
        for arn in own {
            if let Some(document) = self.managed_document(arn).await? {
                places.push(Place { form: PolicyForm::Managed, document: read(&document), in_force: true });
            }
        }
        Ok(places)
    }

    /// Makes this the only policy of the user's own. The one before goes last, so that there is no moment without rights.
    pub(super) async fn replace_policy(&self, spec: &UserSpec, document: &PolicyDocument) -> Result<(), Error> {
        let name = format!("{}-{}", spec.name, &document.digest()[..DIGITS]);
        let arn = format!("{}-{}", spec.policy_arn, &document.digest()[..DIGITS]);
        match self.create_named(&name, document).await {
            Err(Error { kind: Kind::AlreadyExists, .. }) => self.restore(spec, &name, &arn, document).await?,
            created => created?,
        }
        let attached = self.attached(spec).await?;
        if !attached.contains(&arn) {
            let request = self.client.attach_user_policy().user_name(&spec.name).policy_arn(&arn);
            self.call("iam:AttachUserPolicy", || request.clone().send()).await?;
        }
        for before in attached.iter().filter(|before| spec.owns_policy(before) && **before != arn) {
            self.take_away(spec, before).await?;
        }
        Ok(())
    }

    /// What has the right name may be what an interrupted change left, or have been edited since.
    async fn restore(&self, spec: &UserSpec, name: &str, arn: &str, wanted: &PolicyDocument) -> Result<(), Error> {
        let found = self.managed_document(arn).await?.map(|document| read(&document));
        if found == Some(StoredPolicy::Known(wanted.meaning())) {
            return Ok(());
        }
        self.take_away(spec, arn).await?;
        self.create_named(name, wanted).await
    }

    async fn create_named(&self, name: &str, document: &PolicyDocument) -> Result<(), Error> {
        let request = self.client.create_policy().policy_name(name).policy_document(document.to_json());
        self.call("iam:CreatePolicy", || request.clone().send()).await.map(|_| ())
    }

    async fn take_away(&self, spec: &UserSpec, arn: &str) -> Result<(), Error> {
        self.detach(spec, arn).await?;
        gone(self.call("iam:DeletePolicy", || self.client.delete_policy().policy_arn(arn).send()).await)
    }

    /// Deletes all policies of the user's own, and those that interrupted changes have left.
    pub(super) async fn delete_replaced_policies(&self, spec: &UserSpec) -> Result<(), Error> {
        let (action, mut own) = ("iam:ListPolicies", Vec::new());
        let page = |marker| self.client.list_policies().set_marker(marker).send();
        self.list(action, page, |page| {
            let arns = page.policies.unwrap_or_default().into_iter().filter_map(|policy| policy.arn);
            own.extend(arns.filter(|arn| spec.owns_policy(arn)));
            Ok((own.len(), next(page.is_truncated, page.marker)))
        })
        .await?;
        for arn in own {
            self.take_away(spec, &word(action, arn)?).await?;
        }
        Ok(())
    }
}
