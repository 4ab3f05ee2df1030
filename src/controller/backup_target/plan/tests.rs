//! Properties of the planner over random observed states: it converges, touches nothing foreign, and loses no good key.

mod brought;
mod cases;
mod clocks;
mod told;

use std::{collections::BTreeMap, sync::LazyLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use secrecy::ExposeSecret;

use super::*;
use crate::{
    access::{Access, BucketName, Grant, Prefix, Terms, claim::RemoteName, rclone::RcloneConf},
    api::{
        Capability,
        backup_store::BackupStoreSpec,
        backup_target::{
            Applied, KeyRecord, PolicyForm, PolicyStatus, PreviousSecret, ProofRecord, Record, Verification,
        },
    },
    cluster::{self, OtherEntries, OwnedSecret},
    controller::{
        absence::Absence,
        backup_target::{
            decide::{Provide, Refusal},
            error::Error,
            events::Happened,
            failure,
            record::{Moment, Outcome, Written},
            settle::settle,
        },
    },
    probe::{self, Marks, Proof, sample},
    provider::{
        CreatedKey, Key, Observed, Occupied, Owner, Place, Rights, StoredPolicy,
        aws::{Fix, amazon, seaweedfs},
    },
};

const NOW: i64 = 1_000_000;
const OVERLAP: Duration = Duration::from_hours(24);
const SECRET: &str = "wanted";
const FORMER_SECRET: &str = "former";
const UNKNOWN: &str = "UNKNOWN";
const SLOTS: usize = 2;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).expect("a valid time")
}

fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(NOW - seconds).expect("a valid time")
}

fn access(prefix: &str, capabilities: &[Capability]) -> Access {
    Access {
        bucket: BucketName::parse("my-backups").expect("valid"),
        prefix: Prefix::parse(prefix).expect("valid"),
        capabilities: capabilities.iter().copied().collect(),
        ancestor_listing: false,
    }
}

fn terms() -> Terms {
    let spec: BackupStoreSpec = serde_json::from_value(serde_json::json!({"region": "eu-central-1"})).expect("a spec");
    Terms::parse(&spec, None).expect("valid")
}

fn document(access: &Access) -> PolicyDocument {
    PolicyDocument::new(&terms(), [access])
}

fn form(access: &Access) -> PolicyForm {
    spec().limits.form(&document(access)).expect("none is too large")
}

fn key(id: &str) -> AccessKey {
    AccessKey { id: id.to_owned(), secret: format!("secret-of-{id}").into() }
}

fn in_hand_since(id: &str, seconds: i64) -> CreatedKey {
    CreatedKey { key: key(id), created_at: ago(seconds) }
}

fn rclone(access: &Access) -> RcloneConf {
    RcloneConf {
        remote: RemoteName::parse("backup").expect("valid"),
        provider: "AWS".into(),
        access: access.clone(),
        region: terms().region,
        endpoint: None,
        create_bucket: false,
    }
}

fn provide(access: &Access, suspended: bool) -> Goal {
    let grant = Grant {
        access: access.clone(),
        claimed: access.clone(),
        retain: false,
        key_overlap: OVERLAP,
        max_key_overlap: OVERLAP * 7,
    };
    Goal::Provide(Box::new(Provide {
        document: document(access),
        current: Some(access.clone()),
        before: None,
        former: Vec::new(),
        cut: false,
        unreadable: None,
        terms: terms(),
        limits: spec().limits,
        bound: spec().bound,
        record: (access.to_record(), Vec::new()),
        secret_name: name(SECRET),
        rclone: rclone(access),
        grant,
        missing: Vec::new(),
        invalid: None,
        suspended,
        verification: Verification::Full,
        verify_at: None,
        repairs_paused: false,
        reactivate_at: None,
    }))
}

fn elsewhere() -> ForeignOwner {
    ForeignOwner::Cluster { id: "d".into(), path: "/backup-target/d/".into() }
}

fn withhold() -> Goal {
    Goal::Withhold { why: Refusal::NotAllowed("no rule".into()) }
}

fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).expect("valid")
}

fn spec() -> PrincipalSpec {
    let limits = &amazon::AWS.limits;
    PrincipalSpec {
        owner: Owner::default(),
        name: PrincipalName { name: "btgt-1".into(), words: &limits.words },
        limits,
        bound: Some("boundary".into()),
        access: None,
    }
}

fn deviation(kind: DeviationKind, what: &str) -> Deviation {
    Deviation { kind, what: what.to_owned(), fix: Fix::None }
}

fn owned(content: &str) -> OwnedSecret {
    OwnedSecret {
        metadata: ObjectMeta::default(),
        rclone_conf: Some(content.to_owned().into()),
        others: OtherEntries::default(),
        well_formed: true,
        must_be_recreated: false,
    }
}

fn record(id: &str, superseded: Option<i64>, revoke: i64, inactive: Option<i64>) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        created_at: ago(100_000),
        fingerprint: key(id).fingerprint(),
        superseded_at: superseded.map(ago),
        revoke_at: superseded.map(|_| ago(revoke)),
        inactive_since: superseded.and(inactive).map(ago),
        off_since: None,
        withheld: false,
    }
}

// === states to begin with ===

fn published(access: &Access) -> State {
    let content = rclone(access).render(&key("K1")).expect("renders");
    State {
        record: Record {
            access: Some(access.to_record()),
            policy: Some(PolicyStatus { digest: document(access).digest(), form: form(access) }),
            keys: vec![record("K1", None, 0, None)],
            proof: Some(ProofRecord {
                key: "K1".into(),
                policy: document(access).digest(),
                at: ago(60),
                since: ago(600),
                works: true,
                bucket_missing: false,
                conclusive: true,
            }),
            applied: Some(Applied { generation: 1, rclone: rclone(access).digest(), bound: spec().bound }),
            access_key_id: Some("K1".into()),
            secret_name: Some(SECRET.into()),
            ..Record::default()
        },
        finalizer: true,
        principal: Principal::Ours(Observed {
            id: "AIDA".into(),
            rights: Rights::just(&document(access), form(access)),
            keys: vec![Key { id: "K1".into(), created_at: ago(100_000), active: true, last_used: None }],
            ..Observed::default()
        }),
        secrets: BTreeMap::from([(name(SECRET), SecretState::Ours(Box::new(owned(content.expose_secret()))))]),
        ..fresh()
    }
}

fn fresh() -> State {
    State { is_applied: true, ..State::new(Record::default(), Principal::Absent) }
}

// === random states ===

fn any_access() -> impl Strategy<Value = Access> {
    let capabilities = subsequence(Capability::ALL.to_vec(), 0..=4);
    let prefix = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just(long_prefix())];
    (prefix, capabilities).prop_map(|(prefix, capabilities)| Access {
        ancestor_listing: prefix.len() > 1,
        ..access(&prefix, &capabilities)
    })
}

/// So long that the policy has to be a managed one, when the way to it is listed.
fn long_prefix() -> String {
    "twenty-five-characters-24/".repeat(10)
}

fn any_goal() -> impl Strategy<Value = Goal> {
    prop_oneof![
        4 => (any_access(), any::<bool>()).prop_map(|(access, suspended)| provide(&access, suspended)),
        1 => Just(withhold()),
        1 => Just(Goal::Remove),
        1 => any_access().prop_map(|access| Goal::Retain { document: document(&access) }),
    ]
}

fn any_secret() -> impl Strategy<Value = SecretState> {
    let content = prop_oneof![
        (prop_oneof![Just("K1"), Just("K2"), Just("ORPHAN")], any_access())
            .prop_map(|(id, access)| { rclone(&access).render(&key(id)).expect("renders").expose_secret().to_owned() }),
        Just("damaged".to_owned()),
    ];
    prop_oneof![
        1 => unknown(),
        4 => any_secret_that_is_read(content),
    ]
}

