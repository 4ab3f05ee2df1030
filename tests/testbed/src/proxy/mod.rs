//! A proxy that remembers every request, and breaks those it is told to break.
//!
//! It stands in front of the API server or of the AWS stand-in. Requests and answers pass through unchanged and as they
//! come, so watches work and signatures stay valid; but where AWS is stricter than the stand-in, it answers as AWS does.

mod authority;
mod clock;
mod fault;
mod forward;
mod history;
mod iam_request;
mod ledger;
mod rules;
mod statement;

use std::{
    collections::BTreeSet,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::{Request, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Notify,
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

use self::{
    authority::Authority,
    forward::{Answer, Body, Forward, whole},
    history::History,
    iam_request::IamRequest,
    ledger::Ledger,
    rules::{Rule, Rules},
};
pub use self::{
    fault::Fault,
    ledger::{Call, Mark},
    rules::Active,
};
use super::certificates::Identity;

/// The server behind a proxy.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub url: String,
    /// Who signs its certificate (DER), for one with TLS.
    pub authority: Option<Vec<u8>>,
    /// Whether it plays AWS, and is to be as strict.
    pub(super) as_aws: bool,
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
        let handler = Arc::new(Handler {
            ledger: Ledger::default(),
            rules: Rules::default(),
            history: History::default(),
            authority: Authority::new(upstream.as_aws),
            forward: Forward::to(upstream)?,
            cut: Notify::new(),
        });
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
        self.fault_some(fault, 0..usize::MAX, matches)
    }

    /// Breaks some of the requests that match, counted from now and from 0.
    #[must_use = "the fault ends when this is dropped"]
    pub fn fault_some(
        &self,
        fault: Fault,
        which: Range<usize>,
        matches: impl Fn(&Call) -> bool + Send + Sync + 'static,
    ) -> Active {
        self.handler.rules.add(fault, which, matches)
    }

    /// Whoever calls AWS may do in IAM what these statements say, and nothing else; with none, everything, as an account's root.
    pub fn authorize(&self, policy: Option<Vec<Value>>) {
        self.handler.authority.set(policy);
    }

    /// Cuts all connections there are.
    pub fn cut(&self) {
        self.handler.cut.notify_one();
    }

    /// Keeps answers from now on, for [`Fault::Stale`] and [`Self::secrets`].
    pub fn keep_answers(&self) {
        self.handler.history.begin();
    }

    /// The answers so far are the old ones that [`Fault::Stale`] gives.
    pub fn freeze(&self) {
        self.handler.history.freeze();
    }

    /// The secret halves of the access keys that were created through it.
    pub fn secrets(&self) -> BTreeSet<String> {
        self.handler.history.secrets()
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
    rules: Rules,
    history: History,
    authority: Authority,
    forward: Forward,
    cut: Notify,
}

impl Handler {
    async fn answer(self: Arc<Self>, request: forward::Incoming) -> Result<Answer> {
        let (request, form) = forward::read(request).await?;
        let mut call = Call::of(&request, form.as_deref());
        let rule = self.rules.of(&call);
        call.fault = rule.as_ref().map(|rule| rule.fault);
        let form = form.unwrap_or_default();
        let question =
            Question { iam: IamRequest::of(&form), text: format!("{} {} {form}", call.method, request.uri()) };
        let entry = self.ledger.enter(call.clone());
        let answer = match rule {
            None => self.pass(&call, question, request).await?,
            Some(rule) => self.clone().broken(&rule, call, question, request).await?,
        };
        self.ledger.answered(entry, answer.status());
        Ok(answer)
    }

    async fn pass(&self, call: &Call, question: Question, request: Request<Body>) -> Result<Answer> {
        let answer = match &question.iam {
            Some(asked) => self.authority.pass(asked, call.signed_for.as_deref(), request, &self.forward).await?,
            None => self.forward.send(request).await,
        };
        self.history.keep(call, question.text, answer).await
    }

    async fn broken(
        self: Arc<Self>,
        rule: &Arc<Rule>,
        call: Call,
        question: Question,
        request: Request<Body>,
    ) -> Result<Answer> {
        match rule.fault {
            Fault::Delay(time) => {
                sleep(time).await;
                rule.has_happened();
                self.pass(&call, question, request).await
            }
            Fault::LoseAnswer => {
                self.apply(rule, call, question, request, Duration::ZERO).await?.await?;
                bail!("the answer is lost")
            }
            Fault::Late(time) => {
                self.apply(rule, call, question, request, time).await?;
                bail!("it takes effect later")
            }
            Fault::HoldAfter => {
                self.apply(rule, call, question, request, Duration::ZERO).await?;
                pending().await
            }
            Fault::Silence => {
                let answer = self.forward.send(request).await;
                rule.has_happened();
                Ok(answer.map(|_| BodyExt::boxed(silent())))
            }
            Fault::ClockAhead(seconds) => {
                let answer = self.pass(&call, question, request).await?;
                rule.has_happened();
                clock::ahead(answer, SignedDuration::from_secs(seconds)).await
            }
            Fault::Stale => {
                rule.has_happened();
                self.history.old(&question.text)
            }
            Fault::Hang => {
                // It has happened once nobody waits for it any more.
                let _given_up = GivenUp(rule.clone());
                pending().await
            }
            fault => {
                rule.has_happened();
                fault.answer(&call).await
            }
        }
    }

    /// Has the request take effect after some time, whatever becomes of who asked.
    async fn apply(
        self: Arc<Self>,
        rule: &Arc<Rule>,
        call: Call,
        question: Question,
        request: Request<Body>,
        after: Duration,
    ) -> Result<JoinHandle<()>> {
        let rule = rule.clone();
        let (head, body) = request.into_parts();
        let body = body.collect().await.context("the client broke off")?.to_bytes();
        Ok(tokio::spawn(async move {
            sleep(after).await;
            // What became of it is for the server behind to know: the answer is thrown away.
            let _ = self.pass(&call, question, Request::from_parts(head, whole(body))).await;
            rule.has_happened();
        }))
    }
}

/// What is asked: in full, and as far as AWS decides by it whether it is allowed.
struct Question {
    text: String,
    iam: Option<IamRequest>,
}

/// Tells that a request was given up, by being dropped with it.
struct GivenUp(Arc<Rule>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.has_happened();
    }
}

/// A body that never says anything and never ends.
fn silent() -> http_body_util::StreamBody<futures::stream::Pending<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
    http_body_util::StreamBody::new(futures::stream::pending())
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
            () = handler.cut.notified() => connections.abort_all(),
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

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, handler: &Arc<Handler>) {
    let service = service_fn(|request| handler.clone().answer(request));
    // How a connection ends is the client's affair: the ledger has what matters.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

pub(crate) fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).context("the key")?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
