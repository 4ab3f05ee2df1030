//! What should be: a target's spec, its status, its store and the store's rules, parsed into one goal.

use std::{fmt, time::Duration};

use jiff::Timestamp;

use crate::{
    access::{
        Access, Claim, Grant, Invalid, PolicyDocument, Terms, Verdict,
        allow::{self, Missing, Namespace, Rival},
        claim::{RemoteName, object_name},
        rclone::RcloneConf,
    },
    api::{
        BackupTarget, Capability,
        backup_store::AllowRule,
        backup_target::{AccessRecord, PreviousAccess, Record, SecretTemplate, Verification},
    },
    controller::places::Full,
    names::{self, ObjectName},
    provider::{Limits, Owner},
};

/// What a reconcile works towards.
#[derive(Clone, Debug)]
pub enum Goal {
    /// Principal, key and Secret carry what is granted.
    Provide(Box<Provide>),
    /// The claim is not allowed (any more): what exists must not work.
    Withhold {
        /// Why it must not.
        why: Refusal,
    },
    /// The target is being deleted: nothing of it remains.
    Remove,
    /// The target is being deleted: its credentials stay and belong to nobody.
    Retain {
        /// What they can do from now on: the rules of this moment are the last that are asked.
        document: PolicyDocument,
    },
}

impl Goal {
    /// What the principal is for, if it is to have anything.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        match self {
            Self::Provide(provide) => provide.current.as_ref(),
            Self::Withhold { .. } | Self::Remove | Self::Retain { .. } => None,
        }
    }
}

/// Why nothing of a target may work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What no rule covers.
    NotAllowed(String),
    /// The spec breaks a rule under which nothing can be given at all.
    Invalid(Invalid),
    /// What status says that the key was given cannot be read, and suspension holds back to give it anew.
    Unreadable(Invalid),
    /// The store has as many principals as it keeps.
    NoPlace(Full),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed(why) => f.write_str(why),
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::Unreadable(invalid) => write!(f, "status.access cannot be read ({})", invalid.problem),
            Self::NoPlace(full) => {
                write!(
                    f,
                    "keeps {} principals (spec.maxPrincipals), and as many targets come before this one",
                    full.most
                )
            }
        }
    }
}

/// What to provide.
#[derive(Clone, Debug)]
pub struct Provide {
    /// What the rules grant.
    pub grant: Grant,
    /// What was asked for and is not granted.
    pub missing: Vec<Missing>,
    /// The field of the spec that breaks a rule: what was given before is kept within its limits, and nothing else is done.
    pub invalid: Option<Invalid>,
    /// What the key reaches once this is provided, without the right to create a bucket that is there; `None` when a suspended
    /// target has nothing left that is allowed.
    pub current: Option<Access>,
    /// What status says that the key was given, as far as the rules still allow it.
    pub before: Option<Access>,
    /// Former folders, as far as the rules still allow them.
    pub former: Vec<Access>,
    /// Whether the key was given more than the rules or the overlaps still allow, or may have been.
    pub cut: bool,
    /// The field of status that says what the key was given, and cannot be read: it may have been anything.
    pub unreadable: Option<&'static str>,
    /// What the store says about all access.
    pub terms: Terms,
    /// What the store can do.
    pub limits: &'static Limits,
    /// What bounds the principal beside its policy, if the store's administrator says so.
    pub bound: Option<String>,
    /// The policy's document: the current access and the former folders.
    pub document: PolicyDocument,
    /// What status remembers of the accesses: while suspended, the current one stays as it was given.
    pub record: (AccessRecord, Vec<PreviousAccess>),
    /// Name of the Secret.
    pub secret_name: ObjectName,
    /// Content of the Secret, apart from the key.
    pub rclone: RcloneConf,
    /// Whether changes and repairs are held back.
    pub suspended: bool,
    /// How the key is tried.
    pub verification: Verification,
    /// When somebody asked for it to be tried anew.
    pub verify_at: Option<Timestamp>,
    /// Whether what somebody else changed is only told.
    pub repairs_paused: bool,
    /// Keys that somebody else switched off before this time work again.
    pub reactivate_at: Option<Timestamp>,
}

impl Provide {
    /// What status says that the key was given, as far as the rules still allow it and it is needed.
    #[must_use]
    pub fn still_needed(&self) -> Option<Access> {
        let missing = self.rclone.create_bucket;
        self.before.clone().map(|before| if missing { before } else { before.without(Capability::CreateBucket) })
    }

