//! The simulated disk for code that waits: loaders, the blocking driver, control commands.
//!
//! A [`BlockingFile`] carries out each call at once, through the same submission and completion as everything else. All
//! files of a run share one [`Power`]: it counts the calls that change something, and from the nth on every call fails.
//! The call that loses power is left in flight: any part of it may survive the crash.

use super::complete::Effect;
use super::fault::{Fault, FaultPlan, IoKind};
use super::file::SimFile;
use super::submit::Change;
use super::sync::SyncEffect;
use crate::tape::Tape;
use ploop_core::drive::DeltaFile;
use ploop_core::units::SECTOR_BYTES;
use std::cell::RefCell;
use std::io;

/// EIO, ENOSPC, EFBIG, EINVAL, EOPNOTSUPP as Linux numbers them; nothing here asks the system.
const EIO: i32 = 5;
const EINVAL: i32 = 22;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;
const EOPNOTSUPP: i32 = 95;

/// The power supply of all files of a run, with the tape and the faults.
#[derive(Debug)]
pub struct Power<'a> {
    supply: RefCell<Supply<'a>>,
}

#[derive(Debug)]
struct Supply<'a> {
    tape: &'a mut Tape,
    faults: &'a mut FaultPlan,
    left: Option<u32>,
    lost: bool,
    calls: u32,
}

impl<'a> Power<'a> {
    /// Power that lasts for `calls` calls that change or sync something; for ever if `None`.
    pub fn new(tape: &'a mut Tape, faults: &'a mut FaultPlan, calls: Option<u32>) -> Power<'a> {
        Power {
            supply: RefCell::new(Supply {
                tape,
                faults,
                left: calls,
                lost: false,
                calls: 0,
            }),
        }
    }

    /// True if power was lost: crash every file now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.supply.borrow().lost
    }

    /// Calls that changed or synced something, the one that lost power included.
    #[must_use]
    pub fn calls(&self) -> u32 {
        self.supply.borrow().calls
    }
}

/// What a call comes to.
enum Verdict {
    Go,
    Fault(Fault),
    PowerLost,
}

impl Supply<'_> {
    /// Refuses everything once power is lost.
    fn on(&self) -> io::Result<()> {
        if self.lost { Err(power_lost()) } else { Ok(()) }
    }

    /// Counts a call that changes something.
    fn judge(&mut self, io: IoKind, bytes: u64, step: u64) -> io::Result<Verdict> {
        self.on()?;
        self.calls += 1;
        match &mut self.left {
            Some(0) => {
                self.lost = true;
                return Ok(Verdict::PowerLost);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(self
            .faults
            .next(io, bytes, step, self.tape)
            .map_or(Verdict::Go, Verdict::Fault))
    }
}

fn power_lost() -> io::Error {
    io::Error::other("power lost")
}

fn error_of(fault: Fault) -> io::Error {
    io::Error::from_raw_os_error(match fault {
        Fault::Io | Fault::Short(_) => EIO,
        Fault::NoSpace => ENOSPC,
        Fault::Unsupported => EOPNOTSUPP,
    })
}

/// A simulated file behind blocking calls.
#[derive(Debug)]
pub struct BlockingFile<'a, 'p> {
    file: RefCell<&'a mut SimFile>,
    power: &'a Power<'p>,
}

impl<'a, 'p> BlockingFile<'a, 'p> {
    /// Wraps a file.
    pub fn new(file: &'a mut SimFile, power: &'a Power<'p>) -> BlockingFile<'a, 'p> {
        BlockingFile {
            file: RefCell::new(file),
            power,
        }
    }

    /// Carries out one change; returns how many of its bytes were done.
    fn change(&self, io: IoKind, change: Change<'_>, bytes: u64) -> io::Result<u64> {
        let mut file = self.file.borrow_mut();
        let mut supply = self.power.supply.borrow_mut();
        supply.on()?;
        if !file.fits(&change) {
            return Err(io::Error::from_raw_os_error(EFBIG));
        }
        let step = if bytes > SECTOR_BYTES {
            SECTOR_BYTES
        } else {
            file.layout.granule()
        };
        let verdict = supply.judge(io, bytes, step)?;
        let id = file.submit(change);
        let (effect, result) = match verdict {
            Verdict::PowerLost => return Err(power_lost()),
            Verdict::Go => (Effect::Done, Ok(bytes)),
            Verdict::Fault(Fault::Short(done)) => (Effect::Short(done), Ok(done)),
            Verdict::Fault(fault) => (Effect::Failed, Err(error_of(fault))),
        };
        file.complete(id, effect, supply.tape);
        result
    }
}

impl DeltaFile for BlockingFile<'_, '_> {
    fn len(&self) -> io::Result<u64> {
        self.power.supply.borrow().on()?;
        Ok(self.file.borrow().len_bytes())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let file = self.file.borrow();
        let mut supply = self.power.supply.borrow_mut();
        let Supply {
            tape,
            faults,
            lost: false,
            ..
        } = &mut *supply
        else {
            return Err(power_lost());
        };
        match faults.next(IoKind::Read, buf.len() as u64, SECTOR_BYTES, tape) {
            None => file.read_at(at, buf),
            // Nothing at all would mean the end of the file.
            Some(Fault::Short(done)) if done > 0 => file.read_at(at, &mut buf[..done as usize]),
            Some(fault) => Err(error_of(fault)),
        }
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let done = self.change(
            IoKind::Write,
            Change::Bytes { at, bytes: buf },
            buf.len() as u64,
        )?;
        Ok(done as usize)
    }

    /// Whole sectors only.
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        if !at.is_multiple_of(SECTOR_BYTES) || !len.is_multiple_of(SECTOR_BYTES) {
            return Err(io::Error::from_raw_os_error(EINVAL));
        }
        let io = if punch { IoKind::Punch } else { IoKind::Zero };
        let done = self.change(
            io,
            Change::Zero {
                at: at / SECTOR_BYTES,
                len: len / SECTOR_BYTES,
            },
            len,
        )?;
        // This call has no way to say "in part".
        if done < len {
            Err(io::Error::from_raw_os_error(EIO))
        } else {
            Ok(())
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(IoKind::SetLen, Change::SetLen { bytes: len }, 0)
            .map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        let mut file = self.file.borrow_mut();
        let mut supply = self.power.supply.borrow_mut();
        let verdict = supply.judge(IoKind::Sync, 0, 1)?;
        let id = file.submit_sync();
        match verdict {
            Verdict::PowerLost => Err(power_lost()),
            Verdict::Go => {
                file.complete_sync(id, SyncEffect::Done, supply.tape);
                Ok(())
            }
            Verdict::Fault(fault) => {
                file.complete_sync(id, SyncEffect::Failed { evict: true }, supply.tape);
                Err(error_of(fault))
            }
        }
    }
}
