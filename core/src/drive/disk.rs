//! The blocking driver: one request at a time on [`DeltaFile`]s. For the image tool, tests and the fuzzers.
//!
//! Each call carries out every action that comes out of the device until there is none left, then returns. Delayed
//! write-back happens in [`Disk::tick`], [`Disk::flush`] and [`Disk::close`].
//!
//! ```text
//!   open ──close: ok, or the file failed during it──▶ closed: the files are never touched again
//!     │ └──close: not everything is durable──▶ no more requests; close may be tried again (space may have returned)
//!     └──drop──▶ as if the process had been killed
//! ```

use std::io;

use crate::control::close::{CloseError, ControlIo};
use crate::control::files::settle;
use crate::delta::LoadedDelta;
use crate::device::{Device, NoSpace, OpenError, Options};
use crate::drive::carry::{Buffer, carry_out, failure};
use crate::drive::file::DeltaFile;
use crate::request::action::{ActionKind, Actions, Failure, Op, Origin, Request};
use crate::units::{Level, Millis, QueueId, SECTOR_BYTES, Sector, Sectors, Tag};

/// The only request of the blocking driver.
const ORIGIN: Origin = Origin {
    queue: QueueId(0),
    tag: Tag(0),
};

/// Most clusters of one request without a buffer: a larger one is carried out in pieces, since the core makes a part of
/// each cluster at once.
const PIECE_CLUSTERS: u64 = 1024;

/// A disk on a chain of files.
pub struct Disk {
    device: Device,
    files: Vec<Box<dyn DeltaFile>>,
    out: Actions,
    scratch: Vec<u8>,
    /// How `close` ended, if it did for good.
    closed: Option<Result<(), CloseError>>,
}

impl Disk {
    /// Opens a loaded chain on its files, oldest first. `queues`, `depth` and `no_space` of the options are the driver's
    /// own: a blocking call cannot wait for space. A top that was not closed is settled first, if it is to be written.
    pub fn open(
        mut chain: Vec<LoadedDelta>,
        files: Vec<Box<dyn DeltaFile>>,
        options: Options,
    ) -> Result<Disk, OpenError> {
        let options = Options {
            queues: 1,
            depth: 1,
            no_space: NoSpace::Fail,
            ..options
        };
        if files.len() != chain.len() {
            return Err(OpenError::Option {
                name: "files",
                value: files.len() as u64,
                rule: "one for each delta of the chain",
            });
        }
        Device::check(&chain, &options)?;
        if let (Some(file), Some(top), true) = (files.last(), chain.last_mut(), options.write) {
            settle(&**file, top).map_err(|error| OpenError::Settle(Box::new(error)))?;
        }
        let device = Device::open(chain, options)?;
        Ok(Disk {
            device,
            files,
            out: Actions::new(),
            scratch: Vec::new(),
            closed: None,
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
        self.in_pieces(Op::WriteZeroes { fua, unmap }, start, len)
    }

    /// Discards a range.
    pub fn discard(&mut self, start: Sector, len: Sectors) -> Result<(), Failure> {
        self.in_pieces(Op::Discard, start, len)
    }

    /// Copies the clusters of a range that deltas from `lowest` on show into the top: see [`Op::Promote`].
    pub fn promote(&mut self, start: Sector, len: Sectors, lowest: Level) -> Result<(), Failure> {
        self.in_pieces(Op::Promote { lowest }, start, len)
    }

    /// Pieces end with a cluster, so that every cluster is in one piece.
    fn in_pieces(&mut self, op: Op, start: Sector, len: Sectors) -> Result<(), Failure> {
        let piece = PIECE_CLUSTERS * self.device.table.cluster().0;
        let end = match start.0.checked_add(len.0) {
            Some(end) if end <= self.device.table.size().0 => end,
            _ => return Err(Failure::OutOfRange),
        };
        let mut at = start;
        loop {
            let until = (at.0 / piece + 1).saturating_mul(piece).min(end);
            let len = Sector(until).since(at);
            self.request(op, at, len, Buffer::None)?;
            at = Sector(until);
            if until >= end {
                return Ok(());
            }
        }
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

    /// Pushes everything out and closes the image cleanly. Afterwards every request fails. After
    /// [`CloseError::NotDurable`] it may be called again; otherwise that only tells the result once more.
    pub fn close(&mut self) -> Result<(), CloseError> {
        if let Some(closed) = self.closed {
            return closed;
        }
        self.device.suspend(&mut self.out);
        self.work(&mut Buffer::None);
        let Some(quiesced) = self.device.try_quiesce() else {
            unreachable!("nothing can be in flight between blocking calls");
        };
        let top = usize::from(self.device.levels.top().0);
        let closed = quiesced.close(&mut Control(&*self.files[top]));
        quiesced.shut(&mut self.out);
        if !matches!(closed, Err(CloseError::NotDurable { .. })) {
            // A sync that failed and is tried again may say "ok" about what is lost. And the files may be somebody else's
            // by now.
            self.closed = Some(closed);
        }
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
    fn punch(&mut self, at: Sector, len: Sectors) -> Result<(), Failure> {
        match self.0.zero_at(at.bytes(), len.bytes(), true) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done.map_err(|error| failure(&error)),
        }
    }
    fn set_len(&mut self, len: Sectors) -> Result<(), Failure> {
        self.0.set_len(len.bytes()).map_err(|error| failure(&error))
    }
    fn sync(&mut self) -> Result<(), Failure> {
        self.0.sync().map_err(|_| Failure::Io)
    }
}

#[cfg(test)]
mod tests;
