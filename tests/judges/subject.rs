//! The subject of all this: the operator's policy for what was declared. The only file here that calls its builder.

use backup_target_operator::{
    access::{Access, BucketName, PolicyDocument, Prefix, Terms, terms::AccountId},
    api::backup_store::BackupStoreSpec,
};
use serde_json::{Value, json};

use crate::{
    can::{Declared, Form},
    cases::text,
    simulate::{ACCOUNT, holder},
};

/// The policy that grants what was declared to `holder`, in the given form.
pub fn policy(form: Form, declared: &[Declared], holder: &str) -> Value {
    serde_json::from_str(&document(form, declared, holder).to_json()).expect("the builder writes JSON")
}

/// The same as the builder has it.
pub fn document(form: Form, declared: &[Declared], principal: &str) -> PolicyDocument {
    let accesses: Vec<Access> = declared.iter().map(access).collect();
    let terms = terms(&declared[0]);
    match form {
        Form::Identity => PolicyDocument::new(&terms, &accesses),
        Form::Bucket => PolicyDocument::for_bucket(&terms, &accesses, &[principal.to_owned()].into()),
    }
}

fn access(declared: &Declared) -> Access {
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

/// In us-east-1 a bucket may be created anywhere, as far as the policy goes; the ARN of the holder says which cloud it is.
fn terms(declared: &Declared) -> Terms {
    let region = declared.demands.home.as_deref().unwrap_or("us-east-1");
    let spec: BackupStoreSpec = serde_json::from_value(json!({"region": region})).expect("a spec");
    let terms = Terms::parse(&spec, Some(&holder(declared.cloud))).expect("valid");
    let owner = declared.demands.own_bucket.then(|| AccountId::parse(ACCOUNT).expect("an account"));
    Terms { bucket_owner: owner, tls_only: declared.demands.tls, ..terms }
}