fn unknown() -> impl Strategy<Value = SecretState> {
    let unknown = |kind| SecretState::Unknown(cluster::Error { kind, what: "read it" });
    prop_oneof![Just(unknown(cluster::Kind::Forbidden)), Just(unknown(cluster::Kind::Unreachable))]
}

fn any_secret_that_is_read(content: impl Strategy<Value = String>) -> impl Strategy<Value = SecretState> {
    prop_oneof![
        Just(SecretState::Absent),
        Just(SecretState::Foreign { owner: "somebody".into() }),
        (content, any::<bool>()).prop_map(|(content, well_formed)| {
            SecretState::Ours(Box::new(OwnedSecret { well_formed, ..owned(&content) }))
        }),
    ]
}

fn any_records() -> impl Strategy<Value = Vec<KeyRecord>> {
    let superseded = (option::of(0..200_000_i64), -100_000..100_000_i64, option::of(0..10_000_i64));
    let age = prop_oneof![Just(10), Just(100_000)];
    (0..=2_usize, superseded, age).prop_map(|(count, (superseded, revoke, inactive), age)| {
        let aged = |record: KeyRecord| KeyRecord { created_at: ago(age), ..record };
        let first = record("K1", if count == 2 { superseded.or(Some(5)) } else { superseded }, revoke, inactive);
        [first, record("K2", None, 0, None)].into_iter().take(count).map(aged).collect()
    })
}

fn any_principal() -> impl Strategy<Value = Principal> {
    let document = || {
        prop_oneof![
            Just(StoredPolicy::Other),
            any_access().prop_map(|access| StoredPolicy::Known(document(&access).meaning())),
        ]
    };
    let place =
        |form| (document(), any::<bool>()).prop_map(move |(document, in_force)| Place { form, document, in_force });
    let occupied = Occupied { form: PolicyForm::Managed, name: "arn:p".into(), why: "tags".into() };
    let managed = prop_oneof![
        2 => Just((None, None)),
        1 => Just((None, Some(occupied))),
        2 => place(PolicyForm::Managed).prop_map(|place| (Some(place), None)),
    ];
    let inline = option::of(place(PolicyForm::Inline).prop_map(|place| Place { in_force: true, ..place }));
    let rights = (inline, managed).prop_map(|(inline, (managed, occupied))| Rights {
        places: inline.into_iter().chain(managed).collect(),
        occupied,
    });
    let listed =
        (subsequence(vec!["K1", "K2", "ORPHAN", UNKNOWN], 0..=2), vec(any::<bool>(), 4), option::of(0..10_000_i64));
    let keys = listed.prop_map(|(ids, active, used)| {
        let listed = |(id, active): (&str, bool)| Key {
            id: id.to_owned(),
            created_at: ago(50),
            active,
            last_used: used.map(ago),
        };
        ids.into_iter().zip(active).map(listed).collect()
    });
    let all = [
        deviation(DeviationKind::Bound, "its boundary"),
        deviation(DeviationKind::Mark, "its marks"),
        deviation(DeviationKind::Addition, "added"),
        deviation(DeviationKind::Denial, "denies"),
        deviation(DeviationKind::Unread, "unread"),
        deviation(DeviationKind::Beyond, "a group"),
    ];
    let deviations = subsequence(all.to_vec(), 0..=6);
    let held = prop_oneof![4 => Just(false), 1 => Just(true)];
    let ours = (rights, keys, deviations, held).prop_map(|(rights, keys, deviations, held)| {
        Principal::Ours(Observed { id: "AIDA".into(), rights, deviations, keys, held, ..Observed::default() })
    });
    prop_oneof![
        2 => Just(Principal::Absent),
        1 => Just(Principal::Foreign { whose: ForeignOwner::Other("tags".into()) }),
        1 => Just(Principal::Foreign { whose: elsewhere() }),
        6 => ours,
    ]
}

fn any_intent() -> impl Strategy<Value = Option<KeyIntent>> {
    option::of((0..600_i64, any::<bool>()).prop_map(|(seconds, told)| KeyIntent {
        nonce: "n0".into(),
        started_at: ago(seconds),
        store_time: told.then(|| ago(seconds)),
        existing: vec!["K1".into(), "K2".into(), UNKNOWN.into()],
        secret: SECRET.into(),
    }))
}

