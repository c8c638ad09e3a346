//! One operation of the shared vocabulary on a [`Device`]: values become bytes and back.

use std::io;

use model::op::{End, Kind, Op, Value};
use ploop_core::units::SECTOR_BYTES;

use crate::disk::sector::{SECTOR, fill_pattern, recognise};
use crate::face::{Device, bytes};

/// A sector of bytes that no write has ever made.
pub(super) const UNKNOWN: Value = Value(u64::MAX);

/// Linux's number for "no space".
const ENOSPC: i32 = 28;

/// Carries out an operation. `write` is the number of a write. Of a read: what it returned.
pub(super) fn perform(device: &mut dyn Device, op: Op, write: u32) -> io::Result<Vec<Value>> {
    let Op { kind, start, len } = op;
    match kind {
        Kind::Read => return read(device, start, len),
        Kind::Write { preflush, fua } => {
            if preflush {
                device.flush()?;
            }
            if len == 0 {
                return Ok(Vec::new());
            }
            let mut buffer = vec![0; bytes(len)];
            for (sector, chunk) in (start..).zip(buffer.chunks_mut(SECTOR)) {
                fill_pattern(Value::of(write, sector), 0, chunk);
            }
            if fua {
                device.write_fua(start, &buffer)?;
            } else {
                device.write(start, &buffer)?;
            }
        }
        Kind::WriteZeroes { fua, unmap } => {
            device.write_zeroes(start, len, unmap)?;
            if fua {
                device.flush()?;
            }
        }
        Kind::Discard => device.discard(start, len)?,
        Kind::Flush => device.flush()?,
        Kind::Promote { .. } => {}
    }
    Ok(Vec::new())
}

/// Reads sectors as values.
pub(super) fn read(device: &mut dyn Device, start: u64, len: u64) -> io::Result<Vec<Value>> {
    // A device that forgets to fill it must not look as if it had read zeros.
    let mut buffer = vec![0xa5; bytes(len)];
    device.read(start, &mut buffer)?;
    let (sectors, _) = buffer.as_chunks::<{ SECTOR_BYTES as usize }>();
    let known = |sector| recognise(sector).unwrap_or(UNKNOWN);
    Ok(sectors.iter().map(known).collect())
}

/// Reads all of a device, a piece at a time.
pub(super) fn read_all(device: &mut dyn Device, sectors: u64) -> io::Result<Vec<Value>> {
    const PIECE: u64 = 1024;
    let mut all = Vec::with_capacity(usize::try_from(sectors).unwrap_or(0));
    while (all.len() as u64) < sectors {
        let at = all.len() as u64;
        all.extend(read(device, at, PIECE.min(sectors - at))?);
    }
    Ok(all)
}

/// What an error is to the model.
pub(super) fn end(error: &io::Error) -> End {
    let full = error.kind() == io::ErrorKind::StorageFull || error.raw_os_error() == Some(ENOSPC);
    if full { End::NoSpace } else { End::Io }
}
