//! Which host clusters are free, lowest first. A cluster is handed out once.

use crate::format::Layout;
use crate::units::DstClu;

/// Free clusters from some cluster on. What lies beyond the end of the file is free too.
#[derive(Clone, Debug)]
pub(super) struct Space {
    layout: Layout,
    /// Sorted.
    taken: Vec<u32>,
    /// The first of `taken` at or behind `next`.
    at: usize,
    next: u64,
}

impl Space {
    /// Everything at or behind `first` is free, but what `bat` and `reserved` have a sector of. Entries may point
    /// anywhere.
    pub(super) fn new(layout: Layout, bat: &[u32], reserved: &[DstClu], first: DstClu) -> Space {
        let mapped = bat.iter().filter(|&&entry| entry != 0);
        let mapped = mapped
            .flat_map(|&entry| layout.hosts_touching(layout.entry_sector(entry), layout.cluster));
        let mut taken: Vec<u32> = mapped.chain(reserved.iter().map(|host| host.0)).collect();
        taken.sort_unstable();
        Space {
            layout,
            taken,
            at: 0,
            next: u64::from(first.0),
        }
    }

    /// True if so many clusters can be taken.
    pub(super) fn has(&self, clusters: u64) -> bool {
        let mut free = self.clone();
        (0..clusters).all(|_| free.take().is_some())
    }

    /// The lowest free cluster that an entry can name, and that entry.
    pub(super) fn take(&mut self) -> Option<(DstClu, u32)> {
        loop {
            let host = DstClu(u32::try_from(self.next).ok()?);
            while self.taken.get(self.at).is_some_and(|&taken| taken < host.0) {
                self.at += 1;
            }
            self.next += 1;
            if self.taken.get(self.at) == Some(&host.0) {
                continue;
            }
            // Host cluster 0 may have no entry; the ones behind it have.
            match self.layout.entry_of(host) {
                Some(entry) => return Some((host, entry)),
                None if host.0 == 0 => {}
                None => return None,
            }
        }
    }
}