prop_compose! {
    fn any_state()(
        keys in any_records(),
        principal in any_principal(),
        wanted in any_secret(),
        former in any_secret(),
        renamed in any::<bool>(),
        finalizer in any::<bool>(),
        stripped in any::<bool>(),
        key_intent in any_intent(),
        first_intent in any_intent(),
        recorded in option::of(any_access()),
        reissued in option::of(0..2_000_i64),
        until in -1_000..1_000_i64,
        looks in 0..5_u32,
        is_applied in any::<bool>(),
        in_hand in any::<bool>(),
    ) -> State {
        let current = keys.iter().find(|key| key.superseded_at.is_none());
        let record = Record {
            access_key_id: current.or(keys.first()).map(|key| key.id.clone()),
            access: recorded.as_ref().map(Access::to_record),
            policy: recorded.as_ref().map(|access| PolicyStatus {
                digest: document(access).digest(),
                form: form(access),
            }),
            secret_name: current.map(|_| if renamed { FORMER_SECRET } else { SECRET }.to_owned()),
            previous_secrets: if renamed { Vec::new() } else {
                vec![PreviousSecret { name: FORMER_SECRET.into(), until: ago(until) }]
            },
            keys,
            key_intent: key_intent.filter(|_| finalizer),
            last_reissue: reissued.map(ago),
            ..Record::default()
        };
        // Without the finalizer nothing was ever created, so there is nothing to observe, unless somebody took it off.
        let begun = finalizer || (stripped && record.access.is_some());
        let (principal, record) = if begun { (principal, record) } else { (Principal::Absent, Record::default()) };
        State {
            record,
            finalizer,
            first_intent: first_intent.filter(|_| finalizer),
            principal,
            secrets: BTreeMap::from([(name(SECRET), wanted), (name(FORMER_SECRET), former)]),
            absence: Absence { intent: "n0".into(), since: Some(ago(90)), looks },
            in_hand: in_hand.then(|| in_hand_since("ORPHAN", 10)),
            opened: None,
            is_applied,
            contested_until: None,
            forgotten: Vec::new(),
        }
    }
}

// === a world that does what it is told ===

/// Does a step against memory alone, and takes in what came of it as the operator does. Panics when the step would touch something
/// that is not ours.
fn act(state: &mut State, goal: &Goal, step: &Step, serial: &mut u32) -> Option<Happened> {
    check(state, goal, step);
    let outcome = outcome(state, goal, step, now(), serial);
    state.apply(step, outcome, &moment(now())).expect("what came of it is well")
}

fn moment(now: Timestamp) -> Moment<'static> {
    static SPEC: LazyLock<PrincipalSpec> = LazyLock::new(spec);
    Moment { spec: &SPEC, overlap: OVERLAP, now, skew: None }
}

/// What the world answers, in which all goes well.
fn outcome(state: &State, goal: &Goal, step: &Step, now: Timestamp, serial: &mut u32) -> Outcome {
    match step {
        Step::CreatePrincipal => Outcome::PrincipalCreated(Observed { id: "AIDA".into(), ..Observed::default() }),
        Step::CreateKey => {
            *serial += 1;
            Outcome::KeyCreated(CreatedKey { key: key(&format!("NEW{serial}")), created_at: now })
        }
        Step::Prove { depth, .. } => {
            let tried = state.key_to_try(now).expect("there is a key to try");
            Outcome::Tried { key: tried.id, proof: all_is_well(goal, *depth) }
        }
        Step::WriteSecret(write) => {
            let Goal::Provide(goal) = goal else { panic!("only a provided target has a Secret written") };
            let (key, new_key) = match &write.key {
                SecretKey::Published(key) => (key, None),
                SecretKey::Unpublished(_) => {
                    let created = state.pending(now).expect("there is a key to publish");
                    (&created.key, Some(created.clone()))
                }
            };
            let sent = goal.rclone.render(key).expect("renders");
            Outcome::SecretWritten(Box::new(Written { secret: owned(sent.expose_secret()), sent, new_key }))
        }
        _ => Outcome::Done,
    }
}

