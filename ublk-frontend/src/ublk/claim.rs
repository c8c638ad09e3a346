//! A disk that nobody else uses: opened for oneself alone, as `mount`, swap, LVM and device-mapper do it.
//!
//! Whoever merely has it open is not seen: programs that read and write a raw disk, virtual machines among them. They are
//! told by their user.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::raw;
use crate::tool::ToolError;
use crate::ublk::ctrl::disk_node;
use crate::ublk::server::refused;

/// The claim; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    disk: File,
    node: PathBuf,
}

impl Claim {
    /// Claims a disk, or says that somebody has.
    pub(crate) fn of(id: u32) -> Result<Claim, ToolError> {
        let node = disk_node(id);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
            .open(&node);
        match opened {
            Ok(disk) => Ok(Claim { disk, node }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Err(refused(format!(
                "{}: it, or a partition of it, is mounted or claimed by another driver: unmount it first",
                node.display()
            ))),
            Err(error) => Err(ToolError::io(&node, "open")(error)),
        }
    }

    /// Everything that was written goes to the disk, and to its images.
    pub(crate) fn flush(&self) -> Result<(), ToolError> {
        self.disk
            .sync_all()
            .map_err(ToolError::io(&self.node, "flush"))
    }

    /// What the kernel remembers of the disk's content is forgotten.
    pub(crate) fn forget(&self) -> Result<(), ToolError> {
        raw::drop_cache(&self.disk).map_err(ToolError::io(&self.node, "drop the cache of"))?;
        match raw::read_partitions(&self.disk) {
            // A disk without partitions, and none can be.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other.map_err(ToolError::io(&self.node, "read the partitions of")),
        }
    }

    /// The kernel refuses writes, or does not.
    pub(crate) fn set_read_only(&self, read_only: bool) -> Result<(), ToolError> {
        raw::set_read_only(&self.disk, read_only).map_err(ToolError::io(
            &self.node,
            match read_only {
                true => "make read-only",
                false => "make writable",
            },
        ))
    }
}
