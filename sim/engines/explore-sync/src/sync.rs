//! A mutex, shaped as the standard library's. It is never poisoned.

use crate::op::Access;
use crate::runtime::{self, Object};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{LockResult, PoisonError, TryLockError};

/// A mutual exclusion whose taking is an event.
pub struct Mutex<T> {
    object: Object,
    /// Never contended: the engine lets a task go on only when the lock is free.
    inner: std::sync::Mutex<T>,
}

/// Releases the lock when dropped.
pub struct MutexGuard<'a, T> {
    object: &'a Object,
    inner: std::sync::MutexGuard<'a, T>,
}

impl<T> Mutex<T> {
    /// A new mutex.
    #[must_use]
    pub fn new(value: T) -> Mutex<T> {
        Mutex {
            object: Object::new(),
            inner: std::sync::Mutex::new(value),
        }
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// Never: the result has the standard library's shape.
    ///
    /// # Panics
    /// If code outside of the race holds it.
    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        self.object.announce(Access::Lock);
        let inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => panic!("a lock is held from outside of the race"),
        };
        runtime::acquired(self.object.0);
        Ok(MutexGuard {
            object: &self.object,
            inner,
        })
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        runtime::release(self.object.0);
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
