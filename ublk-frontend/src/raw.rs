//! The only module with `unsafe` code: memory that the kernel reads and writes behind our back, and the rings.
//!
//! Promises to the rest of the program, whatever it does:
//! 1. An I/O only ever names memory of the ring's own [`Arena`], inside its bounds. The arena is mapped as long as the
//!    ring lives, and a ring that is dropped first waits for the I/O it has in flight.
//! 2. Nobody gets a reference into an arena: bytes are copied in and out, so that what the kernel changes meanwhile is
//!    a wrong byte at worst.
//! 3. A control command returns only when the kernel is done with the memory it names.
//! 4. Request descriptors are read as plain numbers, never as a reference.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fixed, FsyncFlags, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::mm::{self, Advice, MapFlags, ProtFlags};
use rustix::thread::UnshareFlags;

use crate::ublk::sys::{self, CtrlCmd, IoCmd, IoDesc};

/// Size and alignment of a huge page.
const HUGE: usize = 2 << 20;

/// Memory for I/O: zeroed, aligned to a huge page, backed by huge pages where the system gives them.
#[derive(Debug)]
pub struct Arena {
    map: *mut c_void,
    map_len: usize,
    base: *mut u8,
    len: usize,
}

// SAFETY: the mapping belongs to the value alone; every access goes through raw copies, and concurrent ones mix bytes
// at worst (promise 2).
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `len` bytes, rounded up to whole huge pages. Memory is taken when it is touched.
    pub fn new(len: usize) -> io::Result<Arena> {
        let len = len.max(1).next_multiple_of(HUGE);
        let map_len = len + HUGE;
        // SAFETY: a new private mapping at an address that the kernel chooses touches nothing that exists.
        let map = unsafe {
            mm::mmap_anonymous(
                ptr::null_mut(),
                map_len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let start = map as usize;
        let base = map
            .cast::<u8>()
            .wrapping_add(start.next_multiple_of(HUGE) - start);
        // Advice: without huge pages it works, too.
        // SAFETY: the range lies inside the mapping just made, which nobody else knows.
        let _ = unsafe { mm::madvise(base.cast(), len, Advice::LinuxHugepage) };
        // SAFETY: as above.
        let _ = unsafe { mm::madvise(base.cast(), len, Advice::LinuxDontFork) };
        Ok(Arena {
            map,
            map_len,
            base,
            len,
        })
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.len
    }

    /// The address of `len` bytes at `at`. Panics if they are not all inside: a bug of the caller, never an input.
    fn at(&self, at: usize, len: usize) -> *mut u8 {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(inside, "{len} bytes at {at} of an arena of {}", self.len);
        self.base.wrapping_add(at)
    }

    /// Fills with zeros.
    pub fn zero(&self, at: usize, len: usize) {
        let to = self.at(at, len);
        // SAFETY: `at` has checked that the range is inside the mapping.
        unsafe { ptr::write_bytes(to, 0, len) }
    }

    /// Copies bytes in.
    pub fn copy_in(&self, at: usize, from: &[u8]) {
        let to = self.at(at, from.len());
        // SAFETY: checked by `at`; a slice that safe code holds never overlaps the mapping (promise 2).
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
    }

    /// Copies bytes out.
    pub fn copy_out(&self, at: usize, into: &mut [u8]) {
        let from = self.at(at, into.len());
        // SAFETY: checked by `at`; a slice that safe code holds never overlaps the mapping (promise 2).
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: our own mapping; every ring that could name it holds an `Arc` of it and is gone.
        let _ = unsafe { mm::munmap(self.map, self.map_len) };
    }
}

/// What an I/O reads or writes in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes of the ring's arena from here.
    Memory(usize),
    /// A buffer that the kernel has put into the ring's table, from this byte of it.
    Fixed {
        /// Place in the table.
        index: u16,
        /// First byte.
        at: usize,
    },
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

/// One io_uring and the memory its requests name.
pub struct Ring {
    ring: IoUring,
    arena: Arc<Arena>,
    timespec: Box<Timespec>,
    /// Requests that name memory of the arena or the time, and have not come back.
    in_flight: u32,
    /// Commands to ublk that have not come back.
    commands: u32,
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
    /// A ring for the calling thread. `files` becomes its table; `fixed` places for buffers that the kernel puts there.
    pub fn new(
        entries: u32,
        arena: Arc<Arena>,
        files: &[BorrowedFd<'_>],
        fixed: u32,
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
        if fixed > 0 {
            ring.submitter().register_buffers_sparse(fixed)?;
        }
        // Saves a look-up for each call; older kernels do without.
        let _ = ring.submitter().register_ring_fd();
        Ok(Ring {
            ring,
            arena,
            timespec: Box::new(Timespec::new()),
            in_flight: 0,
            commands: 0,
        })
    }

    /// The memory.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Reads from a file. `len` bytes at byte `at`.
    pub fn read(&mut self, file: FileIndex, at: u64, len: u32, into: Place, data: u64) {
        let file = Fixed(file.0);
        let entry = match into {
            Place::Memory(place) => {
                let to = self.arena.at(place, len as usize);
                opcode::Read::new(file, to, len).offset(at).build()
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
        let file = Fixed(file.0);
        let flags = if dsync { libc::RWF_DSYNC } else { 0 };
        let entry = match from {
            Place::Memory(place) => {
                let from = self.arena.at(place, len as usize);
                let write = opcode::Write::new(file, from, len);
                write.offset(at).rw_flags(flags).build()
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
        let entry = opcode::Fsync::new(Fixed(file.0)).flags(FsyncFlags::DATASYNC);
        self.push(entry.build().user_data(data));
    }

    /// fallocate with these mode bits.
    pub fn fallocate(&mut self, file: FileIndex, mode: i32, at: u64, len: u64, data: u64) {
        let entry = opcode::Fallocate::new(Fixed(file.0), len)
            .offset(at)
            .mode(mode);
        self.push(entry.build().user_data(data));
    }

    /// ftruncate.
    pub fn truncate(&mut self, file: FileIndex, len: u64, data: u64) {
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
        into.extend(self.ring.completion().map(|entry: cqueue::Entry| {
            let data = entry.user_data();
            *if data & COMMAND == 0 {
                &mut *in_flight
            } else {
                &mut *commands
            } -= 1;
            Completion {
                data: data & !COMMAND,
                result: entry.result(),
            }
        }));
    }
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

/// The request descriptors of one queue, which the kernel fills.
#[derive(Debug)]
pub struct Descriptors {
    base: *const c_void,
    len: usize,
    depth: u16,
}

// SAFETY: a read-only mapping that is read by copying numbers.
unsafe impl Send for Descriptors {}

impl Descriptors {
    /// Maps the descriptors of queue `queue` of an open `/dev/ublkcN`.
    pub fn map(device: BorrowedFd<'_>, queue: u16, depth: u16) -> io::Result<Descriptors> {
        let page = rustix::param::page_size();
        let len = (usize::from(depth) * size_of::<IoDesc>()).next_multiple_of(page);
        let offset = u64::from(queue) * sys::descriptors_stride(page as u64);
        // SAFETY: a new read-only mapping at an address that the kernel chooses.
        let base = unsafe {
            mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::POPULATE,
                device,
                offset,
            )
        }?;
        Ok(Descriptors { base, len, depth })
    }

    /// The descriptor of a tag. Call it after the tag's fetch came back, and before it is committed.
    #[must_use]
    pub fn get(&self, tag: u16) -> IoDesc {
        assert!(tag < self.depth, "tag {tag} of {}", self.depth);
        let at = self.base.cast::<IoDesc>().wrapping_add(usize::from(tag));
        // SAFETY: inside the mapping, which is page aligned; `IoDesc` is made of integers, any bits are valid. Volatile:
        // the kernel writes it between two calls.
        unsafe { ptr::read_volatile(at) }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: our own mapping; descriptors are only ever copied out of it.
        let _ = unsafe { mm::munmap(self.base.cast_mut(), self.len) };
    }
}

/// Words in a file that is mapped: what is stored survives the process, as long as the file system does.
#[derive(Debug)]
pub struct SharedWords {
    base: *mut c_void,
    len: usize,
}

// SAFETY: words are only read and written as atomics.
unsafe impl Send for SharedWords {}
// SAFETY: as above.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps a whole file; it must not be cut while it is mapped.
    pub fn map(file: &File) -> io::Result<SharedWords> {
        let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        let len = bytes / 4;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { mm::mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0) }?;
        Ok(SharedWords { base, len })
    }

    /// Number of words.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at < self.len, "word {at} of {}", self.len);
        let word = self.base.cast::<u32>().wrapping_add(at);
        // SAFETY: inside the mapping, which is page aligned and lives as long as `self`; nobody accesses it otherwise.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Stores a word.
    pub fn set(&self, at: usize, value: u32) {
        self.word(at).store(value, Ordering::Release);
    }

    /// Reads a word.
    #[must_use]
    pub fn get(&self, at: usize) -> u32 {
        self.word(at).load(Ordering::Acquire)
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: our own mapping; references into it live no longer than `self`.
        let _ = unsafe { mm::munmap(self.base, 4 * self.len) };
    }
}

/// A ring for control commands: one at a time, each waited for.
pub struct ControlRing {
    ring: IoUring<squeue::Entry128, cqueue::Entry>,
}

impl std::fmt::Debug for ControlRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlRing")
    }
}

impl ControlRing {
    /// A ring.
    pub fn new() -> io::Result<ControlRing> {
        let ring = IoUring::builder().build(4)?;
        Ok(ControlRing { ring })
    }

    /// Carries out one command on `/dev/ublk-control`; `buffer` is in and out. Returns the kernel's result; a negative
    /// one is the error.
    pub fn command(
        &mut self,
        control: BorrowedFd<'_>,
        op: u32,
        mut command: CtrlCmd,
        buffer: &mut [u8],
    ) -> io::Result<i32> {
        if !buffer.is_empty() {
            command.addr = buffer.as_mut_ptr() as u64;
            command.len = u16::try_from(buffer.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        }
        let fd = io_uring::types::Fd(control.as_raw_fd());
        let entry = opcode::UringCmd80::new(fd, op)
            .cmd(command.to_bytes())
            .build();
        // SAFETY: `buffer` is borrowed until the end of this function, which is not reached before the command came back.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::Error::other("the control ring is full"))?;
        let mut taken = false;
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => taken = true,
                // Nothing was handed over, so nothing refers to the buffer. The ring is not used again after an error.
                Err(error) if !taken && !interrupted(&error) => return Err(error),
                Err(_) => taken = true,
            }
            if let Some(entry) = self.ring.completion().next() {
                return match entry.result() {
                    result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
                    result => Ok(result),
                };
            }
        }
    }
}

fn interrupted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
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
            let _ = Arc::into_raw(Arc::clone(&self.arena));
        }
    }
}

