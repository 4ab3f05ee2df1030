//! Does the planned steps, one after the other, and keeps the state true after each.

use jiff::Timestamp;
use kube::ResourceExt;
use secrecy::{ExposeSecret, SecretString};

use super::{
    decide::{Goal, Provide},
    error::Error,
    overlap,
    plan::{KeyEnd, PutPolicy, Step, WriteSecret},
    record::Found,
    state::State,
    verification::{self, Failure},
};
use crate::{
    access::rclone::AccessKey,
    api::{
        BackupTarget,
        backup_target::{DeletionPolicy, KeyIntent},
        condition::reason,
    },
    cluster::{self, Cluster, NewSecret, Note, OwnedSecret},
    controller::unpublished_keys::UnpublishedKeys,
    names::ObjectName,
    probe::{self, Depth, Limits, Proof, Reach},
    store::{
        self, Owner, Principal, UserSpec,
        aws::{CreatedKey, Iam},
    },
};

/// Where steps are done, and what comes of them.
pub struct Executor<'a> {
    /// The Kubernetes API.
    pub cluster: &'a Cluster,
    /// The store's IAM.
    pub iam: &'a Iam,
    /// The principal.
    pub user: &'a UserSpec,
    /// The goal that the steps lead to.
    pub goal: &'a Goal,
    /// The target as it is now, after our own writes.
    pub target: BackupTarget,
    /// Brought up to date after each step.
    pub state: State,
    /// What a person should notice.
    pub notes: Vec<Note>,
    /// Whether the target was let go.
    pub released: bool,
    /// Whether the principal was there before, and had to be created again.
    user_was_lost: bool,
    /// Nonce of the intent that this plan wrote, and when a key was last begun before it.
    intent: Option<(String, Option<Timestamp>)>,
    /// The last proof, if one was made.
    pub proof: Option<Proof>,
    unpublished_keys: &'a UnpublishedKeys,
    reach: Reach<'a>,
}

/// What steps are done with.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// The Kubernetes API.
    pub cluster: &'a Cluster,
    /// The store's IAM.
    pub iam: &'a Iam,
    /// Keys that are not published yet.
    pub unpublished_keys: &'a UnpublishedKeys,
    /// The way to the store's S3, for proofs.
    pub reach: Reach<'a>,
}

impl<'a> Executor<'a> {
    /// Starts with nothing done.
    #[must_use]
    pub fn new(tools: Tools<'a>, user: &'a UserSpec, goal: &'a Goal, target: BackupTarget, state: State) -> Self {
        let Tools { cluster, iam, unpublished_keys, reach } = tools;
        Self {
            cluster,
            iam,
            user,
            goal,
            target,
            state,
            notes: Vec::new(),
            released: false,
            user_was_lost: false,
            intent: None,
            proof: None,
            unpublished_keys,
            reach,
        }
    }

    /// Does one step.
    ///
    /// # Errors
    /// When the step failed; the state says what was done before.
    pub async fn execute(&mut self, step: Step) -> Result<(), Error> {
        if let Step::Claim(intent) | Step::OpenIntent(intent) = &step {
            // One that takes the place of another that is open stands for what that may still bring, too.
            let is_first = self.state.open_intent().is_none();
            self.intent = is_first.then(|| (intent.nonce.clone(), self.state.status.last_reissue));
        }
        let creates_user = matches!(step, Step::CreateUser);
        let result = self.act(step).await;
        // A principal that was there all along, and that IAM did not show, is no key, and none was asked for yet.
        if result.as_ref().is_err_and(|error| error.is_definite() || creates_user && is_there_already(error)) {
            self.settle_intent();
        }
        result
    }

    /// Nothing came of the intent of this plan when what failed certainly made no key.
    fn settle_intent(&mut self) {
        let Some((nonce, last_reissue)) = &self.intent else { return };
        let is_open = self.state.open_intent().is_some_and(|intent| intent.nonce == *nonce);
        if is_open && self.state.orphans().is_empty() {
            // No key was made, so none counts against the limit.
            self.state.status.last_reissue = *last_reissue;
            self.state.intent_settled();
        }
    }

