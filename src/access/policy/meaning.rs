//! What a document allows, apart from how it is written: the answer to "is this still our policy?".
//!
//! The language that is understood is the one that this operator writes in, in all its spellings: statements that allow,
//! with the actions of the tiers, on names or on beginnings of names, under conditions on the keys that the operator uses, and
//! the one that refuses sessions. In it, two documents allow and refuse the same exactly when their meanings are equal. For what is outside of it, [`Meaning::read`]
//! gives nothing: it was not written here, and comparing further would not change what has to be done about it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::access::rights::{self, On};

/// More than any document of ours comes to; one that lists far more would only cost time.
const MOST_GRANTS: usize = 10_000;

/// What a document allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    grants: BTreeSet<Grant>,
    /// Whether whoever comes with a session is refused, whatever else allows it.
    keys_only: bool,
}

/// One action on one pattern under one condition for each key. No grant of a meaning covers another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    principal: Option<String>,
    action: &'static str,
    resource: Pattern,
    conditions: Conditions,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pattern {
    Exactly(String),
    Beginning(String),
}

impl Meaning {
    /// Reads a document, as IAM returns it or as somebody wrote it; `None` when it is outside of the language.
    #[must_use]
    pub fn read(json: &str) -> Option<Self> {
        let document: Map<String, Value> = serde_json::from_str(json).ok()?;
        only(&document, &["Version", "Id", "Statement"])?;
        (document.get("Version")? == "2012-10-17").then_some(())?;
        let (mut grants, mut keys_only) = (BTreeSet::new(), false);
        for statement in many(document.get("Statement")?) {
            let statement = statement.as_object()?;
            if refuses_sessions(statement) {
                keys_only = true;
            } else {
                grants.extend(read_statement(statement)?);
            }
        }
        if keys_only {
            // What is refused anyway need not be left out of each grant.
            let bare = |mut grant: Grant| {
                grant.conditions.remove(SESSION);
                grant
            };
            grants = grants.into_iter().map(bare).collect();
        }
        let covered = |grant: &Grant| grants.iter().any(|other| other != grant && other.covers(grant));
        Some(Self { grants: grants.iter().filter(|grant| !covered(grant)).cloned().collect(), keys_only })
    }
}

/// Whether a document, whoever wrote it, gives nothing and only takes: people contain a principal with such a one.
#[must_use]
pub fn only_denies(json: &str) -> bool {
    let Ok(document) = serde_json::from_str::<Map<String, Value>>(json) else { return false };
    let statements = document.get("Statement").map(many).unwrap_or_default();
    !statements.is_empty() && statements.iter().all(|statement| statement.get("Effect") == Some(&"Deny".into()))
}

impl Grant {
    fn covers(&self, other: &Self) -> bool {
        let key_covers =
            |(key, pattern): (&&str, &Pattern)| other.conditions.get(key).is_some_and(|p| pattern.covers(p));
        self.principal == other.principal
            && self.action == other.action
            && self.resource.covers(&other.resource)
            && self.conditions.iter().all(key_covers)
    }
}

impl Pattern {
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exactly(one), Self::Exactly(other)) => one == other,
            (Self::Exactly(_), Self::Beginning(_)) => false,
            (Self::Beginning(one), Self::Exactly(other) | Self::Beginning(other)) => other.starts_with(one.as_str()),
        }
    }

    /// What fits both: of two patterns of this kind one covers the other, or nothing fits both.
    fn narrowed(self, other: Self) -> Option<Self> {
        if self.covers(&other) { Some(other) } else { other.covers(&self).then_some(self) }
    }
}

/// Whether a statement refuses everything to whoever comes with a session, and nothing else.
fn refuses_sessions(statement: &Map<String, Value>) -> bool {
    let is =
        |field: &str, value: &str| statement.get(field).and_then(texts).is_some_and(|texts| all_are(&texts, value));
    let condition = || -> Option<bool> {
        let block = statement.get("Condition")?.as_object()?;
        only(block, &["Null"])?;
        let keys = block.get("Null")?.as_object()?;
        let says = |(key, values): (&String, &Value)| key.eq_ignore_ascii_case(SESSION) && says(values, false);
        Some(!keys.is_empty() && keys.iter().all(says))
    };
    only(statement, &["Sid", "Effect", "Action", "Resource", "Condition"]).is_some()
        && is("Effect", "Deny")
        && is("Action", "*")
        && is("Resource", "*")
        && condition() == Some(true)
}

fn all_are(texts: &[&str], value: &str) -> bool {
    !texts.is_empty() && texts.iter().all(|text| *text == value)
}

/// Whether a condition on what is true or not says just that.
fn says(values: &Value, wanted: bool) -> bool {
    let is_wanted = |value: &&Value| **value == Value::Bool(wanted) || value.as_str() == Some(&wanted.to_string());
    let values = many(values);
    !values.is_empty() && values.iter().all(is_wanted)
}

/// The grants of one statement, without those that no request can fit.
fn read_statement(statement: &Map<String, Value>) -> Option<Vec<Grant>> {
    only(statement, &["Sid", "Effect", "Principal", "Action", "Resource", "Condition"])?;
    (statement.get("Effect")? == "Allow").then_some(())?;
    let principals = statement.get("Principal").map_or(Some(vec![None]), read_principals)?;
    let conditions = statement.get("Condition").map_or(Some(vec![Conditions::new()]), read_conditions)?;
    let (actions, resources) = (texts(statement.get("Action")?)?, texts(statement.get("Resource")?)?);
    let count = [principals.len(), actions.len(), resources.len(), conditions.len()].iter().product::<usize>();
    (count <= MOST_GRANTS).then_some(())?;
    let mut grants = Vec::new();
    for right in actions.into_iter().map(rights::of_action) {
        let right = right?;
        let resources =
            resources.iter().map(|resource| read_resource(right.on, resource)).collect::<Option<Vec<_>>>()?;
        let known = conditions.iter().filter(|conditions| conditions.keys().all(|key| knows(right.action, key)));
        for (conditions, principal) in known.flat_map(|conditions| principals.iter().map(move |p| (conditions, p))) {
            grants.extend(resources.iter().flatten().map(|resource| Grant {
                principal: principal.clone(),
                action: right.action,
                resource: resource.clone(),
                conditions: conditions.clone(),
            }));
        }
    }
    Some(grants)
}

