//! Requests as they are sent, and as they are counted.

use std::sync::Mutex;

use aws_sdk_iam::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::{
    fence::Fence,
    telemetry::metrics::{Census, Meter, Metrics},
};

const USER: &str = "<UserName>btgt-1</UserName><UserId>AIDA1</UserId><Path>/backup-target/prod/</Path>\
                    <Arn>arn:aws:iam::123456789012:user/backup-target/prod/btgt-1</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate>";

/// A user with two pages of keys and nothing else.
fn answer(action: &str, is_first_page: bool) -> (u16, String) {
    let list = |member: &str| (200, format!("<{member}></{member}><IsTruncated>false</IsTruncated>"));
    match action {
        "GetUser" => (200, format!("<User>{USER}</User>")),
        "ListAccessKeys" if is_first_page => (
            200,
            "<AccessKeyMetadata></AccessKeyMetadata><IsTruncated>true</IsTruncated><Marker>more</Marker>".to_owned(),
        ),
        "ListAccessKeys" => list("AccessKeyMetadata"),
        "ListUserPolicies" => list("PolicyNames"),
        "ListAttachedUserPolicies" => list("AttachedPolicies"),
        "ListGroupsForUser" => list("Groups"),
        _ => (404, "<Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>none</Message></Error>".to_owned()),
    }
}

/// Whoever answers as IAM does, and remembers what was asked.
async fn iam(asked: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            while !request.contains("Version=") {
                let mut part = [0; 4_096];
                let read = stream.read(&mut part).await.expect("a request");
                request += &String::from_utf8_lossy(&part[..read]);
            }
            let action = request.split("Action=").nth(1).and_then(|rest| rest.split('&').next()).expect("an action");
            let (status, body) = answer(action, !request.contains("Marker="));
            asked.lock().expect("it is whole").push(action.to_owned());
            let (name, result) = (format!("{action}Response"), format!("{action}Result"));
            let body = if status == 200 {
                format!(
                    "<{name} xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><{result}>{body}</{result}></{name}>"
                )
            } else {
                format!("<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">{body}</ErrorResponse>")
            };
            let head =
                format!("HTTP/1.1 {status} Answer\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.expect("it listens");
        }
    });
    url
}

#[tokio::test]
async fn a_look_costs_as_many_requests_as_it_counts() {
    let (asked, metrics) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Metrics>::default());
    let config = aws_sdk_iam::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIAIOSFODNN7EXAMPLE", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(iam(asked.clone()).await);
    let gate = Gate::new(100, Meter::new(metrics.clone(), "default"), Fence::default());
    let account = Account {
        dialect: &amazon::AWS,
        partition: Partition::AWS,
        id: "123456789012".to_owned(),
        settings: Settings::default(),
    };
    let aws = Aws::new(Client::from_conf(config.build()), Arc::new(gate), Clock::default(), account);
    let owner = Owner {
        cluster: "prod".to_owned(),
        namespace: "backups".to_owned(),
        name: "dataset-1".to_owned(),
        uid: "1".to_owned(),
        known_id: Some("AIDA1".to_owned()),
    };
    let user = aws.user(&aws.principal(owner));
    let questions = Questions { only: Some(PolicyForm::Inline), ..Questions::default() };
    let found = aws.observe(&user, &questions).await.expect("an answer");
    assert!(matches!(found, Principal::Ours(_)), "{found:?}");

    let sent = asked.lock().expect("it is whole").len();
    let second_page = 1;
    assert_eq!(sent as u64, amazon::AWS.limits.requests_per_look + second_page, "{asked:?}");
    let census = Census { stores: BTreeMap::from([("default".to_owned(), true)]), ..Census::default() };
    let told = metrics.exposition(true, &census);
    let counted = told.lines().filter(|line| line.contains("store_calls_total{"));
    let counted: usize = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum();
    assert_eq!(counted, sent, "{told}");
}
