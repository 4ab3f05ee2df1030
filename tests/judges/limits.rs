//! IAM's limits, its grammar of policies and its order of deletions, which the stand-in of the other tests does not know.
//!
//! moto, which knows them, has gaps of its own: it enforces no policy, takes a policy of any size and any name of an action
//! that has one colon, any statement id and a principal in an identity policy; it lets a user go who still has keys, and a
//! managed policy that is still attached. Nothing here relies on those.

use std::sync::Arc;

use anyhow::Result;
use aws_sdk_iam::{Client, error::ProvideErrorMetadata};
use backup_target_operator::{
    access::{Meaning, Partition, PolicyDocument},
    api::backup_target::PolicyForm,
    fence::Fence,
    names,
    provider::{
        DeviationKind, Error, Kind, Observed, Owner, Principal, PrincipalSpec, Provider, Questions, Rights,
        StoredPolicy,
        aws::{Account, Aws, amazon, settings::Settings},
        clock::Clock,
        gate::Gate,
    },
    telemetry::metrics::Meter,
};
use serde_json::{Value, json};
use testbed::{moto::Moto, run::Run};
use tokio::sync::OnceCell;

use crate::{
    can::Form,
    cases::{declare, shapes, tier_sets},
    simulate::holder,
    subject,
};

/// The account that moto plays.
const MOTO_ACCOUNT: &str = "123456789012";

/// A client of the server that all tests here share. It is never dropped, and ends with this program all the same.
async fn client() -> Client {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    let moto = MOTO.get_or_init(async || Moto::start(&Run::begin("moto").expect("a folder")).await.expect("moto runs"));
    moto.await.iam()
}

/// The store that moto plays.
async fn store() -> Provider {
    let gate = Gate::new(1_000, Meter::default(), Fence::default());
    let account = Account {
        dialect: &amazon::AWS,
        partition: Partition::AWS,
        id: MOTO_ACCOUNT.to_owned(),
        settings: Settings::default(),
    };
    Provider::Aws(Aws::new(client().await, Arc::new(gate), Clock::default(), account))
}

/// A user of the operator's kind, created with the operator's own verbs.
async fn user(uid: &str) -> Result<(Client, Provider, PrincipalSpec)> {
    let store = store().await;
    let owner = Owner { cluster: "cluster".into(), uid: uid.into(), ..Owner::default() };
    let spec = store.principal(owner);
    store.create(&spec).await?;
    Ok((client().await, store, spec))
}

fn path(spec: &PrincipalSpec) -> String {
    names::default_path(&spec.owner.cluster)
}

fn policy_arn(spec: &PrincipalSpec) -> String {
    format!("arn:aws:iam::{MOTO_ACCOUNT}:policy{}{}", path(spec), spec.name.name)
}

async fn observed(store: &Provider, spec: &PrincipalSpec) -> Observed {
    match store.observe(spec, &Questions::default()).await {
        Ok(Principal::Ours(ours)) => ours,
        other => panic!("not ours: {other:?}"),
    }
}

fn are(rights: &Rights, document: &PolicyDocument) -> bool {
    rights.are(document, &amazon::AWS.limits)
}

fn kind<T>(outcome: Result<T, Error>) -> Option<Kind> {
    outcome.err().map(|error| error.kind)
}

#[tokio::test]
async fn a_third_key_is_beyond_the_limit() {
    let (_, store, spec) = user("third-key").await.expect("created");
    let first = store.create_key(&spec).await.expect("the first key").key.id;
    store.create_key(&spec).await.expect("the second key");
    assert_eq!(kind(store.create_key(&spec).await), Some(Kind::LimitExceeded));

    store.set_key_active(&spec, &first, false).await.expect("switched off");
    assert_eq!(kind(store.create_key(&spec).await), Some(Kind::LimitExceeded), "an inactive key counts");

    store.delete_key(&spec, &first).await.expect("deleted");
    store.create_key(&spec).await.expect("a key for the one that is gone");
    assert_eq!(observed(&store, &spec).await.keys.len(), 2);
}

