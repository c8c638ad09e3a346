//! Real files behind the core's [`DeltaFile`].
//!
//! Promises:
//! 1. Positional I/O only; interruptions are retried here; short results are passed on.
//! 2. A file opened for reading cannot be written through this type: its descriptor is `O_RDONLY`.
//! 3. Only regular files and block devices are opened; a pipe or a directory is refused without waiting for it.
//! 4. Advisory locks are held as long as the file is open: shared by readers, exclusive for a writer; and QEMU's beside
//!    them (`permissions`). Where the file system has none of the first kind the file is used without, and
//!    [`RealFile::is_locked`] says so.
//! 5. A block device has the length that it has: a shorter one is granted and changes nothing, a longer one is "no space".
//! 6. [`RealFile::zero_at`] never changes the length, whatever the file system can or cannot do.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ploop_core::drive::DeltaFile;
use rustix::fs::{self, FallocateFlags, FileType, FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::{Errno, retry_on_intr};

pub mod child;
mod holes;
mod lend;
pub mod new_file;
mod permissions;
pub mod trace;
mod traced;

pub use new_file::{NewFile, NewFileError};
use permissions::Taken;
use trace::What;
use traced::Witness;

/// Bytes of zeros written at a time where the file system can neither punch nor zero.
const ZERO_BLOCK: usize = 64 << 10;

/// Why a file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("{}: cannot open: {source}", path.display())]
    Os {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not a regular file or block device.
    #[error("{}: cannot open: this is a {kind}, not a file that can hold a disk", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Somebody else holds a lock that excludes ours.
    #[error("{}: in use: another program has locked it{}", path.display(), if *writing { "" } else { " for writing" })]
    Locked {
        /// The file.
        path: PathBuf,
        /// True if we wanted to write.
        writing: bool,
    },
}

/// An open regular file or block device.
#[derive(Debug)]
pub struct RealFile {
    fd: OwnedFd,
    path: PathBuf,
    /// True for a block device: its length is found by seeking and cannot be set.
    device: bool,
    /// False if the file system has no locks.
    locked: bool,
    id: FileId,
    /// Who is told of every change, if anybody is.
    witness: Option<Witness>,
}

/// What a file is, whatever it is called: two paths with the same id are one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

/// The identity of what `path` leads to, or `None` if that cannot be told.
#[must_use]
pub fn id_of(path: &Path) -> Option<FileId> {
    fs::stat(path).ok().map(|stat| file_id(&stat))
}

/// Whether a lock is held: `None` if somebody else's excludes it. Any other error means that this file system has no locks.
/// They are advice, we go on without.
fn is_held(outcome: Result<(), Errno>) -> Option<bool> {
    match outcome {
        Ok(()) => Some(true),
        Err(Errno::WOULDBLOCK) => None,
        Err(_) => Some(false),
    }
}

fn file_id(stat: &fs::Stat) -> FileId {
    FileId {
        dev: stat.st_dev,
        ino: stat.st_ino,
    }
}

impl RealFile {
    /// Opens an existing file for reading only, with a shared lock.
    pub fn open_read(path: &Path) -> Result<RealFile, OpenError> {
        RealFile::open(path, false)
    }

    /// Opens an existing file for reading and writing, with an exclusive lock.
    pub fn open_write(path: &Path) -> Result<RealFile, OpenError> {
        RealFile::open(path, true)
    }

    fn open(path: &Path, writing: bool) -> Result<RealFile, OpenError> {
        let os = |errno: Errno| OpenError::Os {
            path: path.to_owned(),
            source: errno.into(),
        };
        let access = if writing {
            OFlags::RDWR
        } else {
            OFlags::RDONLY
        };
        // NONBLOCK: opening a pipe that nobody writes must not hang. It has no meaning for what we keep open.
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match retry_on_intr(|| fs::open(path, flags, Mode::empty())) {
            // A socket, or a device that nothing stands behind.
            Err(Errno::NXIO) => {
                return Err(OpenError::Kind {
                    path: path.to_owned(),
                    kind: "socket, pipe or missing device",
                });
            }
            Err(Errno::ISDIR) => {
                return Err(OpenError::Kind {
                    path: path.to_owned(),
                    kind: "directory",
                });
            }
            other => other.map_err(os)?,
        };
        RealFile::adopt(fd, path, writing)
    }

    /// Takes over a file that was just created (`path` is for messages), with an exclusive lock.
    pub fn from_new(file: File, path: &Path) -> Result<RealFile, OpenError> {
        RealFile::adopt(file.into(), path, true)
    }

    fn adopt(fd: OwnedFd, path: &Path, writing: bool) -> Result<RealFile, OpenError> {
        let path = path.to_owned();
        let stat = match fs::fstat(&fd) {
            Ok(stat) => stat,
            Err(errno) => {
                return Err(OpenError::Os {
                    path,
                    source: errno.into(),
                });
            }
        };
        let device = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::BlockDevice => true,
            FileType::Directory => {
                return Err(OpenError::Kind {
                    path,
                    kind: "directory",
                });
            }
            FileType::Fifo => return Err(OpenError::Kind { path, kind: "pipe" }),
            FileType::CharacterDevice => {
                return Err(OpenError::Kind {
                    path,
                    kind: "character device",
                });
            }
            _ => {
                return Err(OpenError::Kind {
                    path,
                    kind: "special file",
                });
            }
        };
        let lock = if writing {
            FlockOperation::NonBlockingLockExclusive
        } else {
            FlockOperation::NonBlockingLockShared
        };
        let locked = is_held(retry_on_intr(|| fs::flock(&fd, lock)));
        let refused = locked.is_none() || permissions::take(&fd, writing) == Taken::Refused;
        let file = RealFile {
            fd,
            path,
            device,
            locked: locked == Some(true),
            id: file_id(&stat),
            witness: None,
        };
        if refused {
            // What was taken is given up with the file.
            let path = file.path.clone();
            return Err(OpenError::Locked { path, writing });
        }
        Ok(file)
    }

    /// True for a block device.
    #[must_use]
    pub fn is_device(&self) -> bool {
        self.device
    }

    /// Lets others have the file, whoever still has it open: nothing may be read or written here any more. For a server that
    /// leaves: its rings have the file until the kernel has taken them apart, some time after the process is gone.
    pub fn give_up_locks(&self) {
        // If there was no lock, there is nothing to give up.
        permissions::give_up(&self.fd);
        let _ = retry_on_intr(|| fs::flock(&self.fd, FlockOperation::Unlock));
    }

    /// False if the file system has no locks: nothing keeps others from the file.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Reads do not change the file's time of access any more, which would be work for each of them. Best effort: only
    /// its owner may ask for that.
    pub fn forget_access_time(&self) {
        if let Ok(flags) = fs::fcntl_getfl(&self.fd) {
            let _ = fs::fcntl_setfl(&self.fd, flags | OFlags::NOATIME);
        }
    }

    /// Switches direct I/O, past the page cache, on or off. An error if the file cannot do it.
    pub fn set_direct(&self, on: bool) -> io::Result<()> {
        let mut flags = fs::fcntl_getfl(&self.fd)?;
        flags.set(OFlags::DIRECT, on);
        Ok(fs::fcntl_setfl(&self.fd, flags)?)
    }

    /// The name it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file this is.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Bytes that the file really occupies on its file system.
    pub fn allocated(&self) -> io::Result<u64> {
        let stat = fs::fstat(&self.fd)?;
        Ok(u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512))
    }

    /// Writes all of `buf` at `at`.
    pub fn write_all_at(&self, mut at: u64, mut buf: &[u8]) -> io::Result<()> {
        while !buf.is_empty() {
            match self.write_at(at, buf)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                n => {
                    at += n as u64;
                    buf = &buf[n..];
                }
            }
        }
        Ok(())
    }

    fn write_zeros(&self, mut at: u64, mut len: u64) -> io::Result<()> {
        let zeros = [0u8; ZERO_BLOCK];
        while len > 0 {
            let step = len.min(ZERO_BLOCK as u64);
            self.write_all_at(at, &zeros[..step as usize])?;
            at += step;
            len -= step;
        }
        Ok(())
    }

    /// `fallocate`, or `false` if this file cannot do it.
    fn fallocate(&self, flags: FallocateFlags, at: u64, len: u64) -> io::Result<bool> {
        let flags = flags | FallocateFlags::KEEP_SIZE;
        let done = self.told(What::Zero { at, len }, || {
            Ok(retry_on_intr(|| fs::fallocate(&self.fd, flags, at, len))?)
        });
        match done.map_err(|error| (Errno::from_io_error(&error), error)) {
            Ok(()) => Ok(true),
            Err((Some(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV), _)) => {
                Ok(false)
            }
            Err((_, error)) => Err(error),
        }
    }
}

