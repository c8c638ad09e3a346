//! One queue of a ublk device: fetches requests, commits answers.
//!
//! ```text
//!   tag:  Fetching ──request──▶ Owned ──answer: commit and fetch──▶ Fetching
//!            └──abort──▶ Gone          (pages not in the table: register ─▶ Owned ─▶ unregister ─▶ commit)
//! ```
//! * An answer is the full length or an errno, never less: some kernels take a short answer for a complete one.
//! * Positions and lengths are in 512-byte sectors, whatever the block size. A flush has neither.
//! * When the last tag is gone, the server is told.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ploop_core::units::{Sector, Sectors, Tag};
use ploop_core::{Failure, Op, Request};
use rustix::event::{EventfdFlags, eventfd};

use crate::raw::{Descriptors, UblkBuffer};
use crate::ring::event::Event;
use crate::ring::queue::{Front, Link};
use crate::ring::step::{Guest, file};
use crate::ublk::sys::{self, IoCmd, IoDesc, io_cmd, op};

/// How the server is woken by its queues.
#[derive(Debug)]
pub struct Alarm {
    bell: std::os::fd::OwnedFd,
    /// Queues that still have tags.
    alive: AtomicU32,
}

impl Alarm {
    /// For so many queues.
    pub fn new(queues: u16) -> io::Result<Alarm> {
        Ok(Alarm {
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            alive: AtomicU32::new(u32::from(queues)),
        })
    }

    /// Wakes the server.
    pub fn ring(&self) {
        // Cannot fail: the counter would have to be full.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// True if no queue gets requests any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.alive.load(Ordering::Acquire) == 0
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// What a number that comes back means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Fetch,
    Register,
    Unregister,
}

fn number(asked: Asked, tag: u16) -> u32 {
    (asked as u32) << 16 | u32::from(tag)
}

fn meaning(number: u32) -> (Asked, u16) {
    let asked = match number >> 16 {
        1 => Asked::Register,
        2 => Asked::Unregister,
        _ => Asked::Fetch,
    };
    (asked, number as u16)
}

/// What is kept of a request until it is answered.
#[derive(Clone, Copy, Debug, Default)]
struct Owned {
    /// The answer if it works.
    success: i32,
    /// The answer.
    answer: i32,
    /// Its pages were registered by hand.
    by_hand: bool,
}

/// Who puts a request's own pages into the ring's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// Nobody: they are copied.
    No,
    /// The kernel; where it fails to, the server.
    ByKernel,
    /// The server, for each request.
    ByHand,
}

/// See the module.
#[derive(Debug)]
pub struct UblkFront {
    file: Arc<File>,
    /// Mapped when it begins.
    descriptors: Option<Descriptors>,
    queue: u16,
    lent: Lent,
    request_bytes: u32,
    owned: Vec<Owned>,
    /// Tags that are not gone.
    alive: u16,
    alarm: Arc<Alarm>,
}

impl UblkFront {
    /// Queue `queue` of the device open as `file`.
    pub fn new(
        file: Arc<File>,
        queue: u16,
        depth: u16,
        request_bytes: u32,
        lent: Lent,
        alarm: Arc<Alarm>,
    ) -> UblkFront {
        UblkFront {
            descriptors: None,
            file,
            queue,
            lent,
            request_bytes,
            owned: vec![Owned::default(); usize::from(depth)],
            alive: depth,
            alarm,
        }
    }

    /// The descriptor of a tag. There is one as soon as there is a request.
    fn descriptor(&self, tag: u16) -> IoDesc {
        self.descriptors
            .as_ref()
            .map_or_else(IoDesc::default, |all| all.get(tag))
    }

    fn buffer(&self, tag: u16, link: &Link<'_>) -> UblkBuffer {
        match self.lent {
            Lent::No => UblkBuffer::Memory {
                at: link.memory.guest(tag),
                len: self.request_bytes,
            },
            Lent::ByKernel => UblkBuffer::Auto { index: tag },
            Lent::ByHand => UblkBuffer::None,
        }
    }

    fn fetch(&self, op: u32, tag: u16, result: i32, link: &mut Link<'_>) {
        let buffer = self.buffer(tag, link);
        self.command(op, tag, result, buffer, Asked::Fetch, link);
    }