    async fn act(&mut self, step: Step) -> Result<(), Error> {
        let user = &self.user.name;
        match step {
            Step::Claim(intent) => self.claim(intent).await?,
            Step::OpenIntent(intent) => self.open_intent(intent).await?,
            Step::CreateUser => {
                let id = self.iam.create_user(self.user).await?;
                self.user_was_lost = self.state.status.principal_id.is_some();
                self.state.user_created(user, id, self.user.boundary.clone());
            }
            Step::SetBoundary(boundary) => {
                self.iam.set_boundary(user, &boundary).await?;
                self.state.user(|user| user.boundary = Some(boundary));
            }
            Step::Tag => {
                self.iam.tag(self.user).await?;
                self.state.user(|user| user.tagged = true);
            }
            Step::DeleteAddition(name) => {
                self.iam.delete_inline(self.user, &name).await?;
                self.state.user(|user| user.additions.inline.retain(|other| *other != name));
            }
            Step::Detach(arn) => {
                self.iam.detach(self.user, &arn).await?;
                self.state.user(|user| user.additions.attached.retain(|other| *other != arn));
            }
            Step::PutPolicy(put) => self.put_policy(put).await?,
            Step::CutBack(put) => self.cut_back(put).await?,
            Step::Remember(put) => self.remember(put),
            Step::ActivateKey(id) => {
                self.iam.set_key_active(user, &id, true).await?;
                self.state.key_activated(&id);
            }
            Step::Withhold(ids) => self.withhold(&ids).await?,
            Step::DeactivateKey { id, retire } => self.deactivate_key(&id, retire).await?,
            Step::ExtendKey { id, until } => self.state.key_record(&id, |record| record.revoke_at = Some(until)),
            Step::DeleteKey { id, why } => self.delete_key(&id, why).await?,
            Step::CheckSecret(name) => self.check_secret(&name).await?,
            Step::CreateKey => self.create_key().await?,
            Step::Prove { depth, publishes } => self.prove(depth, publishes).await?,
            Step::WriteSecret(write) => self.write_secret(write).await?,
            Step::DeleteSecret(name) => self.delete_secret(&name).await?,
            Step::DeletePolicy => self.delete_policy().await?,
            Step::DeletePolicyLeftBehind => {
                self.iam.delete_policy_left_behind(self.user).await?;
                self.state.policy_deleted();
            }
            Step::DeleteUser => {
                self.iam.delete_user(user).await?;
                self.state.user_deleted();
            }
            Step::TagRetained => {
                if let Principal::Ours(ours) = &self.state.principal {
                    self.iam.tag_retained(self.user, &ours.policies).await?;
                }
                self.state.user(|user| user.retained = true);
            }
            Step::DisownSecret(name) => self.disown_secret(&name).await?,
            Step::ReleaseTarget => self.release().await?,
        }
        Ok(())
    }

    async fn claim(&mut self, intent: KeyIntent) -> Result<(), Error> {
        self.target = self.cluster.claim(&self.target, &intent).await?;
        self.state.claimed(intent);
        Ok(())
    }

    async fn open_intent(&mut self, intent: KeyIntent) -> Result<(), Error> {
        let mut opened = self.state.clone();
        opened.intent_opened(intent);
        self.target = self.cluster.write_target_status(&self.target, &opened.status).await?;
        self.state = opened;
        Ok(())
    }

    async fn withhold(&mut self, ids: &[String]) -> Result<(), Error> {
        let mut told = self.state.clone();
        told.keys_withheld(ids);
        self.target = self.cluster.write_target_status(&self.target, &told.status).await?;
        self.state = told;
        Ok(())
    }

    async fn put_policy(&mut self, put: PutPolicy) -> Result<(), Error> {
        let Principal::Ours(user) = &self.state.principal else { return Ok(()) };
        self.iam.put_policy(self.user, &put.document, put.form, &user.policies).await?;
        self.remember(put);
        Ok(())
    }

