//! AWS IAM: users and access keys, in the operator's own words. Policies have a file of their own.

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_iam::{
    Client,
    config::{http::HttpResponse, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{StatusType, Tag},
};
use jiff::Timestamp;

use super::{
    CreatedKey, Error, Key, Kind, Managed, Owner, Policies, Principal, User, UserSpec,
    answers::{List, key_id, word},
    clock::Clock,
    gate::Gate,
    throttle::Turn,
};
use crate::{
    access::rclone::AccessKey,
    names::{self, tag},
};

/// The IAM of one account.
#[derive(Clone, Debug)]
pub struct Iam {
    pub(super) client: Client,
    gate: Arc<Gate>,
    clock: Clock,
    turn: Turn,
}

/// What is asked about a principal beyond what is always asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// Access keys whose last use matters.
    pub keys: Vec<String>,
    /// Whether there may be a managed policy.
    pub managed_policy: bool,
}

/// A user, as a list shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Iam {
    /// Wraps a configured client, whose answers set that clock.
    #[must_use]
    pub fn new(client: Client, gate: Arc<Gate>, clock: Clock) -> Self {
        Self { client, gate, clock, turn: Turn::default() }
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The same for somebody's requests.
    #[must_use]
    pub fn for_turn(&self, turn: Turn) -> Self {
        Self { turn, ..self.clone() }
    }

    /// Sends a request through the gate, and reads its answer.
    pub(super) async fn call<T, E>(
        &self,
        action: &'static str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Error>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let call = Box::pin(async { request.await.map_err(|error| Error::from_sdk(action, &error, &self.clock)) });
        self.gate.pass(action, &self.turn, call).await
    }

    /// Looks at the principal and all that hangs on it.
    ///
    /// # Errors
    /// When IAM cannot be read.
    pub async fn observe(&self, spec: &UserSpec, questions: &Questions) -> Result<Principal, Error> {
        let action = "iam:GetUser";
        let found = match self.call(action, self.client.get_user().user_name(&spec.name).send()).await {
            Ok(output) => output.user.ok_or(Error::new(action, Kind::Unreadable))?,
            Err(Error { kind: Kind::NotFound, .. }) => return Ok(Principal::Absent),
            Err(error) => return Err(error),
        };
        let path = word(action, found.path)?;
        // IAM never gives an id twice: what had this one when this operator last saw it as its own is the same user, though
        // its tags may be gone. Tags that say something else are somebody's word, such as a cluster's that was copied.
        let is_known = spec.known_id.as_ref() == Some(&found.user_id);
        let given = found.tags.unwrap_or_default();
        if let Some(whose) = owner(spec, &path, &given, is_known) {
            return Ok(Principal::Foreign { whose });
        }
        let mut keys = self.keys(&spec.name).await?;
        for key in keys.iter_mut().filter(|key| questions.keys.contains(&key.id)) {
            key.last_used = self.last_used(&key.id).await?;
        }
        let tagged = tags(spec).iter().all(|tag| given.contains(tag));
        let [held, retained] = [tag::HOLD, tag::RETAINED].map(|key| given.iter().any(|tag| tag.key() == key));
        let (mut additions, attached) = self.additions(spec).await?;
        let policies = self.policies(spec, attached, questions.managed_policy).await?;
        if attached && matches!(policies.managed, Managed::Foreign { .. }) {
            // It has our name, is not known for ours, and gives our principal rights all the same.
            additions.attached.push(spec.policy_arn.clone());
        }
        let boundary = found.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
        let boundary = boundary.map(|arn| word(action, arn)).transpose()?;
        Ok(Principal::Ours(User {
            id: word(action, found.user_id)?,
            boundary,
            tagged,
            policies,
            keys,
            additions,
            held,
            retained,
        }))
    }

    async fn keys(&self, user: &str) -> Result<Vec<Key>, Error> {
        let action = "iam:ListAccessKeys";
        let mut pages = self.client.list_access_keys().user_name(user).into_paginator().send();
        let (mut keys, mut list) = (Vec::new(), List::default());
        while let Some(page) = self.call(action, async { pages.next().await.transpose() }).await? {
            for listed in page.access_key_metadata {
                keys.push(Key {
                    id: key_id(action, listed.access_key_id.unwrap_or_default())?,
                    created_at: listed.create_date.as_ref().map_or(Timestamp::UNIX_EPOCH, timestamp),
                    active: listed.status == Some(StatusType::Active),
                    last_used: None,
                });
            }
            list.page(action, keys.len())?;
        }
        Ok(keys)
    }

    async fn last_used(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        let request = self.client.get_access_key_last_used().access_key_id(key).send();
        let output = self.call("iam:GetAccessKeyLastUsed", request).await?;
        Ok(output.access_key_last_used.and_then(|used| used.last_used_date.as_ref().map(timestamp)))
    }

    /// All users under a path, with their tags.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn users_under(&self, path: &str) -> Result<Vec<Listed>, Error> {
        let mut pages = self.client.list_users().path_prefix(path).into_paginator().send();
        let mut users = Vec::new();
        while let Some(page) = self.call("iam:ListUsers", async { pages.next().await.transpose() }).await? {
            for user in page.users {
                let tags = self.tags_of(&user.user_name).await?;
                users.push(Listed { name: user.user_name, tags });
            }
        }
        Ok(users)
    }

    /// A list of users does not show them.
    async fn tags_of(&self, user: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self.call("iam:ListUserTags", self.client.list_user_tags().user_name(user).send()).await?;
        Ok(answer.tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// Creates the principal with everything that marks it as ours, and returns its unique id.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] when there is one of that name, ours or not.
    pub async fn create_user(&self, spec: &UserSpec) -> Result<String, Error> {
        let action = "iam:CreateUser";
        let request = self.client.create_user().user_name(&spec.name).path(&spec.path).set_tags(Some(tags(spec)));
        let request = request.set_permissions_boundary(spec.boundary.clone()).send();
        let created = self.call(action, request).await?.user.ok_or(Error::new(action, Kind::Unreadable))?;
        word(action, created.user_id)
    }

    /// Sets the permissions boundary.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn set_boundary(&self, user: &str, boundary: &str) -> Result<(), Error> {
        let request = self.client.put_user_permissions_boundary().user_name(user).permissions_boundary(boundary);
        self.call("iam:PutUserPermissionsBoundary", request.send()).await.map(|_| ())
    }

    /// Creates a key, and never tries twice: the call has no idempotency token, so a second try could make a second key
    /// (docs/decisions/key-creation.md).
    ///
    /// # Errors
    /// [`Error::is_definite`] tells whether a key may exist nevertheless.
    pub async fn create_key(&self, user: &str) -> Result<CreatedKey, Error> {
        let action = "iam:CreateAccessKey";
        let once = aws_sdk_iam::config::Builder::new().retry_config(RetryConfig::disabled());
        let request = self.client.create_access_key().user_name(user).customize().config_override(once);
        let output = self.call(action, request.send()).await?;
        let key = output.access_key.ok_or(Error::new(action, Kind::Unreadable))?;
        Ok(CreatedKey {
            created_at: key.create_date.as_ref().map_or_else(|| self.clock.now(), timestamp),
            key: AccessKey { id: key_id(action, key.access_key_id)?, secret: key.secret_access_key.into() },
        })
    }

    /// Switches a key on or off.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn set_key_active(&self, user: &str, key: &str, active: bool) -> Result<(), Error> {
        let status = if active { StatusType::Active } else { StatusType::Inactive };
        let request = self.client.update_access_key().user_name(user).access_key_id(key).status(status);
        self.call("iam:UpdateAccessKey", request.send()).await.map(|_| ())
    }

    /// Deletes a key; one that is gone is fine.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn delete_key(&self, user: &str, key: &str) -> Result<(), Error> {
        let request = self.client.delete_access_key().user_name(user).access_key_id(key);
        gone(self.call("iam:DeleteAccessKey", request.send()).await)
    }

    /// Deletes the principal; one that is gone is fine.
    ///
    /// # Errors
    /// [`Kind::DeleteConflict`] when something that is not ours hangs on it.
    pub async fn delete_user(&self, user: &str) -> Result<(), Error> {
        gone(self.call("iam:DeleteUser", self.client.delete_user().user_name(user).send()).await)
    }

    /// Puts the tags that say whose the principal is.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn tag(&self, spec: &UserSpec) -> Result<(), Error> {
        let request = self.client.tag_user().user_name(&spec.name).set_tags(Some(tags(spec)));
        self.call("iam:TagUser", request.send()).await.map(|_| ())
    }

    /// Marks the principal as left behind on purpose, and its managed policy before it: what has the mark, the operator may
    /// give nothing more.
    ///
    /// # Errors
    /// When IAM refuses or does not answer.
    pub async fn tag_retained(&self, spec: &UserSpec, policies: &Policies) -> Result<(), Error> {
        let retained = new_tag(tag::RETAINED, "true");
        if matches!(policies.managed, Managed::Ours { .. }) {
            let request = self.client.tag_policy().policy_arn(&spec.policy_arn).tags(retained.clone());
            self.call("iam:TagPolicy", request.send()).await?;
        }
        let request = self.client.tag_user().user_name(&spec.name).tags(retained);
        self.call("iam:TagUser", request.send()).await.map(|_| ())
    }
}

