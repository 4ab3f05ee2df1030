//! Whose turn it is, where many wait for the same. Pure.

use std::collections::VecDeque;

/// How urgent something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Something that must no longer work: a deletion, or a right that no rule allows any more.
    Revocation,
    /// A new target, or a changed one.
    #[default]
    Change,
    /// A look whether everything is still as it should be.
    Drift,
}

impl Urgency {
    /// All, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Revocation, Self::Change, Self::Drift];

    /// How many turns of ten it has when all of them wait; what does not wait leaves its turns to the others.
    const fn turns(self) -> i32 {
        match self {
            Self::Revocation => 6,
            Self::Change => 3,
            Self::Drift => 1,
        }
    }
}

/// Those who wait, by a key that tells whose they are: one of each key after the other, so that who has many in the line keeps
/// nobody else waiting; of one key, first come, first served.
#[derive(Debug)]
pub struct RoundRobin<T> {
    ring: VecDeque<(String, VecDeque<T>)>,
}

impl<T> Default for RoundRobin<T> {
    fn default() -> Self {
        Self { ring: VecDeque::new() }
    }
}

impl<T> RoundRobin<T> {
    /// Somebody begins to wait.
    pub fn push(&mut self, key: &str, item: T) {
        match self.ring.iter_mut().find(|(known, _)| known == key) {
            Some((_, items)) => items.push_back(item),
            None => self.ring.push_back((key.to_owned(), VecDeque::from([item]))),
        }
    }

    /// The next one whose key may have a turn.
    pub fn pop(&mut self, may: impl Fn(&str) -> bool) -> Option<(String, T)> {
        let at = self.ring.iter().position(|(key, _)| may(key))?;
        let (key, mut items) = self.ring.remove(at)?;
        let item = items.pop_front()?;
        if !items.is_empty() {
            self.ring.push_back((key.clone(), items));
        }
        Some((key, item))
    }

    /// Somebody gives up waiting.
    pub fn remove(&mut self, key: &str, is_it: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.ring.iter().position(|(known, _)| known == key)?;
        let items = &mut self.ring[at].1;
        let item = items.iter().position(is_it).and_then(|item| items.remove(item));
        if items.is_empty() {
            self.ring.remove(at);
        }
        item
    }

    /// How many of that key wait.
    #[must_use]
    pub fn waiting(&self, key: &str) -> usize {
        self.ring.iter().find(|(known, _)| known == key).map_or(0, |(_, items)| items.len())
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// Those who wait for the same, in shares by urgency, and in turns within each.
#[derive(Debug)]
pub struct Line<T> {
    queues: [RoundRobin<T>; 3],
    credit: [i32; 3],
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { queues: Default::default(), credit: [0; 3] }
    }
}

impl<T> Line<T> {
    /// Somebody begins to wait.
    pub fn push(&mut self, urgency: Urgency, key: &str, item: T) {
        self.queues[urgency as usize].push(key, item);
    }

    /// Whose turn it is: of all urgencies that wait, the one that is furthest behind its share.
    pub fn pop(&mut self) -> Option<T> {
        let waits = |urgency: &Urgency| !self.queues[*urgency as usize].is_empty();
        let waiting: Vec<Urgency> = Urgency::ALL.into_iter().filter(waits).collect();
        for urgency in Urgency::ALL {
            let credit = &mut self.credit[urgency as usize];
            *credit = if waiting.contains(&urgency) { *credit + urgency.turns() } else { 0 };
        }
        // Of several, the last one counts, and the most urgent is to.
        let next = waiting.iter().copied().rev().max_by_key(|urgency| self.credit[*urgency as usize])?;
        self.credit[next as usize] -= waiting.iter().map(|urgency| urgency.turns()).sum::<i32>();
        self.queues[next as usize].pop(|_| true).map(|(_, item)| item)
    }

    /// Somebody gives up waiting.
    pub fn remove(&mut self, urgency: Urgency, key: &str, is_it: impl Fn(&T) -> bool) {
        self.queues[urgency as usize].remove(key, is_it);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn when_all_wait_each_has_its_share_and_the_most_urgent_begins() {
        let mut line = Line::default();
        for urgency in Urgency::ALL {
            (0..100).for_each(|_| line.push(urgency, "a", urgency));
        }
        let turns: Vec<Urgency> = (0..100).filter_map(|_| line.pop()).collect();
        let count = |wanted| turns.iter().filter(|urgency| **urgency == wanted).count();
        assert_eq!(Urgency::ALL.map(count), [60, 30, 10]);
        assert_eq!(turns[0], Urgency::Revocation);
        let longest = turns.split(|urgency| *urgency == Urgency::Drift).map(<[_]>::len).max();
        assert!(longest <= Some(18), "nobody waits for more than two rounds: {longest:?}");
    }

    #[test]
    fn a_key_with_many_keeps_no_other_waiting() {
        let mut line = Line::default();
        (0..10_000).for_each(|_| line.push(Urgency::Revocation, "flood", "flood"));
        line.push(Urgency::Revocation, "b", "b");
        assert_eq!([line.pop(), line.pop()], [Some("flood"), Some("b")]);
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_its_place() {
        let mut queue = RoundRobin::default();
        for (key, item) in [("a", 1), ("b", 2), ("a", 3)] {
            queue.push(key, item);
        }
        assert_eq!(queue.pop(|key| key != "a"), Some(("b".to_owned(), 2)));
        assert_eq!(queue.pop(|key| key != "a"), None);
        assert_eq!((queue.waiting("a"), queue.remove("a", |item| *item == 1)), (2, Some(1)));
        assert_eq!(queue.pop(|_| true), Some(("a".to_owned(), 3)));
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn everybody_has_a_turn_once_and_those_of_a_key_in_their_order(
            arrivals in proptest::collection::vec((0..3_usize, 0..4_usize, any::<bool>()), 0..200),
        ) {
            let (mut line, mut served) = (Line::default(), Vec::new());
            for (number, (urgency, key, pops)) in arrivals.iter().enumerate() {
                line.push(Urgency::ALL[*urgency], &key.to_string(), (*urgency, *key, number));
                served.extend(pops.then(|| line.pop()).flatten());
            }
            served.extend(std::iter::from_fn(|| line.pop()));
            prop_assert_eq!(served.len(), arrivals.len(), "while somebody waits, there is a next one");
            for urgency in 0..3 {
                for key in 0..4 {
                    let of = |(u, k, _): &&(usize, usize, usize)| (*u, *k) == (urgency, key);
                    prop_assert!(served.iter().filter(of).is_sorted_by_key(|(_, _, number)| *number));
                }
            }
        }
    }
}