    fn command(
        &self,
        op: u32,
        tag: u16,
        result: i32,
        buffer: UblkBuffer,
        asked: Asked,
        link: &mut Link<'_>,
    ) {
        let command = IoCmd {
            q_id: self.queue,
            tag,
            result,
            addr: 0,
        };
        let word = Event::Front(number(asked, tag)).word();
        link.ring.ublk(file::FRONT, op, command, buffer, word);
    }

    fn gone(&mut self) {
        self.alive -= 1;
        if self.alive == 0 {
            self.alarm.alive.fetch_sub(1, Ordering::AcqRel);
            self.alarm.ring();
        }
    }

    /// A request has come.
    fn arrived(&mut self, tag: u16, link: &mut Link<'_>) -> Option<(Tag, Request)> {
        let desc = self.descriptor(tag);
        let decoded = decode(&desc, self.request_bytes);
        let (success, by_hand) = match decoded {
            Ok(request) => (
                success(&request),
                needs_registering(&desc, &request, self.lent),
            ),
            Err(_) => (0, false),
        };
        self.owned[usize::from(tag)] = Owned {
            success,
            answer: 0,
            by_hand,
        };
        match decoded {
            Err(errno) => {
                self.fetch(io_cmd::COMMIT_AND_FETCH, tag, -errno, link);
                None
            }
            Ok(_) if by_hand => {
                let buffer = UblkBuffer::Index(tag);
                let op = io_cmd::REGISTER_IO_BUF;
                self.command(op, tag, 0, buffer, Asked::Register, link);
                None
            }
            Ok(request) => Some((Tag(tag), request)),
        }
    }

    /// Its pages have been registered by hand, or not.
    fn registered(&mut self, tag: u16, result: i32, link: &mut Link<'_>) -> Option<(Tag, Request)> {
        if result < 0 {
            self.owned[usize::from(tag)].by_hand = false;
            self.fetch(io_cmd::COMMIT_AND_FETCH, tag, -libc::EIO, link);
            return None;
        }
        let request = decode(&self.descriptor(tag), self.request_bytes).ok()?;
        Some((Tag(tag), request))
    }
}

fn needs_registering(desc: &IoDesc, request: &Request, lent: Lent) -> bool {
    let has_pages = matches!(request.op, Op::Read | Op::Write { .. });
    match lent {
        Lent::No => false,
        Lent::ByKernel => desc.op_flags & sys::IO_F_NEED_REG_BUF != 0,
        Lent::ByHand => has_pages,
    }
}

/// What a descriptor asks for, or the errno of the answer.
fn decode(desc: &IoDesc, most_bytes: u32) -> Result<Request, i32> {
    let fua = desc.op_flags & sys::IO_F_FUA != 0;
    let preflush = false;
    let op = match desc.op_flags as u8 {
        op::READ => Op::Read,
        op::WRITE => Op::Write { preflush, fua },
        op::DISCARD => Op::Discard,
        op::WRITE_ZEROES => Op::WriteZeroes {
            fua,
            unmap: desc.op_flags & sys::IO_F_NOUNMAP == 0,
        },
        // Its start and length mean nothing, and the start is all ones.
        op::FLUSH => {
            return Ok(Request {
                op: Op::Flush,
                start: Sector(0),
                len: Sectors::ZERO,
            });
        }
        _ => return Err(libc::EOPNOTSUPP),
    };
    let len = Sectors(u64::from(desc.nr_sectors));
    let has_data = matches!(op, Op::Read | Op::Write { .. });
    if has_data && len.bytes() > u64::from(most_bytes) {
        return Err(libc::EIO);
    }
    let start = Sector(desc.start_sector);
    Ok(Request { op, start, len })
}

/// The answer to a request that worked. Bytes for a read or write; the length of anything else may not fit.
fn success(request: &Request) -> i32 {
    match request.op {
        Op::Read | Op::Write { .. } => i32::try_from(request.len.bytes()).unwrap_or(-libc::EIO),
        _ => 0,
    }
}

/// What the guest is told. That something is not supported is an answer to a discard or a write of zeros only: of a write
/// it would be taken for "never again", and it was the file that failed.
fn errno_of(failure: Failure, moves_data: bool) -> i32 {
    match failure {
        Failure::NoSpace => libc::ENOSPC,
        Failure::Unsupported if moves_data => libc::EIO,
        Failure::Unsupported => libc::EOPNOTSUPP,
        Failure::Io | Failure::ReadOnly | Failure::OutOfRange | Failure::Closed => libc::EIO,
    }
}

