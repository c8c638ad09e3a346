//! The metadata area: real bytes, torn at the granule; and the border between bytes and values.

use super::*;
use crate::disk::sector::{BLOB, FOREIGN, SECTOR, fill_pattern};
use ploop_core::drive::DeltaFile;

const TINY: Geometry = Geometry {
    meta_len: 512,
    granule: 16,
    limit_sectors: 64,
};

fn tiny() -> SimFile {
    let mut file = SimFile::new();
    file.reset(TINY, &[7; 512], &[Value(5), Value::ZERO], 512 * 3);
    file
}

fn bytes(read: impl Fn(u64, &mut [u8]) -> usize, at: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0xee; len];
    let done = read(at, &mut out);
    out.truncate(done);
    out
}

#[test]
fn a_page_write_is_torn_at_the_granule() {
    let mut file = tiny();
    // Four granules; the third one does not change.
    let mut page = [9; 64];
    page[32..48].fill(7);
    let id = file.submit(Change::Bytes {
        at: 64,
        bytes: &page,
    });
    done(&mut file, id);
    let mut images = file.crash_images(100);
    assert_eq!((images.nominal(), images.distinct()), (16, 8));
    let mut all = BTreeSet::new();
    while images.advance() {
        let image = bytes(|at, out| images.view().read_bytes(at, out), 0, 512);
        assert!(
            image[..64]
                .iter()
                .chain(&image[128..])
                .all(|&byte| byte == 7)
        );
        let granules: Vec<u8> = image[64..128]
            .chunks(16)
            .map(|granule| granule[0])
            .collect();
        assert!(
            image[64..128]
                .chunks(16)
                .all(|granule| granule.iter().all(|&byte| byte == granule[0]))
        );
        all.insert(granules);
    }
    assert_eq!(all.len(), 8);
    assert!(all.contains(&vec![9, 7, 7, 9]) && all.iter().all(|granules| granules[2] == 7));
}

#[test]
fn bytes_that_cover_a_part_of_a_unit_keep_the_rest() {
    let mut file = tiny();
    let id = file.submit(Change::Bytes {
        at: 8,
        bytes: &[9; 16],
    });
    done(&mut file, id);
    let read = |file: &SimFile, at, len| bytes(|at, out| file.view().read_bytes(at, out), at, len);
    assert_eq!(
        read(&file, 0, 32),
        [[7; 8], [9; 8], [9; 8], [7; 8]].concat()
    );
    // Across the border, into a data sector.
    let id = file.submit(Change::Bytes {
        at: 504,
        bytes: &[9; 16],
    });
    done(&mut file, id);
    let mut data = [0; SECTOR];
    fill_pattern(Value(5), 0, &mut data);
    data[..8].fill(9);
    assert_eq!(
        read(&file, 496, 8 + 8 + 512),
        [&[7; 8][..], &[9; 8], &data].concat()
    );
    assert_eq!(file.read_value(1), Value(BLOB));
}

#[test]
fn data_written_into_the_metadata_area_is_bytes_and_still_a_value() {
    let mut file = tiny();
    assert_eq!(file.read_value(0), Value(FOREIGN), "metadata read as data");
    write(&mut file, 0, &[77]);
    assert_eq!(file.read_value(0), Value(77));
    let mut expected = [0; SECTOR];
    fill_pattern(Value(77), 0, &mut expected);
    assert_eq!(
        bytes(|at, out| file.view().read_bytes(at, out), 0, SECTOR),
        expected
    );
    // A torn one is no value that anybody wrote.
    let mut images = file.crash_images(2);
    assert!(images.advance() && images.advance());
    assert_eq!(images.view().read_value(0), Value(FOREIGN));
    assert_eq!(images.distinct(), 1 << 32);
    // A metadata area of zeros reads as zeros.
    file.reset(TINY, &[], &[], 512);
    assert_eq!(file.read_value(0), Value::ZERO);
    write(&mut file, 0, &[0]);
    assert_eq!(file.crash_images(10).distinct(), 1);
}

#[test]
fn one_change_may_cross_the_border() {
    let mut file = tiny();
    write(&mut file, 0, &[0, 6]);
    assert_eq!(seen(&file), [0, 6, 0]);
    let id = file.submit(Change::Zero { at: 0, len: 3 });
    done(&mut file, id);
    assert_eq!(seen(&file), [0, 0, 0]);
    sync(&mut file);
    assert_eq!(images(&file), [(3, vec![0, 0, 0])].into());
}

#[test]
fn a_whole_image_goes_in_and_comes_out() {
    let mut image: Vec<u8> = (0..512 * 5 + 100)
        .map(|index| (index % 251) as u8)
        .collect();
    image[1024..1536].fill(0);
    fill_pattern(Value::of(3, 4), 0, &mut image[1536..2048]);
    let mut file = SimFile::new();
    file.reset_bytes(TINY, &image);
    assert_eq!(DeltaFile::len(&file).unwrap(), image.len() as u64);
    assert_eq!(file.len_sectors(), 6);
    assert_eq!(
        bytes(|at, out| file.read_at(at, out).unwrap(), 0, 10_000),
        image
    );
    assert_eq!(
        bytes(|at, out| file.read_at(at, out).unwrap(), 517, 33),
        image[517..550]
    );
    assert_eq!(file.read_at(image.len() as u64, &mut [0; 8]).unwrap(), 0);
    assert_eq!(file.read_at(u64::MAX, &mut [0; 8]).unwrap(), 0);
    assert_eq!(file.read_value(1), Value(BLOB));
    assert_eq!(file.read_value(2), Value::ZERO);
    assert_eq!(file.read_value(3), Value::of(3, 4));
    // A crash keeps blobs.
    file.crash(&mut calm());
    assert_eq!(
        bytes(|at, out| file.read_at(at, out).unwrap(), 0, 10_000),
        image
    );
}

#[test]
fn granules_are_forgotten_when_there_are_too_many() {
    let mut file = tiny();
    let mut page = [0; 512];
    for round in 0..1000_u32 {
        page.chunks_mut(4)
            .for_each(|slot| slot.copy_from_slice(&round.to_le_bytes()));
        let id = file.submit(Change::Bytes {
            at: 0,
            bytes: &page,
        });
        done(&mut file, id);
        sync(&mut file);
        if round % 100 == 99 {
            file.crash(&mut calm());
        }
    }
    assert!(
        file.contents.granule_bytes() < 200 << 10,
        "{} bytes",
        file.contents.granule_bytes()
    );
    assert_eq!(
        bytes(|at, out| file.view().read_bytes(at, out), 0, 512),
        page
    );
    assert_eq!(
        file.cells[..32]
            .iter()
            .filter(|cell| cell.visible != cell.durable)
            .count(),
        0
    );
}

#[test]
fn a_change_beyond_the_limit_does_not_fit() {
    let file = tiny();
    let values = [Value(1); 2];
    assert!(file.fits(&Change::Data {
        at: 62,
        values: &values
    }));
    for change in [
        Change::Data {
            at: 63,
            values: &values,
        },
        Change::Data {
            at: u64::MAX,
            values: &values,
        },
        Change::Zero {
            at: 1,
            len: u64::MAX,
        },
        Change::Bytes {
            at: 512 * 64 - 1,
            bytes: &[1, 2],
        },
        Change::Extend { sectors: 65 },
        Change::SetLen {
            bytes: 512 * 64 + 1,
        },
    ] {
        assert!(!file.fits(&change), "{change:?}");
    }
}