#[tokio::test]
async fn every_policy_of_ours_is_grammatical_and_comes_back_as_it_was() {
    let (_, store, spec) = user("grammar").await.expect("created");
    for shape in shapes() {
        // No tiers, all, and one between: they share the same few statements.
        for tiers in tier_sets().into_iter().step_by(5) {
            let document = subject::document(Form::Identity, &[declare(&shape, tiers, true)], &holder("aws"));
            put(&store, &spec, &document).await.unwrap_or_else(|error| panic!("{error}: {}", document.to_json()));
            assert!(are(&observed(&store, &spec).await.rights, &document), "{}", document.to_json());
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
            client.put_user_policy().user_name(&spec.name.name).policy_name("p").policy_document(policy.to_string());
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
async fn put(store: &Provider, spec: &PrincipalSpec, document: &PolicyDocument) -> Result<(), Error> {
    let before = observed(store, spec).await.rights;
    let form = spec.limits.form(document).expect("it fits");
    store.put_rights(spec, document, form, &before).await
}

#[tokio::test]
async fn a_user_goes_when_nothing_hangs_on_it_any_more() {
    let (_, store, spec) = user("deleted").await.expect("created");
    assert_eq!(kind(store.create(&spec).await), Some(Kind::AlreadyExists));
    put(&store, &spec, &document("a/")).await.expect("written");
    let key = store.create_key(&spec).await.expect("created").key.id;
    assert!(matches!(kind(store.remove(&spec).await), Some(Kind::DeleteConflict(_))));

    // The order in which the operator takes a principal away; each step may be done twice.
    let rights = observed(&store, &spec).await.rights;
    for _ in 0..2 {
        store.delete_key(&spec, &key).await.expect("the key goes");
        store.remove_rights(&spec, &rights).await.expect("the policy goes");
    }
    for _ in 0..2 {
        store.remove(&spec).await.expect("the user goes");
    }
    assert_eq!(store.observe(&spec, &Questions::default()).await, Ok(Principal::Absent));
    let gone = store.put_rights(&spec, &document("a/"), PolicyForm::Inline, &Rights::default()).await;
    assert_eq!(kind(gone), Some(Kind::NotFound));
}

#[tokio::test]
async fn a_managed_policy_is_pruned_and_goes_in_order() {
    let (client, store, spec) = user("managed").await.expect("created");
    for folder in 0..8 {
        put(&store, &spec, &large(folder)).await.expect("one more version");
        assert!(are(&observed(&store, &spec).await.rights, &large(folder)), "the newest version counts");
        let versions = client.list_policy_versions().policy_arn(policy_arn(&spec)).send().await.expect("listed");
        assert!(versions.versions.unwrap_or_default().len() <= 5);
    }
    assert!(matches!(kind(store.remove(&spec).await), Some(Kind::DeleteConflict(_))), "it is attached");

    let small = document("a/");
    put(&store, &spec, &small).await.expect("back to an inline one");
    let rights = observed(&store, &spec).await.rights;
    assert!(are(&rights, &small) && rights.place(PolicyForm::Managed).is_none(), "{rights:?}");

    put(&store, &spec, &large(0)).await.expect("managed again");
    let rights = observed(&store, &spec).await.rights;
    store.remove_rights(&spec, &rights).await.expect("it goes with its versions");
    store.remove(&spec).await.expect("nothing hangs on it");
}

#[tokio::test]
async fn a_move_that_was_cut_off_is_taken_up() {
    let (client, store, spec) = user("cut-off").await.expect("created");
    put(&store, &spec, &document("a/")).await.expect("inline");
    // Created and not attached, as after a crash between the two.
    let text = large(0).to_json();
    let created = client.create_policy().policy_name(&spec.name.name).path(path(&spec)).policy_document(text);
    created.set_tags(Some(tags(&spec))).send().await.expect("created");
    let rights = observed(&store, &spec).await.rights;
    let known = StoredPolicy::Known(Meaning::read(&large(0).to_json()).expect("ours"));
    let place = rights.place(PolicyForm::Managed).expect("it is there");
    assert_eq!((&place.document, place.in_force), (&known, false));
    put(&store, &spec, &large(0)).await.expect("taken up");
    assert!(are(&observed(&store, &spec).await.rights, &large(0)));
}

#[tokio::test]
async fn a_policy_of_our_name_that_lost_its_tags_still_counts() {
    let (client, store, spec) = user("lost-tags").await.expect("created");
    put(&store, &spec, &large(0)).await.expect("written");
    let keys = tags(&spec).into_iter().map(|tag| tag.key).collect();
    client.untag_policy().policy_arn(policy_arn(&spec)).set_tag_keys(Some(keys)).send().await.expect("untagged");
    let seen = observed(&store, &spec).await;
    assert!(seen.rights.occupied.is_some(), "{seen:?}");
    let added: Vec<&String> = seen.deviating(DeviationKind::Addition).map(|addition| &addition.what).collect();
    assert_eq!(added, [&policy_arn(&spec)], "what it gives is not forgotten");
}

fn tags(spec: &PrincipalSpec) -> Vec<aws_sdk_iam::types::Tag> {
    let pairs = [(names::tag::UID, &spec.owner.uid), (names::tag::CLUSTER, &spec.owner.cluster)];
    let tag = |(key, value): (&str, &String)| aws_sdk_iam::types::Tag::builder().key(key).value(value).build();
    pairs.into_iter().map(|pair| tag(pair).expect("key and value")).collect()
}

fn document(folder: &str) -> PolicyDocument {
    subject::document(Form::Identity, &[declare(folder, [].into(), false)], &holder("aws"))
}

/// Too large for an inline policy.
fn large(number: usize) -> PolicyDocument {
    let deep = format!("{number}{}", "/nine-char".repeat(25)) + "/";
    let document = subject::document(Form::Identity, &[declare(&deep, [].into(), true)], &holder("aws"));
    assert_eq!(amazon::AWS.limits.form(&document), Some(PolicyForm::Managed));
    document
}