impl Front for UblkFront {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn guest(&self) -> Guest {
        match self.lent {
            Lent::No => Guest::Memory,
            Lent::ByKernel | Lent::ByHand => Guest::Fixed,
        }
    }

    /// Maps the descriptors only now: a server that is killed between this and its fetches leaves a device that Linux
    /// 6.12 cannot recover any more.
    fn begin(&mut self, link: &mut Link<'_>) -> io::Result<()> {
        let depth = self.owned.len() as u16;
        self.descriptors = Some(Descriptors::map(self.file.as_fd(), self.queue, depth)?);
        for tag in 0..depth {
            self.fetch(io_cmd::FETCH, tag, 0, link);
        }
        Ok(())
    }

    fn came(&mut self, number: u32, result: i32, link: &mut Link<'_>) -> Option<(Tag, Request)> {
        match meaning(number) {
            (Asked::Fetch, tag) if result == sys::IO_RES_OK => self.arrived(tag, link),
            (Asked::Fetch, _) => {
                self.gone();
                None
            }
            (Asked::Register, tag) => self.registered(tag, result, link),
            (Asked::Unregister, tag) => {
                let answer = self.owned[usize::from(tag)].answer;
                self.fetch(io_cmd::COMMIT_AND_FETCH, tag, answer, link);
                None
            }
        }
    }

    fn ended(&mut self, tag: Tag, outcome: Result<(), Failure>, link: &mut Link<'_>) {
        let owned = &mut self.owned[usize::from(tag.0)];
        owned.answer = match outcome {
            Ok(()) => owned.success,
            Err(failure) => -errno_of(failure, owned.success > 0),
        };
        let (answer, by_hand) = (owned.answer, owned.by_hand);
        if by_hand {
            let buffer = UblkBuffer::Index(tag.0);
            let op = io_cmd::UNREGISTER_IO_BUF;
            self.command(op, tag.0, 0, buffer, Asked::Unregister, link);
        } else {
            self.fetch(io_cmd::COMMIT_AND_FETCH, tag.0, answer, link);
        }
    }

    fn is_idle(&self) -> bool {
        self.alive == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desc(op_flags: u32, start_sector: u64, nr_sectors: u32) -> IoDesc {
        IoDesc {
            op_flags,
            nr_sectors,
            start_sector,
            addr: 0,
        }
    }

    #[test]
    fn a_flush_has_no_range() {
        let flush = decode(&desc(2, u64::MAX, 0), 1 << 20).expect("a flush");
        assert_eq!((flush.op, flush.start), (Op::Flush, Sector(0)));
        assert_eq!(success(&flush), 0);
    }

    #[test]
    fn flags_become_fields() {
        let write = decode(&desc(1 | 1 << 13, 8, 8), 1 << 20).expect("a write");
        let fua = Op::Write {
            preflush: false,
            fua: true,
        };
        assert_eq!((write.op, success(&write)), (fua, 4096));
        let zeroes =
            |flags: u32| decode(&desc(5 | flags, 0, 1 << 24), 4096).map(|r| (r.op, success(&r)));
        let (fua, unmap) = (false, true);
        assert_eq!(zeroes(0), Ok((Op::WriteZeroes { fua, unmap }, 0)));
        let unmap = false;
        assert_eq!(zeroes(1 << 15), Ok((Op::WriteZeroes { fua, unmap }, 0)));
    }

    #[test]
    fn what_cannot_be_is_answered_with_an_error() {
        assert_eq!(decode(&desc(4, 0, 8), 4096), Err(libc::EOPNOTSUPP));
        assert_eq!(decode(&desc(0, 0, 9), 4096), Err(libc::EIO));
        assert!(decode(&desc(0, 0, 8), 4096).is_ok());
        assert!(
            decode(&desc(3, u64::MAX, u32::MAX), 4096).is_ok(),
            "the core checks the range"
        );
    }

    #[test]
    fn numbers_come_back() {
        for asked in [Asked::Fetch, Asked::Register, Asked::Unregister] {
            for tag in [0, 1, 4095, u16::MAX] {
                assert_eq!(meaning(number(asked, tag)), (asked, tag));
            }
        }
    }
}