/// Reads up to `buf.len()` bytes at `at` into memory that is aligned as direct I/O wants it: how a file is asked which
/// alignment that is.
pub fn probe_direct(file: impl AsFd, align: usize) -> io::Result<usize> {
    let arena = Arena::new(HUGE)?;
    let to = arena.at(align, align);
    // SAFETY: `align` bytes of the arena, which lives until the end of this function.
    let got = unsafe {
        libc::pread(
            file.as_fd().as_raw_fd(),
            to.cast(),
            align,
            align as libc::off_t,
        )
    };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Gives the calling thread, and those it starts, a copy of the mounts.
pub fn unshare_mounts() -> io::Result<()> {
    // SAFETY: the mounts are not shared any more, nothing else: no descriptor and no memory changes its meaning.
    Ok(unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;

    fn bell() -> OwnedFd {
        use rustix::event::{EventfdFlags, eventfd};
        eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd")
    }

    #[test]
    fn a_ring_that_is_dropped_waits_for_what_names_its_memory() {
        let bell = bell();
        let arena = Arc::new(Arena::new(1).expect("memory"));
        let mut ring = Ring::new(8, Arc::clone(&arena), &[bell.as_fd()], 0).expect("io_uring");
        ring.read(FileIndex(0), 0, 8, Place::Memory(0), 1);
        ring.timeout(Duration::from_secs(3600), 2);
        ring.submit().expect("submitted");
        ring.read(FileIndex(0), 0, 8, Place::Memory(8), 3);
        assert_eq!(ring.in_flight, 3);
        drop(ring);
        assert_eq!(
            Arc::strong_count(&arena),
            1,
            "nothing was left to the kernel"
        );
    }

    #[test]
    fn memory_is_checked() {
        let arena = Arena::new(4096).expect("memory");
        arena.copy_in(4000, b"abc");
        let mut out = [9; 5];
        arena.copy_out(3999, &mut out);
        assert_eq!(&out, b"\0abc\0");
        arena.zero(4001, 1);
        arena.copy_out(3999, &mut out);
        assert_eq!(&out, b"\0a\0c\0");
        let end = arena.size();
        assert!(std::panic::catch_unwind(|| arena.zero(end - 1, 2)).is_err());
        assert!(std::panic::catch_unwind(|| arena.zero(usize::MAX, 2)).is_err());
    }

    #[test]
    fn a_full_submission_queue_is_handed_over() {
        let zero = File::open("/dev/zero").expect("zeros");
        let arena = Arc::new(Arena::new(1 << 20).expect("memory"));
        arena.copy_in(0, &[7; 4096]);
        let mut ring = Ring::new(4, Arc::clone(&arena), &[zero.as_fd()], 0).expect("io_uring");
        for n in 0..32 {
            ring.read(FileIndex(0), 0, 128, Place::Memory(128 * n as usize), n);
        }
        let mut ended = Vec::new();
        while ended.len() < 32 {
            ring.submit_and_wait().expect("waited");
            ring.reap(&mut ended);
        }
        let mut words: Vec<u64> = ended.iter().map(|c| c.data).collect();
        words.sort_unstable();
        assert_eq!(words, (0..32).collect::<Vec<_>>());
        assert!(ended.iter().all(|c| c.result == 128));
        let mut out = [1; 4096];
        arena.copy_out(0, &mut out);
        assert_eq!(out, [0; 4096]);
    }
}
