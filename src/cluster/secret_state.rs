//! What a target sees of a Secret: nothing, somebody else's, or its own.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use secrecy::{ExposeSecret, SecretString};

use super::Error;
use crate::access::rclone::{self, AccessKey};

/// A Secret in the target's namespace.
#[derive(Clone, Debug)]
pub enum SecretState {
    Absent,
    /// It does not belong to this target.
    Foreign {
        /// Whose it seems to be.
        owner: SecretOwner,
    },
    /// It belongs to this target.
    Ours(Box<OwnedSecret>),
    /// It cannot be read, or not be deleted.
    Unknown(Error),
}

/// Whose a Secret seems to be that is not this target's. Labels can be written by anybody, so they are good for advice alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOwner {
    /// Somebody's, by kind and name.
    Other(String),
    /// Nobody's that it names.
    Nobody,
    /// A former target of this name left it on purpose.
    Retained,
    /// It has this target's labels and lacks its owner, as tools restore it.
    Restored,
}

impl From<&str> for SecretOwner {
    fn from(other: &str) -> Self {
        Self::Other(other.to_owned())
    }
}

/// A Secret of this target.
#[derive(Clone, Debug)]
pub struct OwnedSecret {
    /// Its identity and version, so that only this very Secret is changed, and no edit is overwritten unseen.
    pub metadata: ObjectMeta,
    /// The rclone.conf, when there is one that is text.
    pub rclone_conf: Option<SecretString>,
    /// What somebody added beside it.
    pub others: OtherEntries,
    /// Whether labels and the other fields are as the operator writes them.
    pub well_formed: bool,
    /// Whether somebody changed what Kubernetes never lets change again: its type, or that it is immutable.
    pub must_be_recreated: bool,
}

/// Entries of a Secret that are somebody else's: carried along when it is written, and neither read nor shown.
#[derive(Clone, Default)]
pub struct OtherEntries(pub(super) BTreeMap<String, ByteString>);

impl std::fmt::Debug for OtherEntries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} entries", self.0.len())
    }
}

impl SecretState {
    /// The Secret, if it is ours.
    #[must_use]
    pub fn ours(&self) -> Option<&OwnedSecret> {
        match self {
            Self::Ours(secret) => Some(secret),
            Self::Absent | Self::Foreign { .. } | Self::Unknown(_) => None,
        }
    }

    /// The secret half of the key that the Secret shows.
    #[must_use]
    pub fn secret_key(&self) -> Option<SecretString> {
        self.ours()?.find(rclone::find_secret_key)
    }

    /// The whole key that the Secret shows, whoever wrote it there.
    #[must_use]
    pub fn shown_key(&self) -> Option<AccessKey> {
        let id = self.ours()?.find(|file| rclone::find_key_id(file).map(str::to_owned))?;
        Some(AccessKey { id, secret: self.secret_key()? })
    }
}

impl OwnedSecret {
    fn find<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        find(self.rclone_conf.as_ref()?.expose_secret())
    }
}
