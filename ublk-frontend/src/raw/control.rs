//! The ring for control commands.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::ublk::sys::CtrlCmd;

/// A ring for control commands: one at a time, each waited for.
pub struct ControlRing {
    ring: IoUring<squeue::Entry128, cqueue::Entry>,
    /// An entry was left in the queue: the next call would hand it over, with a buffer that is gone.
    broken: bool,
}

impl std::fmt::Debug for ControlRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ControlRing")
    }
}

impl ControlRing {
    /// A ring.
    pub fn new() -> io::Result<ControlRing> {
        let ring = IoUring::builder().build(4)?;
        Ok(ControlRing {
            ring,
            broken: false,
        })
    }

    /// Carries out one command on `/dev/ublk-control`; `buffer` is in and out. Returns the kernel's result; a negative
    /// one is the error.
    pub fn command(
        &mut self,
        control: BorrowedFd<'_>,
        op: u32,
        mut command: CtrlCmd,
        buffer: &mut [u8],
    ) -> io::Result<i32> {
        if self.broken {
            return Err(io::Error::other("the control ring has failed before"));
        }
        if !buffer.is_empty() {
            command.addr = buffer.as_mut_ptr() as u64;
            command.len = u16::try_from(buffer.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        }
        let fd = io_uring::types::Fd(control.as_raw_fd());
        let entry = opcode::UringCmd80::new(fd, op)
            .cmd(command.to_bytes())
            .build();
        // SAFETY: `buffer` is borrowed until the end of this function, which is not reached before the command came back.
        unsafe { self.ring.submission().push(&entry) }
            .map_err(|_| io::Error::other("the control ring is full"))?;
        let mut taken = false;
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) => taken = true,
                // Nothing was handed over, so nothing refers to the buffer.
                Err(error) if !taken && !interrupted(&error) => {
                    self.broken = true;
                    return Err(error);
                }
                Err(_) => taken = true,
            }
            if let Some(entry) = self.ring.completion().next() {
                return match entry.result() {
                    result if result < 0 => Err(io::Error::from_raw_os_error(-result)),
                    result => Ok(result),
                };
            }
        }
    }
}

fn interrupted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)
    )
}
