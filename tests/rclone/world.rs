//! What all cells share: AWS's stand-in, TLS in front of it, and files to back up.

use anyhow::Result;
use backup_target_operator::{access::Terms, api::BackupStore};
use serde_json::json;

use crate::{
    files::Files,
    testbed::{
        aws::{Aws, REGION},
        certificates::Authority,
        proxy::Proxy,
        run::Run,
        tunnel::Tunnel,
    },
};

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
        let tunnel = Tunnel::start_to(tls.address()).await?;
        let spec = json!({"region": REGION});
        let store = BackupStore::new("default", serde_json::from_value(spec)?);
        let terms = Terms::parse(&store.spec, None)?;
        let stand_in = aws.server().pid();
        Ok(Self {
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
