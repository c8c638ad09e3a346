//! A file that appears under its name only when it is complete, and never in place of another.
//!
//! ```text
//!   NewFile::create ──> unnamed (or temporary name) ──publish: fsync, link, fsync folder──> FILE
//!                                └── dropped, killed, crashed ──> nothing (or the temporary name) is left
//! ```
//! Where the file system knows `O_TMPFILE`, the file has no name at all until then, so that even a killed program
//! leaves nothing behind.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, CWD, Mode, OFlags};
use tempfile::{NamedTempFile, TempPath};

use super::{OpenError, RealFile, folder_of, sync_folder_of};

/// What a new file is allowed before the umask.
const NEW_MODE: u32 = 0o666;

/// Why a file could not be created or published.
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// The name is taken. Nothing is ever overwritten.
    #[error("{}: already exists; refusing to overwrite it", .0.display())]
    Exists(PathBuf),
    /// The new file could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The operating system refused.
    #[error("{}: cannot create: {source}", path.display())]
    Os {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A file being written, not yet visible.
#[derive(Debug)]
pub struct NewFile {
    file: RealFile,
    /// The temporary name, where the file system wants one.
    temporary: Option<TempPath>,
    target: PathBuf,
    /// For linking by `/proc/self/fd/N`.
    handle: File,
}

impl NewFile {
    /// Creates an empty file in `target`'s folder. Fails if `target` exists, as whatever (a dangling link, too).
    pub fn create(target: &Path) -> Result<NewFile, NewFileError> {
        let os = |source| NewFileError::Os {
            path: target.to_owned(),
            source,
        };
        if target.symlink_metadata().is_ok() {
            return Err(NewFileError::Exists(target.to_owned()));
        }
        if target.file_name().is_none() {
            return Err(os(io::ErrorKind::InvalidFilename.into()));
        }
        let (handle, temporary) = match unnamed(folder_of(target)) {
            Ok(handle) => (handle, None),
            Err(first) => {
                let both = |error| os(plain(first, &error));
                let (handle, path) = named(target).map_err(both)?.into_parts();
                (handle, Some(path))
            }
        };
        let file = RealFile::from_new(handle.try_clone().map_err(os)?, target)?;
        Ok(NewFile {
            file,
            temporary,
            target: target.to_owned(),
            handle,
        })
    }

    /// The file's bytes.
    #[must_use]
    pub fn file(&self) -> &RealFile {
        &self.file
    }

    /// Makes the bytes durable, gives the file its name and makes the name durable.
    pub fn publish(self) -> Result<(), NewFileError> {
        let NewFile {
            temporary,
            target,
            handle,
            ..
        } = self;
        let os = |source| NewFileError::Os {
            path: target.clone(),
            source,
        };
        handle.sync_all().map_err(os)?;
        let named = match temporary {
            Some(path) => path.persist_noclobber(&target).map_err(|e| e.error),
            None => fs::linkat(
                CWD,
                descriptor_path(&handle),
                CWD,
                &target,
                AtFlags::SYMLINK_FOLLOW,
            )
            .map_err(Into::into),
        };
        match named {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                return Err(NewFileError::Exists(target));
            }
            other => other.map_err(os)?,
        }
        sync_folder_of(&target).map_err(os)
    }
}

/// A file without a name in `folder`, if the file system has such a thing and it can be named later.
fn unnamed(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    let handle = File::from(fs::open(folder, flags, Mode::from_raw_mode(NEW_MODE))?);
    descriptor_path(&handle).symlink_metadata()?;
    Ok(handle)
}

/// Why there is no file, without the temporary name that the second error has in its text. `first` is why there is none
/// without a name: the same, as a rule.
fn plain(first: io::Error, second: &io::Error) -> io::Error {
    if first.kind() == second.kind() {
        first
    } else {
        second.kind().into()
    }
}

/// A file with a temporary name beside `target`; removed again when dropped.
fn named(target: &Path) -> io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".part")
        .permissions(std::fs::Permissions::from_mode(NEW_MODE))
        .tempfile_in(folder_of(target))
}

fn descriptor_path(handle: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploop_core::drive::DeltaFile;

    fn names(dir: &Path) -> Vec<String> {
        let entry = |e: io::Result<std::fs::DirEntry>| {
            e.expect("entry").file_name().to_string_lossy().into_owned()
        };
        std::fs::read_dir(dir).expect("folder").map(entry).collect()
    }

    #[test]
    fn appears_complete_or_not_at_all() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let target = dir.path().join("out");
        let new = NewFile::create(&target).expect("create");
        new.file().write_at(0, b"half").expect("write");
        assert!(!target.exists());
        drop(new);
        assert_eq!(names(dir.path()), Vec::<String>::new());

        let new = NewFile::create(&target).expect("create");
        new.file().write_at(0, b"all").expect("write");
        new.publish().expect("publish");
        assert_eq!(std::fs::read(&target).expect("read"), b"all");
        assert_eq!(names(dir.path()), ["out"]);
        assert!(matches!(
            NewFile::create(&target),
            Err(NewFileError::Exists(_))
        ));
    }

    #[test]
    fn never_takes_a_name_that_somebody_took_meanwhile() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let target = dir.path().join("out");
        let new = NewFile::create(&target).expect("create");
        std::fs::write(&target, b"theirs").expect("write");
        assert!(matches!(new.publish(), Err(NewFileError::Exists(_))));
        assert_eq!(std::fs::read(&target).expect("read"), b"theirs");
    }

    #[test]
    fn the_fallback_with_a_temporary_name_does_the_same() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let target = dir.path().join("out");
        let make = || {
            let (handle, path) = named(&target).expect("temporary").into_parts();
            let file =
                RealFile::from_new(handle.try_clone().expect("clone"), &target).expect("open");
            NewFile {
                file,
                temporary: Some(path),
                target: target.clone(),
                handle,
            }
        };
        let first = make();
        drop(make());
        first.file().write_at(0, b"all").expect("write");
        let late = make();
        first.publish().expect("publish");
        assert!(matches!(late.publish(), Err(NewFileError::Exists(_))));
        assert_eq!(std::fs::read(&target).expect("read"), b"all");
        assert_eq!(names(dir.path()), ["out"]);
    }

    #[test]
    fn a_dangling_link_is_not_followed() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let target = dir.path().join("out");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &target).expect("link");
        assert!(matches!(
            NewFile::create(&target),
            Err(NewFileError::Exists(_))
        ));
    }
}
