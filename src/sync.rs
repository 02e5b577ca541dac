//! Locks of the standard library, taken whether or not they are poisoned.
//!
//! A panic while such a lock was held poisons it. Nothing here heeds that: what the locks of this program guard is changed in steps that
//! are complete in themselves, so it is usable after any of them, and a replica in which one task has panicked goes on serving the others.
//! Where that does not hold, these functions are not the right ones.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn what_was_held_in_a_panic_is_there_for_the_next_one() {
        let (mutex, rw_lock) = (Mutex::new(1), RwLock::new(1));
        let panicking = catch_unwind(AssertUnwindSafe(|| {
            let (mut one, mut other) = (lock(&mutex), write(&rw_lock));
            (*one, *other) = (2, 2);
            panic!("while both are held");
        }));
        assert!(panicking.is_err() && mutex.is_poisoned() && rw_lock.is_poisoned());
        assert_eq!((*lock(&mutex), *read(&rw_lock)), (2, 2));
        *write(&rw_lock) = 3;
        assert_eq!(*read(&rw_lock), 3);
    }
}
