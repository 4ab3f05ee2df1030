//! Performs single steps: the only place where anything is changed. It decides nothing: what a step means stands in the plan,
//! and what follows from it is for [`State::apply`].

use jiff::Timestamp;
use kube::ResourceExt;
use secrecy::SecretString;

use super::{
    decide::{Goal, Provide},
    error::Error,
    events::{self, About},
    failure,
    plan::{PutPolicy, SecretKey, Step, WriteSecret},
    record::{Moment, Outcome, Written},
    state::State,
};
use crate::{
    access::rclone::AccessKey,
    api::{BackupTarget, backup_target::BackupTargetStatus},
    cluster::{self, Cluster, NewSecret, Note},
    controller::unpublished_keys::UnpublishedKeys,
    names::ObjectName,
    probe::{self, Depth, Proof, Reach},
    provider::{CreatedKey, Principal, PrincipalSpec, Provider},
};

/// What steps are done with.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    pub cluster: &'a Cluster,
    pub provider: &'a Provider,
    /// Keys that are not published yet.
    pub unpublished_keys: &'a UnpublishedKeys,
    /// The way to the store's S3, for proofs.
    pub reach: Reach<'a>,
}

/// Who performs steps for one target, and what came of them.
pub struct Performer<'a> {
    tools: Tools<'a>,
    spec: &'a PrincipalSpec,
    goal: &'a Goal,
    /// The target as it is now, after our own writes.
    pub target: BackupTarget,
    /// What a person should notice.
    pub notes: Vec<Note>,
    /// The last proof, if one was made.
    pub proof: Option<Proof>,
}

impl<'a> Performer<'a> {
    /// Starts with nothing done.
    #[must_use]
    pub fn new(tools: Tools<'a>, spec: &'a PrincipalSpec, goal: &'a Goal, target: BackupTarget) -> Self {
        Self { tools, spec, goal, target, notes: Vec::new(), proof: None }
    }

    /// Does one step, brings the state up to date with it, and does at once what a failure asks for.
    ///
    /// # Errors
    /// When the step failed; the state says what was done all the same.
    pub async fn take(&mut self, step: &Step, state: &mut State) -> Result<(), Error> {
        let done = self.step(step, state).await;
        if let Err(error) = &done {
            state.failed(step, error);
            if let Some(instead) = failure::instead(step, error, state) {
                self.step(&instead, state).await?;
            }
        }
        done
    }

    async fn step(&mut self, step: &Step, state: &mut State) -> Result<(), Error> {
        let outcome = self.perform(step, state).await?;
        if let Outcome::Tried { proof, .. } = &outcome {
            self.proof = Some(proof.clone());
        }
        let applied = state.apply(step, outcome, &self.moment());
        if state.in_hand.is_none() {
            self.tools.unpublished_keys.remove(&self.uid());
        }
        if let Some(happened) = applied? {
            let now = self.now();
            let about = About { goal: self.goal, target: &self.target, state, principal: &self.spec.name, now };
            self.notes.push(events::event(&happened, about));
        }
        Ok(())
    }

    async fn perform(&mut self, step: &Step, state: &State) -> Result<Outcome, Error> {
        let (store, spec) = (self.tools.provider, self.spec);
        match step {
            Step::Claim(intent) => self.target = self.tools.cluster.claim(&self.target, intent).await?,
            Step::OpenIntent(..) | Step::Withhold(_) => self.write_status_after(step, state).await?,
            Step::CreatePrincipal => return Ok(Outcome::PrincipalCreated(store.create(spec).await?)),
            Step::Amend(deviation) => store.amend(spec, deviation).await?,
            Step::PutPolicy(put) | Step::CutBack(put) => self.put_policy(put, state).await?,
            Step::ActivateKey(id) => store.set_key_active(spec, id, true).await?,
            Step::DeactivateKey { id, .. } => store.set_key_active(spec, id, false).await?,
            Step::DeleteKey { id, .. } => store.delete_key(spec, id).await?,
            Step::CheckSecret(name) => self.check_secret(name, state).await?,
            Step::CreateKey => {
                let created = store.create_key(spec).await?;
                self.tools.unpublished_keys.insert(&self.uid(), created.clone());
                return Ok(Outcome::KeyCreated(created));
            }
            Step::Prove { depth, publishes } => return self.prove(*depth, *publishes, state).await,
            Step::WriteSecret(write) => return self.write_secret(write, state).await,
            Step::DeleteSecret(name) => return self.delete_secret(name, state).await,
            Step::DisownSecret(name) => self.disown_secret(name, state).await?,
            Step::DeletePolicy => self.remove_rights(state).await?,
            Step::RemoveRemains => store.remove_remains(spec).await?,
            Step::RemovePrincipal => store.remove(spec).await?,
            Step::MarkRetained => self.mark_retained(state).await?,
            Step::ReleaseTarget => self.tools.cluster.release(&self.target).await?,
            Step::Remember(_) | Step::ExtendKey { .. } => {}
        }
        Ok(Outcome::Done)
    }

    /// Status says what is about to be done, before it is.
    async fn write_status_after(&mut self, step: &Step, state: &State) -> Result<(), Error> {
        let mut after = state.clone();
        after.apply(step, Outcome::Done, &self.moment())?;
        let told = self.target.status.clone().unwrap_or_default();
        let status = BackupTargetStatus { record: after.record, ..told };
        self.target = self.tools.cluster.write_target_status(&self.target, &status).await?;
        Ok(())
    }

