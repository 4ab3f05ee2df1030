//! What is remembered of objects between reconciles. Losing it costs reads, never correctness.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{absence::Absence, time::at_least};
use crate::{
    access::PolicyDocument,
    api::Reason,
    provider::{Key, KeySource, Observed, Principal, PrincipalSpec, Rights},
};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// This many repairs …
const FIGHT: usize = 4;
/// … within this time are a fight.
const FIGHT_WINDOW: Duration = Duration::from_mins(10);
/// A reconcile that waits for its key may take that much longer than others, and nothing is looked at anew.
const UNDERWAY: Duration = Duration::from_mins(1);
/// So many may be remembered beyond twice those that there are, before it is looked which of them are gone.
const LEEWAY: usize = 256;

/// What is remembered of one object.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub principal: Option<Box<Remembered>>,
    /// Looks that did not show what may still appear.
    pub absence: Absence,
    /// When somebody else's work was put right lately.
    pub repairs: Repairs,
    /// The rules that what was given was held against last, in short.
    held_against: Option<u64>,
    /// Failures in a row.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Instant>,
    /// Why it failed last, and since when for nothing else.
    refused: Option<(Reason, Instant)>,
}

/// A principal as this process saw or left it.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// When it was last read or created.
    pub at: Instant,
    /// Whether a reconcile left it so that is not at its end: what waits for its key to be known goes on from there.
    is_underway: bool,
    found: Found,
}

/// There are thousands of principals, and almost all are as they should be: of those is kept what differs from one to another.
#[derive(Clone, Debug)]
enum Found {
    AsWanted(AsWanted),
    Otherwise(Box<Principal>),
}

/// A principal with just the policy that is wanted, and nothing that others put on it.
#[derive(Clone, Debug)]
struct AsWanted {
    id: Box<str>,
    bound: Option<Box<str>>,
    held: bool,
    retained: bool,
    keys: Box<[Key]>,
    policy: [u8; 32],
}

impl Remembered {
    /// Remembers a principal for which that document is wanted.
    #[must_use]
    pub fn new(principal: Principal, at: Instant, spec: &PrincipalSpec, wanted: Option<&PolicyDocument>) -> Self {
        let found = match (principal, wanted) {
            (Principal::Ours(ours), Some(document)) if AsWanted::fits(&ours, spec, document) => {
                Found::AsWanted(AsWanted::of(ours, spec, document))
            }
            (principal, _) => Found::Otherwise(Box::new(principal)),
        };
        Self { at, is_underway: false, found }
    }

    /// The same, left by a reconcile that waits for nothing but its key.
    #[must_use]
    pub fn underway(self) -> Self {
        Self { is_underway: true, ..self }
    }

    /// Whether it is as good as what was just read: the same work goes on, and not much later.
    #[must_use]
    pub fn is_as_just_read(&self) -> bool {
        self.is_underway && self.at.elapsed() < UNDERWAY
    }

    /// The principal, unless something else is wanted by now: then it has to be looked at anyway.
    #[must_use]
    pub fn principal(self, spec: &PrincipalSpec, wanted: Option<&PolicyDocument>) -> Option<Principal> {
        match self.found {
            Found::AsWanted(known) => known.observed(spec, wanted?).map(Principal::Ours),
            Found::Otherwise(principal) => Some(*principal),
        }
    }
}

impl AsWanted {
    fn fits(ours: &Observed, spec: &PrincipalSpec, document: &PolicyDocument) -> bool {
        let wanted = spec.limits.form(document).map(|form| Rights::just(document, form));
        wanted.as_ref() == Some(&ours.rights) && ours.deviations.is_empty()
    }

    fn of(ours: Observed, spec: &PrincipalSpec, document: &PolicyDocument) -> Self {
        Self {
            id: ours.id.into(),
            bound: spec.bound.as_deref().map(Into::into),
            held: ours.held,
            retained: ours.retained,
            keys: ours.keys.into(),
            policy: document.sha256(),
        }
    }

    fn observed(self, spec: &PrincipalSpec, wanted: &PolicyDocument) -> Option<Observed> {
        let is_as_wanted = wanted.sha256() == self.policy && spec.bound.as_deref() == self.bound.as_deref();
        let form = spec.limits.form(wanted).filter(|_| is_as_wanted)?;
        Some(Observed {
            id: self.id.into(),
            rights: Rights::just(wanted, form),
            deviations: Vec::new(),
            keys: self.keys.into(),
            source: KeySource::Made,
            held: self.held,
            retained: self.retained,
        })
    }
}

/// When somebody else's work was put right lately. In whole seconds of the clock that status is written by, so that what
/// follows from them is the same at each look.
#[derive(Clone, Debug, Default)]
pub struct Repairs(Vec<Timestamp>);

impl Repairs {
    /// One more, just now.
    pub fn one_more(&mut self, now: Timestamp) {
        self.0.retain(|at| *at <= now && !at_least(FIGHT_WINDOW, *at, now));
        self.0.push(now);
    }

    /// Until when nothing is put right, because somebody else undoes it again and again. A time that is still to come, which
    /// a clock that was wrong has left, counts for nothing.
    #[must_use]
    pub fn contested_until(&self, now: Timestamp) -> Option<Timestamp> {
        let first = *self.0.get(self.0.len().checked_sub(FIGHT)?)?;
        first.checked_add(FIGHT_WINDOW).ok().filter(|until| first <= now && now < *until)
    }
}

