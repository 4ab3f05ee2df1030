//! Things of others that look much like the operator's own.

use anyhow::{Context, Result, ensure};
use aws_sdk_iam::types::Tag;
use kube::{ResourceExt, api::DeleteParams};
use serde_json::{Value, json};
use testbed::objects;

use crate::{
    corner::{Corner, SECRET},
    end::{policies_of, user_summary},
};

/// A principal of another target of this operator, by name, path and tags.
pub const NEIGHBOUR: &str = "btgt-00000000-0000-4000-8000-000000000000";
const USERS: [&str; 2] = [NEIGHBOUR, "btgt-decoy"];
/// Secrets of somebody else.
pub const SECRETS: [&str; 2] = ["dataset-10", "dataset-1-copy"];
const DOCUMENT: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::other"}]}"#;

/// Makes them, and says how they look.
pub async fn create(corner: &Corner) -> Result<Value> {
    let path = corner.iam_path().await?;
    for (user, path) in USERS.into_iter().zip([path.as_str(), "/"]) {
        let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
        let request = corner.iam.create_user().user_name(user).path(path);
        request.tags(tag("backup-target.dev/uid", "another")?).send().await?;
        let policy = corner.iam.put_user_policy().user_name(user).policy_name("backup-target");
        policy.policy_document(DOCUMENT).send().await?;
        corner.iam.create_access_key().user_name(user).send().await?;
        corner.iam.create_policy().policy_name(user).path(path).policy_document(DOCUMENT).send().await?;
    }
    for name in SECRETS {
        let labels = json!({
            "app.kubernetes.io/managed-by": "backup-target-operator", "backup-target.dev/target": SECRET,
        });
        let body = json!({"metadata": {"name": name, "labels": labels}, "stringData": {"rclone.conf": "[mine]\n"}});
        objects::create(&corner.secrets(), body).await?;
    }
    look(corner).await
}

/// How they look now.
pub async fn look(corner: &Corner) -> Result<Value> {
    let (mut users, mut secrets) = (Vec::new(), Vec::new());
    for user in USERS {
        users.push(user_summary(corner, user).await.with_context(|| format!("user {user}"))?);
    }
    for name in SECRETS {
        let secret = corner.secrets().get(name).await.with_context(|| format!("Secret {name}"))?;
        secrets.push(json!({"uid": secret.uid(), "version": secret.resource_version()}));
    }
    let policies = policies_of(corner).await?;
    let policies: Vec<&String> = policies.iter().filter(|arn| USERS.iter().any(|user| arn.ends_with(user))).collect();
    Ok(json!({"users": users, "secrets": secrets, "policies": policies}))
}

/// Whether they are as they were.
pub async fn are_untouched(corner: &Corner) -> Result<()> {
    let now = look(corner).await?;
    ensure!(now == corner.decoys, "before: {}\nnow: {now}", corner.decoys);
    Ok(())
}

/// Takes those away that every operator of this cluster hears of.
pub async fn clear(corner: &Corner) -> Result<()> {
    for name in SECRETS {
        corner.secrets().delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}
