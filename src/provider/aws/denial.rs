//! Who refuses something to the operator, in words of our own. Pure.

use super::dialect::Ownership;
use crate::provider::{Error, Kind};

/// No policy of the operator's allows it, or the store does not say who refused.
const OWN_POLICY: &str = "allow it in the operator's own policy";
/// A policy for the users under a path says nothing of a user who is not there.
const OWN_POLICY_OF_LOOK: &str = "allow it in the operator's own policy, for the users under the store's path and, since IAM knows no path of \
                                  users who are not there, for user/btgt-* without one; `backup-target-operator render -o operator-policy` \
                                  prints it";
const ORGANIZATION: &str = "a policy of the AWS organization does not allow it (service control policy); whoever manages the organization has to \
                            allow it to the operator";
const RESOURCES: &str = "a policy of the AWS organization does not allow it (resource control policy); whoever manages the organization has to \
                         allow it to the operator";
const SESSION: &str = "the session policy with which the operator's role was assumed does not allow it; allow it there";
const BOUNDARY: &str = "the permissions boundary of the operator's own role or user does not allow it; allow it there";
const VPC_ENDPOINT: &str = "the policy of the VPC endpoint does not allow it; allow it there";
const OWN_DENIAL: &str = "a policy of the operator's own role or user denies it; take the denial out of it";

/// How IAM says who refused, to members of the same account (IAM User Guide, troubleshoot_access-denied). The policy's ARN may follow.
const DENIALS: [(&str, &str); 7] = [
    ("service control policy", ORGANIZATION),
    ("resource control policy", RESOURCES),
    ("permissions boundary", BOUNDARY),
    ("session policy", SESSION),
    ("VPC endpoint policy", VPC_ENDPOINT),
    ("explicit deny in an identity-based policy", OWN_DENIAL),
    ("no identity-based policy allows", OWN_POLICY),
];

/// Who refused, by what IAM wrote, of which nothing is passed on. Names of resources come before it and are somebody's choice.
pub fn read(message: &str) -> Kind {
    let said = message.rsplit_once(" on resource: ").map_or(message, |(_, said)| said);
    let because =
        ["with an explicit deny in ", "because no "].iter().find_map(|words| said.find(words)).map(|at| &said[at..]);
    let known = because.and_then(|because| DENIALS.iter().find(|(theirs, _)| because.contains(theirs)));
    Kind::Denied(known.map_or(OWN_POLICY, |(_, ours)| *ours))
}

/// A refusal to look at a user.
pub fn of_look(error: Error, ownership: Ownership) -> Error {
    match error {
        Error { kind: Kind::Denied(OWN_POLICY), action } if ownership == Ownership::PathAndTags => {
            Error::new(action, Kind::Denied(OWN_POLICY_OF_LOOK))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(because: &str) -> String {
        let message = format!(
            "User: arn:aws:sts::123456789012:assumed-role/odd/odd is not authorized to perform: iam:CreateUser on resource: \
             arn:aws:iam::123456789012:user/backup-target/session policy/btgt-1 {because}"
        );
        Error::new("iam:CreateUser", read(&message)).to_string()
    }

    #[test]
    fn who_refused_is_named_and_no_word_of_others_is_passed_on() {
        let table = [
            ("with an explicit deny in a service control policy", "organization"),
            (
                "with an explicit deny in a service control policy: arn:aws:organizations::1:policy/o-odd/p-1",
                "organization",
            ),
            ("because no service control policy allows the iam:CreateUser action", "organization"),
            ("with an explicit deny in a resource control policy", "resource control policy"),
            (
                "because no permissions boundary allows the iam:CreateUser action",
                "permissions boundary of the operator's own",
            ),
            ("with an explicit deny in a permissions boundary", "permissions boundary of the operator's own"),
            ("because no session policy allows the iam:CreateUser action", "session policy"),
            ("with an explicit deny in a VPC endpoint policy", "VPC endpoint"),
            ("with an explicit deny in an identity-based policy", "take the denial out"),
            ("because no identity-based policy allows the iam:CreateUser action", "in the operator's own policy"),
            ("", "in the operator's own policy"),
        ];
        for (because, words) in table {
            let told = told(because);
            assert!(
                told.contains("iam:CreateUser") && told.contains(words) && !told.contains("odd"),
                "{because}: {told}"
            );
        }
        assert!(!told("because no identity-based policy allows it").contains("session"), "a name is no reason");
    }
}