fn all_is_well(goal: &Goal, depth: Depth) -> Proof {
    let Goal::Provide(goal) = goal else { panic!("only a provided target is tried") };
    let (access, marks) = (goal.current.as_ref().expect("something is given"), Marks { uid: "uid", nonce: "nonce" });
    sample::proof(probe::Plan::new(spec().limits.verification, access, &goal.former, marks, depth), |_| None)
}

/// What no step may do.
fn check(state: &State, goal: &Goal, step: &Step) {
    if on_principal(step) {
        assert!(!matches!(state.principal, Principal::Foreign { .. }), "{step:?} touches a foreign principal");
    }
    match step {
        Step::Claim(_) => assert!(!state.finalizer, "claimed twice"),
        Step::CheckSecret(name) => assert!(!matches!(state.secret(name.as_str()), SecretState::Foreign { .. })),
        Step::CreatePrincipal => assert!(state.finalizer, "created before it was claimed"),
        Step::PutPolicy(_) | Step::CutBack(_) => {
            if let Principal::Ours(ours) = &state.principal {
                let unbound = ours.deviating(DeviationKind::Bound).next();
                assert_eq!(unbound, None, "a store takes no policy without the boundary");
            }
        }
        Step::DeactivateKey { id, .. } => assert_ours(state, id),
        Step::DeleteKey { id, why } => {
            assert_ours(state, id);
            if matches!(goal, Goal::Provide(_)) {
                let good = state.published_key().filter(|key| state.keys().iter().any(|listed| listed.id == key.id));
                assert_ne!(good.map(|key| key.id).as_ref(), Some(id), "a good key was lost, {why:?}");
            }
        }
        Step::CreateKey => {
            assert!(state.open_intent().is_some(), "a key without an intent");
            assert!(state.keys().len() < SLOTS, "a third key");
        }
        Step::WriteSecret(write) => {
            let is_foreign = matches!(state.secret(write.name.as_str()), SecretState::Foreign { .. });
            assert!(!is_foreign, "a foreign Secret was written");
        }
        Step::DeleteSecret(name) | Step::DisownSecret(name) => {
            assert!(state.secret(name.as_str()).ours().is_some(), "{name} is not ours to delete");
        }
        Step::RemovePrincipal => assert!(state.keys().is_empty(), "IAM refuses to delete a user with keys"),
        _ => {}
    }
}

fn on_principal(step: &Step) -> bool {
    !matches!(
        step,
        Step::Claim(_)
            | Step::OpenIntent(..)
            | Step::Withhold(_)
            | Step::Remember(_)
            | Step::CheckSecret(_)
            | Step::ExtendKey { .. }
            | Step::WriteSecret(_)
            | Step::RemoveRemains
            | Step::DeleteSecret(_)
            | Step::DisownSecret(_)
            | Step::ReleaseTarget
    )
}

fn assert_ours(state: &State, id: &str) {
    let recorded = state.record.keys.iter().any(|record| record.id == id);
    assert!(recorded || state.orphans().iter().any(|orphan| orphan == id), "{id} is not ours");
    assert_ne!(id, UNKNOWN);
}

/// The goal as it is parsed from what the status of that state says.
fn facing(goal: &Goal, state: &State) -> Goal {
    let Goal::Provide(provide) = goal else { return goal.clone() };
    let mut provide = provide.clone();
    let recorded = state.record.access.as_ref().and_then(|access| Access::from_record(access).ok());
    let current = provide.grant.access.clone();
    if let Some(before) = &recorded
        && !provide.suspended
        && !before.same_place(&current)
    {
        let left = PreviousAccess { access: before.to_record(), until: now() + OVERLAP };
        provide.former = vec![before.clone()];
        provide.record = (current.to_record(), vec![left]);
        provide.document = provide.document_with(Some(&current));
    }
    provide.before = recorded;
    Goal::Provide(provide)
}

