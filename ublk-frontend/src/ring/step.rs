//! One I/O of the core as a few requests to the kernel, one after the other.
//!
//! ```text
//!   Read      data ──short: again── end of file inside a sector: zeros ──▶ zeros behind ──▶ Done │ Short
//!   ReadHole  zeros ──▶ Done
//!   Write     data ──short: again──▶ Done │ Short       fua, no space ──▶ the same without fua, to learn which part it was
//!   Zero      punch ──▶ zero range ──▶ written zeros ──▶ Done
//!   Copy      see `copy`
//!   SetLen, WriteIndex, PunchHole, Sync: one request
//! ```
//! * Never a short result where going on is possible. What is left is the core's to judge: it knows what is behind.
//! * A failed sync is an I/O error, whatever the kernel calls it; so is "no space" of the synchronous part of a write.
//! * Zeros into guest memory that is ours are written at once; into the kernel's own pages by reading `/dev/zero`.

use ploop_core::units::{Level, SECTOR_BYTES, Sectors};
use ploop_core::{Buf, Failure, IoOp, Outcome};

use crate::raw::{FileIndex, Place, Ring};
use crate::ring::event::Event;
use crate::ring::memory::{Kind, Memory, Piece, ZEROS};
use crate::ring::queue::Shared;

/// Places in the ring's file table.
pub mod file {
    use crate::raw::FileIndex;
    /// The front end's own file.
    pub const FRONT: FileIndex = FileIndex(0);
    /// `/dev/zero`.
    pub const ZERO: FileIndex = FileIndex(1);
    /// The mailbox's bell.
    pub const BELL: FileIndex = FileIndex(2);
    /// The oldest file of the chain.
    pub const CHAIN: u32 = 3;
}

/// Where the guest's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guest {
    /// In the queue's arena.
    Memory,
    /// In the ring's buffer table, at the tag.
    Fixed,
}

/// What has been asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Nothing yet; or a piece of memory is missing.
    New,
    /// The I/O itself; `done` bytes are behind it.
    Data,
    /// A write again, without the synchronous part.
    Plain,
    /// Zeros into the kernel's pages, from byte `from` of the buffer to `until`.
    Fill {
        from: u64,
        until: u64,
        then: Outcome,
    },
    /// A hole.
    Punch,
    /// A range of zeros.
    Range,
    /// Written zeros.
    Zeros,
    /// A piece of the lower file is read; `got` bytes are there.
    CopyRead { got: u64 },
    /// A piece is written; `put` bytes of `len` are.
    CopyWrite { put: u64, len: u64 },
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A request is with the kernel.
    Asked,
    /// A piece of memory is needed first: call `start` again when there is one.
    NeedsPiece(Kind),
    /// It has ended.
    Ended(Outcome),
}

/// One I/O under way.
#[derive(Debug)]
pub struct Step {
    pub(super) op: IoOp,
    pub(super) state: State,
    pub(super) done: u64,
    piece: Option<Piece>,
    pub(super) word: u64,
}

/// What a step works with.
pub struct Tools<'a> {
    /// The kernel.
    pub ring: &'a mut Ring,
    /// The queue's memory.
    pub memory: &'a mut Memory,
    /// The files.
    pub shared: &'a Shared,
    /// Where the guest's bytes are.
    pub guest: Guest,
}

impl Tools<'_> {
    fn place(&mut self, buf: Buf, skip: u64) -> Place {
        let at = (buf.offset.bytes() + skip) as usize;
        let index = buf.origin.tag.0;
        match self.guest {
            Guest::Memory => {
                let start = self.memory.guest(index);
                let len = self.memory.guest_bytes();
                match self.ring.pin(index, start, len) {
                    true => Place::Pinned {
                        index,
                        at: start + at,
                    },
                    false => Place::Memory(start + at),
                }
            }
            Guest::Fixed => Place::Fixed { index, at },
        }
    }
}

pub(super) fn file_of(level: Level) -> FileIndex {
    FileIndex(file::CHAIN + u32::from(level.0))
}

/// Bytes for one request to the kernel.
pub(super) fn clip(bytes: u64) -> u32 {
    bytes.min(1 << 30) as u32
}