impl AsFd for RealFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for RealFile {
    /// A child process that was just forked has the descriptor too, until it runs its program: the lock must not live on
    /// there.
    fn drop(&mut self) {
        self.give_up_locks();
    }
}

impl DeltaFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        if self.device {
            return Ok(fs::seek(&self.fd, SeekFrom::End(0))?);
        }
        let stat = fs::fstat(&self.fd)?;
        u64::try_from(stat.st_size).map_err(|_| io::Error::other("negative file length"))
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(retry_on_intr(|| {
            rustix::io::pread(&self.fd, &mut *buf, at)
        })?)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.told_write(at, buf, || {
            Ok(retry_on_intr(|| rustix::io::pwrite(&self.fd, buf, at))?)
        })
    }

    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        // What lies beyond the end reads as zeros already, and must not become space.
        let len = len.min(self.len()?.saturating_sub(at));
        if len == 0
            || (punch && self.fallocate(FallocateFlags::PUNCH_HOLE, at, len)?)
            || self.fallocate(FallocateFlags::ZERO_RANGE, at, len)?
        {
            return Ok(());
        }
        self.write_zeros(at, len)
    }

    fn takes_space(&self, at: u64, len: u64) -> io::Result<bool> {
        Ok(self.gives_back()? && self.next_block(at..at.saturating_add(len))?.is_some())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.device {
            return match len <= self.len()? {
                true => Ok(()),
                false => Err(io::ErrorKind::StorageFull.into()),
            };
        }
        self.told(What::SetLen { len }, || {
            Ok(retry_on_intr(|| fs::ftruncate(&self.fd, len))?)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.told(What::Sync, || {
            Ok(retry_on_intr(|| fs::fdatasync(&self.fd))?)
        })
    }
}

/// Makes a name in `path`'s folder durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that holds `path`.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