/// What is remembered of all objects, by their UID. Boxed, since a table keeps up to twice the room that it needs.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<Box<str>, Box<Memory>>>);

impl Memories {
    /// What is remembered of the object with that UID.
    #[must_use]
    pub fn of(&self, uid: &str) -> Memory {
        self.lock().get(uid).map(|memory| (**memory).clone()).unwrap_or_default()
    }

    /// The rules that an object was held against last.
    #[must_use]
    pub fn held_against(&self, uid: &str) -> Option<u64> {
        self.lock().get(uid)?.held_against
    }

    /// Changes what is remembered of an object.
    pub fn change<T>(&self, uid: &str, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(self.lock().entry(uid.into()).or_default())
    }

    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// Whether more is remembered than so many objects can have left.
    #[must_use]
    pub fn are_too_many_for(&self, objects: usize) -> bool {
        self.lock().len() > 2 * objects + LEEWAY
    }

    /// Forgets all objects but these.
    pub fn keep(&self, living: &HashSet<String>) {
        let mut memories = self.lock();
        memories.retain(|uid, _| living.contains(&**uid));
        memories.shrink_to_fit();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Box<Memory>>> {
        // The map is whole after every line that holds the lock, so a panic elsewhere cannot have broken it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// What a reconcile left that waits for nothing but its key.
    pub fn waits(&mut self, principal: Remembered) {
        self.principal = Some(Box::new(principal.underway()));
    }

    /// What a success left.
    pub fn succeeded(&mut self, principal: Option<Remembered>, absence: Absence) {
        (self.principal, self.absence) = (principal.map(Box::new), absence);
        (self.failures, self.failing_since, self.refused) = (0, None, None);
    }

    /// It failed for that reason: how long it has failed for no other.
    pub fn failed_for(&mut self, reason: Reason) -> Duration {
        self.refused.take_if(|(before, _)| *before != reason);
        let (_, since) = self.refused.get_or_insert_with(|| (reason, Instant::now()));
        since.elapsed()
    }

    /// What was given was held against these rules.
    pub fn held(&mut self, rules: u64) {
        self.held_against = Some(rules);
    }

    /// Whether nothing but failures happened for that long. What is written about the first wakes the next at once.
    #[must_use]
    pub fn has_failed_for(&self, time: Duration) -> bool {
        self.failing_since.is_some_and(|since| since.elapsed() >= time)
    }

    /// Counts a failure, forgets the principal, and says how long to wait before the next try.
    pub fn failed(&mut self) -> Duration {
        self.principal = None;
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(9)).min(LONGEST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert_with(Instant::now);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn repaired_at(seconds: &[i64]) -> Repairs {
        let mut repairs = Repairs::default();
        for second in seconds {
            repairs.one_more(at(*second));
        }
        repairs
    }

    #[test]
    fn the_fourth_repair_in_ten_minutes_is_a_fight() {
        let table: [(&[i64], i64, Option<i64>); 6] = [
            (&[0, 10, 20], 30, None),
            (&[0, 10, 20, 30], 40, Some(600)),
            (&[0, 10, 20, 30], 599, Some(600)),
            (&[0, 10, 20, 30], 600, None),
            (&[0, 10, 20, 30, 600], 601, Some(610)),
            (&[1_000, 1_010, 1_020, 1_030], 40, None),
        ];
        for (repairs, now, until) in table {
            assert_eq!(repaired_at(repairs).contested_until(at(now)), until.map(at), "{repairs:?} at {now}");
        }
    }

    proptest! {
        #[test]
        fn a_fight_ends_at_the_same_time_whenever_one_looks(
            steps in proptest::collection::vec(0..200_i64, 4..10), first in 0..600_i64, second in 0..600_i64,
        ) {
            let times: Vec<i64> = steps.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            let (repairs, last) = (repaired_at(&times), times[times.len() - 1]);
            let looks = [first, second].map(|later| repairs.contested_until(at(last + later)));
            if let [Some(one), Some(other)] = looks {
                prop_assert_eq!(one, other);
            }
        }
    }

    #[test]
    fn the_same_refusal_lasts_until_another_one_or_a_success() {
        let mut memory = Memory::default();
        assert!(memory.failed_for(Reason::AccessDenied) < Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(10));
        assert!(memory.failed_for(Reason::AccessDenied) >= Duration::from_millis(10));
        assert!(memory.failed_for(Reason::InvalidCredentials) < Duration::from_millis(5));
        assert!(memory.failed_for(Reason::AccessDenied) < Duration::from_millis(5));
        std::thread::sleep(Duration::from_millis(10));
        memory.succeeded(None, Absence::default());
        assert!(memory.failed_for(Reason::AccessDenied) < Duration::from_millis(5));
    }

    #[test]
    fn what_is_gone_without_a_word_is_forgotten() {
        let memories = Memories::default();
        let objects: Vec<String> = (0..2_000).map(|number| format!("uid-{number}")).collect();
        let living: HashSet<String> = objects.iter().take(10).cloned().collect();
        for uid in &objects {
            memories.change(uid, Memory::failed);
            if memories.are_too_many_for(living.len()) {
                memories.keep(&living);
            }
        }
        let remembered = memories.lock().len();
        assert!(remembered <= 2 * living.len() + LEEWAY, "{remembered}");
        assert_eq!(memories.of("uid-3").failures, 1, "what lives is remembered");
    }
}
