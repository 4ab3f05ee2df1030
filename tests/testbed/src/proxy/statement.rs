//! Whether a statement of an identity policy allows a request to IAM. It knows what the operator's own policy is written in, and
//! takes nothing for allowed that it does not know.

use std::collections::BTreeMap;

use serde_json::Value;

/// What a request, and what it is about, say under each condition key; a key that is not in it is not in the request.
pub(super) type Context = BTreeMap<String, Vec<String>>;

/// Whether it allows that action on that resource, which is the last part of an ARN.
pub(super) fn allows(statement: &Value, action: &str, resource: &str, context: &Context) -> bool {
    let resource_of = |arn: &str| arn.splitn(6, ':').nth(5).unwrap_or(arn).to_owned();
    statement["Effect"] == "Allow"
        && list(&statement["Action"]).iter().any(|pattern| fits(pattern, action))
        && list(&statement["Resource"]).iter().any(|arn| fits(&resource_of(arn), resource))
        && holds(&statement["Condition"], context)
}

fn holds(condition: &Value, context: &Context) -> bool {
    let operators = condition.as_object().into_iter().flatten();
    let mut single =
        operators.flat_map(|(operator, keys)| keys.as_object().into_iter().flatten().map(move |key| (operator, key)));
    single.all(|(operator, (key, wanted))| {
        let (said, wanted) = (context.get(key), list(wanted));
        let is_one_of = |value: &String| wanted.contains(&value.as_str());
        match operator.as_str() {
            "StringEquals" => said.is_some_and(|values| values.iter().all(is_one_of)),
            "ForAllValues:StringEquals" => said.is_none_or(|values| values.iter().all(is_one_of)),
            "ArnLike" => {
                said.is_some_and(|values| values.iter().all(|value| wanted.iter().any(|pattern| fits(pattern, value))))
            }
            "Null" => wanted == [if said.is_none() { "true" } else { "false" }],
            _ => false,
        }
    })
}

/// Lists of one element may be written without brackets.
fn list(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

/// Whether a text is one of those that a pattern with `*` stands for.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| fits(after, &rest[at..]))
        }),
    }
}
