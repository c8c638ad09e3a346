//! The blocking driver: one request at a time on [`DeltaFile`]s. For the image tool, tests and the fuzzers.
//!
//! Each call carries out every action that comes out of the device until there is none left, then returns. Delayed
//! write-back happens in [`Disk::tick`], [`Disk::flush`] and [`Disk::close`].

use std::io;

use crate::control::close::{CloseError, ControlIo};
use crate::delta::LoadedDelta;
use crate::device::{Device, NoSpace, OpenError, Options};
use crate::drive::file::{DeltaFile, read_padded};
use crate::request::action::{ActionKind, Actions, Failure, IoOp, Op, Origin, Outcome, Request};
use crate::units::{Level, Millis, QueueId, SECTOR_BYTES, Sector, Sectors, Tag};

/// The only request of the blocking driver.
const ORIGIN: Origin = Origin {
    queue: QueueId(0),
    tag: Tag(0),
};

/// A disk on a chain of files.
pub struct Disk {
    device: Device,
    files: Vec<Box<dyn DeltaFile>>,
    out: Actions,
    scratch: Vec<u8>,
}

/// The guest buffer of the one request.
enum Buffer<'a> {
    None,
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl Disk {
    /// Opens a loaded chain on its files, oldest first. `queues`, `depth` and `no_space` of the options are the driver's
    /// own: a blocking call cannot wait for space.
    pub fn open(
        chain: Vec<LoadedDelta>,
        files: Vec<Box<dyn DeltaFile>>,
        options: Options,
    ) -> Result<Disk, OpenError> {
        let options = Options {
            queues: 1,
            depth: 1,
            no_space: NoSpace::Fail,
            ..options
        };
        let device = Device::open(chain, options)?;
        Ok(Disk {
            device,
            files,
            out: Actions::new(),
            scratch: Vec::new(),
        })
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Reads whole sectors at `start`.
    pub fn read(&mut self, start: Sector, into: &mut [u8]) -> Result<(), Failure> {
        let len = sectors(into.len())?;
        self.request(Op::Read, start, len, Buffer::Read(into))
    }

    /// Writes whole sectors at `start`.
    pub fn write(&mut self, start: Sector, from: &[u8], fua: bool) -> Result<(), Failure> {
        let len = sectors(from.len())?;
        self.request(
            Op::Write {
                preflush: false,
                fua,
            },
            start,
            len,
            Buffer::Write(from),
        )
    }

    /// Makes a range read as zeros.
    pub fn write_zeroes(
        &mut self,
        start: Sector,
        len: Sectors,
        fua: bool,
        unmap: bool,
    ) -> Result<(), Failure> {
        self.request(Op::WriteZeroes { fua, unmap }, start, len, Buffer::None)
    }

    /// Discards a range.
    pub fn discard(&mut self, start: Sector, len: Sectors) -> Result<(), Failure> {
        self.request(Op::Discard, start, len, Buffer::None)
    }

    /// Makes everything durable.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.request(Op::Flush, Sector(0), Sectors::ZERO, Buffer::None)
    }

    /// Time passes: delayed write-back that is due happens now. Returns the next deadline.
    pub fn tick(&mut self, now: Millis) -> Option<Millis> {
        let deadline = self.device.tick(now, &mut self.out);
        self.work(&mut Buffer::None);
        deadline
    }

    /// Pushes everything out and closes the image cleanly. Afterwards every request fails.
    pub fn close(&mut self) -> Result<(), CloseError> {
        self.device.suspend(&mut self.out);
        self.work(&mut Buffer::None);
        let Some(quiesced) = self.device.try_quiesce() else {
            unreachable!("nothing can be in flight between blocking calls");
        };
        let top = usize::from(self.device.levels.top().0);
        let closed = quiesced.close(&mut Control(&*self.files[top]));
        quiesced.shut(&mut self.out);
        closed
    }

    fn request(
        &mut self,
        op: Op,
        start: Sector,
        len: Sectors,
        mut buffer: Buffer<'_>,
    ) -> Result<(), Failure> {
        self.device
            .submit(ORIGIN, Request { op, start, len }, &mut self.out);
        match self.work(&mut buffer) {
            Some(outcome) => outcome,
            None => unreachable!("a request ended without an answer"),
        }
    }

    /// Carries actions out until there is none left.
    fn work(&mut self, buffer: &mut Buffer<'_>) -> Option<Result<(), Failure>> {
        let mut finished = None;
        let mut list = Vec::new();
        loop {
            list.extend(self.out.drain());
            if list.is_empty() {
                self.device.turn(QueueId(0), &mut self.out);
                if self.out.is_empty() {
                    return finished;
                }
                continue;
            }
            for action in list.drain(..) {
                match action.kind {
                    ActionKind::Finish { outcome, .. } => finished = Some(outcome),
                    ActionKind::Io { ticket, op } => {
                        let outcome = carry_out(&self.files, &mut self.scratch, &op, buffer);
                        self.device.complete(ticket, outcome, &mut self.out);
                    }
                }
            }
        }
    }
}

fn sectors(bytes: usize) -> Result<Sectors, Failure> {
    let bytes = bytes as u64;
    if bytes % SECTOR_BYTES == 0 {
        Ok(Sectors::whole_in(bytes))
    } else {
        Err(Failure::OutOfRange)
    }
}

/// One I/O on the files.
fn carry_out(
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
                file(*level).sync().map(|()| Outcome::Done)
            } else {
                written
            }
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
            scratch.resize(len.bytes() as usize, 0);
            let (data, rest) = scratch.split_at_mut(from_len.bytes() as usize);
            rest.fill(0);
            read_padded(file(*level), from.bytes(), data)
                .and_then(|_| write(file(*to_level), to.bytes(), scratch))
        }
        (IoOp::SetLen { level, len }, _) => extend(file(*level), len.bytes()),
        (
            IoOp::WriteIndex {
                level, at, image, ..
            },
            _,
        ) => write(file(*level), *at, image),
        (IoOp::Sync { level }, _) => file(*level).sync().map(|()| Outcome::Done),
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

fn write(file: &dyn DeltaFile, at: u64, from: &[u8]) -> io::Result<Outcome> {
    Ok(match file.write_at(at, from)? {
        bytes if bytes == from.len() => Outcome::Done,
        bytes => Outcome::Short {
            bytes: bytes as u64,
        },
    })
}

/// An I/O error, as the core tells them apart.
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

/// The control plane's view of the top file.
struct Control<'a>(&'a dyn DeltaFile);

impl ControlIo for Control<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        let mut done = 0;
        while done < bytes.len() {
            match self.0.write_at(at + done as u64, &bytes[done..]) {
                Ok(0) => return Err(Failure::Io),
                Ok(n) => done += n,
                Err(error) => return Err(failure(&error)),
            }
        }
        Ok(())
    }
    fn set_len(&mut self, len: Sectors) -> Result<(), Failure> {
        self.0.set_len(len.bytes()).map_err(|error| failure(&error))
    }
    fn sync(&mut self) -> Result<(), Failure> {
        self.0.sync().map_err(|error| failure(&error))
    }
}

#[cfg(test)]
mod tests;
