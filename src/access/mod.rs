//! What a target may do, as plain values and functions: no IO, no SDK, no clock.

pub mod allow;
pub mod bucket;
pub mod claim;
pub mod meeting;
pub mod partition;
pub mod policy;
pub mod prefix;
pub mod rclone;
pub mod rights;
pub mod terms;

pub use allow::{Grant, Verdict};
pub use bucket::BucketName;
pub use claim::{Access, Claim};
pub use partition::Partition;
pub use policy::{Meaning, PolicyDocument};
pub use prefix::Prefix;
pub use terms::Terms;

/// A field that breaks a rule: which one, how, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Invalid {
    /// Path of the field, such as `spec.prefix`.
    pub field: &'static str,
    /// What is wrong and what to write instead.
    pub problem: String,
}

impl Invalid {
    /// A field, and what is wrong with it.
    #[must_use]
    pub fn new(field: &'static str, problem: impl Into<String>) -> Self {
        Self { field, problem: problem.into() }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_two_digits() {
        assert_eq!(hex(&[0x00, 0x0a, 0xff]), "000aff");
    }
}
