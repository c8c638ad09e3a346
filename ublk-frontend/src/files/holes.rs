//! Where a file takes space: holes are whole blocks of the file system, and not every file system has them.

use std::io;
use std::ops::Range;

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;

use super::RealFile;

/// File systems that are known to tell of holes, and to make them, by the number that `statfs` gives them.
const WITH_HOLES: [u64; 10] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // btrfs
    0x0102_1994, // tmpfs
    0xF2F5_2010, // F2FS
    0x2FC1_2FC1, // ZFS
    0xCA45_1A4E, // bcachefs
    0x0116_1970, // GFS2
    0x7461_636F, // OCFS2
    0x794C_7630, // overlayfs, above one of these
];

impl RealFile {
    /// Bytes in which the file system gives space: holes are whole blocks. Never 0.
    pub fn block_size(&self) -> io::Result<u64> {
        let stat = fs::fstat(&self.fd)?;
        Ok(u64::try_from(stat.st_blksize).unwrap_or(1).max(1))
    }

    /// The first byte inside `within` that may be something else than zero, or `None` if all of it is a hole. Where the
    /// file system does not tell, every byte may.
    ///
    /// There is no way to ask for the end of the data on purpose: a file system may walk to the end of the file for it.
    pub fn next_data(&self, within: Range<u64>) -> io::Result<Option<u64>> {
        if within.is_empty() {
            return Ok(None);
        }
        match fs::seek(&self.fd, SeekFrom::Data(within.start)) {
            Ok(start) => Ok((start < within.end).then_some(start.max(within.start))),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Some(within.start)),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The first byte of a whole block inside `within` that is not in a hole: what is in a block of which somebody else has a
    /// part takes no space of its own. As [`RealFile::next_data`], otherwise.
    pub fn next_block(&self, within: Range<u64>) -> io::Result<Option<u64>> {
        let block = self.block_size()?;
        let start = within.start.checked_next_multiple_of(block);
        let end = within.end / block * block;
        match start {
            Some(start) => self.next_data(start..end),
            None => Ok(None),
        }
    }

    /// True if the file system is known to have holes: to tell of them, and to make them. Elsewhere (FAT, block devices, old NFS)
    /// a cluster of zeros is as free as it can be.
    pub fn gives_back(&self) -> io::Result<bool> {
        // Of whatever width and sign this machine has it.
        let kind = fs::fstatfs(&self.fd)?.f_type as u64 & 0xFFFF_FFFF;
        Ok(!self.device && WITH_HOLES.contains(&kind))
    }
}
