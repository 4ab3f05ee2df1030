//! What a store says about all access in it, parsed once from its spec.

use std::{fmt, net::Ipv4Addr};

use super::{Invalid, Partition};
use crate::{
    api::backup_store::{BackupStoreSpec, Provider},
    names::offending,
};

/// The terms of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The partition, which every ARN carries.
    pub partition: Partition,
    /// Region of the buckets.
    pub region: Region,
    /// S3 endpoint, where it is not AWS's own.
    pub endpoint: Option<Endpoint>,
    /// The account that owns the buckets, unless any may, or none is known: names of buckets are global, and one that was
    /// deleted may belong to somebody else the next day.
    pub bucket_owner: Option<AccountId>,
    /// Whether access needs TLS.
    pub tls_only: bool,
    /// What rclone calls the store, where its administrator says it.
    pub rclone: Option<String>,
}

impl Terms {
    /// Parses the spec of a store; `caller` is the ARN of the operator's own principal, where it is known.
    ///
    /// # Errors
    /// The first field that breaks a rule. The API server refuses the same at apply.
    pub fn parse(spec: &BackupStoreSpec, caller: Option<&str>) -> Result<Self, Invalid> {
        if let Some(moved) = moved_field(spec) {
            return Err(moved);
        }
        let endpoint = spec.endpoint.as_deref().map(|url| Endpoint::parse("spec.endpoint", url)).transpose()?;
        if spec.provider != Provider::Aws && endpoint.is_none() {
            return Err(Invalid::new("spec.endpoint", "give the URL of the store; only AWS is found without"));
        }
        for (field, url) in administrative(spec) {
            if Endpoint::parse(field, url)?.others_can_listen() && !spec.allow_insecure {
                return Err(Invalid::new(
                    field,
                    "it is without TLS, so that others can listen, and answer in its place: give an https:// URL, or set \
                     spec.allowInsecure to true",
                ));
            }
        }
        if spec.tls_only && endpoint.as_ref().is_some_and(Endpoint::is_plain) {
            return Err(Invalid::new("spec.tlsOnly", "it needs an https:// URL in spec.endpoint"));
        }
        let region = Region::parse(&spec.region)?;
        Ok(Self {
            partition: Partition::of(region.as_str(), caller),
            region,
            endpoint,
            bucket_owner: bucket_owner(spec.aws.bucket_owner.as_deref(), caller)?,
            tls_only: spec.tls_only,
            rclone: spec.rclone_provider.as_deref().map(rclone_provider).transpose()?,
        })
    }
}

/// The first field that has moved and is still there: what it says must not be lost unseen.
fn moved_field(spec: &BackupStoreSpec) -> Option<Invalid> {
    let fields = [
        (
            &spec.endpoints,
            "spec.endpoints",
            "s3 is spec.endpoint now, iam and sts are spec.aws.iamEndpoint and spec.aws.stsEndpoint, and allowInsecure is \
             spec.allowInsecure",
        ),
        (
            &spec.iam,
            "spec.iam",
            "path is spec.aws.iamPath now, permissionsBoundary is spec.aws.permissionsBoundary, and requestsPerSecond and maxPrincipals \
             are fields of spec",
        ),
        (
            &spec.policy,
            "spec.policy",
            "resourceAccount is spec.aws.bucketOwner now, and secureTransport is spec.tlsOnly",
        ),
    ];
    let (_, field, places) = fields.into_iter().find(|(moved, ..)| moved.is_some())?;
    Some(Invalid::new(
        field,
        format!("{places}: write the store so, without this field. Nothing is changed or deleted until then"),
    ))
}

/// Whatever the newest rclone knows; one that does not know it takes it for another store.
fn rclone_provider(name: &str) -> Result<String, Invalid> {
    if name.is_empty() || name.len() > 32 || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        let problem = "write one of the providers of rclone's S3 backend, such as Cloudflare, Ceph or Other";
        return Err(Invalid::new("spec.rcloneProvider", problem));
    }
    Ok(name.to_owned())
}

/// The endpoints, with their fields, that make keys or say whose an account is.
fn administrative(spec: &BackupStoreSpec) -> impl Iterator<Item = (&'static str, &str)> {
    let endpoints = match spec.provider {
        Provider::Aws => {
            [("spec.aws.iamEndpoint", &spec.aws.iam_endpoint), ("spec.aws.stsEndpoint", &spec.aws.sts_endpoint)]
        }
        Provider::SeaweedFs => [("spec.endpoint", &spec.endpoint), ("spec.endpoint", &None)],
        // Nothing is made there, and what is signed does not show the secret that it is signed with.
        Provider::StaticKeys => [("spec.endpoint", &None), ("spec.endpoint", &None)],
    };
    endpoints.into_iter().filter_map(|(field, url)| Some((field, url.as_deref()?)))
}

