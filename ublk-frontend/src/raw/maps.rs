//! What others write while we look: request descriptors, and words that outlive us.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::{self, MapFlags, ProtFlags};

use crate::ublk::sys::{self, IoDesc};

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