/// Whose a user of our name is, if it is not this target's.
fn owner(spec: &UserSpec, path: &str, tags: &[Tag], may_lack_tags: bool) -> Option<Owner> {
    let is_elsewhere = path != spec.path;
    let uid = value(tags, tag::UID);
    let by_path = || names::cluster_of_default_path(path).filter(|_| is_elsewhere);
    let cluster = value(tags, tag::CLUSTER).or_else(by_path);
    let other = cluster.filter(|id| spec.tags.get(tag::CLUSTER).is_none_or(|ours| ours != id));
    if let Some(id) = other.filter(|_| uid.is_none_or(|uid| spec.tags.get(tag::UID).is_some_and(|ours| ours == uid))) {
        return Some(Owner::Cluster { id: id.to_owned(), path: path.to_owned() });
    }
    if is_elsewhere {
        return Some(Owner::Other(format!("its path is {path}, not {}", spec.path)));
    }
    foreign(spec, tags, may_lack_tags).map(Owner::Other)
}

fn value<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == key).map(Tag::value)
}

/// What shows that a user or policy is not this target's; its name alone proves nothing.
pub(super) fn foreign(spec: &UserSpec, tags: &[Tag], may_lack_tags: bool) -> Option<String> {
    [tag::UID, tag::CLUSTER].into_iter().find_map(|key| {
        let value = value(tags, key);
        let excused = value.is_none() && may_lack_tags;
        (!excused && value != spec.tags.get(key).map(String::as_str))
            .then(|| format!("its tag {key} is not this target's"))
    })
}

