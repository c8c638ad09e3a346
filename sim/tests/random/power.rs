//! Files that lose power: those of the simulator, in blocking calls, on one power supply.
//!
//! ```text
//!   on ──cut_after(n): the call after n calls that change or sync something──▶ lost: every call fails ──restore──▶ on
//! ```
//! What is not durable when the power is lost may be there afterwards or not, in parts, as the simulator's disk has it.

use sim::disk::fault::FaultPlan;
use sim::disk::{BlockingFile, Geometry, Power, SimFile};
use sim::tape::Tape;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use ploop_core::drive::DeltaFile;

/// No file becomes longer, in sectors.
const LIMIT: u64 = 1 << 16;

/// What all files of a run hang on.
#[derive(Clone, Debug)]
pub(crate) struct Supply(Rc<State>);

#[derive(Debug)]
struct State {
    tape: RefCell<Tape>,
    left: Cell<Option<u32>>,
    lost: Cell<bool>,
    granule: u32,
}

impl Supply {
    /// Power is on. `granule`: bytes of metadata that are written whole.
    pub(crate) fn new(granule: u32) -> Supply {
        Supply(Rc::new(State {
            tape: RefCell::new(Tape::from_seed(0)),
            left: Cell::new(None),
            lost: Cell::new(false),
            granule,
        }))
    }

    /// A file of these bytes, all durable. `meta_len`: bytes of it where granules are written whole, and not sectors.
    pub(crate) fn file(&self, bytes: &[u8], meta_len: u64) -> PoweredFile {
        let mut file = SimFile::new();
        let geometry = Geometry {
            meta_len,
            granule: self.0.granule,
            limit_sectors: LIMIT,
        };
        file.reset_bytes(geometry, bytes);
        PoweredFile {
            file: Rc::new(RefCell::new(file)),
            supply: self.clone(),
        }
    }

    /// The power is lost after so many calls. `seed`: what becomes of what is not durable then.
    pub(crate) fn cut_after(&self, calls: u32, seed: u64) {
        self.0.left.set(Some(calls));
        *self.0.tape.borrow_mut() = Tape::from_seed(seed);
    }

    /// It is lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.lost.get()
    }

    /// The power is lost for a moment, if it is not lost already: these files have lost what was not durable.
    pub(crate) fn restore(&self, files: &[PoweredFile]) {
        for file in files {
            file.file.borrow_mut().crash(&mut self.0.tape.borrow_mut());
        }
        self.stay_on();
    }

    /// The power lasts from now on.
    pub(crate) fn stay_on(&self) {
        self.0.lost.set(false);
        self.0.left.set(None);
    }
}

/// A file. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PoweredFile {
    file: Rc<RefCell<SimFile>>,
    supply: Supply,
}

impl PoweredFile {
    /// What reads see.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let file = self.file.borrow();
        let mut bytes = vec![0; file.len_bytes() as usize];
        file.view().read_bytes(0, &mut bytes);
        bytes
    }

    /// Makes a call, if there is power.
    fn call<T>(&self, call: impl FnOnce(&dyn DeltaFile) -> io::Result<T>) -> io::Result<T> {
        let state = &self.supply.0;
        if state.lost.get() {
            return Err(io::Error::other("power lost"));
        }
        let mut tape = state.tape.borrow_mut();
        let mut none = FaultPlan::none();
        let power = Power::new(&mut tape, &mut none, state.left.get());
        let mut file = self.file.borrow_mut();
        let result = call(&BlockingFile::new(&mut file, &power));
        state.lost.set(power.is_lost());
        let left = state
            .left
            .get()
            .map(|left| left.saturating_sub(power.calls()));
        state.left.set(left);
        result
    }
}

impl DeltaFile for PoweredFile {
    fn len(&self) -> io::Result<u64> {
        self.call(|file| file.len())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.call(|file| file.read_at(at, buf))
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.call(|file| file.write_at(at, buf))
    }

    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.call(|file| file.zero_at(at, len, punch))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(|file| file.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        self.call(|file| file.sync())
    }
}
