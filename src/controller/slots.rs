//! How many targets of a store are worked on at once, and which of those that wait are next.
//!
//! Each store has slots of its own, so that one that does not answer keeps nobody else waiting; so has each urgency, so that
//! looks at what is well keep no change waiting; and namespaces take turns, so that one with many targets keeps no other
//! waiting.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::fair::{RoundRobin, Urgency};

/// So many of one namespace wait in a pool. Who comes then is to come again, so that what waits is bounded, whatever
/// somebody creates.
const ROOM: usize = 512;

/// Slots that are given out together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Name of the store.
    pub store: String,
    /// How urgent the work is.
    pub urgency: Urgency,
}

/// Too many of that namespace wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

/// All slots.
#[derive(Debug, Default)]
pub struct Slots {
    pools: Mutex<HashMap<Pool, Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    capacity: usize,
    held: HashMap<String, usize>,
    waiting: RoundRobin<(u64, oneshot::Sender<()>)>,
    last: u64,
}

/// A place in the queue, and then a slot, until it is dropped.
#[derive(Debug)]
pub struct Place {
    slots: Arc<Slots>,
    /// The pool that it is in.
    pub pool: Pool,
    namespace: String,
    number: u64,
    called: oneshot::Receiver<()>,
}

impl Slots {
    /// Takes a place in a pool that now has so many slots.
    ///
    /// # Errors
    /// When too many of that namespace wait already.
    pub fn join(self: &Arc<Self>, pool: Pool, namespace: &str, capacity: usize) -> Result<Place, Crowded> {
        let mut pools = self.lock();
        let queue = pools.entry(pool.clone()).or_default();
        if queue.waiting.waiting(namespace) >= ROOM {
            return Err(Crowded);
        }
        queue.capacity = capacity;
        queue.last += 1;
        let (number, (call, called)) = (queue.last, oneshot::channel());
        queue.waiting.push(namespace, (number, call));
        queue.serve();
        drop(pools);
        Ok(Place { slots: self.clone(), pool, namespace: namespace.to_owned(), number, called })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pool, Queue>> {
        // The map is whole whenever nobody holds the lock.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until this place is a slot.
    pub async fn called(&mut self) {
        // The sender is kept until it is used, for as long as this is.
        let _ = (&mut self.called).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut pools = self.slots.lock();
        let Some(queue) = pools.get_mut(&self.pool) else { return };
        if queue.waiting.remove(&self.namespace, |(number, _)| *number == self.number).is_none() {
            queue.release(&self.namespace);
            queue.serve();
        }
        if queue.held.is_empty() && queue.waiting.is_empty() {
            pools.remove(&self.pool);
        }
    }
}

impl Queue {
    /// A quarter of the slots is left to others, so that nobody has to wait until all that one namespace has begun is done.
    fn of_one_namespace(&self) -> usize {
        (self.capacity - self.capacity / 4).max(1)
    }

    fn serve(&mut self) {
        while self.held.values().sum::<usize>() < self.capacity.max(1) {
            let most = self.of_one_namespace();
            let may = |namespace: &str| self.held.get(namespace).is_none_or(|held| *held < most);
            let Some((namespace, (_, call))) = self.waiting.pop(may) else { return };
            *self.held.entry(namespace).or_default() += 1;
            // Whoever waits holds the other end.
            let _ = call.send(());
        }
    }

    fn release(&mut self, namespace: &str) {
        if let Some(held) = self.held.get_mut(namespace) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn pool(urgency: Urgency) -> Pool {
        Pool { store: "default".to_owned(), urgency }
    }

    fn join(slots: &Arc<Slots>, urgency: Urgency, namespace: &str) -> Place {
        slots.join(pool(urgency), namespace, 4).expect("there is room")
    }

    fn is_called(place: &mut Place) -> bool {
        place.called().now_or_never().is_some()
    }

    #[test]
    fn a_namespace_with_many_leaves_slots_and_turns_to_others() {
        let slots = Arc::new(Slots::default());
        let mut flood: Vec<Place> = (0..100).map(|_| join(&slots, Urgency::Change, "flood")).collect();
        let begun = flood.iter_mut().filter_map(|place| is_called(place).then_some(())).count();
        assert_eq!(begun, 3, "one of four is left");
        let mut other = join(&slots, Urgency::Change, "b");
        assert!(is_called(&mut other));
        let mut next = join(&slots, Urgency::Change, "b");
        assert!(!is_called(&mut next));
        drop((flood.remove(0), flood.remove(0)));
        assert!(is_called(&mut next), "it has one of the next two, before all others of the flood");
    }

    #[test]
    fn urgencies_do_not_wait_for_each_other_and_what_is_left_leaves_nothing() {
        let slots = Arc::new(Slots::default());
        let looks: Vec<Place> = (0..100).map(|_| join(&slots, Urgency::Drift, "a")).collect();
        let mut deletion = join(&slots, Urgency::Revocation, "a");
        assert!(is_called(&mut deletion));
        drop((looks, deletion));
        assert!(slots.lock().is_empty());
    }

    #[test]
    fn who_gives_up_waiting_is_passed_over() {
        let slots = Arc::new(Slots::default());
        let mut places: Vec<Place> = (0..5).map(|_| join(&slots, Urgency::Drift, "a")).collect();
        drop(places.remove(3));
        drop(places.remove(0));
        assert!(is_called(&mut places[2]));
    }

    #[test]
    fn what_waits_of_one_namespace_is_bounded() {
        let slots = Arc::new(Slots::default());
        let flood: Vec<_> = (0..2_000).map_while(|_| slots.join(pool(Urgency::Drift), "flood", 4).ok()).collect();
        assert_eq!(flood.len(), 3 + ROOM);
        assert!(slots.join(pool(Urgency::Drift), "b", 4).is_ok());
    }
}
