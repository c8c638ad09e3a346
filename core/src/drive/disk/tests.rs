mod bitmaps;
mod close;
mod faults;
mod files;
mod stale;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::*;
use crate::device::WriteBack;
use crate::format::Version;
use crate::load;

/// A file in memory; clones share it.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<Vec<u8>>>);

impl DeltaFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.borrow().len() as u64)
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.borrow();
        let from = (at as usize).min(bytes.len());
        let len = buf.len().min(bytes.len() - from);
        buf[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let mut bytes = self.0.borrow_mut();
        let end = at as usize + buf.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(buf);
        Ok(buf.len())
    }
    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        let mut bytes = self.0.borrow_mut();
        let end = ((at + len) as usize).min(bytes.len());
        bytes[at as usize..end].fill(0);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.borrow_mut().resize(len as usize, 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn image(version: Version, cluster: u64, size: u64) -> Memory {
    let file = Memory::default();
    load::new_image(&file, version, Sectors(cluster), Sectors(size)).expect("a fresh image");
    file
}

fn open(files: &[Memory], options: Options) -> Disk {
    let chain = files
        .iter()
        .map(|file| load::load(file, "memory").expect("loads"))
        .collect();
    let boxed = files
        .iter()
        .map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>)
        .collect();
    Disk::open(chain, boxed, options).expect("opens")
}

/// A small deterministic generator; the content of a test, not its point.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Random operations against an array of bytes, closing and opening now and then, with a snapshot on top half way.
fn random_against_array(
    version: Version,
    cluster: u64,
    sectors: u64,
    write_back: WriteBack,
    seed: u64,
) {
    let options = Options {
        write_back,
        prealloc: Sectors(cluster * 2),
        ..Options::default()
    };
    let mut rng = Rng(seed);
    let mut files = vec![image(version, cluster, sectors)];
    let mut disk = open(&files, options);
    let mut expected = vec![0u8; (sectors * SECTOR_BYTES) as usize];
    for step in 0..600u64 {
        let start = rng.below(sectors);
        let len = 1 + rng.below((sectors - start).min(2 * cluster + 1));
        let range = (start * SECTOR_BYTES) as usize..((start + len) * SECTOR_BYTES) as usize;
        match rng.below(10) {
            0..=3 => {
                let data = vec![1 + (step % 255) as u8; range.len()];
                disk.write(Sector(start), &data, rng.below(4) == 0)
                    .expect("writes");
                expected[range].copy_from_slice(&data);
            }
            4 => {
                let unmap = rng.below(2) == 0;
                disk.write_zeroes(Sector(start), Sectors(len), rng.below(3) == 0, unmap)
                    .expect("zeroes");
                expected[range].fill(0);
            }
            5 => {
                disk.discard(Sector(start), Sectors(len)).expect("discards");
                disk.read(Sector(start), &mut expected[range])
                    .expect("reads");
            }
            6 => disk.flush().expect("flushes"),
            7 => {
                disk.tick(Millis(step * 20));
            }
            8 => {
                disk.close().expect("closes");
                let last = files.last().expect("a file");
                assert_eq!(last.0.borrow()[44..48], [0; 4], "closed with in-use 0");
                if files.len() < 3 && rng.below(2) == 0 {
                    files.push(image(version, cluster, sectors));
                }
                disk = open(&files, options);
            }
            _ => {
                let mut data = vec![0xEE; range.len()];
                disk.read(Sector(start), &mut data).expect("reads");
                assert!(data == expected[range], "step {step}: {start}+{len}");
            }
        }
        disk.device().verify();
    }
    let mut all = vec![0; expected.len()];
    disk.read(Sector(0), &mut all).expect("reads");
    assert!(all == expected);
}

#[test]
fn random_operations_read_back_as_written() {
    for (version, cluster, sectors) in [
        (Version::V2, 1, 70),
        (Version::V2, 3, 50),
        (Version::V1, 4, 61),
        (Version::V2, 8, 8),
        (Version::V1, 1, 9),
    ] {
        for seed in 0..4 {
            random_against_array(
                version,
                cluster,
                sectors,
                WriteBack::Delayed(Millis(50)),
                seed,
            );
            random_against_array(version, cluster, sectors, WriteBack::Immediate, seed + 100);
        }
    }
}

#[test]
fn an_image_that_was_only_read_is_not_changed() {
    let file = image(Version::V2, 4, 40);
    let before = file.0.borrow().clone();
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    let mut data = [1; 512];
    disk.read(Sector(39), &mut data).expect("reads");
    disk.flush().expect("flushes");
    disk.close().expect("closes");
    assert_eq!(data, [0; 512]);
    assert!(*file.0.borrow() == before);
    assert_eq!(disk.read(Sector(0), &mut data), Err(Failure::Closed));
}

#[test]
fn requests_beyond_the_end_and_writes_to_a_read_only_device_fail() {
    let file = image(Version::V2, 4, 41);
    let mut disk = open(
        std::slice::from_ref(&file),
        Options {
            write: false,
            ..Options::default()
        },
    );
    let mut data = [0; 1024];
    assert_eq!(disk.read(Sector(40), &mut data), Err(Failure::OutOfRange));
    assert_eq!(
        disk.read(Sector(u64::MAX), &mut data),
        Err(Failure::OutOfRange)
    );
    assert_eq!(disk.write(Sector(0), &data, false), Err(Failure::ReadOnly));
    assert_eq!(disk.discard(Sector(0), Sectors(4)), Err(Failure::ReadOnly));
    for (start, len) in [(40, 2), (42, 0), (u64::MAX, 1), (1, u64::MAX)] {
        let range = disk.discard(Sector(start), Sectors(len));
        assert_eq!(range, Err(Failure::OutOfRange));
    }
}