impl Step {
    /// Not started. `place` is its place in the flight table.
    pub fn new(op: IoOp, place: u32) -> Step {
        Step {
            op,
            state: State::New,
            done: 0,
            piece: None,
            word: Event::Io(place).word(),
        }
    }

    /// Asks the kernel for the first time.
    pub fn start(&mut self, tools: &mut Tools<'_>) -> Next {
        match &self.op {
            IoOp::Read { .. } | IoOp::Write { .. } => self.data(tools),
            IoOp::ReadHole { len, .. } => self.fill(0, len.bytes(), Outcome::Done, tools),
            IoOp::Zero { punch: true, .. } | IoOp::PunchHole { .. } => self.punch(tools),
            IoOp::Zero { punch: false, .. } => self.zero_range(tools),
            IoOp::Copy { .. } => self.with_piece(Kind::Copy, tools, Step::copy_piece),
            IoOp::WriteIndex { .. } => self.with_piece(Kind::Index, tools, Step::data),
            &IoOp::SetLen { level, len } => self.set_len(level, len, tools),
            IoOp::Sync { level } => {
                tools.ring.sync(file_of(*level), self.word);
                self.state = State::Data;
                Next::Asked
            }
        }
    }

    /// The kernel has answered.
    pub fn answered(&mut self, result: i32, tools: &mut Tools<'_>) -> Next {
        if matches!(-result, libc::EINTR | libc::EAGAIN) {
            return self.ask_again(tools);
        }
        let bytes = u64::try_from(result);
        match (self.state, bytes) {
            (State::Fill { from, until, then }, Ok(bytes @ 1..)) => {
                self.fill(from + bytes, until, then, tools)
            }
            (State::Data, bytes) => self.data_answered(bytes.map_err(|_| -result), tools),
            (State::Plain, Err(_)) if failure(-result) == Failure::NoSpace => {
                Next::Ended(Outcome::Failed(Failure::NoSpace))
            }
            (State::Punch | State::Range, Ok(_)) => Next::Ended(Outcome::Done),
            (State::Punch, Err(_)) => self.punch_failed(-result, tools),
            (State::Range, Err(_)) if is_unsupported(-result) => self.write_zeros(tools),
            (State::Zeros, Ok(bytes @ 1..)) => {
                self.done += bytes;
                self.write_zeros(tools)
            }
            (State::CopyRead { got }, Ok(bytes)) => self.copy_read(got, bytes, tools),
            (State::CopyWrite { put, len }, Ok(bytes @ 1..)) => {
                self.copy_written(put + bytes, len, tools)
            }
            (State::Range | State::Zeros | State::CopyWrite { .. }, Err(_)) => {
                Next::Ended(Outcome::Failed(failure(-result)))
            }
            // A second write that succeeded says nothing about the sync that failed.
            (State::Plain, _) => Next::Ended(Outcome::Failed(Failure::Io)),
            // No progress, or a read that failed.
            _ => Next::Ended(Outcome::Failed(Failure::Io)),
        }
    }

    /// Gives back what it holds.
    pub fn end(&mut self, memory: &mut Memory) -> Option<Kind> {
        let piece = self.piece.take()?;
        let kind = piece.kind();
        memory.give(piece);
        Some(kind)
    }

