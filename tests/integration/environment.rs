//! The operator's surroundings: certificates, proxies and credentials come from where other AWS tools find them.

use std::{fs, sync::Arc};

use anyhow::{Result, ensure};
use testbed::{certificates::Authority, proxy::Proxy, tests};

use crate::{
    restart::{Lab, root_in_environment},
    world::World,
};

tests![certificates_and_proxies_of_the_environment_are_honoured];

async fn certificates_and_proxies_of_the_environment_are_honoured(_: Arc<World>) -> Result<()> {
    let authority = Authority::new("private")?;
    let folder = tempfile::TempDir::new()?;
    let bundle = folder.path().join("ca.crt");
    fs::write(&bundle, authority.pem())?;
    let bundle = bundle.display().to_string();

    for variable in ["AWS_CA_BUNDLE", "SSL_CERT_FILE"] {
        // A proxy that nobody answers at: loopback must not go there.
        let lab = Lab::start(&format!("environment-{}", variable.to_lowercase()), |aws, options| {
            root_in_environment(aws, options)
                .env(variable, &bundle)
                .env("HTTPS_PROXY", "http://127.0.0.1:9")
                .env("HTTP_PROXY", "http://127.0.0.1:9")
                .env("NO_PROXY", "127.0.0.1")
        })
        .await?;
        let tls = Proxy::start_tls(&lab.aws_upstream(), &authority.identity()?).await?;
        lab.create_store(tls.url()).await?;
        lab.create_target("dataset-1").await?;
        lab.until_all_ready(1).await?;
        ensure!(!tls.calls(|call| call.is("CreateUser")).is_empty(), "{variable}: AWS was reached with TLS");
    }
    Ok(())
}
