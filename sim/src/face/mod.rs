//! Another block device under the harness: the crashing disk, the swarm of operations, the scenarios, the model.
//!
//! ```text
//!   tape ──▶ operations ──▶ your Device ──▶ File: every I/O may fail, or be the last before the power is cut
//!                │                             │
//!                ▼                             ▼
//!              Model ◀── what it reads ── opened anew on every crash image (or on some, if they are many)
//! ```
//! 1. Write a [`Device`] (what its users do to it) and [`OnFiles`] (how it is made of files and opened again).
//! 2. [`run`] plays random runs: operations, a power cut inside any I/O or at rest, the recovery cut as well, faults.
//!    The whole device is read after each cut and after each close, and the model judges: what was flushed is there, every
//!    sector holds what was written to it, and what was read does not change by itself.
//! 3. A run is its seed. One that fails is run again, shrunk, told I/O by I/O, and is a tape ([`Case`]).
//! 4. Before all that, the files lie about their syncs (the *canary*): a harness that does not notice is worth nothing.
//! 5. [`play`] plays a scenario of `corpus/scenarios` on a device, [`play_at`] on a file or an NBD server, [`play_on`] on
//!    whatever you have; [`main`] is a command line for devices.
//!
//! A device is called by one client at a time. A failed write may have happened, sector by sector, or not; a failed flush
//! promises nothing. No call may fail without a fault, no crash image may be refused.
//!
//! `sim/examples/naive_device.rs` is a worked example.

mod bench;
mod file;
mod harness;
mod judge;
mod menu;
mod perform;
mod real;
mod report;
mod scenario;
mod workload;

use std::io;

pub use file::File;
pub use harness::make;
pub use menu::{Entry, entry, main};
pub use real::{Place, connect, play_at};
pub use report::{Case, Replayed, Report, replay, run};
pub use scenario::{Host, Played, play, play_on, sectors_of};

/// An open device, and what its users do to it, one call after the other. Positions in sectors of 512 bytes; buffers are
/// whole sectors, never empty, inside the device.
pub trait Device {
    /// Fills `into` with what was written last, zeros where nothing was.
    ///
    /// # Errors
    /// Only if a file failed.
    fn read(&mut self, start: u64, into: &mut [u8]) -> io::Result<()>;

    /// Writes. Need not be durable.
    ///
    /// # Errors
    /// Only if a file failed: each sector holds then what it held, or what was to be written.
    fn write(&mut self, start: u64, from: &[u8]) -> io::Result<()>;

    /// Makes everything durable that was acknowledged before.
    ///
    /// # Errors
    /// Only if a file failed: nothing is promised then.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes, durable when acknowledged (FUA).
    ///
    /// # Errors
    /// As [`Device::write`].
    fn write_fua(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        self.write(start, from)?;
        self.flush()
    }

    /// Writes zeros; with `unmap` space may be given back.
    ///
    /// # Errors
    /// As [`Device::write`].
    fn write_zeroes(&mut self, start: u64, sectors: u64, unmap: bool) -> io::Result<()> {
        let _ = unmap;
        self.write(start, &vec![0; bytes(sectors)])
    }

    /// The content is of no use any more: each sector reads as it did, or as zeros.
    ///
    /// # Errors
    /// As [`Device::write`].
    fn discard(&mut self, start: u64, sectors: u64) -> io::Result<()> {
        let _ = (start, sectors);
        Ok(())
    }
}

/// A device that is made of files, and how it is treated.
pub trait OnFiles: Device + Sized + 'static {
    /// Its name in reports.
    const NAME: &'static str;
    /// Sectors of the device in random runs.
    const SECTORS: u64 = 32;
    /// Operations begin and end at multiples of so many sectors.
    const BLOCK: u64 = 1;
    /// Half of the operations take whole clusters of so many sectors: what it allocates at once.
    const CLUSTER: u64 = 4;
    /// Number of its files.
    const FILES: usize = 1;
    /// Longest length of a file in sectors; a write beyond it is EFBIG.
    const LIMIT: u64 = 4096;
    /// Runs may have faults: EIO, short I/O, no space, no hole punching. One of two then has some.
    const FAULTS: bool = true;

    /// Makes a device of zeros of the empty files. What it leaves there counts as durable.
    ///
    /// # Errors
    /// None: no file fails here.
    fn create(files: &[File], sectors: u64) -> io::Result<()>;

    /// Opens a device, after a close or a crash.
    ///
    /// # Errors
    /// Only if a file failed.
    fn open(files: &[File]) -> io::Result<Self>;

    /// Closes the device: everything is durable then.
    ///
    /// # Errors
    /// Only if a file failed.
    fn close(mut self) -> io::Result<()> {
        self.flush()
    }

    /// Examines the files of a device that is not open, as its own checker would. Called after each crash.
    ///
    /// # Errors
    /// What is wrong, in one line.
    fn check(files: &[File]) -> Result<(), String> {
        let _ = files;
        Ok(())
    }
}

/// Bytes of so many sectors, for buffers.
pub(crate) fn bytes(sectors: u64) -> usize {
    usize::try_from(sectors * ploop_core::units::SECTOR_BYTES).unwrap_or(usize::MAX)
}
