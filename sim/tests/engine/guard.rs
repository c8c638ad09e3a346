//! The barrier as the engines see it. From the moment when somebody is told "drained" until requests go again, he is alone
//! with the files: nothing is in flight, nothing begins (I12, I35). The ledger judges that; a *guarded* rig makes the two
//! moments, told and begun, places to switch threads, so that both orders are explored.

use std::sync::atomic::Ordering;

use super::atomics::AtomicUsize;
use super::rig::Rig;

/// See the module.
#[derive(Debug)]
pub(crate) struct Guard(AtomicUsize);

impl Guard {
    pub(crate) fn new() -> Guard {
        Guard(AtomicUsize::new(0))
    }

    /// Somebody was told that the device is drained, or lets it go again, or there is a next device, or somebody looks for
    /// it. It changes the number always: who looks sees what was set last, and what was made before that.
    pub(crate) fn decided(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// An I/O is about to begin.
    pub(crate) fn begins(&self) {
        self.0.load(Ordering::SeqCst);
    }
}

impl Rig {
    /// True if the barrier is complete. Whoever sees that is alone with the files: nothing is in flight, nor will be.
    pub(crate) fn is_quiesced(&self) -> bool {
        let drained = self.device.try_quiesce().is_some();
        if drained {
            if let Some(guard) = &self.guard {
                guard.decided();
            }
            self.state().drain();
        }
        drained
    }
}
