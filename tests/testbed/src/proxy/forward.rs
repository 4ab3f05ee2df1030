//! Passing a request on and its answer back.

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, EXPECT},
    http::uri::PathAndQuery,
};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{Config, client::ConfigExt};

use super::Upstream;

pub(super) type Body = BoxBody<Bytes, hyper::Error>;
pub(super) type Incoming = Request<hyper::body::Incoming>;
pub(super) type Answer = Response<Body>;

/// The way to the server behind the proxy.
pub(super) struct Forward {
    base: Uri,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

impl Forward {
    pub(super) fn to(upstream: &Upstream) -> Result<Self> {
        let base: Uri = upstream.url.parse()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let mut config = Config::new(base.clone());
        // No machine's roots: what has no authority here is not spoken to with TLS.
        config.root_cert = Some(upstream.authority.iter().cloned().collect());
        let connector = config.rustls_https_connector_with_connector(connector)?;
        Ok(Self { base, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// The answer of the server behind, or 502 when it gives none. The `Host` stays the client's: it is part of what AWS
    /// clients sign.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Answer {
        *request.uri_mut() = match self.target(request.uri().path_and_query()) {
            Ok(uri) => uri,
            Err(error) => return no_answer(&error),
        };
        // Answered by this proxy already, when it began to read the body.
        request.headers_mut().remove(EXPECT);
        match self.client.request(request).await {
            Ok(answer) => answer.map(BodyExt::boxed),
            Err(error) => no_answer(&error.into()),
        }
    }

    fn target(&self, path: Option<&PathAndQuery>) -> Result<Uri> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = path.cloned();
        Ok(Uri::from_parts(parts)?)
    }
}

/// Takes a request in. The body of a form is read at once, since it says what an AWS request is about; all others stream.
pub(super) async fn read(request: Incoming) -> Result<(Request<Body>, Option<String>)> {
    let is_form = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    if !is_form {
        return Ok((request.map(BodyExt::boxed), None));
    }
    let (head, body) = request.into_parts();
    let form = body.collect().await.context("the client broke off")?.to_bytes();
    let text = String::from_utf8_lossy(&form).into_owned();
    Ok((Request::from_parts(head, whole(form)), Some(text)))
}

pub(super) fn whole(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

fn no_answer(error: &anyhow::Error) -> Answer {
    let mut answer = Response::new(whole(format!("the server behind the proxy gave no answer: {error:#}")));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    answer
}
