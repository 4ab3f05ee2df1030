//! Two documents are equal to the operator exactly when no request can tell them apart. The planner compares what IAM has with
//! what it should have: a difference that is none would have it write for ever, and one that is not seen would stay.

use std::{
    collections::BTreeSet,
    io::{Write, stderr},
};

use backup_target_operator::{access::Meaning, api::Capability};
use fastrand::Rng;
use serde_json::Value;

use crate::{
    can::Form,
    cases::{BUCKET, BUCKET_ACTIONS, OBJECT_ACTIONS, declare},
    mutate::{Kind, Mutation, mutated, texts},
    request::{Place, Request},
    simulate::{Document, Verdict, holder, judge},
    subject,
};

const SEED: u64 = 7;
const MUTANTS: usize = 150;
/// How many failures an error shows.
const SHOWN: usize = 6;
const FORMS: [Form; 2] = [Form::Identity, Form::Bucket];

/// A policy of ours, and what became of it.
struct Pair {
    form: Form,
    ours: Value,
    mutant: Value,
    made: Vec<&'static Mutation>,
    requests: Vec<Request>,
}

#[tokio::test]
async fn documents_are_equal_exactly_when_no_request_tells_them_apart() {
    let pairs = pairs();
    let documents: Vec<_> =
        pairs.iter().flat_map(|pair| [&pair.ours, &pair.mutant].map(|policy| pair.document(policy))).collect();
    let verdicts = judge(&documents).await.expect("judged");

    let (mut found, mut same, mut unread) = (Vec::new(), 0, 0);
    for (pair, verdicts) in pairs.iter().zip(verdicts.chunks_exact(2)) {
        let judged = verdicts.iter().all(|verdict| matches!(verdict, Verdict::Answers(_)));
        assert!(judged, "the mutations make policies: {verdicts:?} for {}", pair.mutant);
        let told_apart = verdicts[0] != verdicts[1];
        same += usize::from(!told_apart);
        unread += usize::from(read(&pair.mutant).is_none());
        found.extend(pair.failure(told_apart));
    }
    let _ = writeln!(
        stderr(),
        "meaning: of {MUTANTS} mutants {same} mean the same, and {unread} are none that the operator writes"
    );
    // A generator of one kind alone would prove nothing.
    assert!(same > MUTANTS / 5 && same < MUTANTS * 4 / 5, "{same} of {MUTANTS} mean the same");
    assert!(found.is_empty(), "{} of {MUTANTS} are read otherwise than judged:\n{}", found.len(), shown(&found));
}

fn pairs() -> Vec<Pair> {
    let mut rng = Rng::with_seed(SEED);
    let mut ours = Vec::new();
    for form in FORMS {
        for (shape, tiers, listing) in [
            ("backups/dataset-1/", &[][..], true),
            ("backups/dataset-1/", &Capability::ALL[..], true),
            ("backups/dataset-1/", &[Capability::ObjectAcls][..], false),
            ("", &[Capability::MultipartUploads, Capability::ListAllBuckets][..], false),
        ] {
            let declared = declare(shape, tiers.iter().copied().collect(), listing);
            ours.push((form, subject::policy(form, &[declared], &holder("aws"))));
        }
    }
    let mut pairs = Vec::new();
    while pairs.len() < MUTANTS {
        let (form, ours) = ours[rng.usize(..ours.len())].clone();
        let (mutant, made) = mutated(&ours, &mut rng);
        if !made.is_empty() {
            let requests = telling_apart(&ours, &mutant);
            pairs.push(Pair { form, ours, mutant, made, requests });
        }
    }
    pairs
}

impl Pair {
    fn document<'a>(&'a self, policy: &'a Value) -> Document<'a> {
        Document { form: self.form, policy, cloud: "aws", requests: &self.requests }
    }

    fn failure(&self, told_apart: bool) -> Option<String> {
        let kind = self.made.iter().map(|mutation| mutation.kind).max().unwrap_or(Kind::Spelling);
        let (ours, mutant) = (read(&self.ours), read(&self.mutant));
        let what = match (&ours, &mutant) {
            (None, _) => "the operator cannot read its own document",
            _ if kind < Kind::Other && told_apart => "a mutation is not what it says, or the judge is wrong",
            (_, None) if kind == Kind::Spelling => "the same in other words is not read at all",
            // The reader need not know all that the operator never writes.
            (_, None) => return None,
            (ours, mutant) if (ours != mutant) == told_apart => return None,
            _ if told_apart => "read as the same, though a request tells them apart",
            _ => "read as another one, though no request tells them apart",
        };
        let made: Vec<_> = self.made.iter().map(|mutation| mutation.name).collect();
        Some(format!("{what}: {}\n  ours:   {}\n  mutant: {}", made.join(", then "), self.ours, self.mutant))
    }
}

