//! Who refuses something to the operator, in words of our own. Pure.

use super::dialect::Ownership;
use crate::provider::{Error, Kind};

/// No policy of the operator's allows it, or the store does not say who refused.
pub const OWN_POLICY: &str = "allow it in the operator's own policy";
/// A policy for the users under a path says nothing of a user who is not there.
const OWN_POLICY_OF_LOOK: &str = "allow it in the operator's own policy, for the users under the store's path and, since IAM knows no path of \
                                  users who are not there, for user/btgt-* without one; `backup-target-operator render -o operator-policy` \
                                  prints it";

/// A refusal to look at a user.
pub fn of_look(error: Error, ownership: Ownership) -> Error {
    match error {
        Error { kind: Kind::Denied(OWN_POLICY), action } if ownership == Ownership::PathAndTags => {
            Error::new(action, Kind::Denied(OWN_POLICY_OF_LOOK))
        }
        other => other,
    }
}
