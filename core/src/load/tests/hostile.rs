//! Random and mutated input: never a panic, never a strict reader that accepts what the lenient one finds broken, and
//! what is accepted satisfies the contract by a second, naive reading.

use std::io;

use super::{Image, MemFile, Random};
use crate::delta::LoadedDelta;
use crate::drive::DeltaFile;
use crate::error::{Kind, LoadError};
use crate::format::Version::{V1, V2};
use crate::load::{inspect, load, load_raw, sniff};
use crate::units::{Clu, DstClu, Sector};

/// Loads both ways and compares; returns whether the strict reader accepted.
fn both_ways(bytes: Vec<u8>) -> bool {
    let file = MemFile::new(bytes);
    match (load(&file, "f"), inspect(&file, "f")) {
        (Ok(strict), Ok(lenient)) => {
            assert!(!lenient.is_corrupt(), "{:?}", lenient.problems);
            assert_eq!(strict, lenient.delta);
            check(&strict);
            true
        }
        (Ok(_), Err(error)) => panic!("strict accepts, lenient refuses: {error}"),
        (Err(strict), Ok(lenient)) => {
            assert!(lenient.is_corrupt(), "{strict}");
            let first = lenient
                .problems
                .iter()
                .find(|problem| problem.rule.kind() == Kind::Corrupt);
            assert_eq!(strict.rule(), first.map(|problem| problem.rule));
            check(&lenient.delta);
            false
        }
        (Err(strict), Err(lenient)) => {
            assert!(matches!(strict, LoadError::Refused { .. }), "{strict}");
            // A start of data or a size that the lenient reader passes over may hide what stops it later.
            assert!(matches!(lenient, LoadError::Refused { .. }), "{lenient}");
            false
        }
    }
}

/// The contract, pair by pair.
fn check(delta: &LoadedDelta) {
    let image = delta.expanded().expect("not raw");
    let layout = &image.layout;
    assert_eq!(image.bat.len(), layout.entries as usize);
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for (clu, &entry) in image
        .bat
        .iter()
        .enumerate()
        .filter(|(_, entry)| **entry != 0)
    {
        let start = layout.entry_sector(entry).0;
        assert!(start >= layout.data_start.0);
        assert!((start + layout.guest_len(Clu(clu as u32)).0) * 512 <= delta.file_len);
        assert!(start * 512 < delta.file_len);
        if let Some(host) = layout.host_of(entry) {
            assert_eq!(
                (layout.entry_of(host), layout.host_sector(host)),
                (Some(entry), Sector(start))
            );
            assert!(host >= layout.first_host());
        } else {
            assert!(!image.on_grid);
        }
        spans.push((start, start + layout.cluster.0));
    }
    for &DstClu(host) in &image.reserved {
        let start = layout.host_sector(DstClu(host)).0;
        assert!(host >= layout.first_host().0 && start * 512 < delta.file_len);
        spans.push((start, start + layout.cluster.0));
    }
    spans.sort_unstable();
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?} overlap");
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random(1);
    for round in 0..20_000 {
        let len = random.below(700) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        let magic: &[u8; 16] = if round % 2 == 0 {
            b"WithoutFreeSpace"
        } else {
            b"WithouFreSpacExt"
        };
        let n = bytes.len().min(16);
        bytes[..n].copy_from_slice(&magic[..n]);
        both_ways(bytes);
    }
}

#[test]
fn mutated_images_keep_the_contract() {
    let mut random = Random(2);
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let version = if random.below(2) == 0 { V1 } else { V2 };
        let cluster = 1 + random.below(9);
        let mut image = Image::new(version, cluster, random.below(90), random.below(12));
        if version == V1 && random.below(2) == 0 {
            image.header.data_off = random.below(4) as u32;
        }
        let unit = if version == V1 {
            random.below(2) * (cluster - 1) + 1
        } else {
            1
        };
        for entry in &mut image.bat {
            if random.below(3) == 0 {
                *entry = (random.below(24) * unit) as u32;
            }
        }
        if random.below(3) == 0 {
            image.header.ext_off = Sector(random.below(40));
            image.header.in_use = crate::format::InUse::ClosedV21;
        }
        let mut bytes = image.bytes();
        for _ in 0..random.below(3) {
            let interesting = [0, 1, 2, 0x7F, 0x80, 0xFF, random.next() as u8];
            let at = if random.below(2) == 0 {
                random.below(64)
            } else {
                random.below(bytes.len() as u64)
            };
            bytes[at as usize] = interesting[random.below(7) as usize];
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(1 + bytes.len() as u64) as usize);
        }
        if both_ways(bytes) {
            accepted += 1
        } else {
            refused += 1
        }
    }
    assert!(
        accepted > 2000 && refused > 2000,
        "{accepted} accepted, {refused} refused"
    );
}

#[test]
fn a_huge_sparse_file_costs_no_more_than_its_bat() {
    // 2^60 bytes of 512-byte clusters: a bit for each would be 2^48 bytes.
    let mut image = Image::new(V2, 1, 100, 0);
    image.bat[3] = 0x7FFF_FFFF;
    image.bat[9] = 7;
    let file = image.file();
    *file.len.borrow_mut() = 1 << 60;
    assert!(load(&file, "sparse").is_ok());
    let found = inspect(&file, "sparse").expect("sound");
    assert_eq!(found.leaked.len(), 3);
    // A cluster of 2 GiB for an extension, in a hole: read in pieces.
    let mut image = Image::new(V1, 8, 100, 0);
    image.header.ext_off = Sector(u64::MAX / 512 - 8);
    image.header.in_use = crate::format::InUse::ClosedV21;
    let file = image.file();
    *file.len.borrow_mut() = u64::MAX;
    assert!(load(&file, "sparse").is_ok());
}

#[test]
fn a_flood_of_problems_is_counted_not_kept() {
    let mut image = Image::new(V2, 1, 5000, 0);
    image.bat.fill(1);
    let found = image.inspect().expect("geometry is sound");
    assert_eq!((found.problems.len(), found.problem_count), (1000, 5000));
}

/// A file whose reads fail from some position on, or that is shorter than it says.
struct Bad {
    file: MemFile,
    from: u64,
    error: Option<io::ErrorKind>,
}

impl DeltaFile for Bad {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        match (at.checked_sub(self.from), self.error) {
            (Some(_), Some(kind)) => Err(kind.into()),
            (Some(_), None) => Ok(0),
            (None, _) => {
                let n = buf.len().min((self.from - at) as usize);
                self.file.read_at(at, &mut buf[..n])
            }
        }
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn zero_at(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

#[test]
fn an_io_error_is_not_damage_and_nothing_is_written() {
    for error in [Some(io::ErrorKind::TimedOut), None] {
        for from in [0, 63, 64, 70] {
            let file = Bad {
                file: Image::sample(V2).file(),
                from,
                error,
            };
            let wanted = error.unwrap_or(io::ErrorKind::UnexpectedEof);
            for result in [load(&file, "f").err(), inspect(&file, "f").err()] {
                match result {
                    Some(LoadError::Io { file, source, .. }) => {
                        assert_eq!((&file[..], source.kind()), ("f", wanted))
                    }
                    other => panic!("{from}: {other:?}"),
                }
            }
        }
    }
    let sound = Bad {
        file: Image::sample(V2).file(),
        from: u64::MAX,
        error: None,
    };
    assert!(
        load(&sound, "f").is_ok()
            && load_raw(&sound, "f").is_ok()
            && sniff(&sound).is_ok_and(|found| found)
    );
}
