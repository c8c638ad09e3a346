//! `qcow2-rs` 0.1.6 on the simulated disk.
//!
//! What it is given, and what it is held to
//! * Its own I/O trait, [`Qcow2IoOps`], over a file of the harness. A read beyond the end of the file gives zeros, a write
//!   that is done in part is continued: more than the engines that come with it do.
//! * A flush is `fsync_range`, `flush_meta`, `fsync_range`. The crate does not say how to flush; its own documentation
//!   calls `flush_meta` alone. This is the most careful sequence of its public calls.
//! * Caches as small as it takes them (two slices), clusters of 512 bytes: everything happens within a few operations.
//! * Discards and writes of zeros: it has none; zeros are written.
//! * It is dropped only after a clean flush: dropping a device with dirty tables panics in `cache.rs`, by design or not.

use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;

use qcow2_rs::dev::{Qcow2Dev, Qcow2DevParams};
use qcow2_rs::error::{Qcow2Error, Qcow2Result};
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::meta::Qcow2Header;
use qcow2_rs::ops::{Qcow2IoOps, Qcow2OpsFlags};
use qcow2_rs::utils::qcow2_alloc_dev;
use sim::face::{Device, File, OnFiles};

use crate::turns::Turns;

const SECTOR: u64 = 512;
/// 512 bytes.
const CLUSTER_BITS: usize = 9;
/// 64 bits: few in a block.
const REFCOUNT_ORDER: u8 = 6;

/// A file of the harness behind the crate's trait.
pub(crate) struct Io {
    file: File,
    turns: Turns,
}

impl Io {
    async fn ended<T>(&self, result: io::Result<T>) -> Qcow2Result<T> {
        if !self.file.has_power() {
            std::future::pending::<()>().await;
        }
        Ok(result?)
    }
}

impl Qcow2IoOps for Io {
    async fn read_to(&self, offset: u64, buf: &mut [u8]) -> Qcow2Result<usize> {
        self.turns.wait(offset, buf.len(), 0).await;
        let read = self.file.read_all_at(offset, buf);
        self.ended(read).await?;
        Ok(buf.len())
    }

    async fn write_from(&self, offset: u64, buf: &[u8]) -> Qcow2Result<()> {
        self.turns.wait(offset, buf.len(), 1).await;
        let written = self.file.write_all_at(offset, buf);
        self.ended(written).await
    }

    async fn fallocate(&self, offset: u64, len: usize, flags: u32) -> Qcow2Result<()> {
        self.turns.wait(offset, len, 2).await;
        let punch = flags & Qcow2OpsFlags::FALLOCATE_ZERO_RAGE == 0;
        let end = offset + len as u64;
        let long = self.file.len().unwrap_or(u64::MAX);
        let done = if long < end && !punch {
            self.file.set_len(end)
        } else {
            Ok(())
        };
        let done = done.and_then(|()| self.file.zero_at(offset, len as u64, punch));
        self.ended(done).await
    }

    async fn fsync(&self, _offset: u64, _len: usize, _flags: u32) -> Qcow2Result<()> {
        self.turns.wait(u64::MAX, 0, 3).await;
        let synced = self.file.sync();
        self.ended(synced).await
    }
}

fn failed(error: Qcow2Error) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

/// See the module. `FAULTS`: files fail now and then.
pub(crate) struct Qcow2<const FAULTS: bool> {
    device: ManuallyDrop<Qcow2Dev<Io>>,
    file: File,
    turns: Turns,
}

impl<const FAULTS: bool> Device for Qcow2<FAULTS> {
    fn read(&mut self, start: u64, into: &mut [u8]) -> io::Result<()> {
        let mut buffer = Qcow2IoBuf::<u8>::new(into.len());
        buffer.fill(0xa5);
        let work = self.device.read_at(&mut buffer, start * SECTOR);
        let done = self.turns.run(&self.file, work)?.map_err(failed)?;
        if done != into.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into.copy_from_slice(&buffer);
        Ok(())
    }

    fn write(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        let mut buffer = Qcow2IoBuf::<u8>::new(from.len());
        buffer.copy_from_slice(from);
        let work = self.device.write_at(&buffer, start * SECTOR);
        self.turns.run(&self.file, work)?.map_err(failed)
    }

    fn flush(&mut self) -> io::Result<()> {
        let device = &self.device;
        let work = async {
            device.fsync_range(0, usize::MAX).await?;
            device.flush_meta().await?;
            device.fsync_range(0, usize::MAX).await
        };
        self.turns.run(&self.file, work)?.map_err(failed)
    }
}

impl<const FAULTS: bool> OnFiles for Qcow2<FAULTS> {
    const NAME: &'static str = if FAULTS {
        "qcow2-rs+faults"
    } else {
        "qcow2-rs"
    };
    const FAULTS: bool = FAULTS;
    /// Two L2 tables, and more clusters than one block of reference counts has.
    const SECTORS: u64 = 128;
    const CLUSTER: u64 = 1;

    fn create(files: &[File], sectors: u64) -> io::Result<()> {
        let (size, block) = (sectors * SECTOR, 1 << CLUSTER_BITS);
        let (table, counts, _) =
            Qcow2Header::calculate_meta_params(size, CLUSTER_BITS, REFCOUNT_ORDER, block);
        let clusters = (1 + table.1 + counts.1) as usize;
        let mut image = vec![0; (clusters << CLUSTER_BITS) + block];
        let made = Qcow2Header::format_qcow2(&mut image, size, CLUSTER_BITS, REFCOUNT_ORDER, block);
        made.map_err(failed)?;
        files[0].write_all_at(0, &image)
    }

    fn open(files: &[File]) -> io::Result<Self> {
        let (file, turns) = (files[0].clone(), Turns::default());
        let io = Io {
            file: file.clone(),
            turns: turns.clone(),
        };
        let small = Some((9, 1024));
        let params = Qcow2DevParams::new(9, small, small, false, false);
        let work = async {
            let (device, _) = qcow2_alloc_dev(Path::new("simulated"), io, &params).await?;
            device.qcow2_prep_io().await?;
            Qcow2Result::Ok(device)
        };
        let device = turns.run(&file, work)?.map_err(failed)?;
        Ok(Qcow2 {
            device: ManuallyDrop::new(device),
            file,
            turns,
        })
    }

    fn close(mut self) -> io::Result<()> {
        self.flush()?;
        // Clean now.
        let _ = ManuallyDrop::into_inner(self.device);
        Ok(())
    }
}
