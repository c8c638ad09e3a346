//! Suspend, the barrier, resume.
//!
//! ```text
//!   running ──suspend──▶ requests held back, write-back pushed out, waits for space cancelled
//!                             │ (the driver goes on completing, turning, ticking)
//!                             └──try_quiesce: nothing in flight──▶ Quiesced ──close──▶ closed
//!   running ◀──resume──────────────────────────────────────────────┘
//! ```
//! The barrier is complete when no request is active in any part (I35), no page wants a round and none is under way,
//! no sync, extension or punch is in flight. A page that failed stays dirty and does not hold the barrier up; `close`
//! refuses it.

use crate::device::Device;
use crate::request::action::{Actions, Failure};
use crate::request::work::Resume;
use crate::writeback::state::State;

/// A drained device. Whoever holds it is alone with the files.
#[derive(Debug)]
pub struct Quiesced<'a> {
    pub(crate) device: &'a Device,
}

impl Device {
    /// Holds back new requests, pushes out all write-back, cancels waits for space. Follow with `turn`, completions, and
    /// [`Device::try_quiesce`].
    pub fn suspend(&self, out: &mut Actions) {
        for queue in &self.queues {
            queue.hold();
        }
        self.dirty.set_pushing(true);
        self.cancel_starved(out);
        for page in self.dirty.snapshot() {
            self.page(page).push_out(self.context());
        }
        self.run(out);
    }

    /// Lets requests go again, first those that were held back.
    pub fn resume(&self, out: &mut Actions) {
        self.dirty.set_pushing(false);
        for queue in &self.queues {
            for (origin, request) in queue.open() {
                self.submit(origin, request, out);
            }
        }
    }

    /// The drained device, if the device is suspended and nothing is in flight.
    #[must_use]
    pub fn try_quiesce(&self) -> Option<Quiesced<'_>> {
        let drained = self
            .queues
            .iter()
            .all(|queue| queue.active_while_held() == Some(0));
        // In the order in which work goes on: with no request active and every page settled, no round starts; with no
        // round and no sync under way no cluster is given back. The other way round, what was seen idle first may have
        // begun again from what was seen ended last.
        let settled = |page| {
            matches!(
                self.page(page).lock().state,
                State::Clean | State::Delayed { .. }
            )
        };
        (drained
            && self.dirty.snapshot().into_iter().all(settled)
            && self.dirty.is_idle()
            && self.gate.is_idle()
            && self.alloc.is_idle()
            && self.starved.is_empty())
        .then_some(Quiesced { device: self })
    }
}

impl Quiesced<'_> {
    /// Ends the device: every request from now on, and every one held back, fails with [`Failure::Closed`].
    pub fn shut(&self, out: &mut Actions) {
        for queue in &self.device.queues {
            for (origin, _) in queue.close() {
                out.finish(origin, Err(Failure::Closed));
            }
        }
        debug_assert!(
            !out.backlog
                .iter()
                .any(|resume| matches!(resume, Resume::Request(..)))
        );
    }
}
