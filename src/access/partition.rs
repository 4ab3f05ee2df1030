//! The AWS partition, which every ARN carries.

/// A partition of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Commercial regions.
    Aws,
    /// China.
    China,
    /// US GovCloud.
    GovCloud,
    /// European Sovereign Cloud.
    EuropeanSovereign,
}

impl Partition {
    /// The partition of a region; regions that are not known belong to `aws`.
    #[must_use]
    pub fn of_region(region: &str) -> Self {
        match region {
            _ if region.starts_with("cn-") => Self::China,
            _ if region.starts_with("us-gov-") => Self::GovCloud,
            _ if region.starts_with("eusc-") => Self::EuropeanSovereign,
            _ => Self::Aws,
        }
    }

    /// The second field of an ARN.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::China => "aws-cn",
            Self::GovCloud => "aws-us-gov",
            Self::EuropeanSovereign => "aws-eusc",
        }
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
        ];
        for (region, partition) in table {
            assert_eq!(Partition::of_region(region).as_str(), partition);
        }
    }
}