    /// What the rules no longer allow goes: with the narrower document, and where IAM refuses that, with all the rest.
    async fn cut_back(&mut self, put: PutPolicy) -> Result<(), Error> {
        let narrowed = self.put_policy(put).await;
        if narrowed.as_ref().is_err_and(Error::is_definite) {
            self.delete_policy().await?;
        }
        narrowed
    }

    async fn delete_policy(&mut self) -> Result<(), Error> {
        if let Principal::Ours(ours) = &self.state.principal {
            self.iam.delete_policies(self.user, &ours.policies).await?;
        }
        self.state.policy_deleted();
        Ok(())
    }

    fn remember(&mut self, put: PutPolicy) {
        self.state.policy_put(&put.document, put.form);
        if let Some((access, previous)) = put.record {
            self.state.access_recorded(access, previous);
        }
    }

    async fn deactivate_key(&mut self, id: &str, retire: bool) -> Result<(), Error> {
        if !retire && self.would_look_like_a_hold(id) {
            return Ok(());
        }
        self.iam.set_key_active(&self.user.name, id, false).await?;
        self.state.key_deactivated(id, retire.then(crate::controller::time::now));
        if retire {
            self.note(
                reason::KEY_REVOKED,
                format!("the replaced access key {id} reached the end of its overlap and is inactive"),
            );
        }
        Ok(())
    }

    /// Where status could not be told that the key is withheld, one that is off looks as if somebody in AWS had switched it off.
    /// Without a policy nothing works with it already, so it stays on until status can be told.
    fn would_look_like_a_hold(&self, id: &str) -> bool {
        let untold = self.state.status.keys.iter().any(|record| record.id == id && !record.withheld);
        untold && matches!(&self.state.principal, Principal::Ours(ours) if ours.policies.are_absent())
    }

    async fn delete_key(&mut self, id: &str, why: KeyEnd) -> Result<(), Error> {
        self.iam.delete_key(&self.user.name, id).await?;
        let record = self.state.status.keys.iter().find(|record| record.id == id).cloned();
        self.state.key_deleted(id);
        if self.unpublished_keys.get(&self.uid()).is_some_and(|created| created.key.id == id) {
            self.unpublished_keys.remove(&self.uid());
        }
        match why {
            KeyEnd::Orphan => {
                // Nobody ever had it, so it does not count against the limit.
                self.state.status.last_reissue = None;
                self.note(
                    reason::ORPHAN_DELETED,
                    format!("access key {id}, left by an interrupted creation and never published, was deleted"),
                );
            }
            KeyEnd::MakesRoom => {
                if let Some(record) = record {
                    let (warning, message) = overlap::made_room(&record, self.iam.clock().now());
                    self.notes.push(Note { warning, reason: reason::KEY_REVOKED.to_owned(), message });
                }
            }
            KeyEnd::Expired | KeyEnd::TargetDeleted => {}
        }
        Ok(())
    }

    async fn create_key(&mut self) -> Result<(), Error> {
        let created = self.iam.create_key(&self.user.name).await?;
        self.state.key_created(created.key.clone(), created.created_at);
        self.unpublished_keys.insert(&self.uid(), created);
        Ok(())
    }

    /// Tries the tiers with the key that is about to be published, or with the one that is.
    async fn prove(&mut self, depth: Depth, publishes: bool) -> Result<(), Error> {
        let Goal::Provide(goal) = self.goal else { return Ok(()) };
        let pending = self.state.pending(self.iam.clock().now()).cloned();
        let key = pending.or_else(|| self.state.published_key());
        let (Some(access), Some(key)) = (&goal.current, key) else {
            return if publishes { Err(Error::Overtaken) } else { Ok(()) };
        };
        let (uid, nonce) = (self.uid(), format!("{:016x}", fastrand::u64(..)));
        let marks = probe::Marks { uid: &uid, nonce: &nonce };
        let plan = probe::Plan::new(&probe::AWS, access, &goal.former, marks, depth);
        let proof = probe::prove(self.reach, &probe::AWS, &key, plan, probe::DEADLINE).await;
        let now = self.iam.clock().now();
        let age = verification::age(self.state.tried_since(&key.id).unwrap_or(now), now);
        let failure = verification::failure(&proof, publishes, age).map(|failure| self.by_how_much(failure));
        // A store that does not answer says nothing, and what was proven before stands.
        if !matches!(&failure, Some(failure) if failure.is_silence()) {
            let found = Found {
                works: if publishes { failure.is_none() } else { proof.publishable() },
                bucket_missing: proof.is_bucket_missing(),
                conclusive: proof.complete() && proof.limits() == Limits::Held,
            };
            self.state.key_tried(&key.id, found, now);
        }
        self.proof = Some(proof);
        failure.map_or(Ok(()), |failure| Err(Error::NotProven(failure)))
    }

