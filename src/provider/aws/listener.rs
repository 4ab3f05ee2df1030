//! The store's clock is set by every answer that passes.

use std::time::Instant;

use aws_sdk_iam::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextRef},
    error::BoxError,
};

use jiff::Timestamp;

use crate::provider::clock::Clock;

/// Sets a clock by every answer that passes.
#[derive(Debug)]
pub struct Listener(pub Clock);

impl Intercept for Listener {
    fn name(&self) -> &'static str {
        "StoreClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        // What failed may come from something in between, with a clock of its own.
        if let Some(date) = answer.headers().get("date").and_then(read).filter(|_| answer.status().as_u16() < 500) {
            self.0.hear(date, Timestamp::now(), Instant::now());
        }
        Ok(())
    }
}

fn read(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(date).ok().map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_is_read_as_http_writes_it() {
        assert_eq!(read("Fri, 15 Jan 2027 08:00:00 GMT"), Timestamp::from_second(1_800_000_000).ok());
        for nonsense in ["", "now", "2027-01-15T08:00:00Z"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
