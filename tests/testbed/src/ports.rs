//! Ports on loopback for servers that have to be told one.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener},
    sync::{LazyLock, Mutex, PoisonError},
};

use anyhow::{Context, Result};

const ATTEMPTS: u32 = 4;

/// A port that is free now and that this program has not given to anyone else.
pub(crate) fn free_port() -> Result<u16> {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("failed to find a free port")?;
        let port = listener.local_addr()?.port();
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return Ok(port);
        }
    }
}

/// Starts a server with a port of its own. Another program may take the port between the moment it was found free
/// and the moment the server binds it; then it is tried again with another one.
pub async fn with_free_port<T, F: Future<Output = Result<T>>>(mut start: impl FnMut(u16) -> F) -> Result<T> {
    let mut attempt = 1;
    loop {
        match Box::pin(start(free_port()?)).await {
            Err(error) if attempt < ATTEMPTS && is_taken(&error) => attempt += 1,
            outcome => return outcome,
        }
    }
}

/// All servers here say it in these words, and their log is part of the error.
fn is_taken(error: &anyhow::Error) -> bool {
    format!("{error:#}").to_lowercase().contains("already in use")
}