    /// A clock that is wrong is told with how wrong it is, where the store's IAM has shown that.
    fn by_how_much(&self, failure: Failure) -> Failure {
        match self.iam.clock().skew().filter(|_| failure.reason == reason::CLOCK_SKEWED) {
            Some(skew) => {
                Failure { message: format!("the store takes no request of this operator: {skew}"), ..failure }
            }
            None => failure,
        }
    }

    fn uid(&self) -> String {
        self.target.uid().unwrap_or_default()
    }

    async fn write_secret(&mut self, write: WriteSecret) -> Result<(), Error> {
        let Goal::Provide(goal) = self.goal else { return Ok(()) };
        if let Some(key) = write.key {
            return self.write_content(goal, &write.name, &key).await;
        }
        let pending = self.state.pending(self.iam.clock().now()).map(|key| key.id.clone());
        match self.unpublished_keys.get(&self.uid()).filter(|created| Some(&created.key.id) == pending.as_ref()) {
            Some(created) => self.publish(goal, &write.name, created).await,
            None => Err(Error::Overtaken),
        }
    }

    async fn publish(&mut self, goal: &Provide, name: &ObjectName, created: CreatedKey) -> Result<(), Error> {
        let reissue = self.state.status.access_key_id.is_some();
        self.unpublished_keys.about_to_be_written(&self.uid());
        if let Err(error) = self.write_content(goal, name, &created.key).await {
            // What came in between may be an earlier write of our own that took effect late: it is looked at before the key
            // that it may hold goes.
            if matches!(&error, Error::Cluster(error) if error.is_definite()) && !came_in_between(&error) {
                // Certainly not published, so nobody can have it: an orphan, and it goes at once.
                self.delete_key(&created.key.id, KeyEnd::Orphan).await?;
            }
            return Err(error);
        }
        self.unpublished_keys.remove(&self.uid());
        let now = self.iam.clock().now();
        self.state.key_published(&created.key, created.created_at, goal.grant.key_overlap, now);
        if reissue {
            let message = self.reissued(name.as_str(), &created.key.id, now);
            self.warn(reason::KEY_REISSUED, message);
        }
        Ok(())
    }

    fn reissued(&self, secret: &str, key: &str, now: Timestamp) -> String {
        let lost = if self.user_was_lost {
            format!("IAM user {} was deleted with its access keys, and is made anew", self.user.name)
        } else {
            format!("Secret {secret}, or the access key that was in it, was lost or damaged")
        };
        let replaced = self.state.status.keys.iter().find(|record| record.superseded_at == Some(now));
        let promise = replaced.map(|replaced| format!("; {}", overlap::promise(replaced))).unwrap_or_default();
        format!("{lost}: Secret {secret} has a new access key {key}{promise}")
    }

    /// Asks the API server, with a key that is none, whether it would take the Secret.
    async fn check_secret(&mut self, name: &ObjectName) -> Result<(), Error> {
        let Goal::Provide(goal) = self.goal else { return Ok(()) };
        let no_key = AccessKey { id: "none".to_owned(), secret: "none".into() };
        let rclone_conf: SecretString = goal.rclone.render(&no_key)?;
        let new = NewSecret { target: &self.target, name, rclone_conf: &rclone_conf };
        Ok(self.cluster.check_secret(&new, self.state.secret(name.as_str()).ours()).await?)
    }

