//! Segments in place: look-up, I/O in a mapped place, acknowledgement. The fast path is this file and `bat::page`.
//!
//! ```text
//!   start ──look-up──▶ hole / read / write / zero in place ──I/O──▶ done ──▶ acknowledge
//!     │ parked on the cluster: started over when it is released        │ short: the rest; no progress: failed
//!     └ needs a mapping: request::make                                 └ no space: starves
//!   acknowledge: at once, or (FUA, immediate mode) when the slot is durable, and (FUA) the sync after its data has ended
//! ```

use crate::bat::page::Begin;
use crate::device::{Device, WriteBack};
use crate::request::action::{Actions, Failure, Origin};
use crate::request::work::{DataOp, Resume, Segment, SegmentKind, Waiter, Work};
use crate::units::{Level, Sector, Sectors};
use crate::verify::mark;

impl Device {
    /// Starts a segment, or starts it over.
    pub(crate) fn start_segment(&self, segment: Segment, out: &mut Actions) {
        let (page, slot) = self.table.slot(segment.clu);
        let covers = self.covers(&segment);
        let within = Sectors(u64::from(segment.within));
        match self.page(page).begin(slot, segment, covers, self.context()) {
            Begin::Parked => {}
            Begin::Hole(segment) => self.issue(Work::Hole { segment }, out),
            Begin::Read(segment, level, at) => self.read(segment, level, at.after(within), out),
            Begin::Write {
                segment,
                at,
                durable,
            } => {
                let direct_fua = segment.fua && durable;
                if direct_fua {
                    mark!(FuaDirect);
                }
                let op = DataOp::Write { direct_fua };
                self.issue(
                    Work::Data {
                        segment,
                        op,
                        at: at.after(within),
                        done: 0,
                    },
                    out,
                );
            }
            Begin::Zero { segment, at } => {
                let op = DataOp::Zero {
                    punch: segment.kind != SegmentKind::Zeroes { unmap: false },
                };
                self.issue(
                    Work::Data {
                        segment,
                        op,
                        at: at.after(within),
                        done: 0,
                    },
                    out,
                );
            }
            Begin::Make(segment) => self.make(segment, out),
            Begin::Done { segment, change } => self.acknowledge(segment, change, 0, out),
        }
    }

    fn read(&self, segment: Segment, level: Level, at: Sector, out: &mut Actions) {
        let guest = self
            .table
            .start(segment.clu)
            .after(Sectors(u64::from(segment.within)));
        let inside = self
            .levels
            .inside(level, guest, at, Sectors(u64::from(segment.len)))
            .0 as u32;
        let op = DataOp::Read {
            level,
            zero_tail: segment.len - inside,
        };
        self.issue(
            Work::Data {
                segment,
                op,
                at,
                done: 0,
            },
            out,
        );
    }

    /// True if the segment has every virtual sector of its cluster.
    pub(crate) fn covers(&self, segment: &Segment) -> bool {
        let len = u64::from(segment.len);
        segment.within == 0
            && (len == self.table.cluster().0
                || self.table.start(segment.clu).0 + len == self.table.size().0)
    }

    /// All of a segment's I/O in place is done.
    pub(crate) fn data_done(&self, segment: Segment, op: DataOp, out: &mut Actions) {
        let modifies = segment.kind != SegmentKind::Read;
        let direct = op == DataOp::Write { direct_fua: true };
        let durable = modifies && !direct && self.promises_slot(&segment);
        let (page, slot) = self.table.slot(segment.clu);
        // Taken while still registered, so that it is this mapping's change and not a later un-map's.
        let change = if durable {
            self.page(page).outstanding(slot)
        } else {
            None
        };
        let sync = if modifies && segment.fua && !direct {
            self.gate.next()
        } else {
            0
        };
        self.end_io(&segment, out);
        self.acknowledge(segment, change, sync, out);
    }

    /// A segment is no longer registered for its place. A discard that waited for that is done now.
    pub(crate) fn end_io(&self, segment: &Segment, out: &mut Actions) {
        let (page, slot) = self.table.slot(segment.clu);
        if let Some(drained) = self.page(page).end_io(slot, self.context()) {
            self.resume_segments(drained.waiters, out);
            self.acknowledge(drained.segment, Some(drained.change), 0, out);
        }
    }

    /// Whether the acknowledgement says that the slot is durable.
    fn promises_slot(&self, segment: &Segment) -> bool {
        segment.fua || self.options.write_back == WriteBack::Immediate
    }

    /// Acknowledges a segment as soon as that is true: `change` is what its page owes it, `sync` covers its data (0: no
    /// sync needed).
    pub(crate) fn acknowledge(
        &self,
        segment: Segment,
        change: Option<u64>,
        sync: u64,
        out: &mut Actions,
    ) {
        let sync = if segment.fua { sync } else { 0 };
        match change.filter(|_| self.promises_slot(&segment)) {
            Some(change) => {
                if segment.fua {
                    mark!(FuaWaitsForSlot);
                } else {
                    mark!(ImmediateWaits);
                }
                let (page, _) = self.table.slot(segment.clu);
                let waiter = Waiter::Segment { segment, sync };
                if let Some(waiter) = self.page(page).wait(change, waiter, self.context()) {
                    out.backlog.push_back(Resume::Waiter(waiter, Ok(())));
                }
            }
            None if sync != 0 => self.wait_sync(sync, Waiter::Segment { segment, sync: 0 }, out),
            None => self.end(segment, Ok(()), out),
        }
    }

    /// A segment has ended. Of a poisoned file nobody is told that anything is durable, whatever it took.
    pub(crate) fn end(&self, segment: Segment, result: Result<(), Failure>, out: &mut Actions) {
        let result = match result {
            Ok(()) if segment.fua => self.nothing_is_wrong(),
            other => other,
        };
        if segment.kind.changes_content() {
            self.tracking.mark(segment.clu);
            let start = self.table.start(segment.clu);
            let start = start.after(Sectors(u64::from(segment.within)));
            self.cbt.mark(start, Sectors(u64::from(segment.len)));
        }
        self.end_part(segment.origin, result, out);
    }

    /// Whether a promise of durability can be given at all.
    pub(crate) fn nothing_is_wrong(&self) -> Result<(), Failure> {
        if self.gate.is_poisoned() {
            Err(Failure::Io)
        } else {
            Ok(())
        }
    }

    /// A part of a request has ended; the last one finishes it.
    pub(crate) fn end_part(&self, origin: Origin, result: Result<(), Failure>, out: &mut Actions) {
        if let Some(outcome) = self.queue(origin.queue).end_part(origin.tag, result) {
            out.finish(origin, outcome);
        }
    }
}