pub(super) fn tags(spec: &UserSpec) -> Vec<Tag> {
    spec.tags.iter().map(|(key, value)| new_tag(key, value)).collect()
}

fn new_tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build().expect("key and value are set")
}

fn timestamp(time: &DateTime) -> Timestamp {
    Timestamp::from_second(time.secs()).unwrap_or_default()
}

/// What was to be deleted and is not there any more is fine.
pub(super) fn gone<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Ok(_) | Err(Error { kind: Kind::NotFound, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> UserSpec {
        UserSpec {
            name: "btgt-1".into(),
            path: "/backup-target/c/".into(),
            boundary: None,
            known_id: None,
            policy_arn: "arn:aws:iam::123456789012:policy/backup-target/c/btgt-1".into(),
            tags: [(tag::UID.to_owned(), "1".to_owned()), (tag::CLUSTER.to_owned(), "c".to_owned())].into(),
        }
    }

    #[test]
    fn another_clusters_user_is_told_from_what_is_nobodys() {
        let (here, elsewhere) = ("/backup-target/c/", "/backup-target/d/");
        let of = |cluster: &str| vec![new_tag(tag::UID, "1"), new_tag(tag::CLUSTER, cluster)];
        let cluster = |path: &str| Some(Owner::Cluster { id: "d".into(), path: path.into() });
        assert_eq!(owner(&spec(), here, &of("c"), false), None);
        assert_eq!(owner(&spec(), elsewhere, &of("d"), false), cluster(elsewhere));
        assert_eq!(owner(&spec(), here, &of("d"), true), cluster(here), "clusters that share a path");
        assert_eq!(owner(&spec(), elsewhere, &[], false), cluster(elsewhere), "by its path alone");
        let others = [
            (elsewhere, of("c")),
            ("/else/", of("c")),
            ("/else/", Vec::new()),
            (here, Vec::new()),
            (here, vec![new_tag(tag::UID, "2"), new_tag(tag::CLUSTER, "d")]),
        ];
        for (path, tags) in others {
            assert!(matches!(owner(&spec(), path, &tags, false), Some(Owner::Other(_))), "{path} {tags:?}");
        }
    }

    #[test]
    fn ownership_needs_both_tags() {
        let ours = [new_tag(tag::UID, "1"), new_tag(tag::CLUSTER, "c"), new_tag("other", "x")];
        assert_eq!(foreign(&spec(), &ours, false), None);
        assert!(foreign(&spec(), &[], false).is_some());
        assert_eq!(foreign(&spec(), &[], true), None, "a known one may have lost its tags");
        assert!(foreign(&spec(), &[new_tag(tag::UID, "2"), new_tag(tag::CLUSTER, "c")], true).is_some());
        assert!(foreign(&spec(), &[new_tag(tag::UID, "1"), new_tag(tag::CLUSTER, "d")], true).is_some());
    }
}
