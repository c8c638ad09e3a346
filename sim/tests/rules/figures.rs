//! What a device says of itself: free clusters, memory, levels, whether it has something to write, what it could not close.

use std::io;

use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{CloseError, Options};

use crate::sparse::{Picture, Sparse};

const CLUSTER: u32 = 8;
const ENTRIES: u32 = 8000;
/// Clusters of header and BAT.
const FIRST: u32 = 8;

fn options(prealloc: u32) -> Options {
    Options {
        prealloc: Sectors(u64::from(prealloc * CLUSTER)),
        ..Options::default()
    }
}

fn image(hosts: u32, slots: &[(u32, u32)]) -> Sparse {
    Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: CLUSTER,
        entries: ENTRIES,
        file: u64::from(hosts * CLUSTER),
        slots,
    })
}

fn disk(file: impl DeltaFile + 'static, prealloc: u32) -> Disk {
    let delta = load::load(&file, "image").expect("a sound image");
    Disk::open(vec![delta], vec![Box::new(file)], options(prealloc)).expect("opened")
}

fn at(clu: u32) -> Sector {
    Sector(u64::from(clu * CLUSTER))
}

/// In one word of the allocator's bitmaps, at the edge of one, and over several; with holes, and with a tail.
#[test]
fn free_clusters_are_counted() {
    for mapped in [1, 3, 62, 63, 64, 65, 127, 128, 129, 300] {
        for (every, tail) in [(0, 0), (0, 1), (7, 0), (7, 5), (1, 70)] {
            let taken = |clu: &u32| every == 0 || clu % every != 1;
            let slots = (0..mapped).filter(taken).map(|clu| (clu, FIRST + clu));
            let slots: Vec<(u32, u32)> = slots.collect();
            let mut disk = disk(image(FIRST + mapped + tail, &slots), 1);
            let what = format!("{mapped} clusters, every {every}, tail {tail}");
            let free = u64::from(mapped + tail) - slots.len() as u64;
            let stats = disk.device().stats();
            assert_eq!(
                (stats.free, stats.mapped),
                (free, slots.len() as u64),
                "[size] {what}"
            );
            assert_eq!(disk.device().geometry().levels, 1);
            assert!(!disk.device().has_deadline(), "[progress] {what}");
            disk.write(at(1000), &[1; 512], false).expect("written");
            let stats = disk.device().stats();
            assert_eq!(stats.free, free.saturating_sub(1), "[size] {what}");
            assert!(disk.device().has_deadline(), "[progress] {what}");
            disk.flush().expect("flushed");
            assert!(!disk.device().has_deadline(), "[progress] {what}");
            disk.device().verify();
        }
    }
}

/// A bit a host cluster, and two once zeros are known: no more, and no less.
#[test]
fn memory_follows_what_is_used() {
    let bytes = |host: u32| {
        let mut disk = disk(image(host + 1, &[(0, host)]), 4096);
        let before = disk.device().stats().bytes;
        disk.write(at(7), &[1; 512], true).expect("written");
        (before, disk.device().stats().bytes)
    };
    // The hole before the cluster is filled first; so the file is not extended.
    let (near, far) = (bytes(FIRST + 1), bytes(FIRST + 6400));
    let words = far.0 - near.0;
    assert!((700..1700).contains(&words), "[size] {words} bytes more");
    let slots: Vec<(u32, u32)> = (0..6400).map(|clu| (clu, FIRST + clu)).collect();
    let mut full = disk(image(FIRST + 6400, &slots), 640);
    let before = full.device().stats().bytes;
    full.write(at(6400), &[1; 512], true).expect("written");
    let zeros = full.device().stats().bytes - before;
    assert!(
        (800..2600).contains(&zeros),
        "[size] {zeros} bytes of zeros"
    );
}

/// A file that takes no index page any more.
#[derive(Clone)]
struct Stuck(Sparse, std::rc::Rc<std::cell::Cell<bool>>);

impl DeltaFile for Stuck {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        if self.1.get() && at < u64::from(FIRST * CLUSTER) * 512 {
            return Err(io::ErrorKind::Other.into());
        }
        self.0.write_at(at, buf)
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.0.zero_at(at, len, punch)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn a_close_says_what_is_not_durable() {
    let stuck = std::rc::Rc::default();
    let slots = [(0, FIRST), (1, FIRST + 1), (2, FIRST + 2)];
    let file = Stuck(image(FIRST + 3, &slots), std::rc::Rc::clone(&stuck));
    let mut disk = disk(file, 1);
    // The mark and the cluster of one page.
    disk.write(at(2), &[1; 512], true).expect("written");
    stuck.set(true);
    disk.discard(at(0), Sectors(u64::from(2 * CLUSTER)))
        .expect("discarded");
    let refused = CloseError::NotDurable {
        dirty: 1,
        quarantined: 2,
        poisoned: false,
    };
    assert_eq!(disk.close(), Err(refused), "[progress]");
    stuck.set(false);
    disk.flush().expect_err("the device is suspended");
    assert!(disk.device().has_deadline(), "[progress]");
}
