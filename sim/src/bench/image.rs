//! Devices on images in memory, with every cluster mapped, and a client that answers all their I/O with "done".

use ploop_core::drive::DeltaFile;
use ploop_core::format::{Header, Version};
use ploop_core::load::{self, LoadedDelta};
use ploop_core::units::{QueueId, SECTOR_BYTES, Sector, Sectors, Tag};
use ploop_core::{ActionKind, Actions, Device, Op, Options, Origin, Outcome, Request};
use std::io;

/// Sectors of a cluster: 64 KiB, as small as anybody uses.
pub(super) const CLUSTER: u64 = 128;
/// Clusters of a metadata page, but for the first one.
pub(super) const PAGE: u64 = 1024;

/// An image file: its header and BAT are in memory, its data are zeros.
struct Sparse {
    head: Vec<u8>,
    len: u64,
}

impl DeltaFile for Sparse {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf
            .len()
            .min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let from = usize::try_from(at)
            .unwrap_or(usize::MAX)
            .min(self.head.len());
        let known = len.min(self.head.len() - from);
        buf[..known].copy_from_slice(&self.head[from..from + known]);
        buf[known..len].fill(0);
        Ok(len)
    }
    fn write_at(&self, _at: u64, _buf: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn zero_at(&self, _at: u64, _len: u64, _punch: bool) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A loaded image of `clusters` clusters, each mapped.
fn full(clusters: u32) -> LoadedDelta {
    let size = Sectors(u64::from(clusters) * CLUSTER);
    let header = match Header::create(Version::V2, Sectors(CLUSTER), size) {
        Ok(header) => header,
        Err(problem) => unreachable!("an image of the benchmark: {problem:?}"),
    };
    let first = header.data_off / CLUSTER as u32;
    let mut head = header.to_bytes().to_vec();
    head.extend((first..first + clusters).flat_map(u32::to_le_bytes));
    let len = (u64::from(header.data_off) + size.0) * SECTOR_BYTES;
    match load::load(&Sparse { head, len }, "bench") {
        Ok(delta) => delta,
        Err(error) => unreachable!("an image of the benchmark: {error}"),
    }
}

/// A device on that image, with so many queues.
pub(super) fn device(clusters: u32, queues: u16) -> Device {
    let options = Options {
        queues,
        ..Options::default()
    };
    match Device::open(vec![full(clusters)], options) {
        Ok(device) => device,
        Err(error) => unreachable!("an image of the benchmark: {error}"),
    }
}

/// What a client needs of a device.
pub(super) trait Core: Sync {
    fn submit(&self, from: Origin, request: Request, out: &mut Actions);
    fn complete(&self, ticket: ploop_core::Ticket, outcome: Outcome, out: &mut Actions);
    fn turn(&self, queue: QueueId, out: &mut Actions);
}

impl Core for Device {
    fn submit(&self, from: Origin, request: Request, out: &mut Actions) {
        Device::submit(self, from, request, out);
    }
    fn complete(&self, ticket: ploop_core::Ticket, outcome: Outcome, out: &mut Actions) {
        Device::complete(self, ticket, outcome, out);
    }
    fn turn(&self, queue: QueueId, out: &mut Actions) {
        Device::turn(self, queue, out);
    }
}

/// Requests between two turns, as a driver makes them.
const BATCH: u32 = 32;

/// One queue with one request at a time. Its lists are kept: what allocates is the device.
pub(super) struct Client {
    origin: Origin,
    out: Actions,
    list: Vec<ploop_core::Action>,
    since_turn: u32,
}

impl Client {
    pub(super) fn new(queue: u16) -> Client {
        Client {
            origin: Origin {
                queue: QueueId(queue),
                tag: Tag(0),
            },
            out: Actions::new(),
            list: Vec::with_capacity(64),
            since_turn: 0,
        }
    }

    /// A request of 8 sectors at the beginning of a cluster, up to its end.
    pub(super) fn request(&mut self, core: &impl Core, op: Op, cluster: u64) {
        let request = Request {
            op,
            start: Sector(cluster * CLUSTER),
            len: Sectors(8),
        };
        core.submit(self.origin, request, &mut self.out);
        while !self.answer_all(core) {
            core.turn(self.origin.queue, &mut self.out);
        }
        self.since_turn += 1;
        if self.since_turn == BATCH {
            self.since_turn = 0;
            core.turn(self.origin.queue, &mut self.out);
            self.answer_all(core);
        }
    }

    /// A mapped write; the first one of a device marks the image in use.
    pub(super) fn write(&mut self, core: &impl Core, cluster: u64) {
        let op = Op::Write {
            preflush: false,
            fua: false,
        };
        self.request(core, op, cluster);
    }

    /// Completes whatever comes out. True if a request has ended.
    fn answer_all(&mut self, core: &impl Core) -> bool {
        let mut ended = false;
        self.list.extend(self.out.drain());
        while let Some(action) = self.list.pop() {
            match action.kind {
                ActionKind::Io { ticket, .. } => {
                    core.complete(ticket, Outcome::Done, &mut self.out)
                }
                ActionKind::Finish { outcome, .. } => {
                    assert!(
                        outcome.is_ok(),
                        "a request of the benchmark failed: {outcome:?}"
                    );
                    ended = true;
                }
            }
            self.list.extend(self.out.drain());
        }
        ended
    }
}
