//! The other name of a disk: a symbolic link that the user asked for.
//!
//! * What is at its place is never replaced, but for a link that a server of this device, or of a disk that is gone, has
//!   left.
//! * It is removed only while it still leads to the disk: whatever was put in its place stays.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, readlinkat, symlinkat, unlinkat};
use rustix::io::Errno;

use crate::files::folder_of;
use crate::ublk::ctrl::disk_node;

/// A link that was made. Its folder is held open: a server that has let go of its mounts still reaches it.
#[derive(Debug)]
pub(crate) struct Link {
    folder: File,
    name: OsString,
    to: PathBuf,
}

impl Link {
    /// Makes it.
    ///
    /// # Errors
    /// `EEXIST`: something else is at its place.
    pub(crate) fn make(path: &Path, id: u32) -> io::Result<Link> {
        let link = Link::at(path, id)?;
        match link.now()? {
            Some(now) if now == link.to => return Ok(link),
            Some(now) if is_of_nobody(&now) => unlinkat(&link.folder, &link.name, NONE)?,
            Some(_) => return Err(Errno::EXIST.into()),
            None => {}
        }
        symlinkat(&link.to, &link.folder, &link.name)?;
        Ok(link)
    }

    /// Whether it could be made, as far as can be told without doing it.
    ///
    /// # Errors
    /// As [`Link::make`].
    pub(crate) fn can_be_made(path: &Path, id: u32) -> io::Result<()> {
        let link = Link::at(path, id)?;
        match link.now()? {
            Some(now) if now != link.to && !is_of_nobody(&now) => Err(Errno::EXIST.into()),
            _ => Ok(()),
        }
    }

    /// The link of a device whose server is gone.
    pub(crate) fn at(path: &Path, id: u32) -> io::Result<Link> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok(Link {
            folder: File::open(folder_of(path))?,
            name: name.to_owned(),
            to: disk_node(id),
        })
    }

    /// Where a link at its place leads, if anything is there.
    fn now(&self) -> io::Result<Option<PathBuf>> {
        match readlinkat(&self.folder, &self.name, Vec::new()) {
            Ok(to) => Ok(Some(OsString::from_vec(to.into_bytes()).into())),
            Err(Errno::NOENT) => Ok(None),
            // Not a link.
            Err(Errno::INVAL) => Err(Errno::EXIST.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes it, unless it has become somebody else's.
    pub(crate) fn remove(&self) {
        if self.now().is_ok_and(|now| now.as_ref() == Some(&self.to)) {
            // Nobody misses one that is gone.
            let _ = unlinkat(&self.folder, &self.name, NONE);
        }
    }
}

const NONE: AtFlags = AtFlags::empty();

/// The node of a disk of ours that is not there any more.
fn is_of_nobody(to: &Path) -> bool {
    let number = to.to_str().and_then(|to| to.strip_prefix("/dev/ublkb"));
    let is_number = number
        .is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    is_number && !to.exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// No such disk here.
    const ID: u32 = 4_000_000;

    #[test]
    fn what_is_at_its_place_stays() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("disk");
        let refused = |what: &str| {
            for error in [
                Link::make(&path, ID).expect_err(what),
                Link::can_be_made(&path, ID).expect_err(what),
            ] {
                assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{what}");
            }
        };
        fs::write(&path, "precious").expect("written");
        refused("a file");
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        fs::remove_file(&path).expect("removed");
        for other in ["/dev/null", "/dev/ublkb", "/dev/ublkb1x", "nowhere"] {
            symlink(other, &path).expect("link");
            refused(other);
            assert_eq!(fs::read_link(&path).expect("link"), Path::new(other));
            fs::remove_file(&path).expect("removed");
        }
    }

    #[test]
    fn what_a_dead_server_left_is_replaced() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("disk");
        for left in [disk_node(ID), disk_node(ID + 1)] {
            symlink(&left, &path).expect("link");
            let link = Link::make(&path, ID).expect("made");
            assert_eq!(fs::read_link(&path).expect("link"), disk_node(ID));
            link.remove();
            assert!(path.symlink_metadata().is_err());
        }
    }

    #[test]
    fn only_ones_own_is_removed() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("disk");
        let link = Link::make(&path, ID).expect("made");
        fs::remove_file(&path).expect("removed");
        link.remove();
        fs::write(&path, "precious").expect("written");
        link.remove();
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        fs::remove_file(&path).expect("removed");
        symlink(disk_node(ID + 1), &path).expect("link");
        link.remove();
        assert_eq!(fs::read_link(&path).expect("link"), disk_node(ID + 1));
    }
}
