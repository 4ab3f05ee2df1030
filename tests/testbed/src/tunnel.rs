//! An HTTP proxy for `HTTPS_PROXY`, through which a program that wants to reach some server on the internet reaches one of
//! ours. Nothing about the program has to be other than in real life but its surroundings.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// A running tunnel: every connection leads to the one server. Dropping it ends it and cuts all its connections.
pub struct Tunnel {
    url: String,
    accepting: JoinHandle<()>,
}

impl Tunnel {
    pub async fn start_to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { url, accepting: tokio::spawn(accept(listener, server)) })
    }

    /// For the variable `HTTPS_PROXY`.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr) {
    // Dropped, and with it all connections, when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                connections.spawn(lead(client, server));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn lead(client: TcpStream, server: SocketAddr) -> Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    let mut line = String::new();
    client.read_line(&mut line).await?;
    if !line.starts_with("CONNECT ") {
        bail!("not a tunnel: {line}");
    }
    while line.trim_end() != "" {
        line.clear();
        client.read_line(&mut line).await?;
    }
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
