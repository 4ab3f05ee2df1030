//! Secrets of the operator's own namespace, which hold the credentials of stores.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::Api;
use secrecy::SecretString;

use super::{Cluster, Error};
use crate::names::ObjectName;

/// What is in a Secret.
pub struct SecretEntries(BTreeMap<String, ByteString>);

impl SecretEntries {
    /// An entry without white space around it; `None` when it is missing, empty or no text.
    #[must_use]
    pub fn text(&self, entry: &str) -> Option<SecretString> {
        let text = std::str::from_utf8(&self.0.get(entry)?.0).ok()?.trim();
        (!text.is_empty()).then(|| text.to_owned().into())
    }
}

impl Cluster {
    /// What is in a Secret of the operator's own namespace; `None` when there is no such Secret.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn own_secret(&self, name: &ObjectName) -> Result<Option<SecretEntries>, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client(), &self.namespace);
        let found = self.within("read the store's credentials Secret", secrets.get_opt(name.as_str())).await?;
        Ok(found.map(|secret| SecretEntries(secret.data.unwrap_or_default())))
    }
}