fn read(policy: &Value) -> Option<Meaning> {
    Meaning::read(&policy.to_string())
}

fn shown(found: &[String]) -> String {
    found.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// Requests that stand for all there are: at each edge of what occurs in one of two policies, on both sides of it.
fn telling_apart(one: &Value, other: &Value) -> Vec<Request> {
    let statements: Vec<&Value> =
        [one, other].into_iter().filter_map(|policy| policy["Statement"].as_array()).flatten().collect();
    let resources = statements.iter().flat_map(|statement| texts(&statement["Resource"]));
    let places: BTreeSet<Place> =
        resources.flat_map(|resource| edges(&resource)).filter_map(|arn| place(&arn)).collect();
    let mut requests = vec![Request::new("s3:ListAllMyBuckets", Place::Account)];
    for place in places {
        // What a tier grants, and what a mutation may have added.
        let (actions, added) = match place {
            Place::Bucket(_) => (&BUCKET_ACTIONS[..], "s3:ListBucketVersions"),
            _ => (&OBJECT_ACTIONS[..], "s3:GetObjectVersion"),
        };
        let asked = actions.iter().chain([&added]).map(|action| Request::new(action, place.clone()));
        requests.extend(asked.flat_map(|request| with_acls(request, &statements)));
        if let Place::Bucket(bucket) = &place {
            requests.extend(listings(bucket, &statements));
        }
    }
    let both = |request: Request| [Request { by_session: true, ..request.clone() }, request];
    requests.into_iter().flat_map(both).collect()
}

/// The values that a condition key is compared with.
fn values<'a>(statements: &'a [&Value], wanted: &'static str) -> impl Iterator<Item = String> + 'a {
    let operators = statements.iter().filter_map(|statement| statement["Condition"].as_object());
    let tests = operators.flat_map(|operators| operators.values()).filter_map(Value::as_object).flatten();
    tests.filter(move |(key, _)| key.eq_ignore_ascii_case(wanted)).flat_map(|(_, values)| texts(values))
}

/// The same with each ACL that a condition may speak of, where the request can carry one.
fn with_acls(request: Request, statements: &[&Value]) -> Vec<Request> {
    if !["s3:PutObject", "s3:PutObjectAcl", "s3:CreateBucket"].contains(&request.action) {
        return vec![request];
    }
    let mut acls: BTreeSet<Option<String>> = [None, Some("public-read".to_owned())].into();
    acls.extend(values(statements, "s3:x-amz-acl").flat_map(|value| edges(&value)).map(Some));
    acls.into_iter().map(|acl| Request { acl, ..request.clone() }).collect()
}

fn listings(bucket: &str, statements: &[&Value]) -> Vec<Request> {
    let values = |wanted: &'static str| values(statements, wanted);
    // Of other buckets it is enough whether something can be listed at all, and how.
    let ours = bucket == BUCKET;
    let some = |value: String| if ours { edges(&value) } else { [value.replace('*', "x")].into() };
    let mut prefixes: BTreeSet<Option<String>> = [None, Some(String::new())].into();
    prefixes.extend(values("s3:prefix").flat_map(some).map(Some));
    let mut delimiters: BTreeSet<Option<String>> = [None, Some("/".to_owned()), Some("-".to_owned())].into();
    delimiters.extend(values("s3:delimiter").flat_map(some).map(Some));
    let list = |prefix: &Option<String>, delimiter: &Option<String>| {
        Request::list(bucket, prefix.as_deref(), delimiter.as_deref())
    };
    prefixes.iter().flat_map(|prefix| delimiters.iter().map(move |delimiter| list(prefix, delimiter))).collect()
}

/// Texts that a pattern just matches, and some that it just does not.
fn edges(pattern: &str) -> BTreeSet<String> {
    let filled = ["", "x", "x/y/z"].map(|filling| pattern.replace('*', filling));
    let longer = filled.iter().map(|text| format!("{text}x"));
    let shorter = filled[0].chars().count().saturating_sub(1);
    let shorter = filled[0].chars().take(shorter).collect();
    filled.iter().cloned().chain(longer).chain([shorter]).collect()
}

fn place(arn: &str) -> Option<Place> {
    let name = arn.strip_prefix("arn:aws:s3:::").filter(|name| !name.is_empty())?;
    Some(match name.split_once('/') {
        Some((_, "")) => return None,
        Some((bucket, key)) => Place::Object(bucket.to_owned(), key.to_owned()),
        None => Place::Bucket(name.to_owned()),
    })
}
