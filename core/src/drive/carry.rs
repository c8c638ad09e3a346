//! One I/O of the core, carried out on files by calls that wait.
//!
//! * A failed sync is never "no space": whatever the reason, what it should have made durable may be lost for good, and
//!   only [`Failure::Io`] makes the core treat it so.
//! * A file that ends before what was to be read there is an error, for a copy as for a read: never zeros.
//! * Memory: one piece of [`COPY_BYTES`], however large clusters are.

use std::io;
use std::ops::Range;

use crate::drive::file::{DeltaFile, read_padded};
use crate::request::action::{Failure, IoOp, Outcome};
use crate::units::{Level, SECTOR_BYTES, Sectors};

/// Bytes copied at a time.
const COPY_BYTES: u64 = 1 << 20;

/// The guest buffer of the one request.
pub(super) enum Buffer<'a> {
    None,
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

/// One I/O on the files.
pub(super) fn carry_out(
    files: &[Box<dyn DeltaFile>],
    scratch: &mut Vec<u8>,
    op: &IoOp,
    buffer: &mut Buffer<'_>,
) -> Outcome {
    let file = |level: Level| &*files[usize::from(level.0)];
    let range = |offset: Sectors, len: Sectors| {
        offset.bytes() as usize..(offset.bytes() + len.bytes()) as usize
    };
    let done = match (op, buffer) {
        (
            IoOp::Read {
                level,
                at,
                len,
                zero_tail,
                buf,
            },
            Buffer::Read(guest),
        ) => {
            guest[range(Sectors(buf.offset.0 + len.0), *zero_tail)].fill(0);
            read(
                file(*level),
                at.bytes(),
                &mut guest[range(buf.offset, *len)],
            )
        }
        (IoOp::ReadHole { len, buf }, Buffer::Read(guest)) => {
            guest[range(buf.offset, *len)].fill(0);
            Ok(Outcome::Done)
        }
        (
            IoOp::Write {
                level,
                at,
                len,
                buf,
                fua,
            },
            Buffer::Write(guest),
        ) => {
            let written = write(file(*level), at.bytes(), &guest[range(buf.offset, *len)]);
            if *fua && matches!(written, Ok(Outcome::Done)) {
                return sync(file(*level));
            }
            written
        }
        (IoOp::Read { .. } | IoOp::ReadHole { .. } | IoOp::Write { .. }, _) => {
            unreachable!("the request has no such buffer")
        }
        (
            IoOp::Zero {
                level,
                at,
                len,
                punch,
            },
            _,
        ) => file(*level)
            .zero_at(at.bytes(), len.bytes(), *punch)
            .map(|()| Outcome::Done),
        (IoOp::PunchHole { level, at, len }, _) => file(*level)
            .zero_at(at.bytes(), len.bytes(), true)
            .map(|()| Outcome::Done),
        (
            IoOp::Copy {
                level,
                from,
                from_len,
                to_level,
                to,
                len,
            },
            _,
        ) => {
            let from = from.bytes()..from.after(*from_len).bytes();
            let to = to.bytes()..to.after(*len).bytes();
            copy((file(*level), from), (file(*to_level), to), scratch)
        }
        (IoOp::SetLen { level, len }, _) => extend(file(*level), len.bytes()),
        (
            IoOp::WriteIndex {
                level, at, image, ..
            },
            _,
        ) => write(file(*level), *at, image),
        (IoOp::Sync { level }, _) => return sync(file(*level)),
    };
    done.unwrap_or_else(|error| Outcome::Failed(failure(&error)))
}

/// Extends; never shrinks.
fn extend(file: &dyn DeltaFile, len: u64) -> io::Result<Outcome> {
    if file.len()? < len {
        file.set_len(len)?;
    }
    Ok(Outcome::Done)
}

/// Reads; a file that ends inside its last sector is padded with zeros.
fn read(file: &dyn DeltaFile, at: u64, into: &mut [u8]) -> io::Result<Outcome> {
    let bytes = read_padded(file, at, into)? as u64;
    Ok(match bytes.next_multiple_of(SECTOR_BYTES) {
        whole if whole >= into.len() as u64 => Outcome::Done,
        bytes => Outcome::Short { bytes },
    })
}

/// Writes once; what ends inside a sector is finished, since the core counts whole sectors.
fn write(file: &dyn DeltaFile, at: u64, from: &[u8]) -> io::Result<Outcome> {
    let mut done = file.write_at(at, from)?;
    while done < from.len() && done as u64 % SECTOR_BYTES != 0 {
        match file.write_at(at + done as u64, &from[done..])? {
            0 => break,
            bytes => done += bytes,
        }
    }
    let bytes = done as u64;
    Ok(if done < from.len() {
        Outcome::Short { bytes }
    } else {
        Outcome::Done
    })
}

/// Copies a range of bytes to another one that may be longer: the rest becomes zeros.
fn copy(
    (lower, from): (&dyn DeltaFile, Range<u64>),
    (top, to): (&dyn DeltaFile, Range<u64>),
    scratch: &mut Vec<u8>,
) -> io::Result<Outcome> {
    let mut done = 0;
    while to.start + done < to.end {
        let step = (to.end - to.start - done).min(COPY_BYTES);
        let there = from.end.saturating_sub(from.start + done).min(step);
        scratch.resize(step as usize, 0);
        let (data, rest) = scratch.split_at_mut(there as usize);
        rest.fill(0);
        if let Outcome::Short { .. } = read(lower, from.start + done, data)? {
            return Ok(Outcome::Short { bytes: done });
        }
        if let Outcome::Short { bytes } = write(top, to.start + done, scratch)? {
            return Ok(Outcome::Short {
                bytes: done + bytes,
            });
        }
        done += step;
    }
    Ok(Outcome::Done)
}

fn sync(file: &dyn DeltaFile) -> Outcome {
    match file.sync() {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Failed(Failure::Io),
    }
}

/// An I/O error, as the core tells them apart. Not for a sync: see the module.
#[must_use]
pub fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Failure::NoSpace
        }
        io::ErrorKind::Unsupported => Failure::Unsupported,
        _ => Failure::Io,
    }
}
