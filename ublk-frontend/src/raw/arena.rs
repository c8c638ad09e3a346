//! Memory for I/O.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// Size and alignment of a huge page.
const HUGE: usize = 2 << 20;

/// Memory for I/O: zeroed, aligned to a huge page, backed by huge pages where the system gives them.
///
/// It stays in the thread that made it: copies through a shared reference would race otherwise.
#[derive(Debug)]
pub struct Arena {
    map: *mut c_void,
    map_len: usize,
    base: *mut u8,
    len: usize,
}

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
    pub(super) fn at(&self, at: usize, len: usize) -> *mut u8 {
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
        // SAFETY: our own mapping; every ring that could name it holds an `Rc` of it and is gone.
        let _ = unsafe { mm::munmap(self.map, self.map_len) };
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
