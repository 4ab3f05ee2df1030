//! The families, and one match for each verb: the set is closed, so the compiler leads whoever adds one to every place.

use std::collections::BTreeMap;

use super::{
    CreatedKey, Deviation, Error, Limits, Observed, Owner, Principal, PrincipalSpec, Rights,
    aws::{self, Aws},
    clock::Clock,
    rate_limiter::Turn,
    static_keys::{self, StaticKeys},
};
use crate::{
    access::{Invalid, PolicyDocument},
    api::{
        backup_store::{self, BackupStoreSpec},
        backup_target::PolicyForm,
    },
};

/// A store, as somebody in turn speaks to it.
#[derive(Clone, Debug)]
pub enum Provider {
    /// The family of AWS's IAM API.
    Aws(Aws),
    /// Keys that a store's administrator made.
    StaticKeys(StaticKeys),
}

/// What is asked about a principal beyond what is always asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Access keys whose last use matters.
    pub keys: Vec<String>,
    /// The form of the only policy that there can be, where that is known: then no other is looked for.
    pub only: Option<PolicyForm>,
}

/// A principal, as a list shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What is marked on it.
    pub marks: BTreeMap<String, String>,
}

/// What the stores of a family can do.
#[must_use]
pub fn limits(provider: backup_store::Provider) -> &'static Limits {
    match provider {
        backup_store::Provider::Aws | backup_store::Provider::SeaweedFs => &aws::dialect(provider).limits,
        backup_store::Provider::StaticKeys => &static_keys::store::LIMITS,
    }
}

/// What bounds the principals of a store beside their policies, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// This does.
    Holds(String),
    /// Nothing does.
    None(String),
    /// Something is named that the operator itself can change.
    CanBeChanged(String),
    /// The operator makes none of them, and has no credentials of its own.
    NoCredentials,
}

/// What bounds the principals of a store.
#[must_use]
pub fn bound(spec: &BackupStoreSpec, cluster: &str) -> Bound {
    match spec.provider {
        backup_store::Provider::Aws | backup_store::Provider::SeaweedFs => aws::settings::bound(spec, cluster),
        backup_store::Provider::StaticKeys => Bound::NoCredentials,
    }
}

/// Whether a Secret of the operator's own namespace has a key that a store's administrator brought.
#[must_use]
pub fn is_key_in(spec: &BackupStoreSpec, secret: &str) -> bool {
    match spec.provider {
        backup_store::Provider::Aws | backup_store::Provider::SeaweedFs => false,
        backup_store::Provider::StaticKeys => spec.static_keys.iter().any(|key| key.secret_ref.name == secret),
    }
}

/// Where the principals of a cluster are in a store.
#[must_use]
pub fn place(spec: &BackupStoreSpec, cluster: &str) -> String {
    match spec.provider {
        backup_store::Provider::Aws | backup_store::Provider::SeaweedFs => aws::settings::place(spec, cluster),
        backup_store::Provider::StaticKeys => "spec.staticKeys".to_owned(),
    }
}

/// Why the principals of a store, which are in that place, would no longer be found.
#[must_use]
pub fn moved(spec: &BackupStoreSpec, cluster: &str, pinned: &str) -> Option<Invalid> {
    match spec.provider {
        backup_store::Provider::Aws => aws::settings::moved(spec, cluster, pinned),
        backup_store::Provider::SeaweedFs | backup_store::Provider::StaticKeys => None,
    }
}

