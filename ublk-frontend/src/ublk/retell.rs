//! What the kernel believes of a disk, after a command has changed it under the kernel's eyes: its size, whether it is written, what
//! the page cache and the partition table say.
//!
//! ```text
//!   command: claim ─▶ record.retell ─▶ server aside ─▶ ... ─▶ next server ─▶ kernel told, by the command ─▶ "told" ─▶ forgotten
//!                                          └── command killed: its claim is gone, and the next server tells the kernel itself
//! ```
//! * The size is compared at each recovery, whoever has changed it; that needs no I/O.
//! * The rest reads the disk, so a thread does it while the queues serve. It waits until nobody has claimed the disk: the kernel
//!   does not read the partitions of one that is mounted.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::tool::ToolError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::tool::output::complain;
use crate::ublk::claim::Claim;
use crate::ublk::ctrl::Control;
use crate::ublk::shape::Shape;
use crate::ublk::state::{Record, Stale};
use crate::ublk::sys;

/// How long the command that has changed the disk may hold it.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// How long the thread may take to see that it is not needed.
const LETTING_GO: Timespec = Timespec {
    tv_sec: 2,
    tv_nsec: 0,
};

/// The kernel is being told.
#[derive(Debug)]
pub(super) struct Retell {
    done: UnixStream,
    stop: Arc<AtomicBool>,
}

/// In a server that has taken a device over, before it lets go of its mounts.
pub(super) fn begin(
    control: &mut Control,
    record: &Record,
    shape: &Shape,
    notes: &mut Vec<String>,
) -> Option<Retell> {
    if record.flags & sys::F_UPDATE_SIZE != 0 {
        let told = control.params(record.id).and_then(|told| {
            match told.basic.dev_sectors == shape.sectors() {
                true => Ok(()),
                false => control.update_size(record.id, shape.sectors()),
            }
        });
        if let Err(error) = told {
            notes.push(format!(
                "the kernel does not know the size of the disk: {error}"
            ));
        }
    }
    let read_only = match record.retell {
        Stale::Nothing => return None,
        // Somebody else's flag (`blockdev --setro`) stays.
        Stale::Content => None,
        Stale::ReadOnly => Some(record.read_only),
    };
    match (Claim::none(record.id), UnixStream::pair()) {
        (Ok(disk), Ok((done, tell))) => {
            let stop = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&stop);
            thread::spawn(move || work(disk, read_only, &told, tell));
            Some(Retell { done, stop })
        }
        (disk, pair) => {
            let why = disk.err().map(|error| error.to_string());
            let why = why.or(pair.err().map(|error| error.to_string()));
            let why = why.unwrap_or_default();
            notes.push(format!(
                "the kernel is not told what the disk is now: {why}"
            ));
            None
        }
    }
}

/// The disk is let go of before `tell` is: see [`Retell::end`].
fn work(disk: Claim, read_only: Option<bool>, told: &AtomicBool, mut tell: UnixStream) {
    let until = Instant::now() + PATIENCE;
    while !told.load(Ordering::Relaxed) {
        let done = kernel(&disk, read_only);
        if done.is_err() && Instant::now() < until {
            thread::sleep(LOOK);
            continue;
        }
        if let Err(error) = &done {
            complain(
                "warning",
                format_args!("the kernel may remember what the disk was: {error}"),
            );
        }
        drop(disk);
        // A server that has ended has no use for it.
        let _ = tell.write_all(&[u8::from(done.is_ok())]);
        return;
    }
    drop(disk);
}

/// Everything but the size.
fn kernel(disk: &Claim, read_only: Option<bool>) -> Result<(), ToolError> {
    let set = read_only.map_or(Ok(()), |flag| disk.set_read_only(flag));
    let forgotten = disk.forget(Duration::ZERO);
    set.and(forgotten)
}

impl Retell {
    /// Becomes readable when there is no more to be done, or that has failed.
    pub(super) fn done(&self) -> &UnixStream {
        &self.done
    }

    /// True if the kernel knows everything. Only when it is readable.
    pub(super) fn succeeded(mut self) -> bool {
        let mut word = [0];
        self.done.read_exact(&mut word).is_ok() && word[0] == 1
    }

    /// Somebody else has told the kernel, or nobody is to. Waits until the disk is let go of, but not for ever: a disk may wait for
    /// space. True if it is.
    pub(super) fn end(&self) -> bool {
        self.stop.store(true, Ordering::Relaxed);
        let mut fds = [PollFd::new(&self.done, PollFlags::IN)];
        let ended = poll(&mut fds, Some(&LETTING_GO)).is_ok_and(|ready| ready > 0);
        // It goes on if it could not be waited for.
        self.stop.store(ended, Ordering::Relaxed);
        ended
    }
}
