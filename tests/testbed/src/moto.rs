//! Another AWS: one that knows IAM's limits and the grammar of policies, and enforces no policy.

use std::{path::Path, time::Duration};

use anyhow::Result;

use super::{aws, child::command, ports::with_free_port, process::Process, run::Run, tools::tool};

const START: Duration = Duration::from_mins(1);

/// A running server; dropping it ends it.
pub struct Moto {
    _server: Process,
    url: String,
}

impl Moto {
    pub async fn start(run: &Run) -> Result<Self> {
        let room = run.room("moto")?;
        with_free_port(async |port| Self::start_at(&room, port).await).await
    }

    async fn start_at(room: &Path, port: u16) -> Result<Self> {
        let url = format!("http://127.0.0.1:{port}");
        let mut program = command(tool("moto_server")?);
        program.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        program.env("PYTHONUNBUFFERED", "1").env("HOME", room).env("TMPDIR", room);
        let mut server = Process::start("moto", program, &room.join("moto.log"))?;
        server.until_prints(START, &format!("Running on {url}")).await?;
        Ok(Self { _server: server, url })
    }

    /// A client with all rights.
    pub fn iam(&self) -> aws_sdk_iam::Client {
        aws::clients(&self.url, aws::ROOT_KEY, aws::ROOT_KEY).0
    }
}
