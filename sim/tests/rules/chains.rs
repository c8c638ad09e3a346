//! Chains that must not be opened, and files that cannot be asked.

use std::io;

use ploop_core::delta::chain::{MAX_LEVELS, validate};
use ploop_core::delta::{Body, LoadedDelta};
use ploop_core::drive::DeltaFile;
use ploop_core::load;
use ploop_core::{Device, Options};

use crate::sparse::{Picture, Sparse};

fn image() -> LoadedDelta {
    let picture = Picture {
        version: Sparse::VERSION,
        cluster: 8,
        entries: 4,
        file: 16,
        slots: &[],
    };
    load::load(&Sparse::image(picture), "image").expect("a sound image")
}

fn raw(file_len: u64) -> LoadedDelta {
    LoadedDelta {
        name: "raw".to_owned(),
        file_len,
        body: Body::Raw,
    }
}

#[test]
fn a_chain_has_an_end() {
    for levels in [MAX_LEVELS + 1, 255, 256, 257, 300, 512, 65_536 + 1] {
        let chain = vec![image(); levels];
        assert!(
            validate(&chain, true).is_err(),
            "[chain] a chain of {levels} deltas is taken"
        );
    }
}

#[test]
fn a_raw_file_alone_is_not_written() {
    let chain = [raw(1 << 20)];
    assert!(validate(&chain, false).is_ok());
    assert!(
        validate(&chain, true).is_err(),
        "[chain] a raw file may be written"
    );
}

#[test]
fn a_raw_base_without_a_byte_maps_nothing() {
    let chain = vec![raw(0), image()];
    if validate(&chain, false).is_err() {
        return;
    }
    let options = Options {
        write: false,
        ..Options::default()
    };
    let device = Device::open(chain, options).expect("valid");
    for clu in 0..4 {
        let found = device.locate(ploop_core::units::Sector(clu * 8));
        assert_eq!(
            found,
            ploop_core::control::inspect::Mapping::Unmapped,
            "[chain] cluster {clu} in a file of no length"
        );
    }
}

#[test]
fn clusters_have_a_size() {
    let picture = Picture {
        version: Sparse::VERSION,
        cluster: 8,
        entries: 4,
        file: 16,
        slots: &[],
    };
    let file = Sparse::image(picture);
    file.put(28, &[0; 4]);
    assert!(load::load(&file, "image").is_err(), "[open] clusters of 0");
    assert!(load::inspect(&file, "image").is_err(), "[open] inspected");
}

/// Byte of a header field of 32 bits, and a value that the rest of the image contradicts.
#[test]
fn fields_that_reach_too_far_are_refused() {
    let fields = [(36, 4 * 8 + 1), (36, 100 * 8), (48, 24), (48, 1 << 20)];
    for (field, value) in fields {
        let file = Sparse::image(Picture {
            version: Sparse::VERSION,
            cluster: 8,
            entries: 4,
            file: 16,
            slots: &[],
        });
        file.put(field, &u32::to_le_bytes(value));
        assert!(
            load::load(&file, "image").is_err(),
            "[open] byte {field} holds {value}, and it is an image"
        );
    }
}

/// A file that is gone.
struct Gone;

impl DeltaFile for Gone {
    fn len(&self) -> io::Result<u64> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn zero_at(&self, _: u64, _: u64, _: bool) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[test]
fn a_file_that_cannot_be_asked_is_not_loaded() {
    assert!(load::load(&Gone, "gone").is_err(), "[open] an image");
    assert!(load::load_raw(&Gone, "gone").is_err(), "[open] a raw file");
    assert!(load::inspect(&Gone, "gone").is_err(), "[open] inspected");
}
