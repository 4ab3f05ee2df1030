//! The AWS partition, which every ARN carries.

/// A partition of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition(&'static str);

/// The partitions beside `aws`, and how the names of their regions begin (the SDKs' own list of partitions).
const OTHERS: [(Partition, &str); 7] = [
    (Partition("aws-cn"), "cn-"),
    (Partition("aws-us-gov"), "us-gov-"),
    (Partition("aws-eusc"), "eusc-"),
    (Partition("aws-iso"), "us-iso-"),
    (Partition("aws-iso-b"), "us-isob-"),
    (Partition("aws-iso-e"), "eu-isoe-"),
    (Partition("aws-iso-f"), "us-isof-"),
];

impl Partition {
    /// Commercial regions.
    pub const AWS: Self = Self("aws");

    /// The partition of a region. Where its name does not tell, an ARN of the account does; else it is `aws`.
    #[must_use]
    pub fn of(region: &str, arn: Option<&str>) -> Self {
        let by_region = OTHERS.iter().find(|(_, beginning)| region.starts_with(beginning)).map(|(found, _)| *found);
        by_region.or_else(|| arn.and_then(Self::of_arn)).unwrap_or(Self::AWS)
    }

    fn of_arn(arn: &str) -> Option<Self> {
        let name = arn.strip_prefix("arn:")?.split(':').next()?;
        OTHERS.iter().map(|(partition, _)| *partition).find(|partition| partition.0 == name)
    }

    /// The second field of an ARN.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_region_names_the_partition() {
        let table = [
            ("eu-central-1", "aws"),
            ("us-east-1", "aws"),
            ("somewhere-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("eusc-de-east-1", "aws-eusc"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
        ];
        for (region, partition) in table {
            assert_eq!(Partition::of(region, None).as_str(), partition);
        }
    }

    #[test]
    fn where_the_region_does_not_tell_the_arn_does() {
        let table = [
            (Some("arn:aws-cn:iam::123456789012:user/x"), "aws-cn"),
            (Some("arn:aws-us-gov:sts::123456789012:assumed-role/x/y"), "aws-us-gov"),
            (Some("arn:aws:iam::123456789012:user/x"), "aws"),
            (Some("no arn"), "aws"),
            (None, "aws"),
        ];
        for (arn, partition) in table {
            assert_eq!(Partition::of("local", arn).as_str(), partition, "{arn:?}");
        }
        assert_eq!(Partition::of("cn-north-1", Some("arn:aws:iam::123456789012:user/x")).as_str(), "aws-cn");
    }
}
