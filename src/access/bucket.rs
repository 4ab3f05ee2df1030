//! Bucket names by the rules of S3 (docs/decisions/names.md).

use std::fmt;

use super::Invalid;
use crate::names::offending;

const FIELD: &str = "spec.bucket";
const RESERVED_BEGINNINGS: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_ENDINGS: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// The name of a general purpose bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketName(String);

impl BucketName {
    /// Parses a bucket name.
    ///
    /// # Errors
    /// Says which rule of S3 the name breaks.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Err(Invalid::new(FIELD, problem));
        if !(3..=63).contains(&name.chars().count()) {
            return refuse("a bucket name has 3 to 63 characters".into());
        }
        if let Some(found) = offending(name, |c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-')) {
            return refuse(format!("a bucket name has only lower-case letters, digits, '.' and '-'; found {found}"));
        }
        let outer = |c: char| c.is_ascii_alphanumeric();
        if !name.starts_with(outer) || !name.ends_with(outer) {
            return refuse("a bucket name begins and ends with a letter or digit".into());
        }
        if name.contains("..") {
            return refuse("a bucket name cannot have two dots in a row".into());
        }
        if looks_like_ip(name) {
            return refuse("a bucket name cannot look like an IP address".into());
        }
        if RESERVED_BEGINNINGS.iter().any(|part| name.starts_with(part))
            || RESERVED_ENDINGS.iter().any(|part| name.ends_with(part))
        {
            return refuse(
                "this beginning or ending of a bucket name is reserved by S3; directory buckets and access point \
                 aliases are not supported"
                    .into(),
            );
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as S3 knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn looks_like_ip(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 4 && parts.iter().all(number)
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        for name in ["abc", "my-backups", "a.b.c", "1.2.3", "1.2.3.x", &"x".repeat(63)] {
            let bucket = BucketName::parse(name).expect(name);
            assert_eq!((bucket.as_str(), bucket.to_string()), (name, name.to_owned()));
        }
    }

    #[test]
    fn bad_names_say_why() {
        let table = [
            ("ab", "3 to 63"),
            (&"x".repeat(64), "3 to 63"),
            ("My-backups", "found M at place 1"),
            ("my_backups", "found _ at place 3"),
            ("my/backups", "found / at place 3"),
            ("-abc", "begins and ends"),
            ("abc.", "begins and ends"),
            ("a..b", "two dots"),
            ("192.168.1.1", "IP address"),
            ("xn--bucket", "reserved"),
            ("logs--x-s3", "reserved"),
            ("b\u{7}c", "found \\u{7} at place 2"),
        ];
        for (name, why) in table {
            let error = BucketName::parse(name).expect_err(name);
            assert_eq!(error.field, "spec.bucket");
            assert!(error.problem.contains(why), "{name}: {error}");
        }
    }
}
