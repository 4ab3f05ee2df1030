//! From rights to statements, as few and as short as they can be.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::access::{
    Access, Terms,
    rights::{FOR_OWNERS, On, Right, When, rights},
};

/// One statement. The order of fields is the order in which statements stand, and in which they are written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    /// Named after what it is for, so that it stays the same whatever else the policy has.
    sid: String,
    effect: Effect,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<Principal>,
    action: Texts,
    resource: Texts,
    #[serde(skip_serializing_if = "Conditions::is_empty")]
    condition: Conditions,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Principal {
    #[serde(rename = "AWS")]
    aws: Texts,
}

/// Values by operator and key. A request has to fit all keys, and of each key one value.
type Conditions = BTreeMap<&'static str, BTreeMap<&'static str, Texts>>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Texts(BTreeSet<String>);

impl<T: Into<String>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        Self(texts.into_iter().map(Into::into).collect())
    }
}

/// One text stands without a list: every character counts against the size limit.
impl Serialize for Texts {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.first() {
            Some(only) if self.0.len() == 1 => only.serialize(serializer),
            _ => self.0.serialize(serializer),
        }
    }
}

/// The statements of an identity policy.
pub(super) fn identity(terms: &Terms, access: &Access) -> Vec<Statement> {
    rights(access).map(|right| Statement::new(terms, access, right).owned_by(terms)).collect()
}

/// Refuses whoever comes with a session instead of the key itself: anybody can make one from a key (sts:GetSessionToken), and
/// it would outlive the key by up to 36 hours.
pub(super) fn keys_only() -> Statement {
    let statement = Statement {
        sid: "KeysOnly".to_owned(),
        effect: Effect::Deny,
        principal: None,
        action: ["*"].into_iter().collect(),
        resource: ["*"].into_iter().collect(),
        condition: Conditions::new(),
    };
    statement.only_if("Null", SESSION, ["false"])
}

/// The statements of a bucket policy. They are on the bucket of whoever attaches them, so its owner is not asked for. Users
/// are let in with their keys only; roles have nothing but sessions.
pub(super) fn resource(terms: &Terms, access: &Access, principals: &BTreeSet<String>) -> Vec<Statement> {
    let has_sessions_only = |arn: &&String| arn.contains(":role/") || arn.contains(":sts:");
    let (roles, users): (Vec<&String>, Vec<&String>) = principals.iter().partition(has_sessions_only);
    let mut statements = Vec::new();
    for right in rights(access).filter(|right| right.fits_bucket_policy()) {
        let named = |arns: &[&String]| Statement {
            principal: Some(Principal { aws: arns.iter().copied().cloned().collect() }),
            ..Statement::new(terms, access, right)
        };
        statements.extend((!roles.is_empty()).then(|| named(&roles)));
        statements.extend((!users.is_empty()).then(|| named(&users).only_if("Null", SESSION, ["true"])));
    }
    statements
}

/// One right as it stands in a policy, in words.
pub struct Line {
    /// The right.
    pub right: &'static Right,
    /// ARN of what it is on.
    pub resource: String,
    /// The conditions; all have to hold.
    pub conditions: Vec<String>,
}

/// The rights of an access, in words.
#[must_use]
pub fn explained(terms: &Terms, access: &Access) -> Vec<Line> {
    let line = |right: &'static Right| Line {
        right,
        resource: resource_of(terms, access, right.on),
        conditions: Statement::new(terms, access, right).owned_by(terms).conditions(),
    };
    rights(access).map(line).collect()
}

fn resource_of(terms: &Terms, access: &Access, on: On) -> String {
    let bucket = format!("arn:{}:s3:::{}", terms.partition.as_str(), access.bucket);
    match on {
        On::Bucket => bucket,
        On::Objects => format!("{bucket}/{}*", access.prefix.as_str()),
        On::Account => "*".to_owned(),
    }
}

impl Statement {
    fn new(terms: &Terms, access: &Access, right: &Right) -> Self {
        let statement = Self {
            sid: sid(right).to_owned(),
            effect: Effect::Allow,
            principal: None,
            action: [right.action].into_iter().collect(),
            resource: [resource_of(terms, access, right.on)].into_iter().collect(),
            condition: Conditions::new(),
        };
        let statement = statement.when(terms, access, right.when);
        if terms.tls_only { statement.only_if("Bool", "aws:SecureTransport", ["true"]) } else { statement }
    }

