//! Ends the body of every answer after so many bytes: reading it further is an error.

use aws_sdk_iam::{
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeDeserializationInterceptorContextMut},
    error::BoxError,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// The most that is read of one answer. The longest that AWS gives, a page of a list, is far below.
const LONGEST: usize = 1 << 20;

/// For the clients of all services.
#[derive(Debug)]
pub struct Bounded;

impl Intercept for Bounded {
    fn name(&self) -> &'static str {
        "Bounded"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, LONGEST));
        Ok(())
    }
}
