//! The mapped path of a device, without a disk: look-ups, requests and what they allocate. `cargo bench -p ploop-core`.

use std::io;

use divan::{AllocProfiler, Bencher, black_box};
use ploop_core::drive::DeltaFile;
use ploop_core::format::{Header, Version};
use ploop_core::load;
use ploop_core::units::{QueueId, SECTOR_BYTES, Sector, Sectors, Tag};
use ploop_core::{Action, ActionKind, Actions, Device, Op, Options, Origin, Outcome, Request};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

/// 64 KiB clusters.
const CLUSTER: u64 = 128;

fn main() {
    divan::main();
}

/// An image whose header and BAT are in memory, and whose data are zeros.
struct Sparse {
    head: Vec<u8>,
    len: u64,
}

impl DeltaFile for Sparse {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = (self.len.saturating_sub(at) as usize).min(buf.len());
        let head = self.head.get(at as usize..).unwrap_or(&[]);
        let known = head.len().min(len);
        buf[..known].copy_from_slice(&head[..known]);
        buf[known..len].fill(0);
        Ok(len)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn zero_at(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An image of that many clusters, each mapped.
fn image(clusters: u32) -> Sparse {
    let size = Sectors(u64::from(clusters) * CLUSTER);
    let header = Header::create(Version::V2, Sectors(CLUSTER), size).expect("a sound geometry");
    let first = header.data_off / CLUSTER as u32;
    let mut head = header.to_bytes().to_vec();
    head.extend((first..first + clusters).flat_map(u32::to_le_bytes));
    Sparse {
        head,
        len: (u64::from(header.data_off) + size.0) * SECTOR_BYTES,
    }
}

fn device(clusters: u32) -> Device {
    let delta = load::load(&image(clusters), "bench").expect("a sound image");
    Device::open(vec![delta], Options::default()).expect("opens")
}

/// One queue; its lists are kept.
struct Client {
    out: Actions,
    list: Vec<Action>,
}

impl Client {
    fn new() -> Client {
        Client {
            out: Actions::new(),
            list: Vec::with_capacity(64),
        }
    }

    /// One request of 8 sectors, carried through to its end.
    fn request(&mut self, device: &Device, op: Op, cluster: u64) {
        let from = Origin {
            queue: QueueId(0),
            tag: Tag(0),
        };
        let request = Request {
            op,
            start: Sector(cluster * CLUSTER),
            len: Sectors(8),
        };
        device.submit(from, request, &mut self.out);
        while !self.answer(device) {
            device.turn(QueueId(0), &mut self.out);
        }
    }

    /// Answers all I/O with "done". True if the request has ended.
    fn answer(&mut self, device: &Device) -> bool {
        let mut ended = false;
        self.list.extend(self.out.drain());
        while let Some(action) = self.list.pop() {
            match action.kind {
                ActionKind::Io { ticket, .. } => {
                    device.complete(ticket, Outcome::Done, &mut self.out);
                }
                ActionKind::Finish { .. } => ended = true,
            }
            self.list.extend(self.out.drain());
        }
        ended
    }
}

const WRITE: Op = Op::Write {
    preflush: false,
    fua: false,
};

/// Steps through `clusters` clusters in an order that no cache expects.
fn next(at: &mut u64, clusters: u32) -> u64 {
    *at = at
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    ((*at >> 32) * u64::from(clusters)) >> 32
}

#[divan::bench(args = [512, 65_536, 1_048_576])]
fn look_up(bencher: Bencher, clusters: u32) {
    let device = device(clusters);
    let mut at = 1;
    bencher.bench_local(|| {
        let sector = Sector(next(&mut at, clusters) * CLUSTER);
        black_box(device.locate(black_box(sector)))
    });
}

#[divan::bench(args = [512, 65_536])]
fn mapped_read(bencher: Bencher, clusters: u32) {
    mapped(bencher, clusters, Op::Read);
}

#[divan::bench(args = [512, 65_536])]
fn mapped_write(bencher: Bencher, clusters: u32) {
    mapped(bencher, clusters, WRITE);
}

fn mapped(bencher: Bencher, clusters: u32, op: Op) {
    let (device, mut client, mut at) = (device(clusters), Client::new(), 1);
    // The first write marks the image in use.
    client.request(&device, WRITE, 0);
    bencher.bench_local(|| client.request(&device, op, next(&mut at, clusters)));
}

/// The allocation counters of this one are the memory of an open device.
#[divan::bench(args = [65_536, 1_048_576])]
fn open(bencher: Bencher, clusters: u32) {
    let delta = load::load(&image(clusters), "bench").expect("a sound image");
    bencher
        .with_inputs(|| vec![delta.clone()])
        .bench_local_values(|chain| Device::open(chain, Options::default()).expect("opens"));
}
