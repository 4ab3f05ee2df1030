//! A proxy that remembers every request, and breaks those it is told to break.
//!
//! It stands in front of the API server or of the AWS stand-in. Requests and answers pass through unchanged and as they
//! come, so watches work and signatures stay valid.

mod fault;
mod forward;
mod ledger;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use self::{fault::Faults, forward::Forward, ledger::Ledger};
pub use self::{
    fault::{Active, Fault},
    ledger::{Call, Mark},
};
use super::certificates::Identity;

/// The server behind a proxy.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub url: String,
    /// Who signs its certificate (DER), for one with TLS.
    pub authority: Option<Vec<u8>>,
}

/// A running proxy. Dropping it ends it and cuts all its connections. It belongs to the async runtime it was started in.
pub struct Proxy {
    url: String,
    address: SocketAddr,
    handler: Arc<Handler>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that is spoken to in plain HTTP.
    pub async fn start(upstream: &Upstream) -> Result<Self> {
        Self::listen(upstream, "http", None).await
    }

    /// A proxy that is spoken to with TLS.
    pub async fn start_tls(upstream: &Upstream, identity: &Identity) -> Result<Self> {
        Self::listen(upstream, "https", Some(acceptor(identity)?)).await
    }

    async fn listen(upstream: &Upstream, scheme: &str, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let url = format!("{scheme}://{address}");
        let handler =
            Arc::new(Handler { ledger: Ledger::default(), faults: Faults::default(), forward: Forward::to(upstream)? });
        let accepting = tokio::spawn(accept(listener, tls, handler.clone()));
        Ok(Self { url, address, handler, accepting })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far that are `wanted`, in the order in which they came.
    pub fn calls(&self, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.calls_since(Mark::default(), wanted)
    }

    /// The requests after a mark that are `wanted`.
    pub fn calls_since(&self, mark: Mark, wanted: impl Fn(&Call) -> bool) -> Vec<Call> {
        self.handler.ledger.since(mark, wanted)
    }

    /// The present moment, for [`Self::calls_since`].
    pub fn mark(&self) -> Mark {
        self.handler.ledger.mark()
    }

    /// Breaks the requests that match, for as long as the answer of this function is kept.
    #[must_use = "the fault ends when this is dropped"]
    pub fn fault(&self, fault: Fault, matches: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Active {
        self.handler.faults.add(fault, matches)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What all connections share.
struct Handler {
    ledger: Ledger,
    faults: Faults,
    forward: Forward,
}

impl Handler {
    async fn answer(&self, request: forward::Incoming) -> Result<forward::Answer> {
        let (request, form) = forward::read(request).await?;
        let mut call = Call::of(&request, form.as_deref());
        call.fault = self.faults.of(&call);
        let fault = call.fault;
        let entry = self.ledger.enter(call);
        let answer = match fault {
            Some(fault) => {
                if fault == Fault::LoseAnswer {
                    self.forward.send(request).await;
                }
                fault.answer().await?
            }
            None => self.forward.send(request).await,
        };
        self.ledger.answered(entry, answer.status());
        Ok(answer)
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, handler: Arc<Handler>) {
    // Dropped, and with it all connections, when this task is aborted.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, tls.clone(), handler.clone()));
                }
                // Out of file descriptors, most likely: some may come free.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, handler: Arc<Handler>) {
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, &handler).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, &handler).await;
            }
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, handler: &Handler) {
    let service = service_fn(|request| handler.answer(request));
    // How a connection ends is the client's affair: the ledger has what matters.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).context("the key")?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
