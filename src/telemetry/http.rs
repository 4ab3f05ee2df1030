//! `/livez` and `/readyz` for the kubelet, and `/metrics` for Prometheus. Everybody in the cluster may reach these ports, so
//! nobody has a place for long: who comes takes the place of who came first.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::Telemetry;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// Probes and a few Prometheus servers need no more.
const CONNECTIONS: usize = 32;
/// One address needs no more; a node's is that of all who come through it.
const OF_ONE_PEER: usize = 8;
/// A request of ours fits one packet.
const HEAD: Duration = Duration::from_secs(1);
const LONGEST_HEAD: usize = 8_192;
/// Nobody has a connection for longer.
const CONVERSATION: Duration = Duration::from_secs(5);

/// What is answered at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// `/livez` and `/readyz`, which cost nothing to answer.
    Health,
    /// These and `/metrics`.
    Everything,
}

impl Port {
    fn option(self) -> &'static str {
        match self {
            Self::Health => "--health-address",
            Self::Everything => "--http-address",
        }
    }

    fn paths(self) -> &'static str {
        match self {
            Self::Health => "/livez and /readyz",
            Self::Everything => "/livez, /readyz and /metrics",
        }
    }
}

/// Listens at an address.
///
/// # Errors
/// When that is not possible.
pub async fn listen(address: SocketAddr, port: Port) -> Result<TcpListener, String> {
    let bound = bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| {
        format!("{} {address} cannot be listened at: {error}; choose another address, or end who has it", port.option())
    })?;
    info!(%address, "answering {}", port.paths());
    Ok(listener)
}

/// All addresses of IPv6 are those of IPv4, too, but where the kernel has no IPv6: there they are those of IPv4 alone.
async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let all_of_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    match bound {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind(all_of_ipv4).await
        }
        bound => bound,
    }
}

/// Answers for as long as the operator runs.
pub async fn serve(listener: TcpListener, port: Port, telemetry: Arc<Telemetry>) {
    let mut places = Places::default();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                places.make_room(peer.ip());
                let conversation = tokio::spawn(converse(stream, port, telemetry.clone()));
                places.take(peer.ip(), conversation.abort_handle());
            }
            Err(error) => {
                warn!(%error, "a connection to {} could not be accepted", port.option());
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Who is spoken to, in the order in which they came. A probe is answered within a moment, so that it is never who waited for
/// longest, however many others come.
#[derive(Default)]
struct Places(VecDeque<(IpAddr, AbortHandle)>);

impl Places {
    /// Ends the oldest conversation with the same peer, or of all, where there are too many.
    fn make_room(&mut self, peer: IpAddr) {
        self.0.retain(|(_, conversation)| !conversation.is_finished());
        let of_this_peer = self.0.iter().filter(|(other, _)| *other == peer).count();
        let oldest = if of_this_peer >= OF_ONE_PEER {
            self.0.iter().position(|(other, _)| *other == peer)
        } else {
            (self.0.len() >= CONNECTIONS).then_some(0)
        };
        if let Some((_, conversation)) = oldest.and_then(|oldest| self.0.remove(oldest)) {
            conversation.abort();
        }
    }

    fn take(&mut self, peer: IpAddr, conversation: AbortHandle) {
        self.0.push_back((peer, conversation));
    }
}

async fn converse(stream: TcpStream, port: Port, telemetry: Arc<Telemetry>) {
    let service = service_fn(|request| {
        let response = answer(&request, port, &telemetry);
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    // One request each: probes make a connection every time, and who reads metrics is as well off with a new one.
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LONGEST_HEAD);
    match timeout(CONVERSATION, server.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to {} broke off", port.option()),
        Err(_) => debug!("a connection to {} took too long", port.option()),
    }
}

fn answer(request: &Request<Incoming>, port: Port, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => opinion(telemetry.health.live()),
        "/readyz" => opinion(telemetry.health.ready()),
        "/metrics" if port == Port::Everything => {
            let mut response = Response::new(Full::from(telemetry.exposition()));
            response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
            response
        }
        _ => text(StatusCode::NOT_FOUND, format!("there are {}", port.paths())),
    }
}

fn opinion(opinion: Result<&'static str, &'static str>) -> Response<Full<Bytes>> {
    match opinion {
        Ok(well) => text(StatusCode::OK, well.to_owned()),
        Err(not) => text(StatusCode::SERVICE_UNAVAILABLE, not.to_owned()),
    }
}

fn text(status: StatusCode, words: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(words + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpSocket,
    };

    use super::*;

    /// More than any server has places for.
    const CROWD: usize = 200;

    async fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        socket.connect(to).await.unwrap()
    }

    async fn served(port: Port) -> SocketAddr {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), port).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, port, Arc::new(Telemetry::default())));
        address
    }

    async fn ask(from: Ipv4Addr, to: SocketAddr, path: &str) -> String {
        let mut stream = connect(from, to).await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: operator\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Somebody holds as many connections as there are, each with half of a request.
    async fn crowd(from: impl Fn(usize) -> Ipv4Addr, to: SocketAddr) -> Vec<TcpStream> {
        let mut crowd = Vec::new();
        for number in 0..CROWD {
            let mut stream = connect(from(number), to).await;
            // The server may have closed it already.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\n").await;
            crowd.push(stream);
        }
        crowd
    }

    #[tokio::test]
    async fn probes_are_answered_whoever_holds_connections() {
        let (one, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
        let many =
            |number: usize| Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 1, 0).to_bits() + u32::try_from(number).unwrap());
        for port in [Port::Health, Port::Everything] {
            for from_many in [false, true] {
                let address = served(port).await;
                let _crowd = crowd(|number| if from_many { many(number) } else { one }, address).await;
                for from in [one, other] {
                    let answer = timeout(Duration::from_secs(1), ask(from, address, "/livez")).await;
                    assert!(answer.is_ok_and(|answer| answer.ends_with("alive\n")), "{port:?} {from_many} {from}");
                }
            }
        }
    }

    #[tokio::test]
    async fn half_a_request_is_not_waited_for() {
        let address = served(Port::Health).await;
        let mut stream = connect(Ipv4Addr::LOCALHOST, address).await;
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        let mut answer = Vec::new();
        timeout(HEAD * 3, stream.read_to_end(&mut answer)).await.expect("it is closed").unwrap();
    }

    #[tokio::test]
    async fn metrics_are_told_at_one_port_only() {
        let here = Ipv4Addr::LOCALHOST;
        let health = served(Port::Health).await;
        assert!(ask(here, health, "/metrics").await.ends_with("there are /livez and /readyz\n"));
        assert!(ask(here, health, "/readyz").await.starts_with("HTTP/1.1 503"));
        assert!(ask(here, served(Port::Everything).await, "/metrics").await.ends_with("# EOF\n"));
    }
}
