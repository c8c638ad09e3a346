//! Positions beyond 2^32 sectors, and sizes beyond 2^30 clusters.

use ploop_core::control::files::{ControlError, Merge, Source, grow};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::Version;
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{Failure, Options};

use crate::sparse::{Picture, Sparse};

/// Sectors of a gibibyte.
const GIB: u32 = 1 << 21;

/// A disk of 4 TiB and a bit, in clusters of 1 GiB, whose first cluster stands behind all others.
fn large() -> Sparse {
    let (entries, last) = (4097, 4098);
    let file = Sparse::image(Picture {
        version: Sparse::VERSION,
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
            version: Sparse::VERSION,
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

/// A chain of version 1 whose top cannot take in what the lower has: entries are sector numbers of 32 bits, and there is no
/// host for the last one. `upper`: clusters of the top that are not mapped; the lower has these two.
fn full(upper: [u32; 2], lower_entries: u32) -> (Sparse, Sparse) {
    let entries = 2048;
    let picture = |entries, slots: &[(u32, u32)]| {
        Sparse::image(Picture {
            version: Version::V1,
            cluster: GIB,
            entries,
            file: u64::from(slots.len() as u32 + 1) * u64::from(GIB),
            slots,
        })
    };
    let all = (0..entries).filter(|clu| !upper.contains(clu));
    let mapped: Vec<(u32, u32)> = all.zip(1..).map(|(clu, host)| (clu, host * GIB)).collect();
    let below: Vec<(u32, u32)> = (upper.into_iter().filter(|clu| *clu < lower_entries))
        .zip(1..)
        .map(|(clu, host)| (clu, host * GIB))
        .collect();
    (picture(lower_entries, &below), picture(entries, &mapped))
}

/// What cannot be merged to its end is refused before a byte is written, whether it is the upper or the lower that would be
/// too large, grown first or not.
#[test]
fn a_merge_that_has_no_host_is_refused_before_it_begins() {
    let (lower, upper) = full([5, 9], 2048);
    let (smaller, same) = full([5, 9], 10);
    let cases = [
        (&lower, &upper, true),
        (&lower, &upper, false),
        (&smaller, &same, true),
        (&smaller, &same, false),
    ];
    for (lower, upper, forward) in cases {
        let source = |file, name| Source {
            file,
            name,
            raw: false,
        };
        let pair = (source(lower, "lower"), source(upper, "upper"));
        let merge = match forward {
            true => Merge::forward(pair.0, pair.1),
            false => Merge::backward(pair.0, pair.1),
        };
        let refused = merge.and_then(|mut merge| {
            loop {
                if merge.step(1)?.finished {
                    return Ok(());
                }
            }
        });
        let written = lower.changes.get() + upper.changes.get();
        assert!(
            matches!(refused, Err(ControlError::Refused { .. })) && written == 0,
            "[refused] forward: {forward}: {refused:?} after {written} changes"
        );
    }
}

/// Hosts of the format in a file of version 1 with clusters of this size: header and BAT are in the first.
fn hosts_of(cluster: u32) -> u32 {
    (u32::MAX / cluster) + 1
}

/// The file grows as far as it is asked to, and no further than an entry can say.
#[test]
fn a_file_grows_as_far_as_its_entries_reach() {
    for (cluster, left, step) in [
        (GIB, 3, 1),
        (GIB, 3, 2),
        (GIB, 3, 3),
        (GIB, 3, 4),
        (GIB, 3, 1000),
        (GIB, 1, 7),
        (GIB / 2, 2, 5),
        (GIB - GIB / 4, 2, 5),
        (GIB, 40, 16),
        (GIB, 3, u64::MAX >> 23),
    ] {
        let most = hosts_of(cluster);
        let first = most - left;
        let all = (0..first - 1).map(|clu| (clu, (clu + 1) * cluster));
        let file = Sparse::image(Picture {
            version: Version::V1,
            cluster,
            entries: most,
            file: u64::from(first) * u64::from(cluster),
            slots: &all.collect::<Vec<(u32, u32)>>(),
        });
        let options = Options {
            prealloc: Sectors(step * u64::from(cluster)),
            ..Options::default()
        };
        let delta = load::load(&file, "full").expect("a sound image");
        let files = vec![Box::new(file.clone()) as Box<dyn DeltaFile>];
        let mut disk = Disk::open(vec![delta], files, options).expect("opened");
        let mut hosts = first;
        for more in 0..left {
            let what = format!("cluster {cluster}, {more} of {left}, step {step}");
            let sector = Sector(u64::from(first - 1 + more) * u64::from(cluster));
            let done = disk.write(sector, &[7; 512], true);
            assert_eq!(done, Ok(()), "[size] {what}");
            if first + more >= hosts {
                let step = u32::try_from(step).unwrap_or(u32::MAX);
                hosts = hosts.saturating_add(step).min(most);
            }
            let len = file.len().expect("a length");
            assert_eq!(
                len / 512 / u64::from(cluster),
                u64::from(hosts),
                "[size] {what}"
            );
            let mut found = [0; 512];
            disk.read(sector, &mut found).expect("read");
            assert_eq!(found, [7; 512], "[linear] {what}");
        }
        let sector = Sector(u64::from(most - 1) * u64::from(cluster));
        let changes = file.changes.get();
        if disk.device().geometry().size.0 > sector.0 {
            let refused = disk.write(sector, &[7; 512], false);
            assert_eq!(refused, Err(Failure::NoSpace), "[size] cluster {cluster}");
            assert_eq!(file.changes.get(), changes, "[size] cluster {cluster}");
        }
        disk.close().expect("closed");
    }
}
