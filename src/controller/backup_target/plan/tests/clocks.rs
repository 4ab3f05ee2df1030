//! Wrong clocks: the one that decisions go by, and the one that keys are dated with, say what they like.

use jiff::SignedDuration;

use super::*;
use crate::controller::backup_target::overlap;

/// The two clocks, and what goes wrong while a key is made.
#[derive(Clone, Debug)]
struct Trouble {
    /// By how many seconds the clock of decisions is ahead of the store's, look by look; at last it stays as it is.
    ahead: Vec<i64>,
    /// How often the new key is not known yet when it is tried.
    refusals: usize,
    /// In which look, and after how many steps, the operator ends.
    crash: Option<(usize, usize)>,
    /// Whether the store tells its time, so that intents carry it.
    tells: bool,
}

prop_compose! {
    fn any_trouble()(
        ahead in vec(-3_600..=3_600_i64, 1..8),
        refusals in 0..4_usize,
        crash in option::of((0..6_usize, 0..7_usize)),
        tells in any::<bool>(),
    ) -> Trouble {
        Trouble { ahead, refusals, crash, tells }
    }
}

/// What is told of a key that another took the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Promise { key: String, until: Option<Timestamp>, words: String },
    Inactive { key: String },
    MadeRoom { key: String, breaks_a_promise: bool, at: Timestamp },
}

/// A target with a store whose time passes by half a minute with each look.
struct Life {
    state: State,
    trouble: Trouble,
    looks: usize,
    keys: u32,
    told: Vec<Told>,
}

impl Life {
    fn new(trouble: Trouble) -> Self {
        Self { state: fresh(), trouble, looks: 0, keys: 0, told: Vec::new() }
    }

    fn lose_the_secret(&mut self) {
        self.state.secrets.insert(name(SECRET), SecretState::Absent);
    }

    fn store_time(&self) -> Timestamp {
        ago(-30 * i64::try_from(self.looks).expect("few"))
    }

    fn own_time(&self) -> Timestamp {
        let ahead = &self.trouble.ahead;
        self.store_time() + SignedDuration::from_secs(ahead[self.looks.min(ahead.len() - 1)])
    }

    /// One reconcile with one plan; whether nothing was left to do.
    fn look(&mut self, goal: &Goal) -> bool {
        let (now, store_time) = (self.own_time(), self.trouble.tells.then(|| self.store_time()));
        if let Some(expected) = self.state.in_doubt(now) {
            self.state.absence = self.state.absence.clone().and_another(&expected, now);
        }
        settle(&mut self.state, &spec(), OVERLAP, now);
        let plan = plan(goal, &spec(), &self.state, &Fresh { now, store_time, nonce: format!("n{}", self.looks) });
        assert!(plan.unknown_keys.is_empty() && plan.blocked.is_none(), "{plan:?}");
        let settled = plan.steps.is_empty() && plan.waiting.is_none();
        for (number, Planned { step, .. }) in plan.steps.iter().enumerate() {
            if self.trouble.crash == Some((self.looks, number)) {
                self.state.in_hand = None;
                break;
            }
            if matches!(step, Step::Prove { .. }) && self.trouble.refusals > 0 {
                self.trouble.refusals -= 1;
                break;
            }
            self.act(goal, step, now);
        }
        self.looks += 1;
        settled
    }

    fn act(&mut self, goal: &Goal, step: &Step, now: Timestamp) {
        check(&self.state, goal, step);
        // As the operator does it: a key that is not pending any more is neither tried nor published.
        let needs_a_key = matches!(step, Step::Prove { .. } | Step::WriteSecret(_));
        if needs_a_key && self.state.key_to_try(now).is_none() {
            return;
        }
        let outcome = match outcome(&self.state, goal, step, now, &mut self.keys) {
            Outcome::KeyCreated(created) => {
                Outcome::KeyCreated(CreatedKey { created_at: self.store_time(), ..created })
            }
            other => other,
        };
        let happened = self.state.apply(step, outcome, &moment(now)).expect("what came of it is well");
        self.told.extend(happened.and_then(|happened| told(happened, now)));
    }

    fn until_settled(&mut self, goal: &Goal) {
        let settles = (0..150).any(|_| self.look(goal) || matches!(goal, Goal::Remove) && !self.state.finalizer);
        assert!(settles, "no end: {:?} {:?}", self.state.record, self.state.keys());
    }
}

fn told(happened: Happened, now: Timestamp) -> Option<Told> {
    match happened {
        Happened::KeyReissued { replaced: Some(record), .. } => {
            Some(Told::Promise { words: overlap::promise(&record), until: record.revoke_at, key: record.id })
        }
        Happened::KeyRevoked { id } => Some(Told::Inactive { key: id }),
        Happened::MadeRoom(record) => {
            let (breaks_a_promise, _) = overlap::made_room(&record, now);
            Some(Told::MadeRoom { key: record.id, breaks_a_promise, at: now })
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_clock_decides_whose_a_key_is(trouble in any_trouble()) {
        let goal = provide(&access("a", &[]), false);
        let mut life = Life::new(trouble);
        life.until_settled(&goal);
        prop_assert_eq!(life.state.keys().len(), 1, "no key is left behind");
        prop_assert!(life.state.published_key().is_some());

        life.lose_the_secret();
        life.until_settled(&goal);
        prop_assert!(life.state.published_key().is_some(), "a lost Secret comes back");
        prop_assert!(life.state.keys().iter().all(|key| life.state.is_recorded(&key.id)), "no key is left behind");

        life.until_settled(&Goal::Remove);
        prop_assert!(life.state.keys().is_empty() && !life.state.finalizer);
    }
    /// A key is lost at any time, again and again: what was told of the one before is true all the same.
    #[test]
    fn what_is_promised_of_a_replaced_key_is_kept(gaps in vec(1..2_000_usize, 1..8)) {
        let goal = provide(&access("a", &[]), false);
        let mut life = Life::new(Trouble { ahead: vec![0], refusals: 0, crash: None, tells: true });
        life.until_settled(&goal);
        for minutes in gaps {
            life.looks += 2 * minutes;
            // What is due meanwhile is done first, in time.
            let due = life.state.record.keys.iter().filter_map(|record| record.revoke_at).max();
            if due.is_some_and(|due| due < life.store_time()) {
                life.until_settled(&goal);
            }
            life.lose_the_secret();
            life.until_settled(&goal);
        }
        for (number, told) in life.told.iter().enumerate() {
            let Told::MadeRoom { key, breaks_a_promise, at } = told else { continue };
            let before = &life.told[..number];
            let was_inactive = before.contains(&Told::Inactive { key: key.clone() });
            let promise = before.iter().rev().find_map(|told| match told {
                Told::Promise { key: of, until, words } if of == key => Some((*until, words)),
                _ => None,
            });
            let (until, words) = promise.expect("something was said of it when it was replaced");
            prop_assert_eq!(*breaks_a_promise, !was_inactive && until.is_some_and(|until| until > *at));
            prop_assert!(!breaks_a_promise || words.contains("or until a key is lost again"), "{}", words);
        }
    }
}
