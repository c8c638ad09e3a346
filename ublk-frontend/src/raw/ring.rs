//! The ring of a queue. See the promises in the head of [`super`].

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, FsyncFlags, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::arena::Arena;
use super::witness::Witness;
use crate::files::trace::{Trace, What};
use crate::ublk::sys::{self, IoCmd};

/// What an I/O reads or writes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the ring's arena from here.
    Memory(usize),
    /// The same, and it lies in the buffer that [`Ring::pin`] has put into the ring's table.
    Pinned {
        /// Place in the table.
        index: u16,
        /// First byte in the arena.
        at: usize,
    },
    /// A buffer that the kernel has put into the ring's table, from this byte of it.
    Fixed {
        /// Place in the table.
        index: u16,
        /// First byte.
        at: usize,
    },
}

/// What the ring's table of buffers is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffers {
    /// There is none.
    None,
    /// So many places for parts of the arena; see [`Ring::pin`].
    Ours(u16),
    /// So many places for buffers that the kernel puts there.
    Kernel(u16),
}

/// A place of the table for parts of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pin {
    /// Nothing has been put there.
    No,
    /// These bytes.
    Yes { at: usize, len: usize },
    /// The kernel did not want to.
    Refused,
}

/// A file of the ring's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIndex(pub u32);

/// What came back: the caller's word and the kernel's result (a negative one is an errno).
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// The word given with the request.
    pub data: u64,
    /// The result.
    pub result: i32,
}

/// The memory behind a ublk request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UblkBuffer {
    /// None.
    None,
    /// Bytes of the arena.
    Memory {
        /// First byte.
        at: usize,
        /// Bytes.
        len: u32,
    },
    /// The kernel puts the request's own pages into the ring's table, at this place.
    Auto {
        /// Place in the table.
        index: u16,
    },
    /// A place in the table, for a command that registers by hand.
    Index(u16),
}

/// One io_uring and the memory its requests name.
pub struct Ring {
    ring: IoUring,
    arena: Rc<Arena>,
    timespec: Box<Timespec>,
    /// What stands in the table of buffers, if it is for parts of the arena.
    pins: Vec<Pin>,
    /// Requests that name memory of the arena or the time, and have not come back.
    in_flight: u32,
    /// Commands to ublk that have not come back.
    commands: u32,
    /// Who is told of what is done to the files of the chain, if anybody is.
    witness: Option<Box<Witness>>,
}

/// Set in the word of a command to ublk. The caller's words are smaller.
const COMMAND: u64 = 1 << 63;

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("in_flight", &self.in_flight)
            .finish()
    }
}

impl Ring {
    /// A ring for the calling thread. `files` becomes its table of files.
    pub fn new(
        entries: u32,
        arena: Rc<Arena>,
        files: &[BorrowedFd<'_>],
        buffers: Buffers,
    ) -> io::Result<Ring> {
        let entries = entries.next_power_of_two().min(1 << 14);
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(2 * entries)
            .setup_submit_all()
            .setup_coop_taskrun()
            .setup_single_issuer()
            .setup_defer_taskrun();
        let ring = builder.build(entries)?;
        let files: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&files)?;
        let table = |places: u16| ring.submitter().register_buffers_sparse(u32::from(places));
        let pins = match buffers {
            Buffers::None => 0,
            Buffers::Kernel(places) => table(places).map(|()| 0)?,
            // Without a table everything works, a little slower.
            Buffers::Ours(places) => table(places).map_or(0, |()| usize::from(places)),
        };
        Ok(Ring {
            ring,
            arena,
            timespec: Box::new(Timespec::new()),
            pins: vec![Pin::No; pins],
            in_flight: 0,
            commands: 0,
            witness: None,
        })
    }

    /// From now on every change of the files from `first` on is told. No two requests under way may have the same word.
    pub fn trace(&mut self, trace: Arc<Trace>, first: FileIndex) {
        self.witness = Some(Box::new(Witness::new(trace, first)));
    }

    /// Requests, other than commands to ublk, that have not come back.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// The memory.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Puts `len` bytes of the arena into the table of buffers, for good: the kernel then need not look for their pages at
    /// each I/O. They take memory from then on. False: it is not possible; they have to be named as plain memory.
    ///
    /// To be called before each I/O: the first time it does it. A place holds the same bytes for ever.
    pub fn pin(&mut self, index: u16, at: usize, len: usize) -> bool {
        match self.pins.get(usize::from(index)) {
            None | Some(Pin::Refused) => false,
            Some(Pin::Yes { at: a, len: l }) => (*a, *l) == (at, len),
            Some(Pin::No) => self.pin_now(index, at, len),
        }
    }

