//! A new mapping: allocation, copy on write, write of zeros over lower data, promotion. The segment holds its cluster throughout.
//!
//! ```text
//!   held ──reserve──▶ host ──base──▶ published, cluster released ──▶ the segment goes on in place, or is done
//!     │                 │ what the mapping rests on:
//!     │                 │   known zero, nothing below      nothing to do;        safe when the zeros are durable
//!     │                 │   unknown content, part written  Prepare: zero it;     safe after a sync
//!     │                 │   whole cluster written          Whole: that write;    safe after a sync
//!     │                 │   lower data, part written       Copy the cluster;     safe after a sync
//!     │                 │   lower data, promoted           Copy the cluster, and that is all
//!     └─no host: extend the file, wait      └─ base failed: host goes back, cluster released, segment fails
//! ```
//! *Safe* (DESIGN, "data before index"): a crash right after the slot reached the disk shows, for every sector of the
//! cluster, what was there before or what was written to this guest cluster. What the guest writes in place after the
//! base is durable cannot break that.

use std::collections::VecDeque;

use crate::alloc::Reserve;
use crate::alloc::life::Zero;
use crate::bat::level::Place;
use crate::device::Device;
use crate::request::action::{Actions, Failure};
use crate::request::starve::Starving;
use crate::request::work::{Base, DataOp, Resume, Segment, SegmentKind, Work};
use crate::units::{DstClu, Level, Sector, Sectors};
use crate::verify::{mark, maybe};

impl Device {
    /// Goes on with a segment that holds its cluster.
    pub(crate) fn make(&self, segment: Segment, out: &mut Actions) {
        match self.alloc.reserve(segment, self.gate.synced()) {
            Reserve::Host(segment, host, zero) => self.lay_base(segment, host, zero, out),
            Reserve::Extend(hosts) => self.issue(Work::Extend { hosts }, out),
            Reserve::Waiting => {
                mark!(JoinedExtension);
            }
            Reserve::Full(segment) => self.make_failed(segment, Failure::NoSpace, out),
        }
    }

    /// Decides what the mapping rests on.
    fn lay_base(&self, segment: Segment, host: DstClu, zero: Zero, out: &mut Actions) {
        let (page, slot) = self.table.slot(segment.clu);
        let whole =
            segment.kind == SegmentKind::Write && u64::from(segment.len) == self.table.cluster().0;
        let lower = match self.page(page).held_place(slot, self.context()) {
            Place::Lower(level, from) => Some((level, from)),
            Place::Unmapped => None,
            Place::Top(_) => unreachable!("a mapping is made over a mapping"),
        };
        let zeroes_all =
            matches!(segment.kind, SegmentKind::Zeroes { .. }) && self.covers(&segment);
        let base = match (lower, zero) {
            (Some((level, from)), _) if !whole && !zeroes_all => {
                mark!(CopyOnWrite);
                maybe!(
                    Promoted,
                    matches!(segment.kind, SegmentKind::Promote { .. })
                );
                self.copy_of(&segment, level, from)
            }
            (Some(_), _) if whole => Base::Whole,
            (_, Zero::Durable | Zero::After(_)) => {
                maybe!(FreshZeroDurable, zero == Zero::Durable);
                let need = match zero {
                    Zero::After(sync) => sync,
                    Zero::Durable | Zero::Unknown => 0,
                };
                return self.based(segment, host, Base::Prepare, need, out);
            }
            (None, Zero::Unknown) if whole => Base::Whole,
            (_, Zero::Unknown) => {
                mark!(PreparedUnknown);
                Base::Prepare
            }
        };
        if base == Base::Whole {
            mark!(WholeClusterBase);
        }
        self.issue(
            Work::Base {
                segment,
                host,
                base,
                done: 0,
            },
            out,
        );
    }

    fn copy_of(&self, segment: &Segment, level: Level, from: Sector) -> Base {
        let cluster = self.table.cluster();
        let len = self
            .levels
            .inside(level, self.table.start(segment.clu), from, cluster);
        Base::Copy {
            level,
            from,
            len: len.0 as u32,
        }
    }

    /// The base is laid: publish, and go on in place. `need`: the sync after which the slot may be written; 0 = now.
    pub(crate) fn based(
        &self,
        segment: Segment,
        host: DstClu,
        base: Base,
        need: u64,
        out: &mut Actions,
    ) {
        let (page, slot) = self.table.slot(segment.clu);
        let zeroed = matches!(segment.kind, SegmentKind::Zeroes { .. });
        if zeroed {
            mark!(ZeroesOverLower);
        }
        let ends = match segment.kind {
            SegmentKind::Promote { .. } => true,
            _ => base == Base::Whole || (zeroed && base == Base::Prepare),
        };
        let entry = self.alloc.entry(host);
        let (change, waiters) = self
            .page(page)
            .publish(slot, entry, need, !ends, self.context());
        self.resume_segments(waiters, out);
        if ends {
            return self.acknowledge(segment, Some(change), need, out);
        }
        let at = self
            .alloc
            .sector(host)
            .after(Sectors(u64::from(segment.within)));
        let op = match segment.kind {
            SegmentKind::Zeroes { unmap } => DataOp::Zero { punch: unmap },
            _ => DataOp::Write { direct_fua: false },
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

    /// The base could not be laid: the host cluster goes back with unknown content.
    pub(crate) fn base_failed(
        &self,
        segment: Segment,
        host: DstClu,
        failure: Failure,
        out: &mut Actions,
    ) {
        mark!(BaseFailed);
        self.alloc.abandoned(host);
        self.make_failed(segment, failure, out);
    }

    /// No mapping: the cluster is released, the segment fails.
    pub(crate) fn make_failed(&self, segment: Segment, failure: Failure, out: &mut Actions) {
        let (page, slot) = self.table.slot(segment.clu);
        let waiters = self.page(page).abandon(slot);
        self.resume_segments(waiters, out);
        out.backlog.push_back(Resume::End(segment, Err(failure)));
    }

    /// The file was extended.
    pub(crate) fn extended(&self, hosts: u32, out: &mut Actions) {
        mark!(Extended);
        for segment in self.alloc.extended(hosts, self.gate.next()) {
            out.backlog.push_back(Resume::Make(segment));
        }
    }

    /// There was no space for the extension: less may do.
    pub(crate) fn extension_starves(&self, hosts: u32, out: &mut Actions) {
        match self.alloc.reduce() {
            Some(hosts) => {
                mark!(ExtensionReduced);
                self.issue(Work::Extend { hosts }, out);
            }
            None => {
                let (promoted, left) = self.alloc.extend_starves();
                for segment in promoted {
                    out.backlog
                        .push_back(Resume::MakeFailed(segment, Failure::NoSpace));
                }
                if left {
                    self.starve(Starving::Io(Work::Extend { hosts }), out);
                }
            }
        }
    }

    /// The extension failed for good: whoever waited for it fails.
    pub(crate) fn extension_failed(&self, failure: Failure, out: &mut Actions) {
        for segment in self.alloc.extend_failed() {
            out.backlog.push_back(Resume::MakeFailed(segment, failure));
        }
    }

    /// Whoever waited for a cluster looks again.
    pub(crate) fn resume_segments(&self, waiters: VecDeque<Segment>, out: &mut Actions) {
        out.backlog.extend(waiters.into_iter().map(Resume::Segment));
    }
}