    /// The document for one access together with the former folders.
    #[must_use]
    pub fn document_with(&self, access: Option<&Access>) -> PolicyDocument {
        PolicyDocument::new(&self.terms, access.into_iter().chain(&self.former))
    }
}

/// All that a goal depends on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub target: &'a BackupTarget,
    /// What is remembered of it.
    pub record: &'a Record,
    /// Who may claim what.
    pub rules: &'a [AllowRule],
    /// What its store says about all access.
    pub terms: &'a Terms,
    /// What its store can do.
    pub limits: &'static Limits,
    /// What bounds its principal beside its policy, if the store's administrator says so.
    pub bound: Option<&'a str>,
    pub namespace: &'a Namespace,
    /// Who comes before it, where a rule serves only so many.
    pub rivals: &'a [Rival],
    /// Whether its store has no place for its principal.
    pub full: Option<Full>,
    /// What the store's administrator says about keys that somebody else switched off.
    pub reactivate_at: Option<Timestamp>,
    pub now: Timestamp,
}

/// Whose the principal of a target is: known from the target's identity alone, so that it can be removed whatever the spec says.
#[must_use]
pub fn owner(target: &BackupTarget, cluster_id: &str) -> Owner {
    let metadata = &target.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Owner {
        cluster: cluster_id.to_owned(),
        namespace: text(&metadata.namespace),
        name: text(&metadata.name),
        uid: text(&metadata.uid),
        known_id: target.status.as_ref().and_then(|status| status.record.principal_id.clone()),
    }
}

/// Decides what should be.
///
/// # Errors
/// When the spec of a live target breaks a rule.
pub fn decide(facts: Facts<'_>) -> Result<Goal, Invalid> {
    if facts.target.metadata.deletion_timestamp.is_some() {
        return Ok(facts.end());
    }
    if let Err(alias) = facts.store_name() {
        return Ok(Goal::Withhold { why: Refusal::Invalid(alias) });
    }
    let suspended = facts.target.spec.suspend;
    if let (true, Err(invalid)) = (suspended, facts.before()) {
        return Ok(Goal::Withhold { why: Refusal::Unreadable(invalid) });
    }
    let claim = match facts.claim() {
        Ok(claim) => claim,
        Err(invalid) => return facts.unreadable(invalid),
    };
    let (grant, missing) = match facts.verdict(&claim) {
        Verdict::Allowed(grant) => (grant, Vec::new()),
        Verdict::Partly { grant, missing } => (grant, missing),
        Verdict::Refused { why } => return Ok(facts.keep_or_withhold(&claim, why)),
    };
    if !missing.is_empty() && facts.record.access.is_none() {
        // Nothing is created for a claim that no rule covers entirely; what exists is cut back instead.
        let why = format!("no rule allows {}", allow::listed(&missing));
        return Ok(Goal::Withhold { why: Refusal::NotAllowed(why) });
    }
    if let Some(full) = facts.full {
        return Ok(Goal::Withhold { why: Refusal::NoPlace(full) });
    }
    Ok(Goal::Provide(Box::new(facts.provide(claim, grant, missing, suspended))))
}

/// The bucket that rclone may have to create, if the rules let the target create it.
#[must_use]
pub fn bucket_to_create(facts: Facts<'_>) -> Option<String> {
    let claim = facts.claim().ok()?;
    match facts.verdict(&claim) {
        Verdict::Allowed(grant) | Verdict::Partly { grant, .. } => {
            let wanted = grant.access.capabilities.contains(&Capability::CreateBucket);
            wanted.then(|| grant.access.bucket.to_string())
        }
        Verdict::Refused { .. } => None,
    }
}