    #[cold]
    fn pin_now(&mut self, index: u16, at: usize, len: usize) -> bool {
        let buffer = libc::iovec {
            iov_base: self.arena.at(at, len).cast(),
            iov_len: len,
        };
        let submitter = self.ring.submitter();
        // SAFETY: the range is inside the arena, which stays mapped as long as the ring lives (see `drop`).
        let pinned =
            unsafe { submitter.register_buffers_update(u32::from(index), &[buffer], None) }.is_ok();
        self.pins[usize::from(index)] = match pinned {
            true => Pin::Yes { at, len },
            false => Pin::Refused,
        };
        pinned
    }

    /// The address of a place in a pinned buffer. Panics if it is not all inside: a bug of the caller, never an input.
    fn pinned(&self, index: u16, at: usize, len: usize) -> *mut u8 {
        let inside = match self.pins.get(usize::from(index)) {
            Some(Pin::Yes { at: a, len: l }) => at >= *a && at - a <= *l && len <= l - (at - a),
            _ => false,
        };
        assert!(inside, "{len} bytes at {at} are not in buffer {index}");
        self.arena.at(at, len)
    }

    /// Reads from a file. `len` bytes at byte `at`.
    pub fn read(&mut self, file: FileIndex, at: u64, len: u32, into: Place, data: u64) {
        let file = Fixed(file.0);
        let entry = match into {
            Place::Memory(place) => {
                let to = self.arena.at(place, len as usize);
                opcode::Read::new(file, to, len).offset(at).build()
            }
            Place::Pinned { index, at: place } => {
                let to = self.pinned(index, place, len as usize);
                opcode::ReadFixed::new(file, to, len, index)
                    .offset(at)
                    .build()
            }
            Place::Fixed { index, at: from } => {
                opcode::ReadFixed::new(file, ptr::without_provenance_mut(from), len, index)
                    .offset(at)
                    .build()
            }
        };
        self.push(entry.user_data(data));
    }

    /// Writes to a file. `len` bytes at byte `at`. `dsync`: durable before it completes.
    pub fn write(
        &mut self,
        file: FileIndex,
        at: u64,
        len: u32,
        from: Place,
        dsync: bool,
        data: u64,
    ) {
        if let Some(witness) = &mut self.witness {
            tell_write(witness, &self.arena, file, (at, len, from), dsync, data);
        }
        let file = Fixed(file.0);
        let flags = if dsync { libc::RWF_DSYNC } else { 0 };
        let entry = match from {
            Place::Memory(place) => {
                let from = self.arena.at(place, len as usize);
                let write = opcode::Write::new(file, from, len);
                write.offset(at).rw_flags(flags).build()
            }
            Place::Pinned { index, at: place } => {
                let from = self.pinned(index, place, len as usize);
                opcode::WriteFixed::new(file, from, len, index)
                    .offset(at)
                    .rw_flags(flags)
                    .build()
            }
            Place::Fixed { index, at: from } => {
                opcode::WriteFixed::new(file, ptr::without_provenance(from), len, index)
                    .offset(at)
                    .rw_flags(flags)
                    .build()
            }
        };
        self.push(entry.user_data(data));
    }

    /// fdatasync.
    pub fn sync(&mut self, file: FileIndex, data: u64) {
        if let Some(witness) = &mut self.witness {
            witness.begin(file, What::Sync, data);
        }
        let entry = opcode::Fsync::new(Fixed(file.0)).flags(FsyncFlags::DATASYNC);
        self.push(entry.build().user_data(data));
    }

    /// fallocate with these mode bits.
    pub fn fallocate(&mut self, file: FileIndex, mode: i32, at: u64, len: u64, data: u64) {
        if let Some(witness) = &mut self.witness {
            witness.begin(file, What::Zero { at, len }, data);
        }
        let entry = opcode::Fallocate::new(Fixed(file.0), len)
            .offset(at)
            .mode(mode);
        self.push(entry.build().user_data(data));
    }

    /// ftruncate.
    pub fn truncate(&mut self, file: FileIndex, len: u64, data: u64) {
        if let Some(witness) = &mut self.witness {
            witness.begin(file, What::SetLen { len }, data);
        }
        let entry = opcode::Ftruncate::new(Fixed(file.0), len);
        self.push(entry.build().user_data(data));
    }

