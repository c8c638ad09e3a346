//! What became of an I/O: done, done in part, no space, failed. Each goes back to the machine that its work belongs to.

use crate::device::Device;
use crate::request::action::{Actions, Failure, Outcome, Ticket};
use crate::request::starve::Starving;
use crate::request::work::{DataOp, Resume, Waiter, Work};
use crate::units::{DstClu, SECTOR_BYTES};
use crate::verify::mark;

impl Device {
    /// An I/O ended.
    pub fn complete(&self, ticket: Ticket, outcome: Outcome, out: &mut Actions) {
        out.caller = ticket.queue;
        match outcome {
            Outcome::Done => self.done(ticket.work, out),
            Outcome::Short { bytes } => self.short(ticket.work, bytes, out),
            Outcome::Failed(Failure::NoSpace) => self.no_space(ticket.work, out),
            Outcome::Failed(failure) => self.failed(ticket.work, failure, out),
        }
        self.run(out);
    }

    fn done(&self, work: Work, out: &mut Actions) {
        match work {
            Work::Data { segment, op, .. } => self.data_done(segment, op, out),
            Work::Hole { segment } => self.end(segment, Ok(()), out),
            Work::Base {
                segment,
                host,
                base,
                ..
            } => self.based(segment, host, base, self.gate.next(), out),
            Work::Extend { hosts } => self.extended(hosts, out),
            Work::Index { page } => self.wait_sync(self.gate.next(), Waiter::Round(page), out),
            Work::Sync { number } => self.synced(number, true, out),
            Work::Punch { host } => self.punched(host, Some(self.gate.next()), out),
        }
    }

    fn short(&self, work: Work, bytes: u64, out: &mut Actions) {
        let whole = (bytes / SECTOR_BYTES).min(u64::from(u32::MAX)) as u32;
        let rest = match work {
            Work::Data {
                segment,
                op,
                at,
                done,
            } if whole > 0 && done + whole < segment.len => Work::Data {
                segment,
                op: op.resumed(),
                at,
                done: done + whole,
            },
            Work::Base {
                segment,
                host,
                base,
                done,
            } if whole > 0 && u64::from(done + whole) < self.table.cluster().0 => Work::Base {
                segment,
                host,
                base,
                done: done + whole,
            },
            Work::Index { page } if bytes > 0 && self.page(page).again(self.context()) => {
                mark!(ShortResumed);
                return;
            }
            work => {
                mark!(NoProgress);
                return self.failed(work, Failure::Io, out);
            }
        };
        mark!(ShortResumed);
        self.issue(rest, out);
    }

    fn no_space(&self, work: Work, out: &mut Actions) {
        match work {
            Work::Data {
                op: DataOp::Read { .. },
                ..
            }
            | Work::Hole { .. }
            | Work::Sync { .. }
            | Work::Punch { .. } => {
                self.failed(work, Failure::Io, out);
            }
            // A promotion is nobody's write: the guest must not wait for it where it would not wait without.
            Work::Base { ref segment, .. } if segment.kind.is_promotion() => {
                self.failed(work, Failure::NoSpace, out);
            }
            Work::Data { .. } | Work::Base { .. } => self.starve(Starving::Io(work), out),
            Work::Extend { hosts } => self.extension_starves(hosts, out),
            Work::Index { page } => {
                self.page(page).park(self.context());
                self.starve(Starving::Page(page), out);
            }
        }
    }

    /// An I/O failed for good.
    pub(crate) fn failed(&self, work: Work, failure: Failure, out: &mut Actions) {
        match work {
            Work::Data { segment, op, .. } => {
                if op == (DataOp::Write { direct_fua: true }) && failure != Failure::NoSpace {
                    self.poisoned(out);
                }
                self.end_io(&segment, out);
                self.end(segment, Err(failure), out);
            }
            Work::Hole { segment } => self.end(segment, Err(failure), out),
            Work::Base { segment, host, .. } => self.base_failed(segment, host, failure, out),
            Work::Extend { .. } => self.extension_failed(failure, out),
            Work::Index { page } => self.settle(page, Err(failure), out),
            Work::Sync { number } => self.synced(number, false, out),
            Work::Punch { host } => {
                mark!(PunchFailed);
                self.punched(host, None, out);
            }
        }
    }

    fn synced(&self, number: u64, ok: bool, out: &mut Actions) {
        if !ok {
            mark!(Poisoned);
            self.visible.set_poisoned();
        }
        let waiters = self.gate.end(number, ok);
        let result = if self.gate.is_poisoned() {
            Err(Failure::Io)
        } else {
            Ok(())
        };
        out.backlog.extend(
            waiters
                .into_iter()
                .map(|waiter| Resume::Waiter(waiter, result)),
        );
    }

    /// A synchronous write failed: the error of earlier writes may have been reported with it, once and for all.
    fn poisoned(&self, out: &mut Actions) {
        mark!(Poisoned);
        self.visible.set_poisoned();
        let waiters = self.gate.poison();
        out.backlog.extend(
            waiters
                .into_iter()
                .map(|waiter| Resume::Waiter(waiter, Err(Failure::Io))),
        );
    }

    fn punched(&self, host: DstClu, zero_after: Option<u64>, out: &mut Actions) {
        if let Some(segment) = self.alloc.punched(host, zero_after) {
            out.backlog.push_back(Resume::Make(segment));
        }
    }
}