fn read_principals(principal: &Value) -> Option<Vec<Option<String>>> {
    let principal = principal.as_object()?;
    only(principal, &["AWS"])?;
    let arns = texts(principal.get("AWS")?)?;
    arns.into_iter().map(|arn| (!arn.contains('*')).then(|| Some(arn.to_owned()))).collect()
}

/// What a resource stands for, as far as the action can be done to it: none, where it is never done to that.
fn read_resource(on: On, text: &str) -> Option<Vec<Pattern>> {
    if on == On::Account {
        return (text == "*").then(|| vec![Pattern::Beginning(String::new())]);
    }
    let (partition, name) = text.split_once(":s3:::")?;
    (partition.starts_with("arn:aws") && !partition.contains(['*', '?'])).then_some(())?;
    let pattern = read_pattern(text)?;
    let reachable = match (on, &pattern) {
        // No name of a bucket has a slash, and each object has one before its key.
        (On::Bucket, _) => !name.is_empty() && !name.contains('/'),
        (_, Pattern::Exactly(_)) => {
            name.split_once('/').is_some_and(|(bucket, key)| !bucket.is_empty() && !key.is_empty())
        }
        (_, Pattern::Beginning(_)) => true,
    };
    Some(if reachable { vec![pattern] } else { Vec::new() })
}

type Conditions = BTreeMap<&'static str, Pattern>;

/// The alternatives of a condition block: of each key one pattern, without combinations that contradict themselves.
fn read_conditions(block: &Value) -> Option<Vec<Conditions>> {
    let mut alternatives = vec![Conditions::new()];
    for (operator, keys) in block.as_object()? {
        for (key, values) in keys.as_object()? {
            let key = KEYS.into_iter().find(|known| known.eq_ignore_ascii_case(key))?;
            let patterns = read_values(operator, key, values)?;
            (alternatives.len().saturating_mul(patterns.len()) <= MOST_GRANTS).then_some(())?;
            let with = |conditions: &Conditions, pattern: &Pattern| {
                let mut conditions = conditions.clone();
                let narrowed = match conditions.remove(key) {
                    None => Some(pattern.clone()),
                    Some(before) => before.narrowed(pattern.clone()),
                };
                conditions.insert(key, narrowed?);
                Some(conditions)
            };
            alternatives =
                alternatives.iter().flat_map(|before| patterns.iter().filter_map(|p| with(before, p))).collect();
        }
    }
    Some(alternatives)
}

const TRANSPORT: &str = "aws:SecureTransport";
const SESSION: &str = "aws:TokenIssueTime";
const KEYS: [&str; 7] =
    ["s3:prefix", "s3:delimiter", "s3:locationconstraint", "s3:x-amz-acl", "s3:ResourceAccount", TRANSPORT, SESSION];

/// Whether requests for the action carry the key at all; a condition on any other key fits none
/// (docs/decisions/policy.md).
fn knows(action: &str, key: &str) -> bool {
    match key {
        "s3:prefix" | "s3:delimiter" => action == "s3:ListBucket",
        "s3:locationconstraint" => action == "s3:CreateBucket",
        "s3:x-amz-acl" => ["s3:PutObject", "s3:PutObjectAcl", "s3:CreateBucket"].contains(&action),
        _ => true,
    }
}

fn read_values(operator: &str, key: &str, values: &Value) -> Option<Vec<Pattern>> {
    match operator {
        // Anything but "true" would leave the language: false, or both, is not what a pattern can say.
        "Bool" if key == TRANSPORT => says(values, true).then(|| vec![Pattern::Exactly("true".to_owned())]),
        // There is no such key: it is a request of no session.
        "Null" if key == SESSION => says(values, true).then(|| vec![Pattern::Exactly(String::new())]),
        "StringEquals" if !of_one_value(key) => {
            let exactly = |text: &str| (!text.contains("${")).then(|| Pattern::Exactly(text.to_owned()));
            texts(values)?.into_iter().map(exactly).collect()
        }
        "StringLike" if !of_one_value(key) => texts(values)?.into_iter().map(read_pattern).collect(),
        _ => None,
    }
}

fn of_one_value(key: &str) -> bool {
    [TRANSPORT, SESSION].contains(&key)
}

/// A text whose only wildcard, if any, is a `*` at its end.
fn read_pattern(text: &str) -> Option<Pattern> {
    let (beginning, open) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
    (!beginning.contains(['*', '?']) && !beginning.contains("${")).then_some(())?;
    let beginning = beginning.to_owned();
    Some(if open { Pattern::Beginning(beginning) } else { Pattern::Exactly(beginning) })
}

/// IAM returns a list of one as the element itself (docs/decisions/policy.md).
fn many(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    many(value).into_iter().map(Value::as_str).collect()
}

fn only(object: &Map<String, Value>, known: &[&str]) -> Option<()> {
    object.keys().all(|key| known.contains(&key.as_str())).then_some(())
}
