//! IAM's limits, its grammar of policies and its order of deletions, which the stand-in of the other tests does not know.
//!
//! moto, which knows them, has gaps of its own: it enforces no policy, takes a policy of any size and any name of an action
//! that has one colon, any statement id and a principal in an identity policy; it lets a user go who still has keys, and a
//! managed policy that is still attached. Nothing here relies on those.

use std::sync::Arc;

use anyhow::Result;
use aws_sdk_iam::{Client, error::ProvideErrorMetadata};
use backup_target_operator::{
    access::{Meaning, PolicyDocument},
    api::backup_target::PolicyForm,
    fence::Fence,
    names,
    store::{
        Error, Kind, Managed, Policies, Principal, StoredPolicy, User, UserSpec,
        aws::{Iam, Questions},
        clock::Clock,
        gate::Gate,
    },
    telemetry::metrics::Meter,
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    can::Form,
    cases::{declare, shapes, tier_sets},
    simulate::holder,
    subject,
    testbed::{moto::Moto, run::Run},
};

/// The account that moto plays.
const MOTO_ACCOUNT: &str = "123456789012";

/// A client of the server that all tests here share. It is never dropped, and ends with this program all the same.
async fn client() -> Client {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    let moto = MOTO.get_or_init(async || Moto::start(&Run::begin("moto").expect("a folder")).await.expect("moto runs"));
    moto.await.iam()
}

/// A user of the operator's kind, created with the operator's own verbs.
async fn user(name: &str) -> Result<(Client, Iam, UserSpec)> {
    let client = client().await;
    let iam =
        Iam::new(client.clone(), Arc::new(Gate::new(1_000, Meter::default(), Fence::default())), Clock::default());
    let tags = [names::tag::UID, names::tag::CLUSTER].map(|tag| (tag.to_owned(), "1".to_owned()));
    let path = names::default_path("cluster");
    let policy_arn = format!("arn:aws:iam::{MOTO_ACCOUNT}:policy{path}{name}");
    let name = name.to_owned();
    let spec = UserSpec { name, path, tags: tags.into(), boundary: None, known_id: None, policy_arn };
    iam.create_user(&spec).await?;
    Ok((client, iam, spec))
}

async fn observed(iam: &Iam, spec: &UserSpec) -> User {
    match iam.observe(spec, &everything()).await {
        Ok(Principal::Ours(user)) => user,
        other => panic!("not ours: {other:?}"),
    }
}

fn everything() -> Questions {
    Questions { managed_policy: true, ..Questions::default() }
}

fn kind<T>(outcome: Result<T, Error>) -> Option<Kind> {
    outcome.err().map(|error| error.kind)
}

#[tokio::test]
async fn a_third_key_is_beyond_the_limit() {
    let (_, iam, spec) = user("third-key").await.expect("created");
    let first = iam.create_key(&spec.name).await.expect("the first key").key.id;
    iam.create_key(&spec.name).await.expect("the second key");
    assert_eq!(kind(iam.create_key(&spec.name).await), Some(Kind::LimitExceeded));

    iam.set_key_active(&spec.name, &first, false).await.expect("switched off");
    assert_eq!(kind(iam.create_key(&spec.name).await), Some(Kind::LimitExceeded), "an inactive key counts");

    iam.delete_key(&spec.name, &first).await.expect("deleted");
    iam.create_key(&spec.name).await.expect("a key for the one that is gone");
    assert_eq!(observed(&iam, &spec).await.keys.len(), 2);
}

#[tokio::test]
async fn every_policy_of_ours_is_grammatical_and_comes_back_as_it_was() {
    let (_, iam, spec) = user("grammar").await.expect("created");
    for shape in shapes() {
        // No tiers, all, and one between: they share the same few statements.
        for tiers in tier_sets().into_iter().step_by(5) {
            let document = subject::document(Form::Identity, &[declare(&shape, tiers, true)], &holder("aws"));
            put(&iam, &spec, &document).await.unwrap_or_else(|error| panic!("{error}: {}", document.to_json()));
            assert!(observed(&iam, &spec).await.policies.are(&document), "{}", document.to_json());
        }
    }
}

