//! The format extension at its edges: one without bitmaps, one that nobody summed up, one whose table is long.

use ploop_core::Options;
use ploop_core::control::files::{Change, change_bitmaps, grow};
use ploop_core::delta::ExtensionState;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::extension::{MAGIC, NECESSARY};
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};

use crate::sparse::{Picture, Sparse};

const CLUSTER: u32 = 8;
/// Bytes of a cluster.
const BYTES: usize = 4096;
/// Of the header: the mark of an image whose extension counts, and where the extension is, in sectors.
const CLOSED_V21: u32 = 0x312e_3276;
const IN_USE_AT: u64 = 44;
const EXTENSION_AT: u64 = 56;

/// An image of 8 clusters with this extension in its host cluster 2; cluster 3 has data.
fn image(extension: &[u8]) -> Sparse {
    let sparse = Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: CLUSTER,
        entries: 8,
        file: u64::from(4 * CLUSTER),
        slots: &[(5, 3)],
    });
    sparse.put(IN_USE_AT, &CLOSED_V21.to_le_bytes());
    sparse.put(EXTENSION_AT, &u64::from(2 * CLUSTER).to_le_bytes());
    sparse.put(2 * BYTES as u64, extension);
    sparse.put(3 * BYTES as u64, &[5; BYTES]);
    sparse
}

/// An extension with one feature, unless it is 0, that nobody knows and without data.
fn extension(feature: u64, flags: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    bytes[24..32].copy_from_slice(&feature.to_le_bytes());
    bytes[32..40].copy_from_slice(&flags.to_le_bytes());
    let sum = md5::compute(&bytes[24..]);
    bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..24].copy_from_slice(&sum.0);
    bytes
}

fn state(sparse: &Sparse) -> ExtensionState {
    let delta = load::load(sparse, "image").expect("a sound image");
    delta.expanded().expect("an image").extension
}

/// Where the header says that the extension is.
fn named(sparse: &Sparse) -> u64 {
    let mut bytes = [0; 8];
    sparse.read_at(EXTENSION_AT, &mut bytes).expect("read");
    u64::from_le_bytes(bytes)
}

fn read(sparse: &Sparse, sector: u64) -> [u8; 512] {
    let delta = load::load(sparse, "image").expect("a sound image");
    let file = Box::new(sparse.clone());
    let mut disk = Disk::open(vec![delta], vec![file], Options::default()).expect("opened");
    let mut found = [0; 512];
    disk.read(Sector(sector), &mut found).expect("read");
    found
}

#[test]
fn an_extension_without_bitmaps_stays_until_the_bat_needs_its_place() {
    let size = |clusters: u64| Sectors(clusters * u64::from(CLUSTER));
    // A BAT of one cluster, of two (then data starts where the extension is), of three.
    for (clusters, stays) in [(900, true), (1200, true), (2100, false)] {
        let sparse = image(&extension(0, 0));
        assert_eq!(state(&sparse), ExtensionState::Valid, "[open]");
        let grown = grow(&sparse, "image", size(clusters)).expect("grown");
        let dropped = (!stays).then_some(Sector(16));
        assert_eq!(grown.extension_dropped, dropped, "[size] {clusters}");
        assert_eq!(named(&sparse) == 16, stays, "[size] {clusters}");
        let why = state(&sparse);
        let is_left = matches!(why, ExtensionState::Ignored { .. });
        assert_eq!(is_left, stays, "[size] {clusters}: {why:?}");
        assert_eq!(read(&sparse, 40), [5; 512], "[linear] {clusters}");
        let last = size(clusters).0 - 1;
        assert_eq!(read(&sparse, last), [0; 512], "[linear] {clusters}");
    }
}

#[test]
fn a_feature_that_nobody_summed_up_is_not_obeyed() {
    let sparse = image(&extension(77, NECESSARY));
    let feature = ExtensionState::ReadOnly { feature: 77 };
    assert_eq!(state(&sparse), feature, "[open]");
    sparse.put(IN_USE_AT, &0u32.to_le_bytes());
    assert_eq!(state(&sparse), feature, "[open] whoever closed it");
    // A byte of the sum.
    sparse.put(2 * BYTES as u64 + 8, &[0xee]);
    let ignored = matches!(state(&sparse), ExtensionState::Ignored { .. });
    assert!(ignored, "[open] {:?}", state(&sparse));
    sparse.put(IN_USE_AT, &CLOSED_V21.to_le_bytes());
    let damaged = matches!(state(&sparse), ExtensionState::Damaged { .. });
    assert!(damaged, "[open] {:?}", state(&sparse));
}

#[test]
fn a_table_of_bitmaps_may_be_longer_than_a_piece_of_it() {
    // Clusters of 8 KiB hold 65,536 bits: the table has 600 entries, of which 512 are read at a time.
    const CLUSTER: u64 = 16;
    const BITS: u64 = 65_536;
    let sparse = Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: CLUSTER as u32,
        entries: (600 * BITS / CLUSTER) as u32,
        file: 64 * 1024,
        slots: &[],
    });
    let start = Change::Start {
        id: [7; 16],
        granularity: 1,
    };
    change_bitmaps(&sparse, "image", start).expect("a bitmap");
    let open = || {
        let delta = load::load(&sparse, "image").expect("a sound image");
        let ranges = {
            let bitmaps = &delta.expanded().expect("an image").bitmaps;
            let ranges = bitmaps[0].ranges().map(|(start, len)| (start.0, len.0));
            ranges.collect::<Vec<_>>()
        };
        let file = Box::new(sparse.clone());
        let disk = Disk::open(vec![delta], vec![file], Options::default());
        (ranges, disk.expect("opened"))
    };
    let places = [1, 511, 512, 513, 599].map(|entry| entry * BITS + 9);
    let mut disk = open().1;
    for at in places {
        disk.write(Sector(at), &[9; 512], false).expect("written");
    }
    disk.close().expect("closed");
    assert_eq!(open().0, places.map(|at| (at, 1)), "[linear]");
}
