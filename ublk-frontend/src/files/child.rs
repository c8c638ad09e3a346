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
//! An image that went up into the one above it (`snapshot merge --up`) stays where it is, marked as before, and the one above
//! remembers it (`user.ploop.merged`): as soon as its clusters are given back, the old list would show what was below them.
//!
//! A top that is merged down while it is in use gets an empty file above it first: both are to go, and a merge that was cut is
//! known again by `user.ploop.going` of the former, the path of the latter.
//!
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
/// Sixteen bytes for each image that went up into this one: inode number, hash of the path.
/// The file above, as long as this one is on its way down into the one below, and that one after it.
const GOING: &str = "user.ploop.going";
const MERGED: &str = "user.ploop.merged";
/// Longest path, in bytes.
const LONGEST: usize = 4096;
/// Longest value that every file system takes.
const MOST: usize = 3072;

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
    read(image, NAME)
}

/// If this image is on its way down, the file above, which goes the same way.
pub fn going(image: &Path) -> io::Result<Option<PathBuf>> {
    read(image, GOING)
}

fn read(image: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let mut buf = vec![0; LONGEST];
    let outcome = getxattr(image, name, &mut buf[..]);
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
    set(image, NAME, child)
}

/// Marks an image as one that is on its way down into the one below, and `above` after it, durably.
pub fn mark_going(image: &RealFile, above: &Path) -> io::Result<()> {
    set(image, GOING, above)
}

fn set(image: &RealFile, name: &str, path: &Path) -> io::Result<()> {
    let fd = image.as_fd();
    fsetxattr(fd, name, path.as_os_str().as_bytes(), XattrFlags::empty())?;
    Ok(fsync(fd)?)
}

/// How an image is remembered that went up into another one: wherever it was moved to, and whatever it was copied to.
fn memory_of(image: &Path) -> io::Result<[u8; 16]> {
    let real = image.canonicalize()?;
    let number = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&real)?);
    // FNV-1a: the same for ever.
    let hash = real.as_os_str().as_bytes().iter();
    let hash = hash.fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut memory = [0; 16];
    memory[..8].copy_from_slice(&number.to_le_bytes());
    memory[8..].copy_from_slice(&hash.to_le_bytes());
    Ok(memory)
}

fn merged(outcome: Result<usize, Errno>, mut buf: Vec<u8>) -> io::Result<Vec<u8>> {
    match outcome {
        Ok(len) => {
            buf.truncate(len);
            Ok(buf)
        }
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether `lower` went up into `image`: then it has no place below it any more.
pub fn has_merged(image: &Path, lower: &Path) -> io::Result<bool> {
    let mut buf = vec![0; LONGEST];
    let outcome = getxattr(image, MERGED, &mut buf[..]);
    let list = merged(outcome, buf)?;
    if list.is_empty() {
        return Ok(false);
    }
    let memory = memory_of(lower)?;
    let halves = |one: &[u8]| one[..8] == memory[..8] || one[8..] == memory[8..];
    Ok(list.chunks_exact(16).any(halves))
}

/// Remembers that `lower` went up into `image`, durably.
pub fn remember_merged(image: &RealFile, lower: &Path) -> io::Result<()> {
    let fd = image.as_fd();
    let mut buf = vec![0; LONGEST];
    let outcome = fgetxattr(fd, MERGED, &mut buf[..]);
    let (mut list, memory) = (merged(outcome, buf)?, memory_of(lower)?);
    if !list.chunks_exact(16).any(|one| one == memory) {
        if list.len() + memory.len() > MOST {
            return Err(io::Error::other("too many images went up into it"));
        }
        list.extend(memory);
        fsetxattr(fd, MERGED, &list, XattrFlags::empty())?;
    }
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
    fn what_went_up_is_remembered_by_place_and_by_name() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("folder");
        let file = |name: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, b"x").expect("written");
            path
        };
        let (a, b, c, top) = (file("a"), file("b"), file("c"), file("top"));
        assert!(!has_merged(&top, &a).expect("asked"));
        let image = RealFile::open_write(&top).expect("open");
        remember_merged(&image, &a).expect("remembered");
        remember_merged(&image, &b).expect("remembered");
        remember_merged(&image, &a).expect("again");
        let has = |path: &Path| has_merged(&top, path).expect("asked");
        assert!(has(&a) && has(&b) && !has(&c));
        let moved = dir.path().join("moved");
        std::fs::rename(&a, &moved).expect("moved");
        assert!(has(&moved), "the same file elsewhere");
        std::fs::copy(&c, &a).expect("copied");
        assert!(has(&a), "another file in its place");
        assert!(!has(&c));
    }

    #[test]
    fn where_there_are_no_attributes_there_is_no_mark() {
        let path = Path::new("/proc/self/status");
        assert!(!can_be_marked(path));
        assert_eq!(of(path).expect("asked"), None);
        assert!(of(Path::new("/nowhere/at/all")).is_err());
    }
}
