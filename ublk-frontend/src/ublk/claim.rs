//! A disk that nobody else uses: opened for oneself alone, as `mount`, swap, LVM and device-mapper do it. A loop device does not, and
//! is looked for.
//!
//! Whoever merely has it open is not seen: programs that read and write a raw disk, virtual machines among them. They are
//! told by their user.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::raw;
use crate::tool::ToolError;
use crate::ublk::ctrl::disk_node;
use crate::ublk::server::refused;

/// Somebody may only have looked at a partition: udev does.
pub(crate) const GLANCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);

/// Why a disk cannot be claimed.
#[derive(Debug)]
pub(crate) enum ClaimError {
    /// Somebody has.
    Busy(PathBuf),
    /// It cannot be opened.
    Open(PathBuf, io::Error),
}

impl ClaimError {
    /// Somebody has claimed it.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, ClaimError::Busy(_))
    }
}

impl From<ClaimError> for ToolError {
    fn from(error: ClaimError) -> ToolError {
        match error {
            ClaimError::Busy(node) => refused(format!(
                "{}: it, or a partition of it, is mounted or used by another driver: unmount it first",
                node.display()
            )),
            ClaimError::Open(node, error) => ToolError::io(&node, "open")(error),
        }
    }
}

/// The disk, open; a claim ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    disk: File,
    node: PathBuf,
}

impl Claim {
    /// Claims a disk, or says that somebody has.
    pub(crate) fn of(id: u32) -> Result<Claim, ClaimError> {
        let node = disk_node(id);
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_EXCL | libc::O_NONBLOCK)
            .open(&node);
        match opened {
            Ok(_) if has_holders(id) => Err(ClaimError::Busy(node)),
            Ok(disk) => Ok(Claim { disk, node }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Err(ClaimError::Busy(node)),
            Err(error) => Err(ClaimError::Open(node, error)),
        }
    }

    /// The same; a command that has just ended may have it for a moment still.
    pub(crate) fn soon(id: u32) -> Result<Claim, ClaimError> {
        let until = Instant::now() + GLANCE;
        loop {
            match Claim::of(id) {
                Err(error) if error.is_busy() && Instant::now() < until => thread::sleep(LOOK),
                other => return other,
            }
        }
    }

    /// Opens it without a claim: what is told to the kernel then may be refused because somebody has it.
    pub(crate) fn none(id: u32) -> Result<Claim, ToolError> {
        let node = disk_node(id);
        let mut options = OpenOptions::new();
        let opened = options
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&node);
        match opened {
            Ok(disk) => Ok(Claim { disk, node }),
            Err(error) => Err(ToolError::io(&node, "open")(error)),
        }
    }

    /// Everything that was written goes to the disk, and to its images.
    pub(crate) fn flush(&self) -> Result<(), ToolError> {
        self.disk
            .sync_all()
            .map_err(ToolError::io(&self.node, "flush"))
    }

    /// What the kernel remembers of the disk's content is forgotten: all of it is tried. `patience`: for who looks at a partition.
    pub(crate) fn forget(&self, patience: Duration) -> Result<(), ToolError> {
        let dropped = raw::drop_cache(&self.disk);
        let read = self.read_partitions(patience);
        dropped.map_err(ToolError::io(&self.node, "drop the cache of"))?;
        read
    }

    /// The kernel knows the partitions as they are on the disk. Refused if somebody has one of them open for so long.
    pub(crate) fn read_partitions(&self, patience: Duration) -> Result<(), ToolError> {
        let until = Instant::now() + patience;
        loop {
            match raw::read_partitions(&self.disk) {
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < until =>
                {
                    thread::sleep(LOOK);
                }
                // A disk without partitions, and none can be.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
                other => {
                    return other.map_err(ToolError::io(&self.node, "read the partitions of"));
                }
            }
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

/// True if the kernel has built something on the disk: a loop device, device-mapper.
fn has_holders(id: u32) -> bool {
    let disk = format!("/sys/block/ublkb{id}");
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = entries(Path::new(&disk)).map(|entry| entry.path().join("holders"));
    let holders = parts.chain([Path::new(&disk).join("holders")]);
    let loops = entries(Path::new("/sys/block"))
        .filter_map(|entry| fs::read_to_string(entry.path().join("loop/backing_file")).ok());
    holders
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten())
        .next()
        .is_some()
        || loops
            .into_iter()
            .any(|file| is_of_disk(id, Path::new(file.trim_end())))
}

/// The disk or a partition of it.
pub(crate) fn is_of_disk(id: u32, path: &Path) -> bool {
    let node = disk_node(id);
    let rest = path
        .to_str()
        .and_then(|path| path.strip_prefix(node.to_str()?));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('p'))
}
