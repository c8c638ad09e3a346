//! Locks of single bytes of a file that belong to the open file, not to the process ("OFD" locks).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libc::{F_OFD_GETLK, F_OFD_SETLK, F_RDLCK, F_UNLCK, F_WRLCK};

fn call(fd: impl AsFd, command: i32, kind: i32, at: u64, len: u64) -> io::Result<libc::flock> {
    let offset = |value: u64| {
        libc::off_t::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    };
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset(at)?,
        l_len: offset(len)?,
        // The kernel wants it so.
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is borrowed and `lock` lives; the kernel reads and writes nothing else.
        let result = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, &raw mut lock) };
        match (result, io::Error::last_os_error()) {
            (-1, error) if error.kind() == io::ErrorKind::Interrupted => {}
            (-1, error) => return Err(error),
            _ => return Ok(lock),
        }
    }
}

/// Takes a shared lock of one byte. Does not wait: `WouldBlock` if somebody has it for himself.
pub fn share_byte(fd: impl AsFd, at: u64) -> io::Result<()> {
    call(fd, F_OFD_SETLK, F_RDLCK, at, 1).map(drop)
}

/// Gives up all locks of these bytes.
pub fn unlock_bytes(fd: impl AsFd, at: u64, len: u64) -> io::Result<()> {
    call(fd, F_OFD_SETLK, F_UNLCK, at, len).map(drop)
}

/// True if another open file has any lock of this byte.
pub fn is_byte_locked(fd: impl AsFd, at: u64) -> io::Result<bool> {
    let found = call(fd, F_OFD_GETLK, F_WRLCK, at, 1)?;
    Ok(i32::from(found.l_type) != F_UNLCK)
}
