//! Which clusters of a file are taken. Finds overlaps while it is filled, and gaps afterwards.
//!
//! Dense: a bit per host cluster, for entries that all lie on the grid of a file that is not much longer than its BAT
//! can map. Sparse: a sorted set of first sectors, for everything else (several grids, or a few entries in a huge
//! sparse file). Either takes memory in proportion to the BAT.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::error::Rule;
use crate::format::Layout;
use crate::units::{DstClu, Sector, Sectors};

/// A bitmap of this size (in bits) is always allowed: 64 KiB.
const ALWAYS_DENSE: u64 = 1 << 19;

pub(super) struct Used {
    layout: Layout,
    set: Set,
}

enum Set {
    Dense(Vec<u64>),
    Sparse(BTreeSet<u64>),
}

impl Used {
    /// Nothing taken yet, for a file of `file_len` bytes. `on_grid`: everything claimed starts at a grid cluster.
    pub(super) fn new(layout: Layout, file_len: u64, on_grid: bool) -> Used {
        let hosts = layout
            .hosts_touching(Sector(0), Sectors::covering(file_len))
            .end;
        let dense = u64::from(hosts) <= (32 * u64::from(layout.entries)).max(ALWAYS_DENSE);
        let set = if on_grid && dense {
            Set::Dense(vec![0; hosts.div_ceil(64) as usize])
        } else {
            Set::Sparse(BTreeSet::new())
        };
        Used { layout, set }
    }

    /// Takes the cluster that starts at `at`. `Err`: the rule it breaks; nothing changed.
    pub(super) fn claim(&mut self, at: Sector) -> Result<(), Rule> {
        match &mut self.set {
            Set::Dense(words) => {
                let host = self.layout.host_at(at).ok_or(Rule::EntryOverlap)?.0;
                let word = words.get_mut(host as usize / 64).ok_or(Rule::EntryInFile)?;
                let bit = 1 << (host % 64);
                if *word & bit != 0 {
                    return Err(Rule::EntryUnique);
                }
                *word |= bit;
            }
            Set::Sparse(starts) => {
                if starts.contains(&at.0) {
                    return Err(Rule::EntryUnique);
                }
                if overlaps(starts, at, self.layout.cluster) {
                    return Err(Rule::EntryOverlap);
                }
                starts.insert(at.0);
            }
        }
        Ok(())
    }

    /// True if a taken cluster shares a sector with the cluster that would start at `at` (on the grid or not).
    pub(super) fn touches(&self, at: Sector) -> bool {
        match &self.set {
            Set::Dense(words) => self
                .layout
                .hosts_touching(at, self.layout.cluster)
                .any(|host| {
                    let word = words.get(host as usize / 64).copied().unwrap_or(0);
                    word >> (host % 64) & 1 != 0
                }),
            Set::Sparse(starts) => overlaps(starts, at, self.layout.cluster),
        }
    }

    /// First sectors of everything taken, ascending.
    fn starts(&self) -> Box<dyn Iterator<Item = Sector> + '_> {
        match &self.set {
            Set::Sparse(starts) => Box::new(starts.iter().map(|&start| Sector(start))),
            Set::Dense(words) => {
                let bits = words.iter().enumerate().flat_map(|(index, &word)| {
                    let mut rest = word;
                    std::iter::from_fn(move || {
                        let bit = rest.trailing_zeros();
                        rest &= rest.wrapping_sub(1);
                        (bit < 64).then_some(DstClu(index as u32 * 64 + bit))
                    })
                });
                Box::new(bits.map(|host| self.layout.host_sector(host)))
            }
        }
    }

    /// The grid clusters of `within` of which no sector is taken, as ascending ranges.
    pub(super) fn gaps(&self, within: Range<u32>) -> Vec<Range<DstClu>> {
        let mut gaps = Vec::new();
        let mut next = within.start;
        for start in self.starts() {
            let taken = self.layout.hosts_touching(start, self.layout.cluster);
            let end = taken.start.min(within.end);
            if end > next {
                gaps.push(DstClu(next)..DstClu(end));
            }
            next = next.max(taken.end);
        }
        if within.end > next {
            gaps.push(DstClu(next)..DstClu(within.end));
        }
        gaps
    }

    /// The sector behind the last cluster taken.
    pub(super) fn end(&self) -> Option<Sector> {
        let last = match &self.set {
            Set::Sparse(starts) => starts.last().map(|&start| Sector(start)),
            Set::Dense(words) => {
                let index = words.iter().rposition(|&word| word != 0)?;
                let bit = 63 - words[index].leading_zeros();
                Some(self.layout.host_sector(DstClu(index as u32 * 64 + bit)))
            }
        };
        last.map(|start| start.after(self.layout.cluster))
    }
}

