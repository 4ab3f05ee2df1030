//! For which region requests to IAM and STS are signed, where the SDK does not know: with an endpoint of one's own, such as that of a VPC, it
//! takes the store's (docs/decisions/aws-reality.md). Pure.

use crate::access::Partition;

/// IAM has one endpoint for a partition, and takes signatures for the region of that alone.
const OF_IAM: [(&str, &str); 8] = [
    ("aws", "us-east-1"),
    ("aws-cn", "cn-north-1"),
    ("aws-us-gov", "us-gov-west-1"),
    ("aws-eusc", "eusc-de-east-1"),
    ("aws-iso", "us-iso-east-1"),
    ("aws-iso-b", "us-isob-east-1"),
    ("aws-iso-e", "eu-isoe-west-1"),
    ("aws-iso-f", "us-isof-south-1"),
];

/// The region of IAM, of a store whose buckets are in that region.
#[must_use]
pub fn of_iam(store: &str) -> &str {
    let partition = Partition::of(store, None).as_str();
    OF_IAM.iter().find(|(known, _)| *known == partition).map_or(store, |(_, region)| region)
}

/// The region that the operator itself is in, where credentials are had and accounts are told: a private network often reaches no other. That
/// of its environment, unless that is in another partition than the store, in which its credentials are worth nothing.
#[must_use]
pub fn of_operator<'a>(store: &'a str, environment: Option<&'a str>) -> &'a str {
    let partition = |region: &str| Partition::of(region, None);
    environment.filter(|region| partition(region) == partition(store)).unwrap_or(store)
}

/// The region that the name of an endpoint of STS has in it, as in `sts.eu-west-1.amazonaws.com`, `sts-fips.us-east-2.amazonaws.com` and
/// `vpce-1.sts.eu-west-1.vpce.amazonaws.com`. The one without is where STS began.
#[must_use]
pub fn in_endpoint_of_sts(endpoint: &str) -> Option<&str> {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let host = host.split(['/', ':']).next()?;
    let is_aws =
        [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu"].iter().any(|end| host.ends_with(end));
    let mut labels = host.split('.').skip_while(|label| !["sts", "sts-fips"].contains(label)).skip(1);
    let next = labels.next().filter(|_| is_aws)?;
    Some(if next == "amazonaws" { "us-east-1" } else { next })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iam_takes_signatures_for_one_region_of_a_partition() {
        for (store, region) in [
            ("eu-central-1", "us-east-1"),
            ("us-east-1", "us-east-1"),
            ("cn-northwest-1", "cn-north-1"),
            ("us-gov-east-1", "us-gov-west-1"),
            ("eusc-de-east-1", "eusc-de-east-1"),
            ("us-isob-east-1", "us-isob-east-1"),
        ] {
            assert_eq!(of_iam(store), region, "{store}");
        }
    }

    #[test]
    fn the_operators_own_region_is_that_of_its_environment_in_the_same_partition() {
        for (environment, region) in
            [(None, "eu-central-1"), (Some("us-east-2"), "us-east-2"), (Some("cn-north-1"), "eu-central-1")]
        {
            assert_eq!(of_operator("eu-central-1", environment), region, "{environment:?}");
        }
    }

    #[test]
    fn an_endpoint_of_aws_names_its_region() {
        for (endpoint, region) in [
            ("https://sts.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("https://sts-fips.us-east-2.amazonaws.com/", Some("us-east-2")),
            ("https://vpce-0a1-b2.sts.eu-west-1.vpce.amazonaws.com:443", Some("eu-west-1")),
            ("https://vpce-0a1-b2-eu-west-1a.sts.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("https://sts.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("https://sts.eu-west-1.api.aws", Some("eu-west-1")),
            ("https://sts.amazonaws.com", Some("us-east-1")),
            ("https://sts.example.com", None),
            ("http://127.0.0.1:4566", None),
            ("https://s3.eu-west-1.amazonaws.com", None),
        ] {
            assert_eq!(in_endpoint_of_sts(endpoint), region, "{endpoint}");
        }
    }
}
