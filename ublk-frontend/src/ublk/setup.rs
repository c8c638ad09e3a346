//! Making a device, or taking one over: what is asked of the kernel, and whether it has given it.
//!
//! * Flags and parameters that the kernel does not know are dropped by it without a word: they are compared, and what is
//!   missing is an error.
//! * Taking over waits for the old server to let go of the device and of the image, for a bounded time.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ploop_core::units::Millis;
use ploop_core::{Options, WriteBack};

use crate::bundle::{Files, files_of};
use crate::files::OpenError;
use crate::ring::counters::Counters;
use crate::ring::mailbox::Mailboxes;
use crate::ring::open::{Chain, Opened, Survives, open_if};
use crate::ring::promotion::Promotion;
use crate::ring::queue::Shared;
use crate::ring::ticker::Ticker;
use crate::tool::ToolError;
use crate::ublk::ctrl::{Control, CtrlError};
use crate::ublk::server::{ZeroCopy, refused};
use crate::ublk::shape::{Shape, difference};
use crate::ublk::state::{Folder, Lock, NoSpace, Record};
use crate::ublk::sys::{self, DevInfo, param, state};

/// How long the kernel may take to make a node, and an old server to let go.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a device that is removed is waited for.
const GONE: Duration = Duration::from_secs(2);
/// Time between attempts to write where there was no space.
const RETRY: Millis = Millis(250);

fn driver(error: CtrlError) -> ToolError {
    refused(error.to_string())
}

/// Opens the images of a record.
///
/// `is_new`: no server of the device can have them still. `allowed` is asked when they are locked, before anything is written.
pub(super) fn open_images(
    record: &Record,
    survives: Survives<'_>,
    is_new: bool,
    allowed: &dyn Fn(&Record) -> Result<(), ToolError>,
) -> Result<Opened, ToolError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match open_if(&chain(record), options(record), survives, &|| {
            allowed(record)
        }) {
            // A server that was killed holds its locks until its last I/O has ended.
            Err(ToolError::Open(OpenError::Locked { .. })) if !is_new && Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// The kernel makes no more queues than there can be CPUs.
pub(super) fn cap_queues(record: &mut Record, notes: &mut Vec<String>) {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible");
    // Without the file the kernel's own answer is compared later.
    let most = possible
        .ok()
        .and_then(|list| cpus(&list))
        .unwrap_or(u16::MAX);
    if record.queues > most {
        notes.push(format!(
            "{most} queues instead of {}: one for each CPU at the most",
            record.queues
        ));
        record.queues = most;
    }
}

/// One more than the highest number of a list such as `0-3,8`.
fn cpus(list: &str) -> Option<u16> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<u16>().ok()?.checked_add(1)
}

/// Whether the guest's own pages are used.
pub(super) fn decide_zero_copy(wish: ZeroCopy, features: u64, notes: &mut Vec<String>) -> bool {
    let needed = sys::F_SUPPORT_ZERO_COPY | sys::F_AUTO_BUF_REG;
    match wish {
        ZeroCopy::On | ZeroCopy::ByHand => true,
        ZeroCopy::Off => false,
        ZeroCopy::Auto if features & needed == needed => true,
        ZeroCopy::Auto => {
            notes.push("this kernel has no zero copy (Linux 6.16): data is copied".into());
            false
        }
    }
}

fn chain(record: &Record) -> Chain {
    Chain {
        images: record.images.clone(),
        raw_base: record.raw_base,
        direct: record.direct,
        trace: record.trace_io.clone(),
    }
}

fn options(record: &Record) -> Options {
    Options {
        queues: record.queues,
        depth: record.depth,
        write: !record.read_only,
        write_back: match record.flush_delay_ms {
            0 => WriteBack::Immediate,
            ms => WriteBack::Delayed(Millis(ms)),
        },
        no_space: match record.no_space {
            NoSpace::Wait { .. } => ploop_core::NoSpace::Wait { retry: RETRY },
            NoSpace::Fail => ploop_core::NoSpace::Fail,
        },
        ..Options::default()
    }
}

pub(super) fn share(record: &Record, opened: Opened) -> Result<Shared, ToolError> {
    let patience = match record.no_space {
        NoSpace::Wait { seconds } => seconds.map(Duration::from_secs),
        NoSpace::Fail => None,
    };
    let delay = Duration::from_millis(record.flush_delay_ms);
    let zero = Path::new("/dev/zero");
    Ok(Shared {
        device: opened.device,
        files: opened.files,
        zero: File::open(zero).map_err(ToolError::io(zero, "open"))?,
        mail: Mailboxes::new(record.queues).map_err(|e| refused(format!("eventfd: {e}")))?,
        promotion: Promotion::default(),
        ticker: Ticker::new(delay, patience),
        counters: (0..record.queues).map(|_| Counters::default()).collect(),
        held: Vec::new(),
        leaving: false.into(),
        broken: false.into(),
    })
}

