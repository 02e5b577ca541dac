//! When to look at which entry of a map again. No clock of its own.

use std::collections::BTreeSet;

use tokio::time::Instant;

/// Keys in the order of their times; each is in it once at most.
pub struct Agenda<K>(BTreeSet<(Instant, K)>);

impl<K: Copy + Ord> Agenda<K> {
    pub fn new() -> Self {
        Self(BTreeSet::new())
    }

    /// Moves a key to the time `at`, or takes it off. `due` is the key's time until now, which the key's entry keeps.
    pub fn set(&mut self, key: K, due: &mut Option<Instant>, at: Option<Instant>) {
        if let Some(former) = std::mem::replace(due, at) {
            self.0.remove(&(former, key));
        }
        if let Some(at) = at {
            self.0.insert((at, key));
        }
    }

    /// The first key whose time has come, which is off the agenda then: its entry is to know that.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        self.next().filter(|at| *at <= now)?;
        self.0.pop_first().map(|(_, key)| key)
    }

    /// The earliest time on it.
    pub fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
impl<K> Agenda<K> {
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_is_due_once_at_the_last_time_that_it_was_given() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut agenda = Agenda::new();
        let (mut one, mut two, mut three) = (None, None, None);
        agenda.set(1, &mut one, Some(at(1)));
        agenda.set(2, &mut two, Some(at(2)));
        agenda.set(3, &mut three, Some(at(3)));
        agenda.set(1, &mut one, Some(at(4)));
        agenda.set(3, &mut three, None);
        assert_eq!((one, three), (Some(at(4)), None));
        assert_eq!(agenda.next(), Some(at(2)));
        assert_eq!(agenda.pop_due(at(1)), None);
        assert_eq!(agenda.pop_due(at(2)), Some(2));
        assert_eq!(agenda.pop_due(at(3)), None);
        assert_eq!(agenda.pop_due(at(9)), Some(1));
        assert_eq!(agenda.pop_due(at(9)), None);
        assert_eq!(agenda.next(), None);
    }
}
