//! A block device, past the page cache, in the vocabulary of `model::op`.
//!
//! * FUA is `RWF_DSYNC`, a flush is `fdatasync`; zeros with `unmap` punch a hole, without they zero the range.
//! * A short transfer is told as such: the kernel does not split what we submit unless something is wrong.

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use model::op::{Kind, Op};
use rustix::fs::{FallocateFlags, OFlags, fallocate, fdatasync};
use rustix::io::{Errno, ReadWriteFlags, pread, pwrite, pwritev2};

use super::sys;
use super::trouble::{During, Trouble, demand};

/// Bytes in a sector.
pub(crate) const SECTOR: u64 = 512;

/// See the module.
pub(crate) struct Target {
    file: File,
    path: PathBuf,
}

impl Target {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<Target, Trouble> {
        let direct = OFlags::DIRECT.bits() as i32;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(direct)
            .open(path)
            .during(path.display())?;
        Ok(Target {
            file,
            path: path.to_owned(),
        })
    }

    /// Its size in sectors.
    pub(crate) fn sectors(&self) -> Result<u64, Trouble> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let text =
            std::fs::read_to_string(format!("/sys/class/block/{name}/size")).during(&name)?;
        text.trim()
            .parse()
            .map_err(|_| Trouble::Failed(format!("size of {name}: {text}")))
    }

    /// Does it. `bytes`: what a write writes, and where a read reads to.
    ///
    /// # Errors
    /// As the kernel tells.
    pub(crate) fn perform(&self, op: Op, bytes: &mut [u8]) -> Result<(), Errno> {
        let (at, len) = (op.start * SECTOR, op.len * SECTOR);
        let file = self.file.as_fd();
        match op.kind {
            Kind::Read => whole(pread(file, &mut *bytes, at)?, bytes.len()),
            Kind::Write { preflush, fua } => {
                if preflush {
                    fdatasync(file)?;
                }
                let done = if fua {
                    pwritev2(file, &[IoSlice::new(bytes)], at, ReadWriteFlags::DSYNC)?
                } else {
                    pwrite(file, bytes, at)?
                };
                whole(done, bytes.len())
            }
            Kind::WriteZeroes { fua, unmap } => {
                let how = if unmap {
                    FallocateFlags::PUNCH_HOLE
                } else {
                    FallocateFlags::ZERO_RANGE
                };
                fallocate(file, how | FallocateFlags::KEEP_SIZE, at, len)?;
                if fua { fdatasync(file) } else { Ok(()) }
            }
            Kind::Discard => sys::discard(file, at, len),
            Kind::Flush => fdatasync(file),
            // Nothing that a block device could be asked for.
            Kind::Promote { .. } => Ok(()),
        }
    }
}

/// A transfer was whole.
fn whole(done: usize, wanted: usize) -> Result<(), Errno> {
    if done == wanted {
        Ok(())
    } else {
        Err(Errno::NODATA)
    }
}

/// Waits until a path is there (true) or gone (false).
pub(crate) fn wait_for(path: &Path, there: bool, seconds: u64) -> Result<(), Trouble> {
    let began = std::time::Instant::now();
    while path.exists() != there {
        demand(began.elapsed().as_secs() < seconds, || {
            format!(
                "{} is {} after {seconds} s",
                path.display(),
                if there { "not there" } else { "still there" }
            )
        })?;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}
