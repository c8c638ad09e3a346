//! Headers whose number of entries contradicts the size: which of both is believed, and what a repair makes of it.

use ploop_core::control::files::{Fix, repair};
use ploop_core::drive::DeltaFile;
use ploop_core::error::Field;
use ploop_core::format::Version;
use ploop_core::load::{inspect, load};

use crate::sparse::{Picture, Sparse};

/// Of the header: the size in sectors (version 1: 32 bits), and where data starts.
const SIZE_AT: u64 = 36;
const DATA_AT: u64 = 48;

/// A version 1 image that leaves the start of data out, says that it has 4 slots, and has a disk of 300 clusters. Its
/// first slot leads to `first`; the words behind the fourth slot are `words`.
fn contradictory(first: u32, words: &[u32]) -> Sparse {
    let sparse = Sparse::image(Picture {
        version: Version::V1,
        cluster: 8,
        entries: 4,
        file: 64,
        slots: &[(0, first)],
    });
    sparse.put(SIZE_AT, &(300u64 * 8).to_le_bytes());
    sparse.put(DATA_AT, &0u32.to_le_bytes());
    let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    sparse.put(64 + 4 * 4, &words);
    sparse
}

/// The number of slots that is believed, and whether that is unsure.
fn believed(sparse: &Sparse) -> (usize, bool) {
    let found = inspect(sparse, "image").expect("an image");
    let image = found.delta.expanded().expect("an image");
    (image.bat.len(), found.unsure)
}

#[test]
fn words_behind_the_shorter_bat_are_slots_or_data() {
    // Where data would start: sector 1 behind 4 slots, 3 behind 300. A file of 64 sectors.
    const DATA: u32 = 1;
    const SLOT: u32 = 16;
    const NONSENSE: u32 = u32::MAX - 7;
    let nonsense = |count: usize| vec![NONSENSE; count];
    let slot_and = |count: usize| [vec![SLOT], nonsense(count)].concat();
    // Nothing but slots, or nothing at all: the BAT is the longer one.
    assert_eq!(believed(&contradictory(0, &[SLOT])), (300, false), "[open]");
    // An entry of the shorter one leads to between the two ends.
    assert_eq!(
        believed(&contradictory(DATA, &nonsense(1))),
        (4, false),
        "[open]"
    );
    // A word of data may look like a slot, one in nine.
    assert_eq!(
        believed(&contradictory(DATA, &slot_and(9))),
        (4, false),
        "[open]"
    );
    assert_eq!(
        believed(&contradictory(DATA, &slot_and(8))),
        (4, true),
        "[open]"
    );
    // Also the very first one.
    assert_eq!(believed(&contradictory(DATA, &[SLOT])), (4, true), "[open]");
    // The last sector of the file may be a slot's, the one behind it may not.
    assert_eq!(believed(&contradictory(DATA, &[63])), (4, true), "[open]");
    assert_eq!(believed(&contradictory(DATA, &[64])), (4, false), "[open]");
}

#[test]
fn a_header_alone_is_a_header() {
    let refused = |len: u64| {
        let sparse = contradictory(0, &[]);
        sparse.cut(len);
        load(&sparse, "image").expect_err("no image").to_string()
    };
    let short = refused(63);
    assert!(short.contains("63"), "[refused] {short}");
    assert_ne!(short.replace("63", "64"), refused(64), "[refused]");
}

/// A sparse image with this many slots, a disk of `size` clusters, and one slot that is mapped.
fn surplus(version: Version, cluster: u32, entries: u32, size: u64, mapped: u32) -> Sparse {
    let start = (64 + 4 * entries).div_ceil(512).next_multiple_of(cluster);
    let entry = match version {
        Version::V1 => start,
        Version::V2 => start / cluster,
    };
    let sparse = Sparse::image(Picture {
        version,
        cluster,
        entries,
        file: u64::from(start + cluster),
        slots: &[(mapped, entry)],
    });
    sparse.put(SIZE_AT, &(size * u64::from(cluster)).to_le_bytes());
    sparse
}

/// What a repair changed of the header: field, from, to.
fn headers(sparse: &Sparse) -> Vec<(Field, u64, u64)> {
    let done = repair(sparse, "image").expect("repaired");
    assert!(done.sound, "[refused] {done:?}");
    let fixes = done.fixes.iter().filter_map(|fix| match fix {
        Fix::Header { field, from, to } => Some((*field, *from, *to)),
        _ => None,
    });
    fixes.collect()
}

#[test]
fn slots_beyond_the_disk_go_and_none_that_is_mapped() {
    // Some of them; none, and the disk reaches to the last one; both.
    let entries = (Field::Entries, 16, 10);
    let sparse = surplus(Version::V2, 8, 16, 10, 3);
    assert_eq!(headers(&sparse), [entries], "[size]");
    let sparse = surplus(Version::V2, 8, 16, 10, 15);
    let size = (Field::VirtualSize, 80, 128);
    assert_eq!(headers(&sparse), [size], "[size]");
    let sparse = surplus(Version::V2, 8, 16, 10, 12);
    let both = [(Field::VirtualSize, 80, 104), (Field::Entries, 16, 13)];
    assert_eq!(headers(&sparse), both, "[size]");
    assert_eq!(headers(&sparse), [], "[size] repaired twice");
}

#[test]
fn a_disk_of_version_1_does_not_become_larger_than_it_can() {
    // Clusters of 512 MiB: 4096 of them are 2^32 sectors, which version 1 cannot say.
    const CLUSTER: u32 = 1 << 20;
    let sparse = surplus(Version::V1, CLUSTER, 4100, 4000, 4098);
    let before = sparse.len().expect("a length");
    assert_eq!(headers(&sparse), [], "[size]");
    assert_eq!(sparse.len().expect("a length"), before, "[size]");
    let sparse = surplus(Version::V1, CLUSTER, 4100, 4000, 4090);
    let both = [
        (Field::VirtualSize, 4000 << 20, 4091 << 20),
        (Field::Entries, 4100, 4091),
    ];
    assert_eq!(headers(&sparse), both, "[size]");
    let sparse = surplus(Version::V2, CLUSTER, 5100, 5000, 7);
    let entries = (Field::Entries, 5100, 5000);
    assert_eq!(headers(&sparse), [entries], "[size] version 2 can");
}