    /// Completes at once.
    pub fn nudge(&mut self, data: u64) {
        self.push(opcode::Nop::new().build().user_data(data));
    }

    /// Completes when this time has passed. One at a time.
    pub fn timeout(&mut self, after: Duration, data: u64) {
        *self.timespec = Timespec::from(after);
        let entry = opcode::Timeout::new(&raw const *self.timespec).build();
        self.push(entry.user_data(data));
        // The kernel copies the time when it takes the request, which is now: the box may be used again.
        let _ = self.submit();
    }

    /// A command to the ublk driver. `buffer`: what the kernel copies the next request's data into or out of.
    pub fn ublk(
        &mut self,
        file: FileIndex,
        op: u32,
        mut command: IoCmd,
        buffer: UblkBuffer,
        data: u64,
    ) {
        let mut auto = None;
        match buffer {
            UblkBuffer::None => {}
            UblkBuffer::Memory { at, len } => {
                command.addr = self.arena.at(at, len as usize) as u64;
            }
            UblkBuffer::Auto { index } => {
                auto = Some(u64::from(index) | u64::from(sys::AUTO_BUF_REG_FALLBACK) << 16);
            }
            UblkBuffer::Index(index) => command.addr = u64::from(index),
        }
        let entry = opcode::UringCmd16::new(Fixed(file.0), op)
            .cmd(command.to_bytes())
            .addr(auto)
            .build();
        self.push(entry.user_data(data | COMMAND));
    }

    fn push(&mut self, entry: squeue::Entry) {
        if entry.get_user_data() & COMMAND == 0 {
            self.in_flight += 1;
        } else {
            self.commands += 1;
        }
        loop {
            // SAFETY: every address in an entry comes from `Arena::at` of the arena that this ring keeps, or is the boxed
            // timespec, or an offset into a table; the arena outlives the entry (see `drop`).
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // The submission queue is full: the kernel takes all of it.
            let _ = self.submit();
        }
    }

    /// Hands over what was pushed.
    pub fn submit(&mut self) -> io::Result<()> {
        retried(self.ring.submit())
    }

    /// Hands over what was pushed and waits until something came back.
    pub fn submit_and_wait(&mut self) -> io::Result<()> {
        retried(self.ring.submit_and_wait(1))
    }

    /// Takes out what came back.
    pub fn reap(&mut self, into: &mut Vec<Completion>) {
        let (in_flight, commands) = (&mut self.in_flight, &mut self.commands);
        let witness = &mut self.witness;
        into.extend(self.ring.completion().map(|entry: cqueue::Entry| {
            let data = entry.user_data();
            *if data & COMMAND == 0 {
                &mut *in_flight
            } else {
                &mut *commands
            } -= 1;
            if let Some(witness) = witness {
                witness.ended(data, entry.result());
            }
            Completion {
                data: data & !COMMAND,
                result: entry.result(),
            }
        }));
    }
}

impl Drop for Ring {
    /// Waits for what names the arena. Commands to ublk that are still out (an error on the way) end with the ring or
    /// with the device, whichever goes last: the arena stays mapped for them.
    fn drop(&mut self) {
        // What was pushed and not handed over can only be cancelled afterwards.
        let _ = self.submit();
        let _ = self
            .ring
            .submitter()
            .register_sync_cancel(None, CancelBuilder::any());
        let mut ended = Vec::new();
        while self.in_flight > 0 && self.submit_and_wait().is_ok() {
            self.reap(&mut ended);
            ended.clear();
        }
        if self.in_flight > 0 || self.commands > 0 {
            let _ = Rc::into_raw(Rc::clone(&self.arena));
        }
    }
}

/// Tells of a write of `len` bytes at `at`.
#[cold]
fn tell_write(
    witness: &mut Witness,
    arena: &Arena,
    file: FileIndex,
    (at, len, from): (u64, u32, Place),
    fua: bool,
    data: u64,
) {
    let (Place::Memory(place) | Place::Pinned { at: place, .. }) = from else {
        let len = u64::from(len);
        return witness.begin(file, What::Unseen { at, len }, data);
    };
    let mut bytes = vec![0; len as usize];
    arena.copy_out(place, &mut bytes);
    let bytes = &bytes;
    witness.begin(file, What::Write { at, bytes, fua }, data);
}

/// Interruptions and "come back later" are no errors: the caller's loop does come back.
fn retried(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Err(error) => match error.raw_os_error() {
            Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME) => Ok(()),
            _ => Err(error),
        },
        Ok(_) => Ok(()),
    }
}
