//! Dirty bitmaps that take more than one cluster, or more than a piece of one; and a close that finds no space for them.

use std::io;

use ploop_core::Options;
use ploop_core::control::files::{Change, change_bitmaps};
use ploop_core::delta::ExtensionState;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::{DirtyBitmap, InUse};
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};

use crate::sparse::{Picture, Sparse};

const ID: [u8; 16] = [7; 16];

/// An image with a bitmap of this granularity.
fn image(cluster: u32, entries: u32, granularity: u32) -> Sparse {
    let first = (64 + 4 * u64::from(entries)).div_ceil(512);
    let file = Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster,
        entries,
        file: first.next_multiple_of(u64::from(cluster)),
        slots: &[],
    });
    let start = Change::Start {
        id: ID,
        granularity,
    };
    change_bitmaps(&file, "image", start).expect("a bitmap");
    file
}

fn open(file: impl DeltaFile + 'static, prealloc: u32) -> Disk {
    let delta = load::load(&file, "image").expect("a sound image");
    let options = Options {
        prealloc: Sectors(u64::from(prealloc)),
        ..Options::default()
    };
    Disk::open(vec![delta], vec![Box::new(file)], options).expect("opened")
}

/// The dirty ranges of what a new process finds.
fn found(file: &Sparse) -> Vec<(u64, u64)> {
    let delta = load::load(file, "image").expect("a sound image");
    let image = delta.expanded().expect("an image");
    assert_eq!(image.extension, ExtensionState::Valid, "[open]");
    let [bitmap] = &image.bitmaps[..] else {
        panic!("[open] {} bitmaps", image.bitmaps.len());
    };
    let ranges = bitmap.ranges().map(|(start, len)| (start.0, len.0));
    ranges.collect()
}

#[test]
fn what_was_written_is_dirty_in_whichever_cluster_of_the_bitmap() {
    // Clusters of 4 KiB: 32,768 bits each; of 512 KiB: two pieces of what is written at once.
    for (cluster, entries) in [(8, 20_000), (1024, 9000)] {
        let file = image(cluster, entries, 1);
        assert_eq!(found(&file), [], "[open] nothing is dirty yet");
        let places = [5, 32_767, 32_768, 70_001, 100_000, 131_072, 159_990];
        let mut disk = open(file.clone(), cluster);
        for at in places {
            disk.write(Sector(at), &[9; 1024], false).expect("written");
        }
        disk.close().expect("closed");
        let mut dirty = found(&file);
        for range in &mut dirty {
            assert!(range.1 < 6, "[linear] clusters of {cluster}: {range:?}");
        }
        let covered = |at| {
            dirty
                .iter()
                .any(|(start, len)| (*start..start + len).contains(&at))
        };
        for at in places {
            assert!(
                covered(at) && covered(at + 1),
                "[linear] {at} is clean: {dirty:?}"
            );
            let neighbours = [at.wrapping_sub(1), at + 2];
            let written = |at| places.iter().any(|place| (*place..place + 2).contains(&at));
            for beside in neighbours {
                assert_eq!(
                    covered(beside),
                    written(beside),
                    "[linear] {beside}: {dirty:?}"
                );
            }
        }
    }
}

#[test]
fn ranges_are_in_sectors_and_end_with_the_disk() {
    let mut bitmap = DirtyBitmap::new(ID, Sectors(1003), 8).expect("a bitmap");
    bitmap.mark(Sector(17), Sectors(1));
    bitmap.mark(Sector(40), Sectors(17));
    bitmap.mark(Sector(1002), Sectors(1));
    let ranges: Vec<_> = bitmap.ranges().collect();
    let expected = [(16, 8), (40, 24), (1000, 3)];
    let expected = expected.map(|(start, len)| (Sector(start), Sectors(len)));
    assert_eq!(ranges, expected, "[size]");
    assert_eq!(bitmap.dirty(), Sectors(35), "[size]");
}

/// A file system that has space for so many bytes of the file.
#[derive(Clone)]
struct Small(Sparse, std::rc::Rc<std::cell::Cell<u64>>);

impl Small {
    fn fits(&self, end: u64) -> io::Result<()> {
        match end > self.1.get() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl DeltaFile for Small {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.fits(at + buf.len() as u64)?;
        self.0.write_at(at, buf)
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.0.zero_at(at, len, punch)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fits(len)?;
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// There is no space for the bitmap: the image is closed without it, and is as long as its last cluster needs.
#[test]
fn a_close_without_space_gives_the_bitmap_up_and_the_tail_back() {
    let sparse = image(8, 64, 1);
    let full = std::rc::Rc::new(std::cell::Cell::new(u64::MAX));
    let mut disk = open(Small(sparse.clone(), std::rc::Rc::clone(&full)), 64);
    disk.write(Sector(80), &[3; 4096], false).expect("written");
    disk.write(Sector(0), &[4; 4096], false).expect("written");
    disk.flush().expect("flushed");
    // Header and BAT, the old extension, two clusters of data: the new one finds no place behind them.
    let delta = load::load(&sparse, "image").expect("a sound image");
    let bat = &delta.expanded().expect("an image").bat;
    let last = u64::from(bat.iter().copied().max().expect("a cluster"));
    full.set((last + 1) * 4096);
    disk.close().expect("closed");
    let delta = load::load(&sparse, "image").expect("a sound image");
    let image = delta.expanded().expect("an image");
    assert_eq!(image.header.in_use, InUse::Closed0, "[open]");
    assert!(image.bitmaps.is_empty(), "[open] {:?}", image.extension);
    assert_eq!(sparse.len().expect("a length"), (last + 1) * 4096, "[size]");
    let mut disk = open(sparse, 8);
    let mut bytes = [0; 4096];
    disk.read(Sector(80), &mut bytes).expect("read");
    assert_eq!(bytes, [3; 4096], "[linear]");
}