/// Makes the device and compares what it became.
pub(super) fn add(
    control: &mut Control,
    record: &mut Record,
    features: u64,
    by_hand: bool,
) -> Result<(), ToolError> {
    let must = sys::F_USER_RECOVERY | sys::F_USER_RECOVERY_REISSUE | sys::F_CMD_IOCTL_ENCODE;
    let zero_copy = match record.zero_copy {
        true if by_hand => sys::F_SUPPORT_ZERO_COPY,
        true => sys::F_SUPPORT_ZERO_COPY | sys::F_AUTO_BUF_REG,
        false => 0,
    };
    let may = sys::F_UPDATE_SIZE | sys::F_QUIESCE | sys::F_SAFE_STOP_DEV;
    let flags = must | zero_copy | (may & features);
    let mut info = DevInfo {
        nr_hw_queues: record.queues,
        queue_depth: record.depth,
        max_io_buf_bytes: record.request_bytes.max(4096),
        dev_id: record.id,
        ublksrv_pid: -1,
        flags,
        ublksrv_flags: record.token,
        ..DevInfo::default()
    };
    control.add(&mut info).map_err(driver)?;
    let missing: Vec<&str> = sys::FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit & !info.flags != 0)
        .map(|(_, name)| *name)
        .collect();
    let other = (info.nr_hw_queues, info.queue_depth) != (record.queues, record.depth)
        || info.max_io_buf_bytes < record.request_bytes;
    if !missing.is_empty() || other {
        let _ = control.del(info.dev_id);
        return Err(refused(match missing.is_empty() {
            false => format!("this kernel's ublk driver cannot do {}", missing.join(", ")),
            true => format!(
                "asked for {} queues of {}, got {} of {}",
                record.queues, record.depth, info.nr_hw_queues, info.queue_depth
            ),
        }));
    }
    record.id = info.dev_id;
    record.flags = info.flags;
    Ok(())
}

pub(super) fn set_params(control: &mut Control, id: u32, shape: &Shape) -> Result<(), ToolError> {
    let asked = shape.params();
    control.set_params(id, &asked).map_err(driver)?;
    let got = control.params(id).map_err(driver)?;
    match difference(&asked, &got) {
        None => Ok(()),
        Some(what) => Err(refused(format!(
            "this kernel's ublk driver did not take the disk's shape: {what}"
        ))),
    }
}

/// The image must still be the disk that the kernel knows.
pub(super) fn check_same(record: &Record, shape: &Shape) -> Result<(), ToolError> {
    if (shape.request_bytes(), shape.block) == (record.request_bytes, record.block) {
        return Ok(());
    }
    Err(refused(format!(
        "the image has changed: requests of {} bytes in blocks of {}, not {} in blocks of {}",
        shape.request_bytes(),
        shape.block,
        record.request_bytes,
        record.block
    )))
}

/// Tells the driver that a new server is here, as soon as the old one has let go.
pub(super) fn take_over(control: &mut Control, record: &Record) -> Result<(), ToolError> {
    let info = control.info(record.id).map_err(driver)?;
    if !is_ours(&info, record) {
        return Err(refused(not_ours(record.id)));
    }
    if info.state == state::DEAD {
        return Err(refused(has_no_disk(record.id)));
    }
    if is_alive(&info) {
        return Err(refused(format!(
            "device {} is served by process {}",
            record.id, info.ublksrv_pid
        )));
    }
    let until = Instant::now() + PATIENCE;
    loop {
        match control.start_recovery(record.id) {
            Ok(()) => break,
            Err(error) if error.errno() == Some(libc::EBUSY) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            // A server that took over and was killed at once has said it already (Linux 6.12; later ones forget it).
            Err(error) if error.errno() == Some(libc::EINVAL) && info.state == state::QUIESCED => {
                break;
            }
            Err(error) => return Err(driver(error)),
        }
    }
    Ok(())
}

/// True if this is the device of the record, and not one of somebody else that has got its number. Only for whoever has
/// the record's lock: a server of ours that lives is not asked for.
pub(crate) fn is_ours(info: &DevInfo, record: &Record) -> bool {
    let is = (
        info.nr_hw_queues,
        info.queue_depth,
        info.flags,
        info.ublksrv_flags,
    );
    let was = (record.queues, record.depth, record.flags, record.token);
    let pid = u32::try_from(info.ublksrv_pid).ok();
    let other_lives =
        info.state == state::LIVE && process_lives(info.ublksrv_pid) && pid != Some(record.pid);
    is == was && !other_lives
}

/// What is said of a device that is not that of its record.
pub(crate) fn not_ours(id: u32) -> String {
    format!("device {id} is another program's: it has the number of one of ours that is gone")
}