fn settle_and_plan(state: &mut State, goal: &Goal, round: usize) -> Plan {
    settle(state, &spec(), OVERLAP, now());
    plan(goal, &spec(), state, &Fresh { now: now(), store_time: Some(now()), nonce: format!("n{}", round + 1) })
}

/// Plans and does until nothing is left; the last plan tells how it ended.
fn converge(state: &mut State, goal: &Goal) -> Plan {
    converge_from(state, goal, &mut 0)
}

fn converge_from(state: &mut State, goal: &Goal, serial: &mut u32) -> Plan {
    for round in 0..4 {
        let plan = settle_and_plan(state, goal, round);
        if plan.steps.is_empty() {
            return plan;
        }
        for Planned { step, .. } in &plan.steps {
            let last = matches!(step, Step::ReleaseTarget);
            act(state, goal, step, serial);
            if last {
                return Plan::default();
            }
        }
    }
    panic!("no end of steps: {:?}", settle_and_plan(state, goal, 4).steps);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn planning_converges_and_keeps_its_promises(goal in any_goal(), mut state in any_state()) {
        let claimed = state.finalizer;
        let unknown = state.keys().iter().any(|key| key.id == UNKNOWN);
        let goal = facing(&goal, &state);
        let before = state.clone();
        let end = converge(&mut state, &goal);

        if !matches!(goal, Goal::Remove) {
            contained(&before, &state)?;
        }

        prop_assert!(state.keys().len() <= SLOTS);
        let still_there = state.keys().iter().any(|key| key.id == UNKNOWN);
        prop_assert!(!unknown || still_there || state.principal == Principal::Absent, "an unknown key was deleted");
        match &goal {
            _ if end.unread.is_some() => {}
            Goal::Provide(wanted)
                if end.blocked.is_none() && end.waiting.is_none() && !wanted.suspended && !end.on_hold =>
            {
                let key = state.published_key().expect("a key is published");
                // A young key that is not listed yet is believed to be there.
                let young = state.current_key().is_some_and(|record| [ago(10), now()].contains(&record.created_at));
                let listed = state.keys().iter().find(|listed| listed.id == key.id);
                prop_assert!(listed.map_or(young, |listed| listed.active), "and works");
                prop_assert_eq!(state.record.access.as_ref(), Some(&wanted.grant.claimed.to_record()));
                prop_assert!(state.secret(SECRET).ours().is_some());
                let Principal::Ours(user) = &state.principal else { panic!("the principal is there") };
                prop_assert!(user.rights.are(&wanted.document, spec().limits));
                let ours_to_mend = [DeviationKind::Addition, DeviationKind::Bound, DeviationKind::Mark];
                prop_assert_eq!(user.deviations.iter().find(|left| ours_to_mend.contains(&left.kind)), None);
            }
            Goal::Withhold { .. } => {
                let works = |id: &str| state.keys().iter().any(|key| key.id == id && key.active);
                prop_assert!(state.record.keys.iter().all(|record| !works(&record.id)), "no key of ours works");
            }
            Goal::Remove if claimed && end.blocked.is_none() && end.waiting.is_none() => {
                prop_assert!(!state.finalizer);
                prop_assert!(!matches!(state.principal, Principal::Ours(_)), "nothing is left behind");
                prop_assert!(state.secrets.values().all(|secret| secret.ours().is_none()));
            }
            _ => {}
        }
    }
}

