//! Files that write less than they are given, or fail where they might only be unable; tracking that ends; what a dump shows.

use std::io;

use ploop_core::Options;
use ploop_core::control::files::grow;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::load;
use ploop_core::units::{Clu, Sector, Sectors};

use crate::sparse::{Picture, Sparse};

const CLUSTER: u32 = 8;

fn image(entries: u32, slots: &[(u32, u32)]) -> Sparse {
    let first = (64 + 4 * entries).div_ceil(512).next_multiple_of(CLUSTER);
    Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: CLUSTER,
        entries,
        file: u64::from(first) + u64::from(CLUSTER) * slots.len() as u64,
        slots,
    })
}

fn open(file: impl DeltaFile + 'static) -> Disk {
    let delta = load::load(&file, "image").expect("a sound image");
    Disk::open(vec![delta], vec![Box::new(file)], Options::default()).expect("opened")
}

/// What a file does that is not quite one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It writes so many bytes of a call.
    Writes(usize),
    /// It zeroes nothing, for this reason.
    Zeroes(io::ErrorKind),
}

#[derive(Clone)]
struct Odd(Sparse, Fault);

impl DeltaFile for Odd {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        match self.1 {
            Fault::Writes(most) => self.0.write_at(at, &buf[..buf.len().min(most)]),
            Fault::Zeroes(_) => self.0.write_at(at, buf),
        }
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        match self.1 {
            Fault::Writes(_) => self.0.zero_at(at, len, punch),
            Fault::Zeroes(kind) => Err(kind.into()),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn writes_that_end_inside_a_sector_are_finished_where_they_ended() {
    for most in [1, 100, 511, 513, 700, 4095] {
        let sparse = image(8, &[]);
        let mut disk = open(Odd(sparse.clone(), Fault::Writes(most)));
        let bytes: Vec<u8> = (0..4096u32).map(|at| (at % 251) as u8 + 1).collect();
        disk.write(Sector(24), &bytes, false).expect("written");
        disk.write(Sector(27), &bytes[512..1024], true)
            .expect("written");
        disk.close().expect("closed");
        let mut expected = bytes.clone();
        expected[3 * 512..4 * 512].copy_from_slice(&bytes[512..1024]);
        let mut found = vec![0; 4096];
        open(sparse).read(Sector(24), &mut found).expect("read");
        assert!(found == expected, "[linear] {most} bytes at most");
    }
}

#[test]
fn a_file_that_fails_to_zero_is_not_one_that_cannot() {
    // The last cluster of the disk is cut, and its rest becomes a part of it.
    let sparse = image(8, &[(7, 1)]);
    sparse.put(36, &61u64.to_le_bytes());
    sparse.put(4096, &[7; 4096]);
    let change = |kind| {
        grow(
            &Odd(sparse.clone(), Fault::Zeroes(kind)),
            "image",
            Sectors(62),
        )
    };
    let error = change(io::ErrorKind::Other).expect_err("the file failed");
    assert!(error.to_string().contains("zero"), "[refused] {error}");
    change(io::ErrorKind::Unsupported).expect("written instead");
    let mut found = [1; 512];
    open(sparse).read(Sector(61), &mut found).expect("read");
    assert_eq!(found, [0; 512], "[linear]");
}

#[test]
fn a_bitmap_of_the_second_piece_of_its_cluster_is_written_there() {
    // Clusters of 512 KiB hold two pieces of what is written at once: the second one is about sectors from 2^21 on.
    let file = Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: 1024,
        entries: 9000,
        file: 1024,
        slots: &[],
    });
    let start = ploop_core::control::files::Change::Start {
        id: [7; 16],
        granularity: 1,
    };
    ploop_core::control::files::change_bitmaps(&file, "image", start).expect("a bitmap");
    let delta = load::load(&file, "image").expect("a sound image");
    let options = Options {
        prealloc: Sectors(1024),
        ..Options::default()
    };
    let mut disk = Disk::open(vec![delta], vec![Box::new(file.clone())], options).expect("opened");
    let places = [5, 3_000_000, 4_194_303, 4_200_000];
    for at in places {
        disk.write(Sector(at), &[9; 512], false).expect("written");
    }
    disk.close().expect("closed");
    let delta = load::load(&file, "image").expect("a sound image");
    let bitmaps = &delta.expanded().expect("an image").bitmaps;
    let ranges = bitmaps[0].ranges().map(|(start, len)| (start.0, len.0));
    let expected = places.map(|at| (at, 1));
    assert_eq!(ranges.collect::<Vec<_>>(), expected, "[linear]");
}

#[test]
fn tracking_ends_when_it_is_stopped() {
    let mut disk = open(image(8, &[]));
    disk.device().start_tracking();
    disk.write(Sector(8), &[1; 512], false).expect("written");
    assert_eq!(disk.device().tracked(), 1, "[linear]");
    disk.device().clear_tracking();
    assert_eq!(disk.device().tracked(), 0, "[linear]");
    disk.write(Sector(16), &[1; 512], false).expect("written");
    assert_eq!(disk.device().next_tracked(), Ok(Some(Clu(2))), "[linear]");
    disk.write(Sector(24), &[1; 512], false).expect("written");
    disk.device().stop_tracking();
    assert!(disk.device().next_tracked().is_err(), "[refused]");
    disk.write(Sector(32), &[1; 512], false).expect("written");
    assert_eq!(disk.device().tracked(), 0, "[linear]");
}

#[test]
fn a_dump_shows_what_is_mapped_and_no_more() {
    let mut disk = open(image(1000, &[(3, 1), (700, 2)]));
    let slots = |disk: &Disk| {
        let text = disk.device().dump().to_string();
        text.lines().filter(|line| line.contains("slot")).count()
    };
    assert_eq!(slots(&disk), 2, "[size] {}", disk.device().dump());
    disk.write(Sector(80), &[1; 512], true).expect("written");
    assert_eq!(slots(&disk), 3, "[size] {}", disk.device().dump());
}

#[test]
fn a_long_table_is_written_to_its_end_and_no_further() {
    // More than one piece of what is read and written at once.
    let sparse = image(20_000, &[]);
    let before = sparse.len().expect("a length");
    grow(&sparse, "image", Sectors(u64::from(20_008 * CLUSTER))).expect("grown");
    assert_eq!(sparse.len().expect("a length"), before, "[size]");
    let mut disk = open(sparse);
    let last = Sector(u64::from(20_007 * CLUSTER));
    disk.write(last, &[1; 512], true).expect("written");
    disk.close().expect("closed");
}

#[test]
fn a_new_table_is_empty_on_a_file_that_cannot_zero() {
    let sparse = image(8, &[(2, 1)]);
    sparse.put(512, &[0xff; 3584]);
    sparse.put(4096, &[7; 4096]);
    let file = Odd(sparse.clone(), Fault::Zeroes(io::ErrorKind::Unsupported));
    grow(&file, "image", Sectors(u64::from(20_000 * CLUSTER))).expect("grown");
    let delta = load::load(&sparse, "image").expect("a sound image");
    let bat = &delta.expanded().expect("an image").bat;
    let mapped = bat.iter().filter(|entry| **entry != 0).count();
    assert_eq!((bat.len(), mapped), (20_000, 1), "[size]");
    let mut found = [0; 512];
    open(sparse).read(Sector(16), &mut found).expect("read");
    assert_eq!(found, [7; 512], "[linear]");
}