    async fn write_content(&mut self, goal: &Provide, name: &ObjectName, key: &AccessKey) -> Result<(), Error> {
        let rclone_conf: SecretString = goal.rclone.render(key)?;
        let new = NewSecret { target: &self.target, name, rclone_conf: &rclone_conf };
        let written = match self.state.secret(name.as_str()).ours() {
            Some(before) if before.must_be_recreated => {
                self.cluster.check_secret(&new, Some(before)).await?;
                self.cluster.delete_secret(&self.target, name, before).await?;
                self.cluster.create_secret(&new).await?
            }
            Some(before) => self.cluster.replace_secret(&new, before).await?,
            None => self.cluster.create_secret(&new).await?,
        };
        let altered = altered(&written, &rclone_conf);
        self.state.secret_written(name, written, goal.grant.key_overlap, self.iam.clock().now());
        altered.map_or(Ok(()), |what| Err(Error::Altered { name: name.to_string(), what }))
    }

    async fn delete_secret(&mut self, name: &ObjectName) -> Result<(), Error> {
        let Some(secret) = self.state.secret(name.as_str()).ours() else {
            self.state.secret_deleted(name);
            return Ok(());
        };
        match self.cluster.delete_secret(&self.target, name, secret).await {
            Ok(()) => self.state.secret_deleted(name),
            // Nothing waits for it; that it is left is told.
            Err(error) if error.kind == cluster::Kind::Forbidden => self.state.secret_unknown(name, error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn disown_secret(&mut self, name: &ObjectName) -> Result<(), Error> {
        if let Some(secret) = self.state.secret(name.as_str()).ours() {
            self.cluster.disown_secret(&self.target, name, secret).await?;
        }
        self.state.secret_deleted(name);
        Ok(())
    }

    async fn release(&mut self) -> Result<(), Error> {
        self.cluster.release(&self.target).await?;
        self.state.finalizer = false;
        self.released = true;
        let user = &self.user.name;
        if let Some((name, error)) = self.state.unread_secret() {
            let message = format!(
                "all that the operator made for this target is gone from IAM, and Secret {name} is left: {error}. The key in it is \
                 gone, and Kubernetes removes a Secret after its owner"
            );
            self.warn(reason::DELETED, message);
        } else if let Principal::Foreign { whose: Owner::Cluster { id, path } } = &self.state.principal {
            let message = format!(
                "the target is gone from this cluster, and IAM user {user} is left: it belongs to cluster {id} (path {path})"
            );
            self.warn(reason::DELETED, message);
        } else if matches!((self.goal, &self.state.principal), (Goal::Retain { .. }, Principal::Ours(_))) {
            self.warn(
                reason::RETAINED,
                format!("IAM user {user}, its access key and the Secret stay and belong to nobody now; backups go on"),
            );
        } else if self.target.spec.deletion_policy == DeletionPolicy::Retain {
            self.warn(
                reason::DELETED,
                "deletionPolicy Retain was asked for and no rule of the store allows it, so all that the operator made for \
                 this target is gone from IAM and from this namespace; no object was deleted"
                    .to_owned(),
            );
        } else {
            self.note(
                reason::DELETED,
                "all that the operator made for this target is gone from IAM and from this namespace; no object was deleted"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn note(&mut self, reason: &str, message: String) {
        self.notes.push(Note { warning: false, reason: reason.to_owned(), message });
    }

    fn warn(&mut self, reason: &str, message: String) {
        self.notes.push(Note { warning: true, reason: reason.to_owned(), message });
    }
}

/// Where what the API server stored differs from what it was sent.
fn altered(written: &OwnedSecret, sent: &SecretString) -> Option<&'static str> {
    let stored = written.rclone_conf.as_ref().map(ExposeSecret::expose_secret);
    if stored != Some(sent.expose_secret()) {
        return Some("the content of rclone.conf");
    }
    (!written.well_formed).then_some("the operator's labels, the owner or the type")
}

fn came_in_between(error: &Error) -> bool {
    use cluster::Kind;
    matches!(error, Error::Cluster(error) if matches!(error.kind, Kind::AlreadyExists | Kind::Conflict))
}

fn is_there_already(error: &Error) -> bool {
    matches!(error, Error::Store(error) if error.kind == store::Kind::AlreadyExists)
}
