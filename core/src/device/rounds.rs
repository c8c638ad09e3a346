//! Rounds of index write-back as the device drives them: image out, sync, settle.

use crate::device::Device;
use crate::request::action::{Actions, Failure, IoOp};
use crate::request::work::{Resume, Waiter, Work};
use crate::units::PageId;
use crate::verify::mark;
use crate::writeback::gate::Wait;
use crate::writeback::round::Start;

impl Device {
    /// Lets `waiter` wait for a sync.
    pub(crate) fn wait_sync(&self, number: u64, waiter: Waiter, out: &mut Actions) {
        match self.gate.wait(number, waiter) {
            Wait::Parked => {}
            Wait::Done(waiter) => out.backlog.push_back(Resume::Waiter(waiter, Ok(()))),
            Wait::Poisoned(waiter) => out
                .backlog
                .push_back(Resume::Waiter(waiter, Err(Failure::Io))),
        }
    }

    pub(super) fn start_round(&self, id: PageId, out: &mut Actions) {
        let (at, len) = self.table.bytes_of(id);
        let (synced, poisoned) = (self.gate.synced(), self.gate.is_poisoned());
        match self.page(id).start(len, synced, poisoned, self.context()) {
            Start::Nothing => {}
            Start::Await(sync) => self.wait_sync(sync, Waiter::Eligible(id), out),
            Start::Write(image) => {
                let level = self.levels.top();
                out.io(
                    out.caller,
                    Work::Index { page: id },
                    IoOp::WriteIndex {
                        level,
                        page: id,
                        at,
                        image,
                    },
                );
            }
            Start::Poisoned(waiters) => {
                for waiter in waiters {
                    out.backlog
                        .push_back(Resume::Waiter(waiter, Err(Failure::Io)));
                }
            }
        }
    }

    /// A round is durable or has failed.
    pub(super) fn settle(&self, id: PageId, result: Result<(), Failure>, out: &mut Actions) {
        let settled = self
            .page(id)
            .settle(result.is_ok(), self.retry_at(), self.context());
        for waiter in settled.waiters {
            out.backlog.push_back(Resume::Waiter(waiter, result));
        }
        for entry in settled.released {
            mark!(CondemnedReleased);
            let host = self.alloc.host(entry);
            self.issue(Work::Punch { host }, out);
        }
    }
}