    fn with_piece(
        &mut self,
        kind: Kind,
        tools: &mut Tools<'_>,
        then: fn(&mut Step, &mut Tools<'_>) -> Next,
    ) -> Next {
        match tools.memory.take(kind) {
            Some(piece) => {
                if let IoOp::WriteIndex { image, .. } = &self.op {
                    tools.ring.arena().copy_in(piece.at, image);
                }
                self.piece = Some(piece);
                then(self, tools)
            }
            None => Next::NeedsPiece(kind),
        }
    }

    pub(super) fn piece_at(&self) -> usize {
        // Whoever is in a state that uses a piece has taken one in `with_piece`.
        self.piece.as_ref().map_or(0, |piece| piece.at)
    }

    fn ask_again(&mut self, tools: &mut Tools<'_>) -> Next {
        match self.state {
            State::New => self.start(tools),
            State::Data if matches!(self.op, IoOp::Sync { .. } | IoOp::SetLen { .. }) => {
                self.start(tools)
            }
            State::Data | State::Plain => self.ask_data(tools),
            State::Fill { from, until, then } => self.fill(from, until, then, tools),
            State::Punch => self.punch(tools),
            State::Range => self.zero_range(tools),
            State::Zeros => self.write_zeros(tools),
            State::CopyRead { got } => self.ask_copy_read(got, tools),
            State::CopyWrite { put, len } => self.copy_written(put, len, tools),
        }
    }

    fn data(&mut self, tools: &mut Tools<'_>) -> Next {
        self.state = State::Data;
        self.ask_data(tools)
    }

    /// Asks for what is left of a read, write or index write.
    fn ask_data(&mut self, tools: &mut Tools<'_>) -> Next {
        let done = self.done;
        match &self.op {
            &IoOp::Read {
                level,
                at,
                len,
                buf,
                ..
            } => {
                let into = tools.place(buf, done);
                let len = clip(len.bytes() - done);
                let file = file_of(level);
                tools
                    .ring
                    .read(file, at.bytes() + done, len, into, self.word);
            }
            &IoOp::Write {
                level,
                at,
                len,
                buf,
                fua,
            } => {
                let from = tools.place(buf, done);
                let len = clip(len.bytes() - done);
                let dsync = fua && !matches!(self.state, State::Plain);
                let file = file_of(level);
                tools
                    .ring
                    .write(file, at.bytes() + done, len, from, dsync, self.word);
            }
            IoOp::WriteIndex {
                level, at, image, ..
            } => {
                let from = Place::Memory(self.piece_at() + done as usize);
                let len = clip(image.len() as u64 - done);
                let file = file_of(*level);
                tools
                    .ring
                    .write(file, at + done, len, from, false, self.word);
            }
            _ => return Next::Ended(Outcome::Failed(Failure::Io)),
        }
        Next::Asked
    }

    fn data_answered(&mut self, bytes: Result<u64, i32>, tools: &mut Tools<'_>) -> Next {
        if let Ok(bytes) = bytes {
            self.done += bytes;
        }
        match (&self.op, bytes) {
            (IoOp::Sync { .. } | IoOp::SetLen { .. }, Ok(_)) => Next::Ended(Outcome::Done),
            (&IoOp::SetLen { level, len }, Err(libc::EINVAL | libc::EOPNOTSUPP)) => {
                // Linux before 6.9 has no such request.
                Next::Ended(tools.shared.set_len(level, len))
            }
            (IoOp::Sync { .. }, Err(_)) => Next::Ended(Outcome::Failed(Failure::Io)),
            (IoOp::Read { .. }, Err(_)) => Next::Ended(Outcome::Failed(Failure::Io)),
            (IoOp::Write { fua: true, .. }, Err(errno)) if failure(errno) == Failure::NoSpace => {
                self.state = State::Plain;
                self.ask_data(tools)
            }
            (_, Err(errno)) => Next::Ended(Outcome::Failed(failure(errno))),
            (&IoOp::Read { len, zero_tail, .. }, Ok(bytes)) => {
                self.read_so_far(bytes, len.bytes(), zero_tail.bytes(), tools)
            }
            (&IoOp::Write { len, fua, .. }, Ok(bytes)) => {
                let ends = bytes == 0 || (fua && self.done >= SECTOR_BYTES);
                self.written_so_far(len.bytes(), ends, tools)
            }
            (IoOp::WriteIndex { image, .. }, Ok(bytes)) => {
                let len = image.len() as u64;
                self.written_so_far(len, bytes == 0, tools)
            }
            _ => Next::Ended(Outcome::Failed(Failure::Io)),
        }
    }

    fn written_so_far(&mut self, len: u64, ends: bool, tools: &mut Tools<'_>) -> Next {
        match self.done {
            done if done >= len => Next::Ended(Outcome::Done),
            bytes if ends => Next::Ended(Outcome::Short { bytes }),
            _ => self.ask_data(tools),
        }
    }

    /// `bytes` more have been read of `len`.
    fn read_so_far(&mut self, bytes: u64, len: u64, tail: u64, tools: &mut Tools<'_>) -> Next {
        let done = self.done;
        let is_end = bytes == 0 || done % SECTOR_BYTES != 0;
        if done < len && !is_end {
            return self.ask_data(tools);
        }
        let sectors = done.next_multiple_of(SECTOR_BYTES);
        if sectors < len {
            return self.fill(done, sectors, Outcome::Short { bytes: sectors }, tools);
        }
        self.fill(done, len + tail, Outcome::Done, tools)
    }

    /// Zeros into a part of the guest's buffer.
    fn fill(&mut self, from: u64, until: u64, then: Outcome, tools: &mut Tools<'_>) -> Next {
        let (&IoOp::Read { buf, .. } | &IoOp::ReadHole { buf, .. }) = &self.op else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        if from >= until {
            return Next::Ended(then);
        }
        match tools.place(buf, from) {
            Place::Memory(at) | Place::Pinned { at, .. } => {
                tools.ring.arena().zero(at, (until - from) as usize);
                Next::Ended(then)
            }
            place => {
                self.state = State::Fill { from, until, then };
                let len = clip(until - from);
                tools.ring.read(file::ZERO, 0, len, place, self.word);
                Next::Asked
            }
        }
    }

    fn range(&self) -> Option<(FileIndex, u64, u64)> {
        match &self.op {
            IoOp::Zero { level, at, len, .. } | IoOp::PunchHole { level, at, len } => {
                Some((file_of(*level), at.bytes(), len.bytes()))
            }
            _ => None,
        }
    }

    fn punch(&mut self, tools: &mut Tools<'_>) -> Next {
        self.state = State::Punch;
        self.ask_fallocate(libc::FALLOC_FL_PUNCH_HOLE, tools)
    }

    fn zero_range(&mut self, tools: &mut Tools<'_>) -> Next {
        self.state = State::Range;
        self.ask_fallocate(libc::FALLOC_FL_ZERO_RANGE, tools)
    }

    fn ask_fallocate(&mut self, mode: i32, tools: &mut Tools<'_>) -> Next {
        let Some((file, at, len)) = self.range() else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        let mode = mode | libc::FALLOC_FL_KEEP_SIZE;
        tools.ring.fallocate(file, mode, at, len, self.word);
        Next::Asked
    }

    fn punch_failed(&mut self, errno: i32, tools: &mut Tools<'_>) -> Next {
        match self.op {
            IoOp::Zero { .. } if is_unsupported(errno) => self.zero_range(tools),
            _ if is_unsupported(errno) => Next::Ended(Outcome::Failed(Failure::Unsupported)),
            _ => Next::Ended(Outcome::Failed(failure(errno))),
        }
    }

    fn write_zeros(&mut self, tools: &mut Tools<'_>) -> Next {
        let Some((file, at, len)) = self.range() else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        self.state = State::Zeros;
        if self.done >= len {
            return Next::Ended(Outcome::Done);
        }
        let step = (len - self.done).min(u64::from(ZEROS)) as u32;
        let from = Place::Memory(tools.memory.zeros());
        tools
            .ring
            .write(file, at + self.done, step, from, false, self.word);
        Next::Asked
    }

    fn set_len(&mut self, level: Level, len: Sectors, tools: &mut Tools<'_>) -> Next {
        match tools.shared.must_grow(level, len) {
            Ok(true) => {
                self.state = State::Data;
                tools.ring.truncate(file_of(level), len.bytes(), self.word);
                Next::Asked
            }
            Ok(false) => Next::Ended(Outcome::Done),
            Err(failure) => Next::Ended(Outcome::Failed(failure)),
        }
    }
}

/// An errno, as the core tells them apart. Not for a sync.
#[must_use]
pub fn failure(errno: i32) -> Failure {
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => Failure::NoSpace,
        errno if is_unsupported(errno) => Failure::Unsupported,
        _ => Failure::Io,
    }
}

/// The errors of a file that cannot do what was asked at all.
fn is_unsupported(errno: i32) -> bool {
    matches!(
        errno,
        libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ENODEV
    )
}
