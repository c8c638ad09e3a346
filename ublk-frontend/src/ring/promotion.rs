//! Copying what a lower image shows into the top while the disk is in use: requests of the server itself, on the tag behind
//! those of the guest.
//!
//! ```text
//!   idle ──start──▶ running: a few clusters, and again ──▶ flush ──▶ done
//!                     └─stop─▶ stopped      └─a copy failed─▶ failed, and why
//! ```
//! * One request at a time, of a few clusters: a guest that writes one of them waits for so many copies at the most.
//! * After each request the queue hears of everybody else first: the next one is a letter to itself.
//! * The end says that what was copied is durable. What was copied stays, however it ended; it can be started again.
//! * A server that leaves forgets about it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ploop_core::control::inspect::Mapping;
use ploop_core::units::{Level, Sector, Sectors};
use ploop_core::{Device, Failure, Op, Request};
use serde::{Deserialize, Serialize};

/// Clusters of a request.
const AT_ONCE: u64 = 4;
/// Clusters that are looked at before others have their turn.
const LOOKS: u64 = 1 << 14;

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// The lowest image that is copied from; 0 is the oldest.
    pub lowest: u8,
    /// Clusters copied.
    pub done: u64,
    /// Clusters that were to be copied when it began.
    pub total: u64,
    /// Whether it goes on.
    pub state: State,
}

/// See [`Progress`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It does.
    Running,
    /// Everything is copied, and durable.
    Done,
    /// Somebody has stopped it.
    Stopped,
    /// A copy failed.
    Failed(String),
}

#[derive(Debug)]
struct Work {
    progress: Progress,
    /// Where the next look begins.
    next: Sector,
    /// Clusters of the request under way; 0: it is the flush.
    under_way: Option<u64>,
    disk: Disk,
}

/// What is wanted of the geometry: asking for it is no look-up.
#[derive(Clone, Copy, Debug)]
struct Disk {
    size: u64,
    cluster: u64,
    lowest: Level,
    top: u8,
}

impl Disk {
    fn is_wanted(self, device: &Device, at: Sector) -> bool {
        matches!(device.locate(at), Mapping::Mapped { level, .. }
            if level >= self.lowest.0 && level < self.top)
    }
}

/// What the queue has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Submit this.
    Submit(Request),
    /// Ask again, after everybody else.
    Again,
    /// Nothing.
    Nothing,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Promotion {
    work: Mutex<Option<Work>>,
}

impl Promotion {
    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins, or goes on with one that is like it. The queue must be told then.
    ///
    /// # Errors
    /// Why it does not.
    pub fn start(&self, device: &Device, lowest: Level) -> Result<(), String> {
        let geometry = device.geometry();
        let levels = geometry.levels;
        if usize::from(lowest.0) + 1 >= levels {
            return Err(format!(
                "level {} is not below the top: the chain has {levels}",
                lowest.0
            ));
        }
        let mut work = self.lock();
        match work.as_ref() {
            // Whoever began it is gone: there is one command at a time.
            Some(now)
                if now.progress.state == State::Running && now.progress.lowest == lowest.0 =>
            {
                return Ok(());
            }
            Some(now) if now.is_busy() => {
                return Err("images are being merged already".to_owned());
            }
            _ => {}
        }
        let disk = Disk {
            size: geometry.size.0,
            cluster: geometry.cluster.0,
            lowest,
            top: (levels - 1) as u8,
        };
        let all = (0..disk.size).step_by(disk.cluster as usize);
        let all = all.filter(|at| disk.is_wanted(device, Sector(*at)));
        *work = Some(Work {
            progress: Progress {
                lowest: lowest.0,
                done: 0,
                total: all.count() as u64,
                state: State::Running,
            },
            next: Sector(0),
            under_way: None,
            disk,
        });
        Ok(())
    }

    /// Ends it early.
    pub fn stop(&self) {
        if let Some(work) = &mut *self.lock()
            && work.progress.state == State::Running
        {
            work.progress.state = State::Stopped;
        }
    }

    /// How far it is; `None`: it never began.
    pub fn progress(&self) -> Option<Progress> {
        self.lock().as_ref().map(|work| work.progress.clone())
    }

    /// What is to be done now.
    pub(super) fn next(&self, device: &Device) -> Next {
        let mut guard = self.lock();
        let Some(work) = &mut *guard else {
            return Next::Nothing;
        };
        if work.progress.state != State::Running || work.under_way.is_some() {
            return Next::Nothing;
        }
        let disk = work.disk;
        for _ in 0..LOOKS {
            if work.next >= Sector(disk.size) {
                work.under_way = Some(0);
                return Next::Submit(Request {
                    op: Op::Flush,
                    start: Sector(0),
                    len: Sectors::ZERO,
                });
            }
            if disk.is_wanted(device, work.next) {
                let start = work.next;
                let end = (start.0 + AT_ONCE * disk.cluster).min(disk.size);
                let step = (start.0..end).step_by(disk.cluster as usize);
                let wanted = step.filter(|at| disk.is_wanted(device, Sector(*at)));
                work.under_way = Some(wanted.count().max(1) as u64);
                work.next = Sector(end);
                return Next::Submit(Request {
                    op: Op::Promote {
                        lowest: disk.lowest,
                    },
                    start,
                    len: Sectors(end - start.0),
                });
            }
            work.next = Sector(work.next.0 + disk.cluster);
        }
        Next::Again
    }

    /// The request has ended.
    pub(super) fn ended(&self, outcome: Result<(), Failure>) {
        let mut guard = self.lock();
        let Some(work) = &mut *guard else { return };
        let clusters = work.under_way.take();
        match (outcome, clusters) {
            (Err(failure), _) => {
                let why = match failure {
                    Failure::NoSpace => "no space left in the file system of the image".to_owned(),
                    Failure::Closed => "the server was leaving".to_owned(),
                    other => format!("{other:?}"),
                };
                work.progress.state = State::Failed(why);
            }
            (Ok(()), Some(0)) if work.progress.state == State::Running => {
                work.progress.state = State::Done;
            }
            (Ok(()), clusters) => work.progress.done += clusters.unwrap_or(0),
        }
    }
}

impl Work {
    fn is_busy(&self) -> bool {
        self.progress.state == State::Running || self.under_way.is_some()
    }
}