impl Facts<'_> {
    /// An alias of a store was never that store's name for those who wrote policies about it: nothing may work under it, and
    /// its targets are deleted as all others are.
    fn store_name(&self) -> Result<ObjectName, Invalid> {
        let store = &self.target.spec.store_ref;
        object_name("spec.storeRef.name", &store.name).map_err(|invalid| {
            let problem = format!(
                "{}; nothing works under an alias: delete this target, and create it with the name of its BackupStore, {}",
                invalid.problem,
                store.resolved()
            );
            Invalid { problem, ..invalid }
        })
    }

    fn claim(&self) -> Result<Claim, Invalid> {
        Claim::parse(self.target.metadata.name.as_deref().unwrap_or_default(), &self.target.spec)
    }

    fn verdict(&self, claim: &Claim) -> Verdict {
        // What has credentials keeps them.
        let has = |before: Access| before.bucket == claim.bucket && before.prefix == claim.prefix;
        let rivals = if self.before().is_ok_and(|before| before.is_some_and(has)) { &[] } else { self.rivals };
        allow::decide(claim, self.namespace, self.rules, rivals)
    }

    fn limited(&self, access: &Access) -> Option<Access> {
        allow::limit(access, self.namespace, self.rules)
    }

    /// Without the right to create the bucket, once it is there: in us-east-1, to create one's own again resets its ACL.
    fn needed(&self, access: Access) -> Access {
        let access = self.supported(access);
        if self.record.bucket_missing { access } else { access.without(Capability::CreateBucket) }
    }

    /// Without what the store cannot give.
    fn supported(&self, access: Access) -> Access {
        self.limits.unsupported.iter().fold(access, |access, (unsupported, _)| access.without(*unsupported))
    }

    /// What status says that the key was given. What cannot be read, written by a former version or by hand, was given and is
    /// not allowed.
    fn before(&self) -> Result<Option<Access>, Invalid> {
        self.record.access.as_ref().map(Access::from_record).transpose()
    }

    fn unreadable_field(&self) -> Option<&'static str> {
        let mut former = self.record.previous_access.iter();
        match self.before() {
            Err(_) => Some("status.access"),
            Ok(_) => former.any(|former| !is_readable(&former.access)).then_some("status.previousAccess"),
        }
    }

    /// Credentials stay only where a rule says so for the very place that they reach, and only with what it allows there.
    fn end(&self) -> Goal {
        let (Ok(claim), Ok(Some(before))) = (self.claim(), self.before()) else { return Goal::Remove };
        let (Verdict::Allowed(grant) | Verdict::Partly { grant, .. }) = self.verdict(&claim) else {
            return Goal::Remove;
        };
        let published = self.record.access_key_id.is_some();
        // One rule has to allow all of it: what another one adds ends with the target.
        match before.common(&grant.access).filter(|_| grant.retain && published) {
            Some(access) => Goal::Retain { document: PolicyDocument::new(self.terms, [&self.needed(access)]) },
            None => Goal::Remove,
        }
    }

    /// A spec that cannot be read gives nothing new. What was given before goes on as if suspended: within the rules, and
    /// until its overlaps end.
    fn unreadable(&self, invalid: Invalid) -> Result<Goal, Invalid> {
        let before = match self.before() {
            Ok(Some(before)) => before,
            Ok(None) => return Err(invalid),
            Err(_) => return Ok(Goal::Withhold { why: Refusal::Invalid(invalid) }),
        };
        let secret_name = self.record.secret_name.as_deref().or(self.target.metadata.name.as_deref());
        let kept = Claim {
            bucket: before.bucket,
            prefix: before.prefix,
            capabilities: before.capabilities,
            ancestor_listing: Some(before.ancestor_listing),
            retain: false,
            key_overlap: None,
            secret_name: object_name("status.secretName", secret_name.unwrap_or_default())?,
            remote: RemoteName::parse(&SecretTemplate::default().remote)?,
        };
        match self.verdict(&kept) {
            Verdict::Allowed(grant) | Verdict::Partly { grant, .. } => {
                let provide = self.provide(kept, grant, Vec::new(), true);
                Ok(Goal::Provide(Box::new(Provide { invalid: Some(invalid), ..provide })))
            }
            Verdict::Refused { why } => Ok(Goal::Withhold { why: Refusal::NotAllowed(why) }),
        }
    }

    /// A claim that no rule covers gives nothing new. What was given before is kept, as if suspended, for as long as a rule
    /// covers that: a slip in a spec must not break a running backup.
    fn keep_or_withhold(&self, claim: &Claim, why: String) -> Goal {
        let withhold = Goal::Withhold { why: Refusal::NotAllowed(why) };
        let Ok(Some(before)) = self.before() else { return withhold };
        let kept = Claim {
            bucket: before.bucket,
            prefix: before.prefix,
            capabilities: before.capabilities,
            ancestor_listing: Some(before.ancestor_listing),
            ..claim.clone()
        };
        match self.verdict(&kept) {
            Verdict::Allowed(grant) | Verdict::Partly { grant, .. } => {
                let missing = vec![Missing::Place { bucket: claim.bucket.clone(), prefix: claim.prefix.clone() }];
                Goal::Provide(Box::new(self.provide(kept, grant, missing, true)))
            }
            Verdict::Refused { .. } => withhold,
        }
    }

    fn provide(&self, claim: Claim, grant: Grant, missing: Vec<Missing>, suspended: bool) -> Provide {
        let given = self.before().ok().flatten();
        let unreadable = self.unreadable_field();
        let before = given.as_ref().and_then(|given| self.limited(given));
        let previous = self.previous_accesses(given.as_ref(), &grant, suspended);
        let former: Vec<Access> = previous.iter().flat_map(|former| Access::from_record(&former.access)).collect();
        let allowed: Vec<Access> = former.iter().filter_map(|former| self.limited(former)).collect();
        let cut = before != given || former != allowed || self.has_expired() || unreadable.is_some();
        let allowed: Vec<Access> = allowed.into_iter().map(|access| self.needed(access)).collect();
        // A suspended target keeps what it was given, within what the rules still allow.
        let current = if suspended && given.is_some() { before.clone() } else { Some(grant.access.clone()) };
        let current = current.map(|access| self.needed(access));
        let kept = self.record.access.clone().filter(|_| suspended);
        let remembered = kept.unwrap_or_else(|| grant.claimed.to_record());
        Provide {
            document: PolicyDocument::new(self.terms, current.iter().chain(&allowed)),
            current,
            cut,
            unreadable,
            before,
            former: allowed,
            terms: self.terms.clone(),
            limits: self.limits,
            bound: self.bound.map(str::to_owned),
            record: (remembered, previous),
            secret_name: claim.secret_name,
            rclone: RcloneConf {
                remote: claim.remote,
                access: self.supported(grant.access.clone()),
                provider: self.terms.rclone.clone().unwrap_or_else(|| self.limits.rclone.to_owned()),
                region: self.terms.region.clone(),
                endpoint: self.terms.endpoint.clone(),
                create_bucket: self.record.bucket_missing
                    && self.supported(grant.access.clone()).capabilities.contains(&Capability::CreateBucket),
            },
            grant,
            missing,
            invalid: None,
            suspended,
            verification: self.target.spec.verification,
            verify_at: self.annotation(names::VERIFY_AT_ANNOTATION).and_then(|time| time.parse().ok()),
            repairs_paused: self.annotation(names::PAUSED_REPAIR_ANNOTATION).is_some_and(|value| value != "false"),
            reactivate_at: self.reactivate_at,
        }
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.target.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    fn has_expired(&self) -> bool {
        self.record.previous_access.iter().any(|former| former.until <= self.now)
    }

    /// The former folders that stay reachable: those of before, and the one that this change leaves.
    fn previous_accesses(&self, before: Option<&Access>, grant: &Grant, suspended: bool) -> Vec<PreviousAccess> {
        if self.limits.brings_keys {
            // Each place has a key of its own, so that the published one never reaches two.
            return Vec::new();
        }
        let current = if suspended { before.unwrap_or(&grant.claimed) } else { &grant.claimed };
        let latest = self.now + grant.max_key_overlap;
        let mut previous: Vec<PreviousAccess> = self
            .record
            .previous_access
            .iter()
            .filter(|former| former.until > self.now && is_readable(&former.access))
            .filter(|former| !is_place(&former.access, current))
            .map(|former| PreviousAccess { access: former.access.clone(), until: former.until.min(latest) })
            .collect();
        let left = before.filter(|before| !before.same_place(current) && grant.key_overlap > Duration::ZERO);
        if let Some(left) = left {
            previous.retain(|former| !is_place(&former.access, left));
            previous.push(PreviousAccess { access: left.to_record(), until: self.now + grant.key_overlap });
        }
        previous
    }
}

fn is_readable(record: &AccessRecord) -> bool {
    Access::from_record(record).is_ok()
}

fn is_place(record: &AccessRecord, access: &Access) -> bool {
    record.bucket == access.bucket.as_str() && record.prefix == access.prefix.as_str()
}

#[cfg(test)]
mod tests;