    async fn put_policy(&self, put: &PutPolicy, state: &State) -> Result<(), Error> {
        let Principal::Ours(ours) = &state.principal else { return Ok(()) };
        Ok(self.tools.provider.put_rights(self.spec, &put.document, put.form, &ours.rights).await?)
    }

    async fn remove_rights(&self, state: &State) -> Result<(), Error> {
        let Principal::Ours(ours) = &state.principal else { return Ok(()) };
        Ok(self.tools.provider.remove_rights(self.spec, &ours.rights).await?)
    }

    async fn mark_retained(&self, state: &State) -> Result<(), Error> {
        let Principal::Ours(ours) = &state.principal else { return Ok(()) };
        Ok(self.tools.provider.mark_retained(self.spec, &ours.rights).await?)
    }

    /// Tries the tiers with the key that is about to be published, or with the one that is.
    async fn prove(&self, depth: Depth, publishes: bool, state: &State) -> Result<Outcome, Error> {
        let Goal::Provide(goal) = self.goal else { return Ok(Outcome::Done) };
        let (Some(access), Some(key)) = (&goal.current, state.key_to_try(self.now())) else {
            return if publishes { Err(Error::Overtaken) } else { Ok(Outcome::Done) };
        };
        let (uid, nonce) = (self.uid(), format!("{:016x}", fastrand::u64(..)));
        let marks = probe::Marks { uid: &uid, nonce: &nonce };
        let family = self.spec.limits.verification;
        let plan = probe::Plan::new(family, access, &goal.former, marks, depth);
        let proof = probe::prove(self.tools.reach, family, &key, plan, probe::DEADLINE).await;
        Ok(Outcome::Tried { key: key.id, proof })
    }

    async fn write_secret(&self, write: &WriteSecret, state: &State) -> Result<Outcome, Error> {
        let Goal::Provide(goal) = self.goal else { return Ok(Outcome::Done) };
        match &write.key {
            SecretKey::Published(key) => self.write_content(goal, &write.name, key, None, state).await,
            SecretKey::Unpublished(_) => {
                let created = state.pending(self.now()).ok_or(Error::Overtaken)?;
                self.tools.unpublished_keys.about_to_be_written(&self.uid());
                self.write_content(goal, &write.name, &created.key, Some(created.clone()), state).await
            }
        }
    }

    async fn write_content(
        &self,
        goal: &Provide,
        name: &ObjectName,
        key: &AccessKey,
        new_key: Option<CreatedKey>,
        state: &State,
    ) -> Result<Outcome, Error> {
        let (cluster, rclone_conf) = (self.tools.cluster, goal.rclone.render(key)?);
        let new = NewSecret { target: &self.target, name, rclone_conf: &rclone_conf };
        let secret = match state.secret(name.as_str()).ours() {
            Some(before) if before.must_be_recreated => {
                cluster.check_secret(&new, Some(before)).await?;
                cluster.delete_secret(&self.target, name, before).await?;
                cluster.create_secret(&new).await?
            }
            Some(before) => cluster.replace_secret(&new, before).await?,
            None => cluster.create_secret(&new).await?,
        };
        Ok(Outcome::SecretWritten(Box::new(Written { secret, sent: rclone_conf, new_key })))
    }

    /// Asks the API server, with a key that is none, whether it would take the Secret.
    async fn check_secret(&self, name: &ObjectName, state: &State) -> Result<(), Error> {
        let Goal::Provide(goal) = self.goal else { return Ok(()) };
        let no_key = AccessKey { id: "none".to_owned(), secret: "none".into() };
        let rclone_conf: SecretString = goal.rclone.render(&no_key)?;
        let new = NewSecret { target: &self.target, name, rclone_conf: &rclone_conf };
        Ok(self.tools.cluster.check_secret(&new, state.secret(name.as_str()).ours()).await?)
    }

    async fn delete_secret(&self, name: &ObjectName, state: &State) -> Result<Outcome, Error> {
        let Some(secret) = state.secret(name.as_str()).ours() else { return Ok(Outcome::Done) };
        match self.tools.cluster.delete_secret(&self.target, name, secret).await {
            Ok(()) => Ok(Outcome::Done),
            // Nothing waits for it; that it is left is told.
            Err(error) if error.kind == cluster::Kind::Forbidden => Ok(Outcome::SecretLeft(error)),
            Err(error) => Err(error.into()),
        }
    }

    async fn disown_secret(&self, name: &ObjectName, state: &State) -> Result<(), Error> {
        let Some(secret) = state.secret(name.as_str()).ours() else { return Ok(()) };
        Ok(self.tools.cluster.disown_secret(&self.target, name, secret).await?)
    }

    fn moment(&self) -> Moment<'a> {
        let overlap = match self.goal {
            Goal::Provide(goal) => goal.grant.key_overlap,
            Goal::Withhold { .. } | Goal::Remove | Goal::Retain { .. } => std::time::Duration::ZERO,
        };
        Moment { spec: self.spec, overlap, now: self.now(), skew: self.tools.provider.clock().skew() }
    }

    fn now(&self) -> Timestamp {
        self.tools.provider.clock().now()
    }

    fn uid(&self) -> String {
        self.target.uid().unwrap_or_default()
    }
}
