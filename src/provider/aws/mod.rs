//! The family of AWS's IAM API: users and access keys, in the operator's own words. Policies have a file of their own.

pub mod amazon;
pub mod connect;
mod credentials;
mod denial;
pub mod dialect;
mod listener;
pub mod operator_policy;
mod policies;
pub mod regions;
mod replaced_policies;
mod sdk_error;
pub mod seaweedfs;
pub mod settings;
#[cfg(test)]
mod tests;
mod user;

pub use listener::Listener;
pub use user::Fix;

use std::{collections::BTreeMap, sync::Arc};

use aws_sdk_iam::{
    Client,
    config::http::HttpResponse,
    error::{ProvideErrorMetadata, SdkError},
    primitives::DateTime,
    types::{StatusType, Tag},
};
use jiff::Timestamp;

use super::{
    CreatedKey, Error, Key, KeySource, Kind, Limits, Listed, Observed, Owner, Principal, PrincipalName, PrincipalSpec,
    Questions, Rights,
    answers::{List, key_id, word},
    clock::Clock,
    gate::Gate,
    rate_limiter::Turn,
};
use crate::{
    access::{Partition, rclone::AccessKey},
    api::{backup_store, backup_target::PolicyForm},
    names::{self, tag},
};
use dialect::{Dialect, Ownership, PolicyChange};
use settings::Settings;
use user::{UserSpec, new_tag};

const GET_USER: &str = "iam:GetUser";

/// The IAM of one account.
#[derive(Clone, Debug)]
pub struct Aws {
    client: Client,
    gate: Arc<Gate>,
    clock: Clock,
    turn: Turn,
    account: Arc<Account>,
}

/// Where the users are, and how they are spoken of.
#[derive(Debug)]
pub struct Account {
    /// How the store speaks.
    pub dialect: &'static Dialect,
    /// The partition.
    pub partition: Partition,
    /// Its id.
    pub id: String,
    /// What the store's administrator says about users.
    pub settings: Settings,
}

/// How a store of that provider speaks.
#[must_use]
pub fn dialect(provider: backup_store::Provider) -> &'static Dialect {
    match provider {
        // A store of another family has no such API, and that family answers for it.
        backup_store::Provider::Aws | backup_store::Provider::StaticKeys => &amazon::AWS,
        backup_store::Provider::SeaweedFs => &seaweedfs::SEAWEEDFS,
    }
}

impl Aws {
    /// Wraps a configured client, whose answers set that clock.
    #[must_use]
    pub fn new(client: Client, gate: Arc<Gate>, clock: Clock, account: Account) -> Self {
        Self { client, gate, clock, turn: Turn::default(), account: Arc::new(account) }
    }

    /// What the store can do.
    #[must_use]
    pub fn limits(&self) -> &'static Limits {
        &self.account.dialect.limits
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

    /// The principal of that owner: known from a target's identity alone, so that it can be removed whatever its spec says.
    #[must_use]
    pub fn principal(&self, owner: Owner) -> PrincipalSpec {
        PrincipalSpec {
            name: PrincipalName { name: names::principal(&owner.uid), words: &self.limits().words },
            limits: self.limits(),
            bound: self.account.settings.boundary.as_ref().map(ToString::to_string),
            access: None,
            owner,
        }
    }

    pub(super) fn user(&self, spec: &PrincipalSpec) -> UserSpec {
        let (account, owner, name) = (&self.account, &spec.owner, &spec.name.name);
        let path = account.settings.path_in(&owner.cluster);
        let policy_arn = match account.dialect.change {
            PolicyChange::Version => {
                format!("arn:{}:iam::{}:policy{path}{name}", account.partition.as_str(), account.id)
            }
            PolicyChange::Replacement => format!("arn:aws:iam:::policy/{name}"),
        };
        UserSpec {
            name: name.clone(),
            path,
            policy_arn,
            known_id: owner.known_id.clone(),
            boundary: spec.bound.clone(),
            tags: [
                (tag::CLUSTER, &owner.cluster),
                (tag::NAMESPACE, &owner.namespace),
                (tag::NAME, &owner.name),
                (tag::UID, &owner.uid),
            ]
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .into(),
            ownership: account.dialect.ownership,
            change: account.dialect.change,
        }
    }

