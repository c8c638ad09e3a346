//! A lower file of a served disk is written by somebody else, with its server's leave.
//!
//! ```text
//!   server: shared lock ──claim──▶ a writer's lock ──release──▶ shared lock
//!                                  └ a command writes, by a descriptor without locks of its own
//! ```
//! * The locks belong to the server's open file, so they end with the server: whoever writes asks it again and again, and
//!   stops when it is gone.
//! * A lock that becomes another one is given up for a moment. If somebody else takes it then, the file stays with him, and
//!   the claim is refused.

use std::io;
use std::path::Path;

use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::permissions::{self, Taken};
use super::{OpenError, RealFile, file_id, is_held};

impl RealFile {
    /// Nobody else may read this file from now on, nor write it without our leave. False: somebody does; then all is as
    /// before.
    ///
    /// # Errors
    /// If the lock of before could not be taken again.
    pub fn claim(&self) -> io::Result<bool> {
        let exclusive = FlockOperation::NonBlockingLockExclusive;
        let held = is_held(retry_on_intr(|| fs::flock(&self.fd, exclusive))).is_some();
        if held && permissions::take(&self.fd, true) != Taken::Refused {
            return Ok(true);
        }
        self.release().map(|()| false)
    }

    /// Others may read it again.
    ///
    /// # Errors
    /// If somebody writes it already.
    pub fn release(&self) -> io::Result<()> {
        permissions::give_up(&self.fd);
        let shared = FlockOperation::NonBlockingLockShared;
        let held = is_held(retry_on_intr(|| fs::flock(&self.fd, shared))).is_some();
        match held && permissions::take(&self.fd, false) != Taken::Refused {
            true => Ok(()),
            false => Err(io::Error::other("somebody else has taken its lock")),
        }
    }

    /// Opens a file for writing that another process has claimed for us: without locks.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open_lent(path: &Path) -> Result<RealFile, OpenError> {
        RealFile::open_without_locks(path, OFlags::RDWR)
    }

    /// Opens a file of a served disk to look at what does not change, whoever has claimed it: without locks.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open_look(path: &Path) -> Result<RealFile, OpenError> {
        RealFile::open_without_locks(path, OFlags::RDONLY)
    }

    fn open_without_locks(path: &Path, access: OFlags) -> Result<RealFile, OpenError> {
        let os = |errno: rustix::io::Errno| OpenError::Os {
            path: path.to_owned(),
            source: errno.into(),
        };
        let flags = access | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = retry_on_intr(|| fs::open(path, flags, Mode::empty())).map_err(os)?;
        let stat = fs::fstat(&fd).map_err(os)?;
        let kind = fs::FileType::from_raw_mode(stat.st_mode);
        Ok(RealFile {
            fd,
            path: path.to_owned(),
            device: kind == fs::FileType::BlockDevice,
            locked: false,
            id: file_id(&stat),
            witness: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploop_core::drive::DeltaFile;

    #[test]
    fn a_reader_becomes_the_only_one_and_goes_back() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        std::fs::write(&path, b"old").expect("written");
        let server = RealFile::open_read(&path).expect("open");
        let other = RealFile::open_read(&path).expect("a second reader");
        assert!(!server.claim().expect("as before"), "somebody reads it");
        RealFile::open_read(&path).expect("a reader is still let in");
        RealFile::open_write(&path).expect_err("a writer is still not");
        drop(other);
        assert!(server.claim().expect("claimed"));
        assert!(server.claim().expect("once more"));
        RealFile::open_read(&path).expect_err("nobody else reads it");
        let lent = RealFile::open_lent(&path).expect("lent");
        assert_eq!(lent.id(), server.id());
        lent.write_all_at(0, b"new").expect("written");
        let mut buf = [0; 3];
        assert_eq!(server.read_at(0, &mut buf).expect("read"), 3);
        assert_eq!(&buf, b"new");
        // Who wrote it has no lock to give up.
        drop(lent);
        RealFile::open_read(&path).expect_err("still claimed");
        server.release().expect("released");
        RealFile::open_read(&path).expect("read again");
        assert!(server.claim().expect("claimed again"));
        drop(server);
        RealFile::open_write(&path).expect("free");
    }
}
