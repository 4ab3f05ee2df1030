//! The phases of a target's life: what comes before each, what starts it, and when it is over.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, ensure};
use aws_sdk_iam::types::StatusType;
use backup_target_operator::api::BackupTarget;
use kube::{
    Resource,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use testbed::{
    aws::ROOT_KEY,
    objects::{is_ready, principal, record, stalled_with, status},
    wait::wait_patiently_until,
};

use crate::{
    corner::{Corner, SECRET, TARGET},
    oracles,
};

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Store,
    Create,
    Widen,
    Narrow,
    Move,
    Grow,
    Shrink,
    SecretLost,
    KeyLost,
    Rotate,
    Withdraw,
    Restore,
    Delete,
    DeleteLarge,
}

pub const PHASES: [Phase; 14] = [
    Phase::SecretLost,
    Phase::KeyLost,
    Phase::Create,
    Phase::Store,
    Phase::Widen,
    Phase::Narrow,
    Phase::Move,
    Phase::Grow,
    Phase::Shrink,
    Phase::Rotate,
    Phase::Withdraw,
    Phase::Restore,
    Phase::Delete,
    Phase::DeleteLarge,
];

const LOOK: Duration = Duration::from_millis(300);
const SETUP: Duration = Duration::from_mins(1);
/// A prefix whose policy is a managed one as soon as it lists the folders above it.
const DEEP_FOLDERS: usize = 25;
const TIERS: [&str; 2] = ["MultipartUploads", "ObjectAcls"];

impl Phase {
    /// Brings a corner to where the phase starts.
    pub async fn prepare(self, corner: &Corner) -> Result<()> {
        if self == Self::Store {
            return Ok(());
        }
        corner.create_store().await?;
        corner.until_store_is_ready(SETUP).await?;
        if self == Self::Create {
            return Ok(());
        }
        corner.create_target(self.fields_before()).await?;
        corner.until(SETUP, "ready", is_ready).await?;
        if self == Self::KeyLost {
            corner.age_keys().await?;
        }
        if self == Self::Restore {
            corner.set_rules(false).await?;
            wait_patiently_until("nothing to be allowed", SETUP, LOOK, async || corner.is_withheld().await).await?;
        }
        // What was told of the setup is told before the phase.
        oracles::resyncs(corner, 1).await
    }

    fn fields_before(self) -> Value {
        let deep = "nine-char/".repeat(DEEP_FOLDERS);
        match self {
            Self::Narrow => json!({"capabilities": TIERS}),
            Self::Grow => json!({"prefix": deep}),
            Self::Shrink | Self::DeleteLarge => json!({"prefix": deep, "ancestorListing": "Allow"}),
            _ => json!({}),
        }
    }

    /// Starts the phase. What was before is returned, for [`Self::is_over`].
    pub async fn begin(self, corner: &Corner) -> Result<Before> {
        let before = Before::of(corner).await?;
        match self {
            Self::Store => corner.create_store().await?,
            Self::Create => corner.create_target(json!({"capabilities": TIERS})).await?,
            Self::Widen => corner.patch_target(json!({"capabilities": TIERS})).await?,
            Self::Narrow => corner.patch_target(json!({"capabilities": []})).await?,
            Self::Move => corner.patch_target(json!({"prefix": "backups/dataset-2/"})).await?,
            Self::Grow => corner.patch_target(json!({"ancestorListing": "Allow"})).await?,
            Self::Shrink => corner.patch_target(json!({"ancestorListing": "Deny"})).await?,
            Self::SecretLost => {
                corner.secrets().delete(SECRET, &DeleteParams::default()).await?;
            }
            Self::KeyLost => {
                let key = before.key.as_deref().context("a key")?;
                let user = before.user.as_deref().context("a user")?;
                corner.iam.delete_access_key().user_name(user).access_key_id(key).send().await?;
            }
            // The account's root has a key, too; all that matters is that it is another one.
            Self::Rotate => corner.write_credentials(&corner.account, ROOT_KEY).await?,
            Self::Withdraw => corner.set_rules(false).await?,
            Self::Restore => corner.set_rules(true).await?,
            Self::Delete | Self::DeleteLarge => corner.delete_target().await?,
        }
        Ok(before)
    }

