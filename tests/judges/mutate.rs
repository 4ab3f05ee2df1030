//! Random changes of a policy's text. Some of them keep its meaning by construction; whether the others do is for the judge
//! to say.
#![expect(clippy::ptr_arg, reason = "all changes have one signature, also those that add no statement")]

use fastrand::Rng;
use serde_json::{Value, json};

/// A way to change the statements of a policy; false when there is nothing to change in that way.
type Change = fn(&mut Vec<Value>, &mut Rng) -> bool;

/// A change, by its name.
pub struct Mutation {
    pub name: &'static str,
    pub kind: Kind,
    change: Change,
}

/// What a change does to the meaning of every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing: it says the same in other words, as IAM and people do.
    Spelling,
    /// Nothing: it adds a part of what is there already.
    Redundant,
    /// That depends.
    Other,
}
use Kind::{Other, Redundant, Spelling};

const fn mutation(kind: Kind, name: &'static str, change: Change) -> Mutation {
    Mutation { name, kind, change }
}

pub const MUTATIONS: [Mutation; 19] = [
    mutation(Spelling, "split the actions of a statement", split_actions),
    mutation(Spelling, "repeat a statement", repeat),
    mutation(Spelling, "shuffle the statements and their lists", shuffle),
    mutation(Spelling, "write scalars as lists and the other way round", lists_or_scalars),
    mutation(Spelling, "write an action in other letters", action_case),
    mutation(Spelling, "write a condition key in other letters", condition_key_case),
    mutation(Spelling, "change the ids of statements", ids),
    mutation(Spelling, "add a statement with fewer actions", fewer_actions),
    mutation(Redundant, "add a statement about a part of the resource", part_of_resource),
    mutation(Redundant, "add a statement for a part of what is listed", part_of_listing),
    mutation(Other, "drop a statement", drop_statement),
    mutation(Other, "drop an action", drop_action),
    mutation(Other, "move the * of a resource", move_star),
    mutation(Other, "change a value of a condition", change_value),
    mutation(Other, "drop a value of a condition", drop_value),
    mutation(Other, "add a value to a condition", add_value),
    mutation(Other, "drop a condition", drop_condition),
    mutation(Other, "compare as another operator does", other_operator),
    mutation(Other, "add a statement", add_statement),
];

/// A policy after some changes, and which they were.
pub fn mutated(policy: &Value, rng: &mut Rng) -> (Value, Vec<&'static Mutation>) {
    let (mut policy, mut made) = (policy.clone(), Vec::new());
    let statements = policy["Statement"].as_array_mut().expect("a list of statements");
    for _ in 0..rng.usize(1..=3) {
        let mutation = &MUTATIONS[rng.usize(..MUTATIONS.len())];
        if (mutation.change)(statements, rng) {
            made.push(mutation);
        }
    }
    (policy, made)
}

// === what keeps the meaning ===

fn split_actions(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let Some(statement) = any(statements, rng, |statement| texts(&statement["Action"]).len() > 1) else { return false };
    let mut actions = texts(&statement["Action"]);
    rng.shuffle(&mut actions);
    let rest = actions.split_off(rng.usize(1..actions.len()));
    statement["Action"] = json!(actions);
    let mut other = statement.clone();
    other["Action"] = json!(rest);
    insert(statements, other, rng);
    true
}

fn repeat(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let same = statements[rng.usize(..statements.len())].clone();
    insert(statements, same, rng);
    true
}

fn shuffle(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    rng.shuffle(statements);
    for_each_list(statements, |list| {
        if let Value::Array(values) = list {
            rng.shuffle(values);
        }
    });
    true
}

fn lists_or_scalars(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    for_each_list(statements, |list| match list {
        _ if rng.bool() => {}
        Value::Array(values) if values.len() == 1 => *list = values[0].take(),
        Value::String(_) => *list = json!([list.take()]),
        _ => {}
    });
    true
}

fn action_case(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let at = rng.usize(..statements.len());
    let mut actions = texts(&statements[at]["Action"]);
    let action = rng.usize(..actions.len());
    actions[action] = other_letters(&actions[action], rng);
    statements[at]["Action"] = json!(actions);
    true
}

fn condition_key_case(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let Some((operators, operator, key)) = any_condition(statements, rng) else { return false };
    let tests = operators[&operator].as_object_mut().expect("an object");
    let values = tests.remove(&key).expect("it is there");
    tests.insert(other_letters(&key, rng), values);
    true
}

