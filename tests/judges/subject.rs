//! The subject of all this: the operator's policy for what was declared. The only file here that calls its builder.

use backup_target_operator::access::{Access, BucketName, Partition, PolicyDocument, Prefix};
use serde_json::{Value, json};

use crate::{
    can::{Declared, Demands, Form},
    cases::text,
};

/// Which demands the builder knows; the others wait for it.
pub fn knows(demands: &Demands) -> bool {
    !demands.tls && !demands.own_bucket && demands.home.is_none()
}

/// The policy that grants what was declared to `holder`, in the given form.
pub fn policy(form: Form, declared: &[Declared], holder: &str) -> Value {
    let accesses: Vec<Access> = declared.iter().map(access).collect();
    let cloud = partition(declared.first().map_or("aws", |declared| declared.cloud));
    let text = PolicyDocument::new(cloud, &accesses).to_json();
    let identity = serde_json::from_str(&text).expect("the builder writes JSON");
    match form {
        Form::Identity => identity,
        Form::Bucket => bucket_policy(identity, holder),
    }
}

fn access(declared: &Declared) -> Access {
    assert!(knows(&declared.demands), "the builder does not know {:?}", declared.demands);
    let folder = text(&declared.folder);
    Access {
        bucket: BucketName::parse(&declared.bucket).expect("a bucket"),
        prefix: match folder.as_str() {
            "" => Prefix::whole_bucket(),
            folder => Prefix::parse(folder).expect("a folder"),
        },
        capabilities: declared.capabilities.clone(),
        ancestor_listing: declared.ancestor_listing,
    }
}

fn partition(cloud: &str) -> Partition {
    let all = [Partition::Aws, Partition::China, Partition::GovCloud, Partition::EuropeanSovereign];
    all.into_iter().find(|partition| partition.as_str() == cloud).expect("a partition")
}

/// PLACE OF THE BUILDER'S OWN BUCKET FORM: until it has one, the identity policy with a principal, without what a bucket
/// cannot grant (reference/iam-s3-rclone.md §0.3).
fn bucket_policy(mut document: Value, holder: &str) -> Value {
    let statements = document["Statement"].as_array_mut().expect("the builder writes a list");
    statements.retain_mut(|statement| {
        statement["Principal"] = json!({"AWS": holder});
        let mut actions = match statement["Action"].take() {
            Value::Array(actions) => actions,
            one => vec![one],
        };
        actions.retain(|action| action != "s3:ListAllMyBuckets" && action != "s3:CreateBucket");
        let some = !actions.is_empty();
        statement["Action"] = Value::Array(actions);
        some
    });
    document
}