    /// Waits until the phase is over.
    pub async fn until_over(self, corner: &Corner, before: &Before, deadline: Duration) -> Result<()> {
        let what = format!("`{self}` to be over");
        wait_patiently_until(&what, deadline, LOOK, async || self.is_over(corner, before).await).await
    }

    async fn is_over(self, corner: &Corner, before: &Before) -> Result<()> {
        // Whatever else the fault has disturbed has recovered, too.
        corner.store_is_ready().await?;
        match self {
            Self::Store => return Ok(()),
            Self::Delete | Self::DeleteLarge => return corner.target_is_gone().await,
            Self::Withdraw => return corner.is_withheld().await,
            Self::Rotate => {
                let with_new = corner.aws.calls(|call| call.access_key.as_deref() == Some(&corner.account));
                ensure!(!with_new.is_empty(), "the new credentials were not used");
            }
            _ => {}
        }
        let target = corner.target().await?;
        let key = record(&target).access_key_id;
        let observed = status(&target).observed_generation == target.metadata.generation;
        ensure!(observed && is_ready(&target), "{}", serde_json::to_string(&target.status)?);
        let replaces = matches!(self, Self::SecretLost | Self::KeyLost);
        ensure!(!replaces || key != before.key, "there is no new key");
        Ok(())
    }

    /// Whether a pod can have credentials while the phase goes on.
    pub fn has_pod(self) -> bool {
        use Phase::{Create, Delete, DeleteLarge, Restore, Store, Withdraw};
        !matches!(self, Store | Create | Withdraw | Restore | Delete | DeleteLarge)
    }

    /// Whether the target is gone at the end.
    pub fn ends_without_target(self) -> bool {
        matches!(self, Self::Store | Self::Delete | Self::DeleteLarge)
    }
}

/// What was there when a phase began.
pub struct Before {
    pub key: Option<String>,
    user: Option<String>,
}

impl Before {
    async fn of(corner: &Corner) -> Result<Self> {
        let target: Option<BackupTarget> = corner.targets().get_opt(TARGET).await?;
        Ok(Self {
            key: target.as_ref().and_then(|target| record(target).access_key_id),
            user: target.as_ref().map(principal),
        })
    }
}

impl Corner {
    /// Lets the target's keys look as if they had been made long ago: young ones are believed to be there, whatever IAM's
    /// lists say.
    async fn age_keys(&self) -> Result<()> {
        let target = self.target().await?;
        let mut status = serde_json::to_value(&target.status)?;
        for key in status["keys"].as_array_mut().into_iter().flatten() {
            key["createdAt"] = json!("2026-01-01T00:00:00Z");
        }
        self.write_status(status).await
    }

    /// No rule allows the target, and its key does not work.
    async fn is_withheld(&self) -> Result<()> {
        let target = self.target().await?;
        ensure!(stalled_with(&target, "NotAllowed"), "{}", serde_json::to_string(&target.status)?);
        let keys = self.iam.list_access_keys().user_name(principal(&target)).send().await?.access_key_metadata;
        let active = keys.iter().any(|key| key.status == Some(StatusType::Active));
        ensure!(!keys.is_empty() && !active, "{keys:?}");
        Ok(())
    }

    /// Writes the target's status in the operator's own name: a field that two have written stays when one takes it back.
    pub async fn write_status(&self, status: Value) -> Result<()> {
        let apply = json!({
            "apiVersion": BackupTarget::api_version(&()), "kind": BackupTarget::kind(&()),
            "metadata": {"name": TARGET}, "status": status,
        });
        let as_operator = PatchParams::apply("backup-target-operator").force();
        self.targets().patch_status(TARGET, &as_operator, &Patch::Apply(apply)).await?;
        Ok(())
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store => "create store",
            Self::Create => "create",
            Self::Widen => "widen",
            Self::Narrow => "narrow",
            Self::Move => "move",
            Self::Grow => "policy grows",
            Self::Shrink => "policy shrinks",
            Self::SecretLost => "secret lost",
            Self::KeyLost => "key lost",
            Self::Rotate => "credentials rotated",
            Self::Withdraw => "rule withdrawn",
            Self::Restore => "rule restored",
            Self::Delete => "delete",
            Self::DeleteLarge => "delete large",
        })
    }
}