/// The account that is asked for; of those who ask for none, the operator's own.
fn bucket_owner(wanted: Option<&str>, caller: Option<&str>) -> Result<Option<AccountId>, Invalid> {
    match wanted {
        Some("Any") => Ok(None),
        Some(id) => AccountId::parse(id).map(Some),
        None => Ok(caller.and_then(|arn| AccountId::parse(arn.split(':').nth(4)?).ok())),
    }
}

macro_rules! text {
    ($($name:ident),+) => {$(
        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text!(Region, Endpoint, AccountId);

/// Name of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region(String);

impl Region {
    /// The one in which CreateBucket takes no location constraint (docs/decisions/policy.md).
    const HOME: &str = "us-east-1";

    /// Parses the name of a region; stores that are not AWS's have names of their own.
    ///
    /// # Errors
    /// Says which character it cannot have.
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let refuse = |problem: String| Err(Invalid::new("spec.region", problem));
        if name.is_empty() || name.len() > 63 {
            return refuse("a region has 1 to 63 characters, such as eu-central-1".into());
        }
        if let Some(found) = offending(name, |c| matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            return refuse(format!("a region has lower-case letters, digits and '-'; found {found}"));
        }
        Ok(Self(name.to_owned()))
    }

    /// What CreateBucket has to say about the location, and what rclone sends for it.
    #[must_use]
    pub fn location_constraint(&self) -> Option<&str> {
        (self.0 != Self::HOME).then_some(&self.0)
    }
}

/// URL of an endpoint: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// Parses the URL of an endpoint, given in that field.
    ///
    /// # Errors
    /// When there is more or less in it than scheme, host and port.
    pub fn parse(field: &'static str, url: &str) -> Result<Self, Invalid> {
        let host = ["https://", "http://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        if url.len() > 253 || !host.is_some_and(is_host_and_port) {
            let problem = "an endpoint is a URL of scheme, host and port, such as https://s3.example.com:9000";
            return Err(Invalid::new(field, problem));
        }
        Ok(Self(url.to_owned()))
    }

    /// Whether it is without TLS.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// Whether what is said there crosses a network in the clear.
    fn others_can_listen(&self) -> bool {
        self.0.strip_prefix("http://").is_some_and(|host| !is_loopback(host.strip_suffix('/').unwrap_or(host)))
    }
}

/// Whether a host, with or without a port, is the machine itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, _port)) if !host.ends_with(']') => name,
        _ => host,
    };
    let is_ours = |name: &str| name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback());
    matches!(name, "localhost" | "[::1]") || is_ours(name)
}

fn is_host_and_port(text: &str) -> bool {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (is_host, port) = if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_address = !address.is_empty() && address.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
        (is_address, if rest.is_empty() { Some("0") } else { rest.strip_prefix(':') })
    } else {
        let (host, port) = text.split_once(':').unwrap_or((text, "0"));
        (!host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c)), Some(port))
    };
    is_host && port.is_some_and(|port| !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()))
}

/// Id of an AWS account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountId(String);

impl AccountId {
    /// Parses the id of an account.
    ///
    /// # Errors
    /// When it is not twelve digits.
    pub fn parse(id: &str) -> Result<Self, Invalid> {
        if !Self::is_one(id) {
            let problem = "write an AWS account id of twelve digits, in quotes: \"123456789012\", or Any";
            return Err(Invalid::new("spec.aws.bucketOwner", problem));
        }
        Ok(Self(id.to_owned()))
    }

