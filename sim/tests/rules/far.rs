//! Positions beyond 2^32 sectors, and sizes beyond 2^30 clusters.

use ploop_core::Options;
use ploop_core::control::files::{ControlError, grow};
use ploop_core::drive::Disk;
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};

use crate::sparse::{Picture, Sparse};

/// Sectors of a gibibyte.
const GIB: u32 = 1 << 21;

/// A disk of 4 TiB and a bit, in clusters of 1 GiB, whose first cluster stands behind all others.
fn large() -> Sparse {
    let (entries, last) = (4097, 4098);
    let file = Sparse::image(Picture {
        cluster: GIB,
        entries,
        file: u64::from(last + 1) * u64::from(GIB),
        slots: &[(0, last), (entries - 1, 1)],
    });
    file.put(u64::from(last) * u64::from(GIB) * 512, b"far");
    file.put(u64::from(GIB) * 512, b"near");
    file
}

#[test]
fn a_disk_of_more_than_2_tib_is_one() {
    let delta = load::load(&large(), "large");
    let delta = delta.unwrap_or_else(|error| panic!("[open] refused: {error}"));
    let size = delta.expanded().expect("an image").layout.size;
    assert_eq!(size, Sectors(4097 << 21), "[size]");
}

#[test]
fn a_cluster_behind_2_tib_is_read_where_it_is() {
    let file = large();
    let delta = load::load(&file, "large");
    let delta = delta.unwrap_or_else(|error| panic!("[open] refused: {error}"));
    let options = Options {
        write: false,
        ..Options::default()
    };
    let mut disk = Disk::open(vec![delta], vec![Box::new(file)], options).expect("opened");
    for (sector, expected) in [(0, &b"far"[..]), (4096 << 21, b"near")] {
        let mut bytes = [0; 512];
        disk.read(Sector(sector), &mut bytes).expect("read");
        assert!(
            bytes.starts_with(expected),
            "[linear] sector {sector} is not {expected:?} but {:?}",
            &bytes[..4]
        );
    }
}

/// The bytes of such a BAT, or its entries, do not fit into what 32 bits can count.
#[test]
fn a_disk_grows_as_far_as_the_format_goes_and_no_further() {
    for clusters in [1_u64 << 29, 1 << 30, (1 << 30) + 5, 1 << 32, (1 << 32) + 5] {
        let file = Sparse::image(Picture {
            cluster: 8,
            entries: 4,
            file: 16,
            slots: &[(2, 1)],
        });
        let grown = grow(&file, "small", Sectors(clusters * 8));
        assert!(
            matches!(grown, Err(ControlError::Refused { .. })),
            "[size] grown to {clusters} clusters: {grown:?}"
        );
        assert_eq!(
            file.changes.get(),
            0,
            "[refused] written before it was refused"
        );
    }
}
