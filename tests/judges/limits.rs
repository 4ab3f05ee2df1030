//! IAM's limits, its grammar of policies and its order of deletions, which the stand-in of the other tests does not know.
//!
//! moto, which knows them, has gaps of its own: it enforces no policy, takes a policy of any size and any name of an action
//! that has one colon, any statement id and a principal in an identity policy; it lets a user go who still has keys, and a
//! managed policy that is still attached. Nothing here relies on those.

use anyhow::Result;
use aws_sdk_iam::{Client, error::ProvideErrorMetadata};
use backup_target_operator::{
    access::PolicyDocument,
    names,
    store::{Error, Kind, Principal, StoredPolicy, User, UserSpec, aws::Iam},
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

/// A client of the server that all tests here share. It is never dropped, and ends with this program all the same.
async fn client() -> Client {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    let moto = MOTO.get_or_init(async || Moto::start(&Run::begin("moto").expect("a folder")).await.expect("moto runs"));
    moto.await.iam()
}

/// A user of the operator's kind, created with the operator's own verbs.
async fn user(name: &str) -> Result<(Client, Iam, UserSpec)> {
    let client = client().await;
    let iam = Iam::new(client.clone());
    let tags = [names::tag::UID, names::tag::CLUSTER].map(|tag| (tag.to_owned(), "1".to_owned()));
    let path = names::default_path("cluster");
    let spec = UserSpec { name: name.to_owned(), path, tags: tags.into(), boundary: None };
    iam.create_user(&spec).await?;
    Ok((client, iam, spec))
}

async fn observed(iam: &Iam, spec: &UserSpec) -> User {
    match iam.observe(spec, &[]).await {
        Ok(Principal::Ours(user)) => user,
        other => panic!("not ours: {other:?}"),
    }
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
            let policy = subject::policy(Form::Identity, &[declare(&shape, tiers, true)], &holder("aws"));
            let document = PolicyDocument::read(&policy.to_string()).expect("the reader knows what the writer writes");
            iam.put_policy(&spec.name, &document).await.unwrap_or_else(|error| panic!("{error}: {policy}"));
            assert_eq!(observed(&iam, &spec).await.policy, StoredPolicy::Known(document), "{policy}");
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
        // As the reference document was printed.
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

#[tokio::test]
async fn a_user_goes_when_nothing_hangs_on_it_any_more() {
    let (_, iam, spec) = user("deleted").await.expect("created");
    assert_eq!(kind(iam.create_user(&spec).await), Some(Kind::AlreadyExists));
    let policy = subject::policy(Form::Identity, &[declare("a/", [].into(), false)], &holder("aws"));
    let document = PolicyDocument::read(&policy.to_string()).expect("ours");
    iam.put_policy(&spec.name, &document).await.expect("written");
    let key = iam.create_key(&spec.name).await.expect("created").key.id;
    assert_eq!(kind(iam.delete_user(&spec.name).await), Some(Kind::DeleteConflict));

    // The order in which the operator takes a principal away; each step may be done twice.
    for _ in 0..2 {
        iam.delete_key(&spec.name, &key).await.expect("the key goes");
        iam.delete_policy(&spec.name).await.expect("the policy goes");
    }
    for _ in 0..2 {
        iam.delete_user(&spec.name).await.expect("the user goes");
    }
    assert_eq!(iam.observe(&spec, &[]).await, Ok(Principal::Absent));
    assert_eq!(kind(iam.put_policy(&spec.name, &document).await), Some(Kind::NotFound));
}

#[tokio::test]
async fn a_managed_policy_has_five_versions_and_goes_in_order() {
    let (client, iam, spec) = user("managed").await.expect("created");
    let policy = Managed::create(&client, &spec, "managed-policy", "a/").await.expect("created");
    assert_eq!(kind(iam.delete_user(&spec.name).await), Some(Kind::DeleteConflict), "it is attached");
    for folder in ["b/", "c/", "d/", "e/"] {
        policy.new_version(folder).await.expect("one of the first five versions");
    }
    assert_eq!(policy.new_version("f/").await, Err("LimitExceeded".to_owned()));
    assert_eq!(policy.delete_version("v5").await, Err("DeleteConflict".to_owned()), "it is the one that counts");

    policy.prune().await.expect("pruned");
    policy.new_version("f/").await.expect("there is room again");
    assert!(policy.text().await.contains("/f/*"), "the newest version counts");

    policy.remove().await.expect("removed");
    iam.delete_user(&spec.name).await.expect("nothing hangs on it");
}

/// A managed policy, handled in the order that IAM wants. To be replaced by the operator's own verbs when it has them.
struct Managed<'a> {
    client: &'a Client,
    user: &'a str,
    arn: String,
}

/// The error's code.
type Coded<T = ()> = Result<T, String>;

fn coded<T, E: ProvideErrorMetadata>(outcome: Result<T, E>) -> Coded<T> {
    outcome.map_err(|error| error.code().unwrap_or("no code").to_owned())
}

fn document(folder: &str) -> String {
    subject::policy(Form::Identity, &[declare(folder, [].into(), false)], &holder("aws")).to_string()
}

impl<'a> Managed<'a> {
    async fn create(client: &'a Client, spec: &'a UserSpec, name: &str, folder: &str) -> Coded<Self> {
        let request = client.create_policy().policy_name(name).path(&spec.path).policy_document(document(folder));
        let created = coded(request.send().await)?.policy.and_then(|policy| policy.arn);
        let policy = Self { client, user: &spec.name, arn: created.ok_or("no ARN")? };
        coded(client.attach_user_policy().user_name(policy.user).policy_arn(&policy.arn).send().await)?;
        Ok(policy)
    }

    async fn new_version(&self, folder: &str) -> Coded {
        let request = self.client.create_policy_version().policy_arn(&self.arn).policy_document(document(folder));
        coded(request.set_as_default(true).send().await).map(drop)
    }

    async fn delete_version(&self, id: &str) -> Coded {
        coded(self.client.delete_policy_version().policy_arn(&self.arn).version_id(id).send().await).map(drop)
    }

    /// All but the version that counts.
    async fn prune(&self) -> Coded {
        let listed = coded(self.client.list_policy_versions().policy_arn(&self.arn).send().await)?;
        let old = listed.versions.unwrap_or_default().into_iter().filter(|version| !version.is_default_version);
        for id in old.filter_map(|version| version.version_id) {
            self.delete_version(&id).await?;
        }
        Ok(())
    }

    async fn text(&self) -> String {
        let policy = self.client.get_policy().policy_arn(&self.arn).send().await.expect("there").policy;
        let id = policy.and_then(|policy| policy.default_version_id).expect("a version");
        let version =
            self.client.get_policy_version().policy_arn(&self.arn).version_id(id).send().await.expect("there");
        let encoded = version.policy_version.and_then(|version| version.document).expect("a document");
        percent_encoding::percent_decode_str(&encoded).decode_utf8().expect("UTF-8").into_owned()
    }

    async fn remove(&self) -> Coded {
        coded(self.client.detach_user_policy().user_name(self.user).policy_arn(&self.arn).send().await)?;
        self.prune().await?;
        coded(self.client.delete_policy().policy_arn(&self.arn).send().await).map(drop)
    }
}
