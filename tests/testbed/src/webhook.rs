//! A webhook of a cluster's own admission, on loopback.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Bytes, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{certificates::Authority, proxy::acceptor};

/// A webhook that answers until this is dropped.
pub struct Webhook {
    pub url: String,
    /// Who signs its certificate (PEM).
    pub authority: String,
    answering: JoinHandle<()>,
}

impl Webhook {
    /// Lets everything pass, changed by the JSON patch that `change` makes for an object.
    pub async fn start(change: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Result<Self> {
        let authority = Authority::new("webhook")?;
        let tls = acceptor(&authority.identity()?)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://{}/", listener.local_addr()?);
        let change = Arc::new(change);
        let answering = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, change) = (tls.clone(), change.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    let service = service_fn(|request| review(request, &*change));
                    // How a connection ends is the client's affair.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { url, authority: authority.pem(), answering })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn review(
    request: Request<hyper::body::Incoming>,
    change: &(impl Fn(&Value) -> Value + ?Sized),
) -> Result<Response<Full<Bytes>>> {
    let asked: Value = serde_json::from_slice(&request.into_body().collect().await?.to_bytes())?;
    let patch = ByteString(serde_json::to_vec(&change(&asked["request"]["object"]))?);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": asked["request"]["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch},
    });
    Ok(Response::new(Full::new(serde_json::to_vec(&answer)?.into())))
}