/// Whether a step gives something, or looks at a Secret to do so.
fn gives(step: &Step) -> bool {
    use Step::{
        ActivateKey, Amend, CheckSecret, CreateKey, CreatePrincipal, DisownSecret, MarkRetained, OpenIntent, Prove,
        PutPolicy, Remember, WriteSecret,
    };
    let marks = |step: &Step| matches!(step, Amend(deviation) if deviation.kind == DeviationKind::Mark);
    marks(step)
        || matches!(
            step,
            ActivateKey(_)
                | CheckSecret(_)
                | CreateKey
                | CreatePrincipal
                | DisownSecret(_)
                | OpenIntent(..)
                | Prove { .. }
                | PutPolicy(_)
                | Remember(_)
                | MarkRetained
                | WriteSecret(_)
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whoever keeps the operator from its Secrets gets nothing by it, and keeps nothing by it.
    #[test]
    fn what_takes_away_needs_no_secret(goal in any_goal(), mut state in any_state(), unread in unknown()) {
        state.secrets.insert(name(SECRET), unread);
        let goal = facing(&goal, &state);
        let plan = settle_and_plan(&mut state.clone(), &goal, 0);
        prop_assert!(plan.unread.is_some() && !plan.has(gives), "{:?}", plan.steps);
        let end = converge(&mut state, &goal);
        let works = |state: &State, id: &str| state.keys().iter().any(|key| key.id == id && key.active);
        match (&goal, &state.principal) {
            (Goal::Withhold { .. }, Principal::Ours(user)) => {
                prop_assert!(user.rights.are_absent(), "no key can do anything");
                prop_assert!(state.record.keys.iter().all(|record| !works(&state, &record.id)), "no key of ours works");
            }
            (Goal::Remove, Principal::Ours(user)) => {
                prop_assert!(user.rights.are_absent() && state.record.keys.iter().all(|record| !works(&state, &record.id)));
                prop_assert!(end.blocked.is_some() || end.waiting.is_some(), "something else keeps the user");
            }
            _ => {}
        }
    }

    #[test]
    fn former_secrets_do_not_pile_up(renames in 0..40_usize) {
        let mut state = published(&access("a", &[]));
        state.record.secret_name = Some(SECRET.into());
        for number in 0..renames {
            let Goal::Provide(mut goal) = provide(&access("a", &[]), false) else { panic!("it provides") };
            goal.secret_name = name(&format!("renamed-{number}"));
            let end = converge(&mut state, &Goal::Provide(goal));
            prop_assert_eq!((end.blocked, end.waiting), (None, None));
            let ours = state.secrets.values().filter(|secret| secret.ours().is_some()).count();
            prop_assert!(state.record.previous_secrets.len() <= keys::FORMER_SECRETS && ours <= keys::FORMER_SECRETS + 1);
        }
        prop_assert_eq!(state.record.previous_secrets.len(), renames.min(keys::FORMER_SECRETS));
    }
}

/// What somebody in AWS did to contain a principal is as it was, whatever was asked for, unless all of it is gone.
fn contained(before: &State, after: &State) -> Result<(), TestCaseError> {
    let (Principal::Ours(old), Principal::Ours(new)) = (&before.principal, &after.principal) else { return Ok(()) };
    for denial in old.deviating(DeviationKind::Denial) {
        prop_assert!(new.deviations.contains(denial), "{denial:?} was taken off");
    }
    let was_off = |id: &str| old.keys.iter().any(|key| key.id == id && !key.active);
    let came_on = new.keys.iter().find(|key| key.active && was_off(&key.id));
    prop_assert!(came_on.is_none(), "{:?} was switched on", came_on);
    let known = |id: &str| old.keys.iter().any(|key| key.id == id);
    prop_assert!(!old.held || new.keys.iter().all(|key| known(&key.id)), "there is a new key");
    let bound = |ours: &Observed| ours.deviating(DeviationKind::Bound).next().cloned();
    let others = old.deviations.iter().filter(|deviation| Some(*deviation) != bound(old).as_ref());
    prop_assert!(
        !old.held || others.clone().all(|other| new.deviations.contains(other)),
        "what was added was taken off"
    );
    Ok(())
}

// === crashes ===

/// How the world may look when the operator begins to work, and then is cut off.
#[derive(Clone, Copy, Debug)]
enum Begin {
    Nothing,
    Settled,
    SecretLost,
    SecretRenamed,
    SecretDamaged,
    CapabilityAdded,
}

fn begin(how: Begin) -> State {
    let mut state = published(&access("a", &[]));
    match how {
        Begin::Nothing => state = fresh(),
        Begin::Settled => state = published(&access("a", &[Capability::ObjectAcls])),
        Begin::CapabilityAdded => {}
        Begin::SecretLost => {
            state.secrets.insert(name(SECRET), SecretState::Absent);
        }
        Begin::SecretRenamed => {
            let secret = state.secrets.remove(SECRET).expect("published");
            state.secrets.insert(name(FORMER_SECRET), secret);
            state.record.secret_name = Some(FORMER_SECRET.into());
        }
        Begin::SecretDamaged => {
            state.secrets.insert(name(SECRET), SecretState::Ours(Box::new(owned("damaged"))));
        }
    }
    state
}

/// How work ends before it is done.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// The process ends: only what was written into the target is remembered.
    Crash,
    /// A step is refused, and is certainly not done.
    Refused,
    /// Nobody knows whether a step was done, and it was not.
    Unanswered,
}

