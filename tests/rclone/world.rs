//! What all cells share: AWS's stand-in, TLS in front of it, and files to back up.

use std::path::Path;

use anyhow::Result;
use backup_target_operator::{
    access::Terms,
    api::BackupStore,
};
use serde_json::json;

use crate::{
    files::Files,
    testbed::{
        aws::{Aws, REGION},
        certificates::Authority,
        proxy::Proxy,
        run::Run,
    },
};

/// Everything that runs while the tests do.
pub struct World {
    // In the order in which they end.
    /// What rclone speaks to: only with TLS does it use its settings for AWS.
    pub tls: Proxy,
    pub aws: Aws,
    pub files: Files,
    /// What a store says that is reached through the proxy.
    pub terms: Terms,
    /// Who signs the proxy's certificate (PEM).
    pub authority: String,
    run: Run,
}

impl World {
    pub async fn start() -> Result<Self> {
        let run = Run::begin("rclone")?;
        let aws = Aws::start(&run).await?;
        let authority = Authority::new("rclone")?;
        let tls = Proxy::start_tls(&aws.upstream(), &authority.identity()?).await?;
        let spec = json!({"region": REGION, "endpoints": {"s3": tls.url()}});
        let store = BackupStore::new("default", serde_json::from_value(spec)?);
        let terms = Terms::parse(&store.spec, None)?;
        Ok(Self { tls, aws, files: Files::new(&run.room("files")?)?, terms, authority: authority.pem(), run })
    }

    /// A place for logs, which stay after the run.
    pub fn logs(&self) -> &Path {
        self.run.path()
    }
}
