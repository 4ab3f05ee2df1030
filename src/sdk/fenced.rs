//! Asks the fence once more when a request is signed and about to be sent: fetching credentials, or a try before this one, may
//! have taken longer than this replica leads.

use aws_sdk_iam::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};

use crate::fence::Fence;

/// For the clients of all services.
#[derive(Clone, Debug)]
pub struct Fenced(pub Fence);

impl Intercept for Fenced {
    fn name(&self) -> &'static str {
        "Fenced"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.is_open() { Ok(()) } else { Err("this replica does not lead any more".into()) }
    }
}

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region};
    use aws_sdk_iam::config::Credentials;
    use tokio::{net::TcpListener, time::Instant};

    use super::*;

    #[tokio::test]
    async fn a_lead_that_is_lost_on_the_way_sends_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let fence = Fence::default();
        let config = aws_sdk_iam::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .endpoint_url(format!("http://{}", listener.local_addr().expect("an address")))
            .interceptor(Fenced(fence.clone()))
            .build();
        let client = aws_sdk_iam::Client::from_conf(config);
        fence.open_until(Instant::now());
        tokio::select! {
            answer = client.get_user().user_name("btgt-1").send() => drop(answer.expect_err("nobody answers")),
            _ = listener.accept() => panic!("it was sent"),
        };
    }
}
