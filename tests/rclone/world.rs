//! What all cells share: AWS's stand-in, TLS in front of it, and files to back up.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use backup_target_operator::{access::Terms, api::BackupStore};
use serde_json::json;
use testbed::{
    aws::{Aws, REGION},
    certificates::Authority,
    proxy::{Active, Fault, Proxy},
    run::Run,
    tunnel::Tunnel,
};

use crate::{calls, files::Files};

/// The names of S3. With them in the certificate, and a tunnel that leads there whatever name is asked for, rclone works
/// with the very file that it gets for AWS: no endpoint, and the bucket in the host's name.
const NAMES: [&str; 5] = [
    "s3.us-east-1.amazonaws.com",
    "*.s3.us-east-1.amazonaws.com",
    "s3.amazonaws.com",
    "*.s3.amazonaws.com",
    "127.0.0.1",
];

/// Everything that runs while the tests do.
pub struct World {
    // In the order in which they end.
    /// What leads rclone to it.
    pub tunnel: Tunnel,
    /// What rclone takes for S3.
    pub tls: Proxy,
    pub aws: Aws,
    /// The process that plays AWS.
    pub stand_in: u32,
    pub files: Files,
    /// The keys that the proxy keeps from setting ACLs.
    pub without_acls: Keys,
    _no_acls: Active,
    /// The terms of a store on AWS.
    pub terms: Terms,
    /// Who signs the proxy's certificate (PEM).
    pub authority: String,
}

impl World {
    pub async fn start() -> Result<Self> {
        let run = Run::begin("rclone")?;
        let mut aws = Aws::start(&run).await?;
        let authority = Authority::new("rclone")?;
        let tls = Proxy::start_tls(&aws.upstream(), &authority.identity_of(&NAMES)?).await?;
        let without_acls = Keys::default();
        let no_acls = refuse_acls(&tls, without_acls.clone());
        let tunnel = Tunnel::start_to(tls.address()).await?;
        let spec = json!({"region": REGION});
        let store = BackupStore::new("default", serde_json::from_value(spec)?);
        let terms = Terms::parse(&store.spec, None)?;
        let stand_in = aws.server().pid();
        Ok(Self {
            without_acls,
            _no_acls: no_acls,
            stand_in,
            tunnel,
            tls,
            aws,
            files: Files::new(&run.room("files")?)?,
            terms,
            authority: authority.pem(),
        })
    }
}

/// A set of access keys, by id.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<BTreeSet<String>>>);

impl Keys {
    pub fn insert(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned());
    }

    fn contains(&self, key: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

/// A rule of AWS that its stand-in does not know: an upload with an ACL needs s3:PutObjectAcl beside s3:PutObject.
fn refuse_acls(tls: &Proxy, keys: Keys) -> Active {
    tls.fault(Fault::Status(403), move |call| {
        let is_upload = ["PutObject", "CreateMultipartUpload"].contains(&calls::name(call));
        is_upload && call.acl.is_some() && call.access_key.as_deref().is_some_and(|key| keys.contains(key))
    })
}