fn overlaps(starts: &BTreeSet<u64>, at: Sector, cluster: Sectors) -> bool {
    let lowest = at.0.saturating_sub(cluster.0 - 1);
    starts.range(lowest..at.after(cluster).0).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Version;

    fn layout(cluster: u64, entries: u32, phase: u64) -> Layout {
        Layout {
            version: Version::V1,
            cluster: Sectors(cluster),
            entries,
            size: Sectors(u64::from(entries) * cluster),
            data_start: Sector(phase.max(1)),
            phase: Sectors(phase),
        }
    }

    /// Both forms and a plain list answer alike.
    #[test]
    fn dense_sparse_and_naive_agree() {
        let mut random = crate::load::tests::Random(3);
        for _ in 0..2000 {
            let cluster = 1 + random.below(8);
            let layout = layout(cluster, 100, random.below(cluster));
            let hosts = 1 + random.below(150);
            let end = layout.phase.0 + hosts * cluster;
            let mut dense = Used::new(layout, end * 512, true);
            let mut sparse = Used::new(layout, end * 512, false);
            assert!(matches!(dense.set, Set::Dense(_)) && matches!(sparse.set, Set::Sparse(_)));
            let mut naive: Vec<u64> = Vec::new();
            for _ in 0..random.below(60) {
                let start = layout.phase.0 + random.below(hosts) * cluster;
                let expected = if naive.contains(&start) {
                    Err(Rule::EntryUnique)
                } else {
                    Ok(())
                };
                assert_eq!(dense.claim(Sector(start)), expected);
                assert_eq!(sparse.claim(Sector(start)), expected);
                naive.extend(expected.is_ok().then_some(start));
            }
            for at in 0..end {
                let touched = naive
                    .iter()
                    .any(|&start| start < at + cluster && at < start + cluster);
                assert_eq!(
                    (dense.touches(Sector(at)), sparse.touches(Sector(at))),
                    (touched, touched)
                );
            }
            let free: Vec<u32> = (0..hosts as u32)
                .filter(|&host| !naive.contains(&layout.host_sector(DstClu(host)).0))
                .collect();
            for used in [&dense, &sparse] {
                let gaps = used.gaps(0..hosts as u32);
                let listed: Vec<u32> = gaps.iter().flat_map(|gap| gap.start.0..gap.end.0).collect();
                assert_eq!(listed, free);
                assert_eq!(
                    used.end(),
                    naive.iter().max().map(|&start| Sector(start + cluster))
                );
            }
        }
    }

    #[test]
    fn memory_follows_the_bat_not_the_length() {
        let small = layout(1, 100, 0);
        assert!(matches!(
            Used::new(small, 1 << 60, true).set,
            Set::Sparse(_)
        ));
        let large = layout(1, 1 << 20, 0);
        assert!(matches!(
            Used::new(large, 512 << 25, true).set,
            Set::Dense(_)
        ));
        assert!(matches!(
            Used::new(large, 512 << 26, true).set,
            Set::Sparse(_)
        ));
    }

    #[test]
    fn clusters_off_the_grid_overlap_their_neighbours() {
        let mut used = Used::new(layout(8, 10, 1), 512 * 100, false);
        assert_eq!(used.claim(Sector(20)), Ok(()));
        assert_eq!(used.claim(Sector(27)), Err(Rule::EntryOverlap));
        assert_eq!(used.claim(Sector(13)), Err(Rule::EntryOverlap));
        assert_eq!(used.claim(Sector(20)), Err(Rule::EntryUnique));
        assert_eq!(
            (used.claim(Sector(28)), used.claim(Sector(12))),
            (Ok(()), Ok(()))
        );
    }
}
