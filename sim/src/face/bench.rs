//! What all files of a run share: their contents, the tape, the faults, the power.
//!
//! The tape belongs to whoever runs the run; it is lent to the bench for that time and comes back whatever happens
//! ([`Loan`]), so that a run that panics has its tape as well.

use std::cell::RefCell;
use std::rc::Rc;

use crate::disk::fault::FaultPlan;
use crate::disk::{Geometry, SimFile, SyncEffect};
use crate::face::{File, OnFiles};
use crate::tape::Tape;
use crate::trace::TraceHash;

/// See the module.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) files: Vec<SimFile>,
    pub(super) tape: Tape,
    pub(super) faults: FaultPlan,
    /// Calls that change or sync something until the power is cut.
    pub(super) left: Option<u32>,
    /// The power is gone: every call fails.
    pub(super) lost: bool,
    /// Calls so far.
    pub(super) calls: u64,
    /// Syncs do nothing, and say that they did: a canary.
    pub(super) lies: bool,
    pub(super) trace: TraceHash,
    /// What happened, a line each, if anybody wants to know.
    pub(super) story: Option<Vec<String>>,
}

/// A bench that several hands hold.
pub(super) type Shared = Rc<RefCell<Bench>>;

impl Bench {
    /// A bench without files.
    pub(super) fn new() -> Shared {
        Rc::new(RefCell::new(Bench {
            files: Vec::new(),
            tape: Tape::replay(Vec::new()),
            faults: FaultPlan::none(),
            left: None,
            lost: false,
            calls: 0,
            lies: false,
            trace: TraceHash::new(),
            story: None,
        }))
    }

    /// Everything as in the beginning, with empty files for a device.
    pub(super) fn reset<D: OnFiles>(&mut self) {
        self.files.resize_with(D::FILES, SimFile::new);
        for file in &mut self.files {
            file.reset(geometry::<D>(), &[], &[], 0);
        }
        self.faults.clear();
        (self.left, self.lost, self.calls) = (None, false, 0);
        self.trace = TraceHash::new();
    }

    /// Everything that was written is durable.
    pub(super) fn settle(&mut self) {
        for file in &mut self.files {
            let sync = file.submit_sync();
            file.complete_sync(sync, SyncEffect::Done, &mut self.tape);
        }
    }

    /// Adds a line to the story.
    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(line());
        }
    }
}

/// The shape of a device's files: no area that is torn finer than a sector.
fn geometry<D: OnFiles>() -> Geometry {
    Geometry {
        meta_len: 0,
        granule: 512,
        limit_sectors: D::LIMIT,
    }
}

/// Handles of all files.
pub(super) fn handles(bench: &Shared) -> Vec<File> {
    let count = bench.borrow().files.len();
    (0..count).map(|index| File::new(bench, index)).collect()
}

/// A tape lent to a bench.
pub(super) struct Loan<'a> {
    tape: &'a mut Tape,
    bench: Shared,
}

impl<'a> Loan<'a> {
    /// Lends it.
    pub(super) fn new(tape: &'a mut Tape, bench: &Shared) -> Loan<'a> {
        std::mem::swap(tape, &mut bench.borrow_mut().tape);
        let bench = Rc::clone(bench);
        Loan { tape, bench }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        // Somebody panicked inside of the simulated disk if this fails: then the tape is of no use.
        if let Ok(mut bench) = self.bench.try_borrow_mut() {
            std::mem::swap(self.tape, &mut bench.tape);
        }
    }
}
