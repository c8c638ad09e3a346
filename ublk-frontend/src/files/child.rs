//! The mark of an image on top of which a snapshot was made: it must not be written any more, but as a lower file of its
//! child it looks like any other image.
//!
//! A bundle's descriptor says so. A list of images that somebody types does not: if he types the old list the next time,
//! the disk is back in the past, and with the first write to the image the newer file is worth nothing. So a snapshot that
//! is made outside of a bundle leaves a mark: the extended attribute `user.ploop.child`, the path of the newer file.
//!
//! ```text
//!   new file, durable ──▶ mark, durable ──▶ chain recorded ──▶ first write to the new file
//!   chain recorded without it (merged) ──▶ mark removed, durable ──▶ first write to this file
//! ```
//! So whenever there is something in the newer file there is a mark. A mark without that (a crash in between) costs a
//! question only: the newer file is empty, and a stack with it is the same disk. A copy of the image has no mark.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, fgetxattr, fremovexattr, fsetxattr, fsync, getxattr};
use rustix::io::Errno;

use super::RealFile;

const NAME: &str = "user.ploop.child";
/// Longest path, in bytes.
const LONGEST: usize = 4096;

/// The newer file, if there is a mark.
fn found(outcome: Result<usize, Errno>, buf: Vec<u8>) -> io::Result<Option<PathBuf>> {
    match outcome {
        Ok(len) => {
            let path = buf.into_iter().take(len).collect();
            Ok(Some(PathBuf::from(OsString::from_vec(path))))
        }
        // No mark; or no attributes here, or none of users for such a file.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The newer file, if this image has a mark.
pub fn of(image: &Path) -> io::Result<Option<PathBuf>> {
    let mut buf = vec![0; LONGEST];
    let outcome = getxattr(image, NAME, &mut buf[..]);
    found(outcome, buf)
}

/// Whether the file system of this image can hold a mark.
pub fn can_be_marked(image: &Path) -> bool {
    let mut buf = [0; 1];
    matches!(
        getxattr(image, NAME, &mut buf[..]),
        Ok(_) | Err(Errno::NODATA | Errno::RANGE)
    )
}

/// Marks an image, durably.
pub fn mark(image: &RealFile, child: &Path) -> io::Result<()> {
    let fd = image.as_fd();
    fsetxattr(fd, NAME, child.as_os_str().as_bytes(), XattrFlags::empty())?;
    Ok(fsync(fd)?)
}

/// Removes the mark, if there is one, durably.
pub fn forget(image: &RealFile) -> io::Result<()> {
    let fd = image.as_fd();
    let mut buf = vec![0; LONGEST];
    let outcome = fgetxattr(fd, NAME, &mut buf[..]);
    if found(outcome, buf)?.is_none() {
        return Ok(());
    }
    fremovexattr(fd, NAME)?;
    Ok(fsync(fd)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_and_goes() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("folder");
        let path = dir.path().join("image");
        std::fs::write(&path, b"x").expect("written");
        assert!(can_be_marked(&path), "this file system has attributes");
        assert_eq!(of(&path).expect("asked"), None);
        let image = RealFile::open_write(&path).expect("open");
        forget(&image).expect("nothing to forget");
        let child = Path::new("/somewhere/new \u{e4}.hdd");
        mark(&image, Path::new("/old")).expect("marked");
        mark(&image, child).expect("marked again");
        assert_eq!(of(&path).expect("asked").as_deref(), Some(child));
        forget(&image).expect("forgotten");
        assert_eq!(of(&path).expect("asked"), None);
    }

    #[test]
    fn where_there_are_no_attributes_there_is_no_mark() {
        let path = Path::new("/proc/self/status");
        assert!(!can_be_marked(path));
        assert_eq!(of(path).expect("asked"), None);
        assert!(of(Path::new("/nowhere/at/all")).is_err());
    }
}
