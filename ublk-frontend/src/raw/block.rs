//! What any block device can be told: `blockdev` by ioctl. The caller has the disk open.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Of `linux/fs.h`.
const BLKROSET: libc::Ioctl = 0x125d;
const BLKRRPART: libc::Ioctl = 0x125f;
const BLKFLSBUF: libc::Ioctl = 0x1261;

/// The kernel refuses writes of whoever opens the disk from now on, or does not any more.
pub fn set_read_only(disk: impl AsFd, read_only: bool) -> io::Result<()> {
    let flag = libc::c_int::from(read_only);
    // SAFETY: the descriptor is borrowed; the kernel reads an `int`, which lives.
    done(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKROSET, &raw const flag) })
}

/// Writes out what the page cache holds of the disk, and forgets it.
pub fn drop_cache(disk: impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed; there is no argument.
    done(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKFLSBUF, 0) })
}

/// Reads the partition table again.
pub fn read_partitions(disk: impl AsFd) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed; there is no argument.
    done(unsafe { libc::ioctl(disk.as_fd().as_raw_fd(), BLKRRPART, 0) })
}

fn done(result: libc::c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