/// What is said of a device of ours without a disk.
pub(crate) fn has_no_disk(id: u32) -> String {
    format!(
        "device {id} has no disk: its server was killed before it was there, or somebody has stopped it; `ploop-ublk del {id}` removes it"
    )
}

/// Removes a device that was stopped, and waits a moment until it is gone: somebody may have it open for ever.
pub(crate) fn remove(control: &mut Control, id: u32, wait: bool) -> Result<(), CtrlError> {
    match control.del_async(id) {
        Err(error) if error.errno() == Some(libc::ENODEV) => return Ok(()),
        // Linux before 6.9.
        Err(_) => return control.del(id),
        Ok(()) => {}
    }
    let until = Instant::now() + GONE;
    while wait && control.info(id).is_ok() && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// True if a process serves it, as far as the kernel tells.
pub(crate) fn is_alive(info: &DevInfo) -> bool {
    info.state == state::LIVE && process_lives(info.ublksrv_pid)
}

fn process_lives(pid: i32) -> bool {
    // The kernel says -1 of a device that was quiesced. Of a process that is dead and not yet buried there is no program.
    pid > 0 && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

pub(crate) fn lock(folder: &Folder, id: u32) -> Result<Lock, ToolError> {
    let lock = folder.lock_within(id, PATIENCE)?;
    lock.ok_or_else(|| refused(format!("device {id} has a server already")))
}

/// The lock of a device that is not being changed. A command that changes it may look whether it has a server, and wait for one.
pub(super) fn lock_unchanged(folder: &Folder, id: u32) -> Result<Lock, ToolError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let lock = lock(folder, id)?;
        if !folder.is_changing(id)? {
            return Ok(lock);
        }
        drop(lock);
        if Instant::now() >= until {
            return Err(refused(format!(
                "device {id} is being changed by another command"
            )));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The images of a bundle are those that its descriptor names, whatever the record says: they change together only as long
/// as nobody serves them, and a command may have been killed between the two.
pub(super) fn follow_bundle(record: &mut Record) -> Result<(), ToolError> {
    let Some(bundle) = &record.bundle else {
        return Ok(());
    };
    let Files { images, raw_base } = bundle_images(bundle)?;
    if images != record.images && !record.closed {
        return Err(refused(format!(
            "{}: was changed although device {} was not closed",
            bundle.display(),
            record.id
        )));
    }
    record.images = images;
    record.raw_base = raw_base;
    Ok(())
}

/// The files of a bundle by their real names.
pub(crate) fn bundle_images(bundle: &Path) -> Result<Files, ToolError> {
    let mut files = files_of(bundle, None)?;
    for image in &mut files.images {
        *image = std::fs::canonicalize(&*image).map_err(ToolError::io(image, "open"))?;
    }
    Ok(files)
}

/// A chain is recorded only if the next server can open it.
pub(crate) fn try_images(record: &Record) -> Result<(), ToolError> {
    // The last of the old server is gone: who has them is somebody else.
    let opened = open_images(record, Survives::No, true, &|_| Ok(()))?;
    let shape = shape(record, &opened);
    check_same(record, &shape)
}

pub(super) fn shape(record: &Record, opened: &Opened) -> Shape {
    Shape {
        geometry: opened.device.geometry(),
        read_only: record.read_only,
        block: opened.block,
        lends_pages: record.zero_copy && opened.direct,
    }
}

/// The kernel was told how the guest's memory must lie when the device was made: files that need more than that are read
/// and written through the page cache.
pub(super) fn fit_memory(
    control: &mut Control,
    id: u32,
    opened: &mut Opened,
    shape: &mut Shape,
) -> Result<(), ToolError> {
    let told = control.params(id).map_err(driver)?;
    let needed = shape.params();
    let is_told = told.types & param::DMA_ALIGN != 0 && told.dma_alignment >= needed.dma_alignment;
    if needed.types & param::DMA_ALIGN == 0 || is_told {
        return Ok(());
    }
    for file in &opened.files {
        let failed = ToolError::io(file.path(), "leave direct I/O of");
        file.set_direct(false).map_err(failed)?;
    }
    opened.direct = false;
    shape.lends_pages = false;
    let why = "direct I/O is not used: it was not when the device was made";
    opened.notes.push(why.to_owned());
    Ok(())
}

/// Opens the node of a new device, which may take a moment to appear, or to be let go of.
pub(super) fn open_node(path: &Path) -> Result<Arc<File>, ToolError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => return Ok(Arc::new(file)),
            Err(error) if Instant::now() >= until => {
                return Err(ToolError::io(path, "open")(error));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted() {
        assert_eq!(cpus("0\n"), Some(1));
        assert_eq!(cpus("0-3\n"), Some(4));
        assert_eq!(cpus("0-3,8\n"), Some(9));
        assert_eq!(cpus(""), None);
        assert_eq!(cpus("0-65535"), None);
    }
}