impl Cut {
    fn error(self) -> Error {
        let kind = if matches!(self, Self::Refused) { cluster::Kind::Forbidden } else { cluster::Kind::Unreachable };
        Error::Cluster(cluster::Error { kind, what: "do it" })
    }
}

/// Works until `steps` steps are done, and then is cut off.
fn cut_after(state: &mut State, goal: &Goal, steps: usize, cut: Cut, serial: &mut u32) {
    let (mut stored, mut done) = (state.record.clone(), 0);
    for round in 0..4 {
        let facing = facing(goal, state);
        let plan = settle_and_plan(state, &facing, round);
        for Planned { step, .. } in &plan.steps {
            if done == steps {
                return end_with(state, &facing, step, cut, stored, serial);
            }
            let written = matches!(step, Step::OpenIntent(..) | Step::Withhold(_));
            act(state, goal, step, serial);
            done += 1;
            if written {
                stored = state.record.clone();
            }
        }
    }
}

fn end_with(state: &mut State, goal: &Goal, step: &Step, cut: Cut, stored: Record, serial: &mut u32) {
    if matches!(cut, Cut::Crash) {
        (state.record, state.in_hand, state.opened) = (stored, None, None);
        return;
    }
    state.failed(step, &cut.error());
    if let Some(instead) = failure::instead(step, &cut.error(), state) {
        act(state, goal, &instead, serial);
    }
    state.opened = None;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_cuts_it_off_leaks_no_key_and_loses_no_good_one(
        how in prop_oneof![
            Just(Begin::Nothing), Just(Begin::Settled), Just(Begin::SecretLost),
            Just(Begin::SecretRenamed), Just(Begin::SecretDamaged), Just(Begin::CapabilityAdded),
        ],
        cuts in vec((0..8_usize, prop_oneof![Just(Cut::Crash), Just(Cut::Refused), Just(Cut::Unanswered)]), 0..3),
    ) {
        let goal = provide(&access("a", &[Capability::ObjectAcls]), false);
        let mut state = begin(how);
        let good = state.published_key().map(|key| key.id);
        let mut serial = 0;
        for (steps, cut) in cuts {
            cut_after(&mut state, &goal, steps, cut, &mut serial);
            // Time passes: whatever an intent may still bring has been looked for, and a Secret may be replaced again.
            let intent = state.open_intent().map(|intent| intent.nonce.clone()).unwrap_or_default();
            state.absence = Absence { intent, since: Some(ago(90)), looks: 3 };
            state.record.last_reissue = None;
        }
        let goal = facing(&goal, &state);
        let end = converge_from(&mut state, &goal, &mut serial);
        prop_assert_eq!((&end.blocked, &end.waiting), (&None, &None));
        prop_assert!(state.unknown_keys().is_empty() && state.open_intent().is_none(), "a key leaked");
        let current = state.published_key().expect("a key is published");
        prop_assert!(state.keys().iter().any(|key| key.id == current.id && key.active), "and works");
        prop_assert!(good.is_none_or(|good| good == current.id), "a good key was replaced");
        prop_assert!(state.record.principal.is_some() && state.record.policy.is_some(), "status is whole");
    }
}