#[tokio::test]
async fn what_is_no_policy_is_refused() {
    let (client, _, spec) = user("no-grammar").await.expect("created");
    let right = json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/a/*"});
    let with = |field: &str, value: Value| {
        let mut statement = right.clone();
        statement[field] = value;
        json!({"Version": "2012-10-17", "Statement": [statement]})
    };
    let put = async |policy: Value| {
        let request =
            client.put_user_policy().user_name(&spec.name).policy_name("p").policy_document(policy.to_string());
        request.send().await.map(|_| ()).map_err(|error| error.code().unwrap_or_default().to_owned())
    };
    assert_eq!(put(with("Action", json!(["s3:GetObject"]))).await, Ok(()), "the rest of the statement is right");
    for wrong in [
        // Two names that ran together, as they come out of a printed table.
        with("Action", json!("s3:AbortMultipartUploads3:ListMultipartUploadParts")),
        with("Action", json!("s3GetObject")),
        with("Action", json!([])),
        with("Effect", json!("allow")),
        with("Resource", json!("b/a/*")),
        with("Condition", json!({"StringsEqual": {"s3:prefix": "a/"}})),
        with("Acton", json!("s3:GetObject")),
        json!({"Version": "2012-10-17", "Statement": []}),
        json!({"Version": "2012-10-18", "Statement": [right]}),
    ] {
        assert_eq!(put(wrong.clone()).await, Err("MalformedPolicyDocument".to_owned()), "{wrong}");
    }
}

/// As the operator does it: from what is there to the form that fits.
async fn put(iam: &Iam, spec: &UserSpec, document: &PolicyDocument) -> Result<(), Error> {
    let before = observed(iam, spec).await.policies;
    iam.put_policy(spec, document, document.form().expect("it fits"), &before).await
}

#[tokio::test]
async fn a_user_goes_when_nothing_hangs_on_it_any_more() {
    let (_, iam, spec) = user("deleted").await.expect("created");
    assert_eq!(kind(iam.create_user(&spec).await), Some(Kind::AlreadyExists));
    put(&iam, &spec, &document("a/")).await.expect("written");
    let key = iam.create_key(&spec.name).await.expect("created").key.id;
    assert!(matches!(kind(iam.delete_user(&spec.name).await), Some(Kind::DeleteConflict(_))));

    // The order in which the operator takes a principal away; each step may be done twice.
    let policies = observed(&iam, &spec).await.policies;
    for _ in 0..2 {
        iam.delete_key(&spec.name, &key).await.expect("the key goes");
        iam.delete_policies(&spec, &policies).await.expect("the policy goes");
    }
    for _ in 0..2 {
        iam.delete_user(&spec.name).await.expect("the user goes");
    }
    assert_eq!(iam.observe(&spec, &everything()).await, Ok(Principal::Absent));
    let gone = iam.put_policy(&spec, &document("a/"), PolicyForm::Inline, &Policies::default()).await;
    assert_eq!(kind(gone), Some(Kind::NotFound));
}

#[tokio::test]
async fn a_managed_policy_is_pruned_and_goes_in_order() {
    let (client, iam, spec) = user("managed").await.expect("created");
    for folder in 0..8 {
        put(&iam, &spec, &large(folder)).await.expect("one more version");
        assert!(observed(&iam, &spec).await.policies.are(&large(folder)), "the newest version counts");
        let versions = client.list_policy_versions().policy_arn(&spec.policy_arn).send().await.expect("listed");
        assert!(versions.versions.unwrap_or_default().len() <= 5);
    }
    assert!(matches!(kind(iam.delete_user(&spec.name).await), Some(Kind::DeleteConflict(_))), "it is attached");

    let small = document("a/");
    put(&iam, &spec, &small).await.expect("back to an inline one");
    let policies = observed(&iam, &spec).await.policies;
    assert!(policies.are(&small) && policies.managed == Managed::Absent, "{policies:?}");

    put(&iam, &spec, &large(0)).await.expect("managed again");
    let policies = observed(&iam, &spec).await.policies;
    iam.delete_policies(&spec, &policies).await.expect("it goes with its versions");
    iam.delete_user(&spec.name).await.expect("nothing hangs on it");
}

#[tokio::test]
async fn a_move_that_was_cut_off_is_taken_up() {
    let (client, iam, spec) = user("cut-off").await.expect("created");
    put(&iam, &spec, &document("a/")).await.expect("inline");
    // Created and not attached, as after a crash between the two.
    let text = large(0).to_json();
    let created = client.create_policy().policy_name(&spec.name).path(&spec.path).policy_document(text);
    created.set_tags(Some(tags(&spec))).send().await.expect("created");
    let policies = observed(&iam, &spec).await.policies;
    let known = StoredPolicy::Known(Meaning::read(&large(0).to_json()).expect("ours"));
    assert_eq!(policies.managed, Managed::Ours { document: known, attached: false });
    put(&iam, &spec, &large(0)).await.expect("taken up");
    assert!(observed(&iam, &spec).await.policies.are(&large(0)));
}

#[tokio::test]
async fn a_policy_of_our_name_that_lost_its_tags_still_counts() {
    let (client, iam, spec) = user("lost-tags").await.expect("created");
    put(&iam, &spec, &large(0)).await.expect("written");
    let keys = spec.tags.keys().cloned().collect();
    client.untag_policy().policy_arn(&spec.policy_arn).set_tag_keys(Some(keys)).send().await.expect("untagged");
    let seen = observed(&iam, &spec).await;
    assert!(matches!(seen.policies.managed, Managed::Foreign { .. }), "{seen:?}");
    assert_eq!(seen.additions.attached, std::slice::from_ref(&spec.policy_arn), "what it gives is not forgotten");
}

fn tags(spec: &UserSpec) -> Vec<aws_sdk_iam::types::Tag> {
    let tag = |(key, value): (&String, &String)| aws_sdk_iam::types::Tag::builder().key(key).value(value).build();
    spec.tags.iter().map(|pair| tag(pair).expect("key and value")).collect()
}

fn document(folder: &str) -> PolicyDocument {
    subject::document(Form::Identity, &[declare(folder, [].into(), false)], &holder("aws"))
}

/// Too large for an inline policy.
fn large(number: usize) -> PolicyDocument {
    let deep = format!("{number}{}", "/nine-char".repeat(25)) + "/";
    let document = subject::document(Form::Identity, &[declare(&deep, [].into(), true)], &holder("aws"));
    assert_eq!(document.form(), Some(PolicyForm::Managed));
    document
}