fn ids(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let number = rng.u16(..);
    for (at, statement) in statements.iter_mut().enumerate() {
        if rng.bool() {
            statement["Sid"] = json!(format!("Statement{at}of{number}"));
        } else {
            statement.as_object_mut().expect("an object").remove("Sid");
        }
    }
    true
}

fn fewer_actions(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let mut fewer = statements[rng.usize(..statements.len())].clone();
    let mut actions = texts(&fewer["Action"]);
    rng.shuffle(&mut actions);
    actions.truncate(rng.usize(1..=actions.len()));
    fewer["Action"] = json!(actions);
    insert(statements, fewer, rng);
    true
}

fn part_of_resource(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let ends_in_star = |statement: &Value| texts(&statement["Resource"]).iter().all(|text| text.ends_with("/*"));
    let Some(statement) = any(statements, rng, ends_in_star) else { return false };
    let mut part = statement.clone();
    let more = ["x", "x*", "x/*", "x/y/*", ""][rng.usize(..5)];
    let narrowed = texts(&part["Resource"]).iter().map(|text| text.replace('*', more)).collect::<Vec<_>>();
    part["Resource"] = json!(narrowed);
    insert(statements, part, rng);
    true
}

fn part_of_listing(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let like = |statement: &Value| !statement["Condition"]["StringLike"]["s3:prefix"].is_null();
    let Some(statement) = any(statements, rng, like) else { return false };
    let mut part = statement.clone();
    let more = ["x", "x*", "x/*", "*x*", ""][rng.usize(..5)];
    let values = texts(&part["Condition"]["StringLike"]["s3:prefix"]);
    let narrowed: Vec<_> = values.iter().map(|text| text.replacen('*', more, 1)).collect();
    part["Condition"]["StringLike"]["s3:prefix"] = json!(narrowed);
    insert(statements, part, rng);
    true
}

// === what may change it ===

fn drop_statement(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    if statements.len() < 2 {
        return false;
    }
    statements.remove(rng.usize(..statements.len()));
    true
}

fn drop_action(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let Some(statement) = any(statements, rng, |statement| texts(&statement["Action"]).len() > 1) else { return false };
    let mut actions = texts(&statement["Action"]);
    actions.remove(rng.usize(..actions.len()));
    statement["Action"] = json!(actions);
    true
}

fn move_star(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let arn = |statement: &Value| texts(&statement["Resource"]).iter().all(|text| text.starts_with("arn:"));
    let Some(statement) = any(statements, rng, arn) else { return false };
    let mut resources = texts(&statement["Resource"]);
    let at = rng.usize(..resources.len());
    resources[at] = starred(&resources[at], rng);
    statement["Resource"] = json!(resources);
    true
}

/// Without its `*`, or with it further to the front, but still for the same kind of resource.
fn starred(resource: &str, rng: &mut Rng) -> String {
    let bare = resource.trim_end_matches('*');
    match bare.split_once('/') {
        None => format!("{bare}*"),
        Some((bucket, folder)) => {
            let shorter = folder.trim_end_matches('/');
            let parent = shorter.rfind('/').map_or("", |at| &folder[..=at]);
            match rng.usize(..5) {
                0 => bare.to_owned(),
                1 => format!("{bucket}/{shorter}*"),
                2 => format!("{bucket}/{parent}*"),
                3 => format!("{bucket}*/{folder}*"),
                _ => format!("{bucket}/*"),
            }
        }
    }
}

fn change_value(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    with_values(statements, rng, |values, rng| {
        let at = rng.usize(..values.len());
        let value = &values[at];
        values[at] = match rng.usize(..4) {
            0 => format!("{value}x/"),
            1 => value.trim_end_matches('*').to_owned(),
            2 => value.replace("/*", "*"),
            _ => value.to_uppercase(),
        };
    })
}

fn drop_value(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    with_values(statements, rng, |values, rng| {
        if values.len() > 1 {
            values.remove(rng.usize(..values.len()));
        }
    })
}

fn add_value(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    with_values(statements, rng, |values, rng| {
        let new = ["", "/", "backups/", "backups/dataset-1/", "backups/dataset-1/x", "archive/"];
        values.push(new[rng.usize(..new.len())].to_owned());
    })
}

fn drop_condition(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let Some((operators, operator, key)) = any_condition(statements, rng) else { return false };
    operators[&operator].as_object_mut().expect("an object").remove(&key);
    operators.retain(|_, tests| tests.as_object().is_some_and(|tests| !tests.is_empty()));
    let empty = |statement: &Value| statement["Condition"].as_object().is_some_and(serde_json::Map::is_empty);
    for statement in statements.iter_mut().filter(|statement| empty(statement)) {
        statement.as_object_mut().expect("an object").remove("Condition");
    }
    true
}