    /// Sends a request through the gate, and reads its answer. One that may pass soon is sent again.
    async fn call<T, E, Q>(&self, action: &'static str, request: impl Fn() -> Q) -> Result<T, Error>
    where
        Q: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let call = || Box::pin(async { request().await.map_err(|error| sdk_error::read(action, &error, &self.clock)) });
        self.gate.pass_again(action, &self.turn, call).await
    }

    /// The same about a user who may be gone: of such a one IAM says that nothing is allowed, unless it is asked whether it is there
    /// (docs/decisions/aws-reality.md).
    async fn about_user<T, E, Q>(&self, user: &str, action: &'static str, request: impl Fn() -> Q) -> Result<T, Error>
    where
        Q: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let answer = self.call(action, request).await;
        self.or_gone(user, answer).await
    }

    async fn or_gone<T>(&self, user: &str, answer: Result<T, Error>) -> Result<T, Error> {
        match answer {
            Err(Error { kind: Kind::Denied(_), action }) if self.is_gone(user).await => {
                Err(Error::new(action, Kind::NotFound))
            }
            answer => answer,
        }
    }

    /// Reads a list, a request for each page. What is taken out of a page is how many entries there are by now, and where the next
    /// one begins.
    async fn list<T, E, Q>(
        &self,
        action: &'static str,
        page: impl Fn(Option<String>) -> Q,
        mut take: impl FnMut(T) -> Result<(usize, Option<String>), Error>,
    ) -> Result<(), Error>
    where
        Q: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let (mut list, mut next) = (List::default(), None);
        loop {
            let (entries, more) = take(self.call(action, || page(next.clone())).await?)?;
            list.page(action, entries)?;
            if more.is_none() {
                return Ok(());
            }
            next = more;
        }
    }

    /// Whether it is certain that there is no such user.
    async fn is_gone(&self, user: &str) -> bool {
        let found = self.call(GET_USER, || self.client.get_user().user_name(user).send()).await;
        matches!(found, Err(Error { kind: Kind::NotFound, .. }))
    }

    pub(super) async fn observe(&self, spec: &UserSpec, questions: &Questions) -> Result<Principal, Error> {
        let action = GET_USER;
        let found = match self.call(action, || self.client.get_user().user_name(&spec.name).send()).await {
            Ok(output) => output.user.ok_or(Error::new(action, Kind::Unreadable))?,
            Err(Error { kind: Kind::NotFound, .. }) => return Ok(Principal::Absent),
            Err(error) => return Err(denial::of_look(error, spec.ownership)),
        };
        let given = self.tags(&spec.name, found.tags).await?;
        let path = match spec.ownership {
            Ownership::PathAndTags => word(action, found.path)?,
            Ownership::TagsAlone => found.path,
        };
        if let Some(whose) = spec.foreign_owner(&path, &found.user_id, &given) {
            return Ok(Principal::Foreign { whose });
        }
        let mut keys = self.keys(&spec.name).await?;
        for key in keys.iter_mut().filter(|key| self.limits().knows_last_use && questions.keys.contains(&key.id)) {
            key.last_used = self.last_used(&key.id).await?;
        }
        let [held, retained] = [tag::HOLD, tag::RETAINED].map(|key| given.iter().any(|tag| tag.key() == key));
        let (mut additions, own) = self.additions(spec).await?;
        let rights = self.rights(spec, &own, questions.only).await?;
        if rights.occupied.is_some() {
            // It has our name, is not known for ours, and gives our principal rights all the same.
            additions.attached.extend(own);
        }
        let boundary = found.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
        let boundary = boundary.map(|arn| word(action, arn)).transpose()?;
        let own = [spec.missing_boundary(boundary.as_ref()), spec.missing_tags(&given)];
        let deviations = own.into_iter().flatten().chain(additions.deviations()).collect();
        let id = if found.user_id.is_empty() { found.user_id } else { word(action, found.user_id)? };
        let source = KeySource::Made;
        Ok(Principal::Ours(Observed { id, rights, deviations, keys, source, held, retained }))
    }

    /// The tags of a user, of which GetUser may have told.
    async fn tags(&self, user: &str, told: Option<Vec<Tag>>) -> Result<Vec<Tag>, Error> {
        match self.account.dialect.ownership {
            Ownership::PathAndTags => Ok(told.unwrap_or_default()),
            Ownership::TagsAlone => {
                Ok(self.call("iam:ListUserTags", || self.client.list_user_tags().user_name(user).send()).await?.tags)
            }
        }
    }

    async fn keys(&self, user: &str) -> Result<Vec<Key>, Error> {
        let action = "iam:ListAccessKeys";
        let mut keys = Vec::new();
        let page = |marker| self.client.list_access_keys().user_name(user).set_marker(marker).send();
        self.list(action, page, |page| {
            for listed in page.access_key_metadata {
                keys.push(Key {
                    id: key_id(action, listed.access_key_id.unwrap_or_default())?,
                    // One of an unknown age may be what an interrupted creation has just made.
                    created_at: listed.create_date.as_ref().map_or_else(|| self.clock.now(), timestamp),
                    active: listed.status == Some(StatusType::Active),
                    last_used: None,
                });
            }
            Ok((keys.len(), next(page.is_truncated, page.marker)))
        })
        .await?;
        Ok(keys)
    }

    async fn last_used(&self, key: &str) -> Result<Option<Timestamp>, Error> {
        let request = || self.client.get_access_key_last_used().access_key_id(key).send();
        let output = self.call("iam:GetAccessKeyLastUsed", request).await?;
        Ok(output.access_key_last_used.and_then(|used| used.last_used_date.as_ref().map(timestamp)))
    }

    /// All users under a path, with their tags. Where users have no path, all that have the tags of a target.
    pub(super) async fn users_under(&self, path: &str) -> Result<Vec<Listed>, Error> {
        let (mut users, mut marker) = (Vec::new(), None::<String>);
        loop {
            let request = || self.client.list_users().path_prefix(path).set_marker(marker.clone()).send();
            let page = self.call("iam:ListUsers", request).await?;
            for user in page.users.into_iter().filter(|user| user.user_name.starts_with(names::PRINCIPAL_PREFIX)) {
                let tags = self.tags_of(&user.user_name).await?;
                users.push(Listed { name: user.user_name, marks: tags });
            }
            // The same once more would be the beginning of a list without end.
            match next(page.is_truncated, page.marker).filter(|next| Some(next) != marker.as_ref()) {
                Some(next) => marker = Some(next),
                None => return Ok(users),
            }
        }
    }

    /// A list of users does not show them.
    async fn tags_of(&self, user: &str) -> Result<BTreeMap<String, String>, Error> {
        let answer = self.call("iam:ListUserTags", || self.client.list_user_tags().user_name(user).send()).await?;
        Ok(answer.tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    pub(super) async fn create_user(&self, spec: &UserSpec) -> Result<Observed, Error> {
        let action = "iam:CreateUser";
        let request = self.client.create_user().user_name(&spec.name).path(&spec.path).set_tags(Some(spec.tags()));
        let request = request.set_permissions_boundary(spec.boundary.clone());
        let created =
            self.call(action, || request.clone().send()).await?.user.ok_or(Error::new(action, Kind::Unreadable))?;
        if spec.ownership == Ownership::TagsAlone {
            self.tag(spec).await?;
            return Ok(Observed::default());
        }
        Ok(Observed { id: word(action, created.user_id)?, ..Observed::default() })
    }

    pub(super) async fn amend(&self, spec: &UserSpec, fix: &Fix) -> Result<(), Error> {
        match fix {
            Fix::SetBoundary(boundary) => self.set_boundary(&spec.name, boundary).await,
            Fix::Tag => self.tag(spec).await,
            Fix::DeleteInline(name) => self.delete_inline(spec, name).await,
            Fix::Detach(arn) => self.detach(spec, arn).await,
            Fix::None => Ok(()),
        }
    }

    async fn set_boundary(&self, user: &str, boundary: &str) -> Result<(), Error> {
        let request = self.client.put_user_permissions_boundary().user_name(user).permissions_boundary(boundary);
        self.about_user(user, "iam:PutUserPermissionsBoundary", || request.clone().send()).await.map(|_| ())
    }

    /// Creates a key, and never tries twice: the call has no idempotency token, so a second try could make a second key
    /// (docs/decisions/key-creation.md).
    pub(super) async fn create_key(&self, user: &str) -> Result<CreatedKey, Error> {
        let action = sdk_error::CREATE_KEY;
        let request = self.client.create_access_key().user_name(user).send();
        let once = Box::pin(async { request.await.map_err(|error| sdk_error::read(action, &error, &self.clock)) });
        let answer = self.gate.pass(action, &self.turn, once).await;
        let output = self.or_gone(user, answer).await?;
        let key = output.access_key.ok_or(Error::new(action, Kind::Unreadable))?;
        Ok(CreatedKey {
            created_at: key.create_date.as_ref().map_or_else(|| self.clock.now(), timestamp),
            key: AccessKey { id: key_id(action, key.access_key_id)?, secret: key.secret_access_key.into() },
        })
    }

    /// Switches a key on or off.
    pub(super) async fn set_key_active(&self, user: &str, key: &str, active: bool) -> Result<(), Error> {
        let status = if active { StatusType::Active } else { StatusType::Inactive };
        let request = self.client.update_access_key().user_name(user).access_key_id(key).status(status);
        self.about_user(user, "iam:UpdateAccessKey", || request.clone().send()).await.map(|_| ())
    }

    /// Deletes a key; one that is gone is fine.
    pub(super) async fn delete_key(&self, user: &str, key: &str) -> Result<(), Error> {
        let request = self.client.delete_access_key().user_name(user).access_key_id(key);
        gone(self.about_user(user, "iam:DeleteAccessKey", || request.clone().send()).await)
    }

    /// Deletes the principal; one that is gone is fine. Where policies are replaced, a look finds those that are attached, so what
    /// an interrupted change or removal left detached goes now, while its owner is still known.
    pub(super) async fn delete_user(&self, spec: &UserSpec) -> Result<(), Error> {
        if spec.change == PolicyChange::Replacement {
            self.delete_replaced_policies(spec).await?;
        }
        let request = || self.client.delete_user().user_name(&spec.name).send();
        gone(self.about_user(&spec.name, "iam:DeleteUser", request).await)
    }

    /// Puts the tags that say whose the principal is.
    async fn tag(&self, spec: &UserSpec) -> Result<(), Error> {
        let request = self.client.tag_user().user_name(&spec.name).set_tags(Some(spec.tags()));
        self.about_user(&spec.name, "iam:TagUser", || request.clone().send()).await.map(|_| ())
    }

    /// Marks the principal as left behind on purpose, and its managed policy before it: what has the mark, the operator may
    /// give nothing more.
    pub(super) async fn tag_retained(&self, spec: &UserSpec, rights: &Rights) -> Result<(), Error> {
        let retained = new_tag(tag::RETAINED, "true");
        if rights.place(PolicyForm::Managed).is_some() && spec.ownership == Ownership::PathAndTags {
            let request = self.client.tag_policy().policy_arn(&spec.policy_arn).tags(retained.clone());
            self.call("iam:TagPolicy", || request.clone().send()).await?;
        }
        let request = self.client.tag_user().user_name(&spec.name).tags(retained);
        self.about_user(&spec.name, "iam:TagUser", || request.clone().send()).await.map(|_| ())
    }
}

fn timestamp(time: &DateTime) -> Timestamp {
    Timestamp::from_second(time.secs()).unwrap_or_default()
}

/// Where the next page of a list begins, if there is one.
fn next(is_truncated: bool, marker: Option<String>) -> Option<String> {
    marker.filter(|marker| is_truncated && !marker.is_empty())
}

/// What was to be deleted and is not there any more is fine.
fn gone<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Ok(_) | Err(Error { kind: Kind::NotFound, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
