//! Which metadata page and slot a guest cluster has, and which bytes of the file a page is.
//!
//! Pages are `page_bytes` of the file counted from its start; page 0 begins with the 64-byte header, so its first slot
//! is guest cluster 0. The last page is clipped to the end of the BAT, rounded up to the granule in which the file may
//! be written. `page_bytes` is 4096 on every real device; the explorers use a few slots a page.

use crate::format::Layout;
use crate::format::geometry::HEADER_BYTES;
use crate::units::{Clu, PageId, Sector, Sectors, Slot};

/// Division by a number fixed at open; a shift where it is a power of two.
#[derive(Clone, Copy, Debug)]
struct Divisor {
    by: u64,
    shift: Option<u32>,
}

impl Divisor {
    fn new(by: u64) -> Divisor {
        Divisor {
            by,
            shift: by.is_power_of_two().then(|| by.trailing_zeros()),
        }
    }

    #[inline]
    fn split(self, value: u64) -> (u64, u64) {
        match self.shift {
            Some(shift) => (value >> shift, value & (self.by - 1)),
            None => (value / self.by, value % self.by),
        }
    }
}

/// The arithmetic of one device: sectors to clusters, clusters to slots, pages to bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    cluster: Divisor,
    slots: Divisor,
    /// Slots of page 0 that the header takes.
    header_slots: u64,
    entries: u64,
    page_bytes: u64,
    granule: u64,
    size: Sectors,
}

impl Table {
    /// `page_bytes`: a multiple of `granule`, larger than the header, both multiples of 4.
    pub(crate) fn new(layout: &Layout, page_bytes: u32, granule: u32) -> Table {
        Table {
            cluster: Divisor::new(layout.cluster.0),
            slots: Divisor::new(u64::from(page_bytes) / 4),
            header_slots: HEADER_BYTES / 4,
            entries: u64::from(layout.entries),
            page_bytes: u64::from(page_bytes),
            granule: u64::from(granule),
            size: layout.size,
        }
    }

    /// Cluster size.
    #[inline]
    pub(crate) fn cluster(&self) -> Sectors {
        Sectors(self.cluster.by)
    }

    /// Virtual size.
    pub(crate) fn size(&self) -> Sectors {
        self.size
    }

    /// The guest cluster of a sector of the virtual disk, and the sector inside it.
    #[inline]
    pub(crate) fn clu(&self, sector: Sector) -> (Clu, u32) {
        let (clu, within) = self.cluster.split(sector.0);
        (Clu(clu as u32), within as u32)
    }

    /// First guest sector of a cluster.
    pub(crate) fn start(&self, clu: Clu) -> Sector {
        Sector(u64::from(clu.0) * self.cluster.by)
    }

    /// The page and slot of a guest cluster. Slots count from the page's own first entry.
    #[inline]
    pub(crate) fn slot(&self, clu: Clu) -> (PageId, Slot) {
        let (page, slot) = self.slots.split(u64::from(clu.0) + self.header_slots);
        let skipped = if page == 0 { self.header_slots } else { 0 };
        (PageId(page as u32), Slot((slot - skipped) as u16))
    }

    /// Number of pages (at least 1: the header is in page 0).
    pub(crate) fn pages(&self) -> u32 {
        ((self.entries + self.header_slots) * 4).div_ceil(self.page_bytes) as u32
    }

    /// The first guest cluster of a page and how many entries the page has.
    pub(crate) fn entries_of(&self, page: PageId) -> (Clu, usize) {
        let from = (u64::from(page.0) * self.slots.by).max(self.header_slots) - self.header_slots;
        let to = (u64::from(page.0) + 1) * self.slots.by - self.header_slots;
        (
            Clu(from as u32),
            (to.min(self.entries).saturating_sub(from)) as usize,
        )
    }

    /// Byte position of a page, and the length of its image.
    pub(crate) fn bytes_of(&self, page: PageId) -> (u64, usize) {
        let at = u64::from(page.0) * self.page_bytes;
        let end = (HEADER_BYTES + 4 * self.entries).next_multiple_of(self.granule);
        (at, (end.min(at + self.page_bytes) - at) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Version;

    fn table(entries: u32, page_bytes: u32, granule: u32) -> Table {
        let cluster = Sectors(3);
        let data_start = Layout::lowest_data_start(Version::V2, cluster, entries);
        let size = Sectors(u64::from(entries) * 3);
        let layout = Layout {
            version: Version::V2,
            cluster,
            entries,
            size,
            data_start,
            phase: Sectors(0),
        };
        Table::new(&layout, page_bytes, granule)
    }

    #[test]
    fn every_cluster_has_its_own_slot_and_the_byte_that_the_format_says() {
        for page_bytes in [80, 96, 128, 4096] {
            for entries in [1, 2, 4, 5, 1007, 1008, 1009, 1008 + 1024, 1008 + 1024 + 1] {
                let table = table(entries, page_bytes, 16);
                let mut total = 0;
                for page in 0..table.pages() {
                    let (first, count) = table.entries_of(PageId(page));
                    let (at, len) = table.bytes_of(PageId(page));
                    for slot in 0..count {
                        let clu = Clu(first.0 + slot as u32);
                        assert_eq!(table.slot(clu), (PageId(page), Slot(slot as u16)));
                        let byte = HEADER_BYTES + 4 * u64::from(clu.0);
                        assert!(
                            byte >= at && byte + 4 <= at + len as u64,
                            "{clu:?} of {entries}"
                        );
                    }
                    total += count;
                }
                assert_eq!(total, entries as usize, "page {page_bytes}");
            }
        }
    }

    #[test]
    fn a_full_last_page_does_not_make_another_one() {
        assert_eq!(table(1008 + 1024, 4096, 512).pages(), 2);
        assert_eq!(table(1008 + 1024 + 1, 4096, 512).pages(), 3);
    }
}
