//! SeaweedFS, the real one: S3 and IAM on one port.

use std::{path::Path, time::Duration};

use anyhow::Result;

use super::{
    aws,
    child::command,
    ports::{free_port, with_free_port},
    process::Process,
    proxy::Upstream,
    run::Run,
    tools::tool,
};

/// Both halves of the administrator's key.
pub const ROOT_KEY: &str = "AKIASEAWEEDFSROOT000";
pub const ROOT_SECRET: &str = "the-secret-of-the-administrator-of-seaweedfs";

const START: Duration = Duration::from_mins(1);
/// A bucket that nobody uses, whose creation shows that all of it is ready.
const READY: &str = "ready";

/// A running server; dropping it ends it, and all it holds is gone.
pub struct SeaweedFs {
    _server: Process,
    url: String,
    /// Clients with the administrator's rights.
    pub iam: aws_sdk_iam::Client,
    pub s3: aws_sdk_s3::Client,
}

impl SeaweedFs {
    pub async fn start(run: &Run) -> Result<Self> {
        let room = run.room("seaweedfs")?;
        with_free_port(async |port| Self::start_at(&room, port).await).await
    }

    async fn start_at(room: &Path, port: u16) -> Result<Self> {
        let url = format!("http://127.0.0.1:{port}");
        let mut program = command(tool("weed")?);
        program.arg("server").arg(format!("-dir={}", room.display())).args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-filer",
            "-s3",
            "-s3.iam.readOnly=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64",
            // Each bucket takes seven at once.
            "-volume.max=500",
            "-master.telemetry=false",
        ]);
        program.arg(format!("-s3.port={port}"));
        for server in
            ["s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port"]
        {
            program.arg(format!("-{server}={}", free_port()?));
        }
        program.arg(format!("-filer.port.grpc={}", free_port()?));
        program.env("AWS_ACCESS_KEY_ID", ROOT_KEY).env("AWS_SECRET_ACCESS_KEY", ROOT_SECRET);
        program.env("HOME", room).env("TMPDIR", room);
        let mut server = Process::start("seaweedfs", program, &room.join("seaweedfs.log"))?;
        let (iam, s3) = aws::clients(&url, ROOT_KEY, ROOT_SECRET);
        // Its S3 answers before there is anything behind it.
        server.until_ready(START, async || Ok(s3.create_bucket().bucket(READY).send().await?)).await?;
        Ok(Self { _server: server, url, iam, s3 })
    }

    /// The endpoint of S3 and IAM.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a proxy in front of it needs to know.
    pub fn upstream(&self) -> Upstream {
        Upstream { url: self.url.clone(), authority: None, as_aws: false }
    }

    /// A client with any key.
    pub fn s3_as(&self, id: &str, secret: &str) -> aws_sdk_s3::Client {
        aws::clients(&self.url, id, secret).1
    }

    /// A client of IAM with any key.
    pub fn iam_as(&self, id: &str, secret: &str) -> aws_sdk_iam::Client {
        aws::clients(&self.url, id, secret).0
    }
}
