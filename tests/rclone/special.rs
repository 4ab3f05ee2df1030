//! Operations that are more than one run of rclone.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode, body::Bytes, header::RANGE};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use testbed::{ports::with_free_port, program::Ran, wait::wait_until};

use crate::place::{PREFIX, Place};

const SOON: Duration = Duration::from_secs(30);

/// A server on loopback, as a mount reads: a part of a file, and not from its beginning.
pub async fn serve(place: &mut Place, words: Vec<String>) -> Result<Ran> {
    let place = &*place;
    with_free_port(async |port| {
        let address = format!("{}:{port}", Ipv4Addr::LOCALHOST);
        let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
        args.extend(["--addr", &address]);
        let mut server = place.rclone.start(&args, &place.local("serve.log"))?;
        let url = format!("http://{address}/one");
        let body = server.until_ready(SOON, async || part_of(&url).await).await?;
        let wanted = &place.tree["one"][3..=6];
        ensure!(body == wanted, "it served {body:?} and not {wanted:?}");
        server.stop();
        Ok(ended_well(server.printed()))
    })
    .await
}

async fn part_of(url: &str) -> Result<Bytes> {
    let request = Request::get(url).header(RANGE, "bytes=3-6").body(Empty::<Bytes>::new())?;
    let answer = Client::builder(TokioExecutor::new()).build_http().request(request).await?;
    ensure!(answer.status() == StatusCode::PARTIAL_CONTENT, "the answer was {}", answer.status());
    Ok(answer.into_body().collect().await?.to_bytes())
}

/// An upload that ends as when a machine dies: S3 has begun it, and nobody tells S3 that it is over.
pub async fn kill_upload(place: &mut Place, words: Vec<String>) -> Result<Ran> {
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut upload = place.rclone.start(&args, &place.local("killed.log"))?;
    let ours = format!("{PREFIX}killed");
    let place = &*place;
    let running = wait_until("the upload to begin", SOON, || {
        let running = upload.is_running();
        let ours = &ours;
        async move {
            ensure!(!running || place.unfinished_uploads().await?.contains(ours), "it has not begun");
            Ok(running)
        }
    })
    .await?;
    if !running {
        return Ok(Ran { code: Some(1), stdout: String::new(), stderr: upload.printed() });
    }
    upload.kill();
    Ok(ended_well(upload.printed()))
}

/// The same key in the rclone.conf of a store that has an endpoint of its own.
pub async fn with_endpoint(place: &mut Place, words: Vec<String>) -> Result<Ran> {
    let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
    // A wrong name in a certificate does not go away by asking again.
    args.extend(["--retries", "1", "--low-level-retries", "1"]);
    place.rclone_at(place.world.tls.url())?.run(&args).await
}

fn ended_well(stderr: String) -> Ran {
    Ran { code: Some(0), stdout: String::new(), stderr }
}
