//! Every policy that the operator writes is judged to allow what was promised, and nothing else.

use std::io::{Write, stderr};

use anyhow::Result;
use serde_json::Value;

use crate::{
    can::can,
    cases::{self, Case},
    request::Request,
    simulate::{Answers, Document, Verdict, holder, judge},
    subject,
};

/// How many disagreements an error shows.
const SHOWN: usize = 12;

#[tokio::test]
async fn each_declaration_is_kept() {
    assert_kept("declarations", cases::each_declaration(12)).await;
}

#[tokio::test]
#[ignore = "the same with nothing left out takes a minute or two; cargo test --test judges -- --ignored"]
async fn each_declaration_is_kept_in_every_case() {
    assert_kept("declarations", cases::each_declaration(1)).await;
}

#[tokio::test]
async fn an_overlap_allows_what_one_of_both_places_does() {
    assert_kept("overlaps", cases::overlaps()).await;
}

#[tokio::test]
async fn each_cloud_has_its_own_buckets() {
    assert_kept("clouds", cases::clouds()).await;
}

#[tokio::test]
async fn demands_hold_beside_all_the_rest() {
    assert_kept("demands", cases::demands()).await;
}

async fn assert_kept(what: &str, cases: Vec<Case>) {
    let count: usize = cases.iter().map(|case| case.requests.len()).sum();
    let write = |case: &Case| subject::policy(case.form, &case.declared, &holder(case.declared[0].cloud));
    let policies: Vec<Value> = cases.iter().map(write).collect();
    let found = disagreements(&cases, &policies).await.expect("judged").concat();
    // Not with `println!`, of which nothing is seen when a test passes.
    let _ = writeln!(stderr(), "{what}: {count} requests were judged by {} policies", cases.len());
    assert!(count > 0, "nothing was judged");
    let some: Vec<_> = found.iter().take(SHOWN).collect();
    assert!(found.is_empty(), "{} disagreements, such as {some:#?}", found.len());
}

/// For each case, where its policy is judged to differ from the specification.
pub async fn disagreements(cases: &[Case], policies: &[Value]) -> Result<Vec<Vec<String>>> {
    let documents: Vec<_> = cases
        .iter()
        .zip(policies)
        .map(|(case, policy)| Document {
            form: case.form,
            policy,
            cloud: case.declared[0].cloud,
            requests: &case.requests,
        })
        .collect();
    let verdicts = judge(&documents).await?;
    Ok(cases.iter().zip(&verdicts).map(|(case, verdict)| against(case, verdict)).collect())
}

fn against(case: &Case, verdict: &Verdict) -> Vec<String> {
    let Verdict::Answers(Answers(answers)) = verdict else {
        return vec![format!("{verdict:?} for {:?} {:?}", case.form, case.declared)];
    };
    let differs = |(request, allowed): (&Request, &bool)| {
        let promised = can(case.form, &case.declared, &request.wish());
        let says = if *allowed { "allowed" } else { "refused" };
        (promised != *allowed)
            .then(|| format!("{says} by the judge: {request:?} with {:?} {:?}", case.form, case.declared))
    };
    case.requests.iter().zip(answers).filter_map(differs).collect()
}