/// What the administrator brought, only the administrator changes or deletes: a family of such keys has nothing to do for all verbs
/// but those that look at a key or take it.
impl Provider {
    /// What the store can do.
    #[must_use]
    pub fn limits(&self) -> &'static Limits {
        match self {
            Self::Aws(aws) => aws.limits(),
            Self::StaticKeys(keys) => keys.limits(),
        }
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        match self {
            Self::Aws(aws) => aws.clock(),
            Self::StaticKeys(keys) => keys.clock(),
        }
    }

    /// The same for somebody's requests.
    #[must_use]
    pub fn for_turn(&self, turn: Turn) -> Self {
        match self {
            Self::Aws(aws) => Self::Aws(aws.for_turn(turn)),
            Self::StaticKeys(_) => self.clone(),
        }
    }

    /// The principal of that owner, as it is to be.
    #[must_use]
    pub fn principal(&self, owner: Owner) -> PrincipalSpec {
        match self {
            Self::Aws(aws) => aws.principal(owner),
            Self::StaticKeys(keys) => keys.principal(owner),
        }
    }

    /// Looks at the principal and all that hangs on it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn observe(&self, spec: &PrincipalSpec, questions: &Questions) -> Result<Principal, Error> {
        match self {
            Self::Aws(aws) => aws.observe(&aws.user(spec), questions).await,
            Self::StaticKeys(keys) => keys.observe(spec).await.map(Principal::Ours),
        }
    }

    /// All principals of a cluster or of a place, with their marks.
    ///
    /// # Errors
    /// When the store refuses or does not answer.
    pub async fn principals(&self, place: &str) -> Result<Vec<Listed>, Error> {
        match self {
            Self::Aws(aws) => aws.users_under(place).await,
            Self::StaticKeys(_) => Ok(Vec::new()),
        }
    }

    /// Creates the principal with everything that marks it as ours.
    ///
    /// # Errors
    /// [`super::Kind::AlreadyExists`] when there is one of that name, ours or not.
    pub async fn create(&self, spec: &PrincipalSpec) -> Result<Observed, Error> {
        match self {
            Self::Aws(aws) => aws.create_user(&aws.user(spec)).await,
            Self::StaticKeys(keys) => keys.observe(spec).await,
        }
    }

    /// Puts a deviation right.
    ///
    /// # Errors
    /// When the store refuses or does not answer.
    pub async fn amend(&self, spec: &PrincipalSpec, deviation: &Deviation) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.amend(&aws.user(spec), &deviation.fix).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Makes this document, in that form, all that this operator gives the principal. What was given before goes last, so that
    /// there is no moment without rights.
    ///
    /// # Errors
    /// When the store refuses or does not answer; doing it again goes on from there.
    pub async fn put_rights(
        &self,
        spec: &PrincipalSpec,
        document: &PolicyDocument,
        form: PolicyForm,
        before: &Rights,
    ) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.put_policy(&aws.user(spec), document, form, before).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Takes away what this operator gave; what is gone is fine.
    ///
    /// # Errors
    /// [`super::Kind::DeleteConflict`] when somebody else uses the same policy.
    pub async fn remove_rights(&self, spec: &PrincipalSpec, before: &Rights) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.delete_policies(&aws.user(spec), before).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Removes what a principal leaves that somebody else deleted.
    ///
    /// # Errors
    /// When the store refuses or does not answer.
    pub async fn remove_remains(&self, spec: &PrincipalSpec) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.delete_policy_left_behind(&aws.user(spec)).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Creates a key, and never tries twice (docs/decisions/key-creation.md).
    ///
    /// # Errors
    /// [`Error::is_definite`] tells whether a key may exist nevertheless.
    pub async fn create_key(&self, spec: &PrincipalSpec) -> Result<CreatedKey, Error> {
        match self {
            Self::Aws(aws) => aws.create_key(&spec.name.name).await,
            Self::StaticKeys(keys) => keys.take(spec).await,
        }
    }

    /// Switches a key on or off.
    ///
    /// # Errors
    /// When the store refuses or does not answer.
    pub async fn set_key_active(&self, spec: &PrincipalSpec, key: &str, active: bool) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.set_key_active(&spec.name.name, key, active).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Deletes a key; one that is gone is fine.
    ///
    /// # Errors
    /// When the store refuses or does not answer.
    pub async fn delete_key(&self, spec: &PrincipalSpec, key: &str) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.delete_key(&spec.name.name, key).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Deletes the principal; one that is gone is fine.
    ///
    /// # Errors
    /// [`super::Kind::DeleteConflict`] when something that is not ours hangs on it.
    pub async fn remove(&self, spec: &PrincipalSpec) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.delete_user(&aws.user(spec)).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }

    /// Marks the principal, and what its rights are in, as left behind on purpose.
    ///
    /// # Errors
    /// When the store refuses or does not answer.
    pub async fn mark_retained(&self, spec: &PrincipalSpec, rights: &Rights) -> Result<(), Error> {
        match self {
            Self::Aws(aws) => aws.tag_retained(&aws.user(spec), rights).await,
            Self::StaticKeys(_) => Ok(()),
        }
    }
}