/// `StringEquals` and `StringLike` are the same where there is no `*`.
fn other_operator(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let Some((operators, operator, _)) = any_condition(statements, rng) else { return false };
    if operator == "Null" {
        return false;
    }
    let other = if operator == "StringLike" { "StringEquals" } else { "StringLike" };
    if operators.contains_key(other) {
        return false;
    }
    let tests = operators.remove(&operator).expect("it is there");
    operators.insert(other.to_owned(), tests);
    true
}

fn add_statement(statements: &mut Vec<Value>, rng: &mut Rng) -> bool {
    let (objects, bucket) = ("arn:aws:s3:::my-backups/backups/dataset-1/*", "arn:aws:s3:::my-backups");
    let new = [
        ("s3:GetObject", objects),
        ("s3:PutObjectAcl", objects),
        ("s3:GetObjectVersion", objects),
        ("s3:GetObject", "arn:aws:s3:::my-backups/archive/*"),
        ("s3:AbortMultipartUpload", "arn:aws:s3:::my-backups/*"),
        ("s3:ListBucket", bucket),
        ("s3:GetBucketLocation", bucket),
        ("s3:ListBucketVersions", bucket),
        ("s3:ListBucket", "arn:aws:s3:::elsewhere"),
        ("s3:ListAllMyBuckets", "*"),
    ];
    let (action, resource) = new[rng.usize(..new.len())];
    let mut statement = statements[0].clone();
    let fields = statement.as_object_mut().expect("an object");
    fields.remove("Condition");
    fields.insert("Effect".to_owned(), json!("Allow"));
    fields.insert("Action".to_owned(), json!(action));
    fields.insert("Resource".to_owned(), json!(resource));
    insert(statements, statement, rng);
    true
}

// === helpers ===

fn any<'a>(statements: &'a mut [Value], rng: &mut Rng, fits: impl Fn(&Value) -> bool) -> Option<&'a mut Value> {
    let fitting: Vec<_> = statements.iter_mut().filter(|statement| fits(statement)).collect();
    let at = rng.usize(..fitting.len().max(1));
    fitting.into_iter().nth(at)
}

/// The conditions of some statement, and the operator and the key of one of them.
fn any_condition<'a>(
    statements: &'a mut [Value],
    rng: &mut Rng,
) -> Option<(&'a mut serde_json::Map<String, Value>, String, String)> {
    let operators =
        any(statements, rng, |statement| statement["Condition"].is_object())?["Condition"].as_object_mut()?;
    let pairs: Vec<(String, String)> = operators
        .iter()
        .flat_map(|(operator, tests)| {
            tests.as_object().into_iter().flat_map(|tests| tests.keys()).map(|key| (operator.clone(), key.clone()))
        })
        .collect();
    let (operator, key) = pairs.get(rng.usize(..pairs.len().max(1)))?.clone();
    Some((operators, operator, key))
}

/// False when it left the values as they were.
fn with_values(statements: &mut [Value], rng: &mut Rng, change: impl Fn(&mut Vec<String>, &mut Rng)) -> bool {
    let Some((operators, operator, key)) = any_condition(statements, rng) else { return false };
    // Whether a key is there has no other values.
    if operator == "Null" {
        return false;
    }
    let place = &mut operators[&operator][&key];
    let before = texts(place);
    let mut values = before.clone();
    change(&mut values, rng);
    *place = json!(values);
    values != before
}

fn insert(statements: &mut Vec<Value>, statement: Value, rng: &mut Rng) {
    statements.insert(rng.usize(..=statements.len()), statement);
}

fn for_each_list(statements: &mut [Value], mut change: impl FnMut(&mut Value)) {
    for statement in statements {
        change(&mut statement["Action"]);
        change(&mut statement["Resource"]);
        let operators = statement.get_mut("Condition").and_then(Value::as_object_mut);
        let tests = operators.into_iter().flat_map(|operators| operators.values_mut());
        tests.filter_map(Value::as_object_mut).flat_map(|tests| tests.values_mut()).for_each(&mut change);
    }
}

/// A scalar, or the elements of a list.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::String(text) => vec![text.clone()],
        _ => Vec::new(),
    }
}

fn other_letters(text: &str, rng: &mut Rng) -> String {
    let other = |c: char| if rng.bool() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(other).collect()
}
