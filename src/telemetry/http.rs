//! `/livez`, `/readyz` and `/metrics`, for the kubelet and Prometheus.

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
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
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::Telemetry;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// Probes and a few Prometheus servers need no more.
const CONNECTIONS: usize = 32;
/// Nobody has a connection for longer, or others would find none.
const CONVERSATION: Duration = Duration::from_secs(5);

/// Listens at an address.
///
/// # Errors
/// When that is not possible.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| {
        format!("--http-address {address} cannot be listened at: {error}; choose another address, or end who has it")
    })?;
    info!(%address, "answering /livez, /readyz and /metrics");
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
pub async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>) {
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Never closed, so there always is one.
        let place = free.clone().acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let telemetry = telemetry.clone();
                tokio::spawn(async move {
                    converse(stream, telemetry).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a connection to --http-address could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, telemetry: Arc<Telemetry>) {
    let service = service_fn(|request| {
        let response = answer(&request, &telemetry);
        async { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    // One request each: probes make a connection every time, and who reads metrics is as well off with a new one.
    server.keep_alive(false);
    match timeout(CONVERSATION, server.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to --http-address broke off"),
        Err(_) => debug!("a connection to --http-address took too long"),
    }
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => opinion(telemetry.health.live()),
        "/readyz" => opinion(telemetry.health.ready()),
        "/metrics" => {
            let mut response = Response::new(Full::from(telemetry.exposition()));
            response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
            response
        }
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics"),
    }
}

fn opinion(opinion: Result<&'static str, &'static str>) -> Response<Full<Bytes>> {
    match opinion {
        Ok(well) => text(StatusCode::OK, well),
        Err(not) => text(StatusCode::SERVICE_UNAVAILABLE, not),
    }
}

fn text(status: StatusCode, words: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{words}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}