    fn when(self, terms: &Terms, access: &Access, when: When) -> Self {
        let prefix = &access.prefix;
        match when {
            When::Within if !prefix.is_whole_bucket() => {
                self.only_if("StringLike", "s3:prefix", [format!("{}*", prefix.as_str())])
            }
            // The prefix itself is within, and needs no place here.
            When::OnTheWay => self.only_if("StringEquals", "s3:prefix", prefix.ancestors()).only_if(
                "StringEquals",
                "s3:delimiter",
                ["/"],
            ),
            // In us-east-1 the request says nothing that could be compared (docs/decisions/policy.md).
            When::InRegion => match terms.region.location_constraint() {
                Some(region) => self.only_if("StringEquals", "s3:locationconstraint", [region]),
                None => self,
            },
            When::ForOwners => self.only_if("StringEquals", "s3:x-amz-acl", FOR_OWNERS),
            When::Always | When::Within => self,
        }
    }

    /// Pins what the statement is on to the owner of the bucket, where that can be asked: not for the account itself, nor
    /// for a bucket that is only to be.
    fn owned_by(self, terms: &Terms) -> Self {
        match &terms.bucket_owner {
            Some(owner) if self.sid != ACCOUNT && self.sid != CREATE => {
                self.only_if("StringEquals", "s3:ResourceAccount", [owner.as_str()])
            }
            _ => self,
        }
    }

    fn only_if<T: Into<String>>(
        mut self,
        operator: &'static str,
        key: &'static str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.condition.entry(operator).or_default().insert(key, values.into_iter().collect());
        self
    }

    fn conditions(&self) -> Vec<String> {
        let keys = self.condition.iter().flat_map(|(operator, keys)| keys.iter().map(move |entry| (operator, entry)));
        let one = |(operator, (key, values)): (&&str, (&&str, &Texts))| {
            let values: Vec<String> = values.0.iter().map(|value| format!("\"{value}\"")).collect();
            let is = if *operator == "StringLike" { "is like" } else { "is" };
            format!("{key} {is} {}", values.join(" or "))
        };
        keys.map(one).collect()
    }

    fn at(&mut self, place: Place) -> Option<&mut Texts> {
        match place {
            Place::Prefix => self.condition.values_mut().find_map(|keys| keys.get_mut("s3:prefix")),
            Place::Action => Some(&mut self.action),
            Place::Resource => Some(&mut self.resource),
        }
    }
}

/// The condition key that only requests of a session have.
const SESSION: &str = "aws:TokenIssueTime";
const ACCOUNT: &str = "AllBuckets";
const CREATE: &str = "CreateBucket";

fn sid(right: &Right) -> &'static str {
    match (right.on, right.when) {
        (On::Account, _) => ACCOUNT,
        (On::Objects, When::ForOwners) => "Acls",
        (On::Objects, _) => "Objects",
        (On::Bucket, When::Within) => "ListFolder",
        (On::Bucket, When::OnTheWay) => "ListOnTheWay",
        (On::Bucket, When::InRegion) => CREATE,
        (On::Bucket, When::Always | When::ForOwners) => "Bucket",
    }
}

/// Where two statements may differ and be written as one that allows the same as both.
#[derive(Clone, Copy)]
enum Place {
    Prefix,
    Action,
    Resource,
}

/// Joins what can be joined, and numbers what has the same id after that.
pub(super) fn merge(statements: BTreeSet<Statement>) -> BTreeSet<Statement> {
    let joined = [Place::Prefix, Place::Action, Place::Resource].into_iter().fold(statements, joined_at);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let numbered = |statement: Statement| {
        let count = seen.entry(statement.sid.clone()).and_modify(|count| *count += 1).or_insert(1);
        let number = if *count == 1 { String::new() } else { count.to_string() };
        Statement { sid: statement.sid + &number, ..statement }
    };
    joined.into_iter().map(numbered).collect()
}

fn joined_at(statements: BTreeSet<Statement>, place: Place) -> BTreeSet<Statement> {
    let mut groups: BTreeMap<Statement, BTreeSet<String>> = BTreeMap::new();
    for mut statement in statements {
        let values = statement.at(place).map(|texts| std::mem::take(&mut texts.0)).unwrap_or_default();
        groups.entry(statement).or_default().extend(values);
    }
    let filled = |(mut statement, values): (Statement, BTreeSet<String>)| {
        if let Some(texts) = statement.at(place) {
            texts.0 = values;
        }
        statement
    };
    groups.into_iter().map(filled).collect()
}
