//! The trace hash of a run, left in its world whatever becomes of the run: a panic takes the run along, not how it went.

use crate::trace::TraceHash;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a run leaves its hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Arc<AtomicU64>);

impl Left {
    /// Of the last run.
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Traced {
    hash: TraceHash,
    left: Left,
}

impl Traced {
    pub(super) fn new(left: &Left) -> Traced {
        Traced {
            hash: TraceHash::default(),
            left: left.clone(),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        self.left.0.store(self.hash.value(), Ordering::Relaxed);
    }
}

impl Deref for Traced {
    type Target = TraceHash;

    fn deref(&self) -> &TraceHash {
        &self.hash
    }
}

impl DerefMut for Traced {
    fn deref_mut(&mut self) -> &mut TraceHash {
        &mut self.hash
    }
}
