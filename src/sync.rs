//! Locks and permits, taken without an error that cannot be.
//!
//! A panic while a lock of the standard library was held poisons it. Nothing here heeds that: what the locks of this program guard is changed in steps that
//! are complete in themselves, so it is usable after any of them, and a replica in which one task has panicked goes on serving the others.
//! Where that does not hold, these functions are not the right ones.

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a permit. No semaphore of this program is ever closed; one that were would give none.
pub async fn acquire(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    match semaphore.acquire().await {
        Ok(permit) => permit,
        Err(_closed) => pending().await,
    }
}

/// As [`acquire`], for a permit that outlives the borrow.
pub async fn acquire_owned(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.acquire_owned().await {
        Ok(permit) => permit,
        Err(_closed) => pending().await,
    }
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