    /// Whether it is twelve digits.
    #[must_use]
    pub fn is_one(id: &str) -> bool {
        id.len() == 12 && id.chars().all(|c| c.is_ascii_digit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &serde_json::Value) -> BackupStoreSpec {
        let mut spec = serde_json::json!({"region": "eu-central-1"});
        spec.as_object_mut().expect("an object").extend(json.as_object().expect("an object").clone());
        serde_json::from_value(spec).expect("a spec")
    }

    fn parse(json: &serde_json::Value) -> Result<Terms, Invalid> {
        Terms::parse(&spec(json), None)
    }

    #[test]
    fn a_store_says_little_more_than_its_region() {
        let terms = parse(&serde_json::json!({})).expect("valid");
        assert_eq!((terms.region.as_str(), terms.partition), ("eu-central-1", Partition::AWS));
        assert!(terms.endpoint.is_none() && terms.bucket_owner.is_none() && !terms.tls_only);
    }

    #[test]
    fn only_other_regions_than_us_east_1_are_named_at_creation() {
        let constraint = |name| Region::parse(name).expect("valid").location_constraint().map(str::to_owned);
        assert_eq!(constraint("us-east-1"), None);
        assert_eq!(constraint("eu-central-1"), Some("eu-central-1".to_owned()));
    }

    #[test]
    fn the_account_tells_the_partition_where_the_region_does_not() {
        let caller = Some("arn:aws-us-gov:iam::123456789012:user/x");
        let asked = Terms::parse(&spec(&serde_json::json!({"region": "local"})), caller).expect("valid");
        assert_eq!(asked.partition.as_str(), "aws-us-gov");
    }

    #[test]
    fn buckets_belong_to_the_stores_account_unless_another_is_written() {
        let caller = Some("arn:aws:iam::123456789012:user/operator");
        let owner = |aws: serde_json::Value, caller| {
            let terms = Terms::parse(&spec(&serde_json::json!({"aws": aws})), caller).expect("valid");
            terms.bucket_owner.map(|owner| owner.to_string())
        };
        let (own, other) = ("123456789012", "999999999999");
        assert_eq!(owner(serde_json::json!({}), caller).as_deref(), Some(own));
        assert_eq!(owner(serde_json::json!({"bucketOwner": other}), caller).as_deref(), Some(other));
        assert_eq!(owner(serde_json::json!({"bucketOwner": "Any"}), caller), None);
        assert_eq!(owner(serde_json::json!({}), Some("not an ARN")), None);
        assert_eq!(owner(serde_json::json!({}), None), None);
    }

    #[test]
    fn endpoints_have_scheme_host_and_port() {
        for good in ["https://s3.example.com", "http://10.0.0.1:9000/", "https://[fd00::1]:443", "https://[::1]/"] {
            assert!(Endpoint::parse("spec.endpoint", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "s3.example.com",
            "ftp://x",
            "https://",
            "https://a/b",
            "https://a:",
            "https://a:b",
            "https://u@a",
            "https://[::1",
            "https://[]",
            "https://[::1]9",
            "https://a//",
        ] {
            assert!(Endpoint::parse("spec.endpoint", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn iam_and_sts_are_asked_with_tls_where_others_can_listen() {
        for (url, taken) in [
            ("https://iam.example.com", true),
            ("http://localhost", true),
            ("http://localhost:9000/", true),
            ("http://127.0.0.1:9000", true),
            ("http://127.255.255.255/", true),
            ("http://[::1]", true),
            ("http://[::1]:9000/", true),
            ("http://iam.example.com", false),
            ("http://localhost.example.com", false),
            ("http://LOCALHOST", false),
            ("http://127.0.0.1.example.com", false),
            ("http://127.0.0.256", false),
            ("http://127.0.0.01", false),
            ("http://127.1", false),
            ("http://128.0.0.1", false),
            ("http://0.0.0.0:9000", false),
            ("http://[::]:1", false),
            ("http://[::1:1]", false),
            ("http://[::ffff:7f00:1]", false),
        ] {
            for spec in [
                serde_json::json!({"aws": {"iamEndpoint": url}}),
                serde_json::json!({"aws": {"stsEndpoint": url}}),
                serde_json::json!({"provider": "SeaweedFS", "endpoint": url}),
            ] {
                assert_eq!(parse(&spec).is_ok(), taken, "{spec}");
                let mut allowed = spec.clone();
                allowed["allowInsecure"] = true.into();
                assert!(parse(&allowed).is_ok(), "{allowed}");
            }
            assert!(parse(&serde_json::json!({"endpoint": url})).is_ok(), "no secret is sent to AWS's S3: {url}");
        }
    }

    #[test]
    fn each_field_says_what_is_wrong_with_it() {
        let table = [
            (serde_json::json!({"region": "EU"}), "spec.region", "found E at place 1"),
            (serde_json::json!({"region": ""}), "spec.region", "1 to 63"),
            (serde_json::json!({"endpoint": "x"}), "spec.endpoint", "scheme, host and port"),
            (serde_json::json!({"provider": "SeaweedFS"}), "spec.endpoint", "only AWS is found without"),
            (serde_json::json!({"provider": "StaticKeys"}), "spec.endpoint", "only AWS is found without"),
            (serde_json::json!({"rcloneProvider": "a b"}), "spec.rcloneProvider", "rclone's S3 backend"),
            (serde_json::json!({"aws": {"iamEndpoint": "x"}}), "spec.aws.iamEndpoint", "scheme, host and port"),
            (serde_json::json!({"aws": {"stsEndpoint": "x"}}), "spec.aws.stsEndpoint", "scheme, host and port"),
            (serde_json::json!({"aws": {"stsEndpoint": "http://x"}}), "spec.aws.stsEndpoint", "spec.allowInsecure"),
            (serde_json::json!({"aws": {"bucketOwner": "12"}}), "spec.aws.bucketOwner", "twelve digits"),
            (serde_json::json!({"tlsOnly": true, "endpoint": "http://x"}), "spec.tlsOnly", "https://"),
            (serde_json::json!({"endpoints": {"s3": "https://x"}}), "spec.endpoints", "s3 is spec.endpoint now"),
            (serde_json::json!({"iam": {"path": "/a/"}}), "spec.iam", "path is spec.aws.iamPath now"),
            (serde_json::json!({"policy": {}}), "spec.policy", "secureTransport is spec.tlsOnly"),
        ];
        for (json, field, why) in table {
            let error = parse(&json).expect_err("invalid");
            assert!(error.field == field && error.problem.contains(why), "{json}: {error}");
        }
    }
}
