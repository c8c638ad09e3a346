//! The steps by which a bundle changes on disk. All of them are here, so that a test can stop after each.
//!
//! What a crash leaves: of a file, any of what was written since its last sync; of the names, any of what was done since the
//! last [`Folder::sync`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use ploop_core::drive::DeltaFile;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::files::RealFile;
use crate::tool::ToolError;

/// What a new image is allowed: the disk of somebody.
const IMAGE_MODE: u32 = 0o600;
/// What a new descriptor is allowed if it replaces none, before the umask.
const TEXT_MODE: u32 = 0o644;

/// A folder, and the only ways in which a bundle touches it. Names are plain names in it.
pub trait Folder {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// The names in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// The bytes of a file; an error if they are more than `most`.
    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>>;
    /// A new text, not yet durable, in place of one of the same name. It may be read by whoever may read `like`.
    fn write(&self, name: &str, bytes: &[u8], like: &str) -> io::Result<()>;
    /// Makes the bytes of a file durable.
    fn sync_file(&self, name: &str) -> io::Result<()>;
    /// Makes a new image file, empty and locked. The name must be free.
    fn create(&self, name: &str) -> Result<Box<dyn DeltaFile>, ToolError>;
    /// Opens a file of the bundle and locks it: for others to read (`write`: for nobody).
    fn open(&self, file: &Path, write: bool) -> Result<Box<dyn DeltaFile>, ToolError>;
    /// Gives a file another name, which it takes from any other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// What a name leads to, if it is that of a symbolic link: a file that stays when the name goes.
    fn target(&self, _name: &str) -> Option<PathBuf> {
        None
    }
    /// Removes a name; none is fine.
    fn unlink(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of a file system.
#[derive(Debug)]
pub struct RealFolder {
    path: PathBuf,
}

/// Held by the one who changes a bundle, ploop's tools included.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// A child that was just forked has the descriptor, too: the lock must not live on there.
    fn drop(&mut self) {
        // There was a lock; nobody can be told if it cannot be given up.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl RealFolder {
    /// The folder `path`.
    #[must_use]
    pub fn new(path: &Path) -> RealFolder {
        RealFolder {
            path: path.to_owned(),
        }
    }

    /// Locks `name`, which is made if it is missing. Does not wait.
    pub fn lock(&self, name: &str) -> Result<Lock, ToolError> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(IMAGE_MODE)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(ToolError::io(&path, "open"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Lock { file }),
            Err(Errno::WOULDBLOCK) => Err(ToolError::Refused(format!(
                "{}: in use: another program is changing this bundle",
                self.path.display()
            ))),
            Err(errno) => Err(ToolError::io(&path, "lock")(errno.into())),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Folder for RealFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            // Another form of name is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str, most: usize) -> io::Result<Vec<u8>> {
        // NONBLOCK: a pipe of that name must not hang. NOFOLLOW: behind a link, the files would lie in another folder.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW)
            .open(self.at(name))
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ELOOP) => io::Error::other("a symbolic link, which is not followed"),
                _ => error,
            })?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        if found.len() > most as u64 {
            let len = found.len();
            return Err(io::Error::other(format!(
                "{len} bytes, and at most {most} bytes are allowed"
            )));
        }
        let mut bytes = Vec::new();
        let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn write(&self, name: &str, bytes: &[u8], like: &str) -> io::Result<()> {
        let before = fs::metadata(self.at(like)).ok();
        // Never through a link that somebody has left there.
        self.unlink(name)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(before.as_ref().map_or(TEXT_MODE, MetadataExt::mode) & 0o777)
            .open(self.at(name))?;
        if let Some(before) = before {
            // Only root may; the others own what they make.
            let _ = fchown(&file, Some(before.uid()), Some(before.gid()));
        }
        io::Write::write_all(&mut file, bytes)
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        File::open(self.at(name))?.sync_all()
    }

    fn create(&self, name: &str) -> Result<Box<dyn DeltaFile>, ToolError> {
        let path = self.at(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(IMAGE_MODE)
            .open(&path)
            .map_err(ToolError::io(&path, "create"))?;
        Ok(Box::new(RealFile::from_new(file, &path)?))
    }

    fn open(&self, file: &Path, write: bool) -> Result<Box<dyn DeltaFile>, ToolError> {
        let path = self.path.join(file);
        Ok(Box::new(if write {
            RealFile::open_write(&path)?
        } else {
            RealFile::open_read(&path)?
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn target(&self, name: &str) -> Option<PathBuf> {
        let target = fs::read_link(self.at(name)).ok()?;
        Some(self.path.join(target))
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.at(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}
