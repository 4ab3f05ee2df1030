//! What a target sees of a Secret: nothing, somebody else's, or its own.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use secrecy::{ExposeSecret, SecretString};

use super::Error;
use crate::access::rclone::{self, AccessKey};

/// A Secret in the target's namespace.
#[derive(Clone, Debug)]
pub enum SecretState {
    /// There is none.
    Absent,
    /// It does not belong to this target.
    Foreign {
        /// Who owns it, in words for people.
        owner: String,
    },
    /// It belongs to this target.
    Ours(Box<OwnedSecret>),
    /// It cannot be read, or not be deleted.
    Unknown(Error),
}

/// A Secret of this target.
#[derive(Clone, Debug)]
pub struct OwnedSecret {
    /// Its identity and version, so that only this very Secret is changed, and no edit is overwritten unseen.
    pub metadata: ObjectMeta,
    /// The rclone.conf, when there is one that is text.
    pub rclone_conf: Option<SecretString>,
    /// Whether labels and the other fields are as the operator writes them.
    pub well_formed: bool,
    /// Whether somebody changed what Kubernetes never lets change again: its type, or that it is immutable.
    pub must_be_recreated: bool,
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
