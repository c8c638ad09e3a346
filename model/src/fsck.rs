//! A naive checker of one image file (I1, I2, I5, I6, I27).
//!
//! * Everything is derived from the bytes alone. Nothing is repaired; nothing is written.
//! * Clusters are intervals of sectors, so that v1 images whose clusters are off the grid are judged by what they cover.
//! * Memory is bounded by the file: the table is read as far as the file reaches, free space is kept as runs.
//! * The clusters of a format extension are known by its dirty-bitmap tables and are no leaks. Its checksum is not
//!   verified, and whether its content may be trusted is told by `in_use` alone.
//! * Not checked: CHS fields, `flags`, agreement of several files of one stack.

use crate::image::{BadHeader, HEADER, Header, ImageBytes, InUse, SECTOR, Version, le32};
use std::fmt;

/// Something that a sound image must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Problem {
    /// The header cannot be used; nothing else was looked at.
    Header(BadHeader),
    /// The file ends inside the BAT.
    BatCut,
    /// m_FirstBlockOffset: inside the BAT, beyond the end of the file, or (v2) not a whole number of clusters or 0.
    DataOffset {
        /// What stands there.
        sector: u64,
    },
    /// Fewer BAT entries than the virtual size needs.
    BatTooSmall {
        /// How many it needs.
        needs: u64,
    },
    /// The entry points into the header or the BAT.
    EntryInTable {
        /// Guest cluster.
        guest: u64,
        /// File sector that it points to.
        sector: u64,
    },
    /// The entry points beyond the end of the file.
    EntryBeyondEnd {
        /// Guest cluster.
        guest: u64,
        /// File sector that it points to.
        sector: u64,
    },
    /// The cluster starts inside the file and ends outside.
    EntryCut {
        /// Guest cluster.
        guest: u64,
        /// File sector that it points to.
        sector: u64,
    },
    /// Two guest clusters share file sectors.
    Alias {
        /// One guest cluster.
        guest: u64,
        /// The other one.
        other: u64,
        /// First file sector that they share.
        sector: u64,
    },
    /// A guest cluster lies on the format extension.
    EntryInExtension {
        /// Guest cluster.
        guest: u64,
        /// File sector that it points to.
        sector: u64,
    },
    /// A non-zero entry for a guest cluster behind the virtual size, or a non-zero slot between the end of the BAT and
    /// the first data.
    SlotBeyondSize {
        /// Index of the slot.
        slot: u64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Problem::Header(why) => write!(f, "header: {why}"),
            Problem::BatCut => write!(f, "the file ends inside the BAT"),
            Problem::DataOffset { sector } => write!(f, "m_FirstBlockOffset is {sector}"),
            Problem::BatTooSmall { needs } => write!(f, "m_Size is too small: {needs} needed"),
            Problem::EntryInTable { guest, sector } => write!(
                f,
                "guest cluster {guest}: at sector {sector}, inside the BAT"
            ),
            Problem::EntryBeyondEnd { guest, sector } => write!(
                f,
                "guest cluster {guest}: at sector {sector}, beyond the end"
            ),
            Problem::EntryCut { guest, sector } => write!(
                f,
                "guest cluster {guest}: at sector {sector}, cut by the end"
            ),
            Problem::Alias {
                guest,
                other,
                sector,
            } => {
                write!(
                    f,
                    "guest clusters {guest} and {other} share sector {sector}"
                )
            }
            Problem::EntryInExtension { guest, sector } => {
                write!(
                    f,
                    "guest cluster {guest}: at sector {sector}, on the format extension"
                )
            }
            Problem::SlotBeyondSize { slot } => {
                write!(f, "slot {slot} behind the virtual size is not 0")
            }
        }
    }
}

/// Whole clusters that nobody refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Leak {
    /// First file sector.
    pub sector: u64,
    /// How many clusters.
    pub clusters: u64,
}

/// The format extension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Extension {
    /// The header names none.
    #[default]
    None,
    /// The header names a place that holds none, or it is damaged inside: nothing in it can be used.
    Damaged,
    /// It is there, with that many clusters in all.
    Present {
        /// The extension cluster and its bitmap clusters.
        clusters: u64,
    },
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The header, if it can be used.
    pub header: Option<Header>,
    /// Everything wrong, aliases and what depends on the order in the file last.
    pub problems: Vec<Problem>,
    /// Whole clusters between the first data sector and the end of the file that neither an entry nor the extension
    /// refers to, in the order of the file.
    pub leaks: Vec<Leak>,
    /// Non-zero entries.
    pub allocated: u64,
    /// v1: entries that are a whole number of clusters away neither from the beginning of the file nor from the first data. No
    /// problem by itself; they can make a cluster beside them unusable.
    pub off_grid: u64,
    /// First data sector.
    pub data_start: u64,
    /// Whole sectors in the file.
    pub file_sectors: u64,
    /// Bytes behind the last whole cluster (counted from the first data).
    pub tail_bytes: u64,
    /// The format extension.
    pub extension: Extension,
}

impl Report {
    /// In-use mark, if there is a header.
    #[must_use]
    pub fn in_use(&self) -> Option<InUse> {
        self.header.map(|h| h.in_use)
    }

    /// Clusters leaked in all.
    #[must_use]
    pub fn leaked(&self) -> u64 {
        self.leaks.iter().map(|l| l.clusters).sum()
    }

    fn clear(&mut self) {
        let (mut problems, mut leaks) = (
            std::mem::take(&mut self.problems),
            std::mem::take(&mut self.leaks),
        );
        problems.clear();
        leaks.clear();
        *self = Report {
            problems,
            leaks,
            ..Report::default()
        };
    }
}

/// Checks one image.
#[must_use]
pub fn fsck(bytes: &dyn ImageBytes) -> Report {
    let mut fsck = Fsck::default();
    fsck.check(bytes);
    fsck.report
}

/// Who owns an interval of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Guest(u64),
    Extension,
}

/// A checker that can be used again without allocating.
#[derive(Clone, Debug, Default)]
pub struct Fsck {
    report: Report,
    /// Start of every cluster that somebody refers to, and who.
    clusters: Vec<(u64, Owner)>,
    extension: Vec<u8>,
}

/// Bytes of the BAT read at once.
const CHUNK: usize = 1024;

/// No more of an extension cluster is looked at: the largest cluster that any tool makes.
const MOST_EXTENSION: u64 = 64 << 20;
/// Magic of the extension cluster.
const EXTENSION_MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
/// Magic of the dirty-bitmap feature.
const BITMAP_MAGIC: u64 = 0x2038_5FAE_252C_B34A;

impl Fsck {
    /// Checks one image.
    pub fn check(&mut self, bytes: &dyn ImageBytes) -> &Report {
        self.report.clear();
        self.clusters.clear();
        match Header::read(bytes) {
            Err(why) => self.report.problems.push(Problem::Header(why)),
            Ok(header) => self.check_file(bytes, &header),
        }
        &self.report
    }

    /// The last report.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    fn check_file(&mut self, bytes: &dyn ImageBytes, header: &Header) {
        let len = bytes.len();
        self.report.header = Some(*header);
        self.report.data_start = header.data_start();
        self.report.file_sectors = len / SECTOR;
        self.check_fields(header, len);
        self.read_table(bytes, header, len);
        if header.ext_off != 0 {
            self.report.extension = match self.read_extension(bytes, header, len) {
                Some(clusters) => Extension::Present { clusters },
                None => Extension::Damaged,
            };
        }
        self.clusters.sort_unstable();
        self.find_aliases(header.cluster_sectors);
        self.find_leaks(header.cluster_sectors, len);
    }

    fn check_fields(&mut self, header: &Header, len: u64) {
        let report = &mut self.report;
        if header.bat_end() > len {
            report.problems.push(Problem::BatCut);
        }
        let data_start = report.data_start;
        let inside = header.bat_end() <= data_start * SECTOR && data_start <= len.div_ceil(SECTOR);
        let aligned = data_start.is_multiple_of(header.cluster_sectors) && header.data_off != 0;
        // The BAT of an empty v1 image may be the end of the file, inside a sector.
        let empty_v1 = header.version == Version::V1 && header.data_off == 0;
        if !(inside || empty_v1) || !(aligned || header.version == Version::V1) {
            report.problems.push(Problem::DataOffset {
                sector: header.data_off,
            });
        }
        let needs = header.size_sectors.div_ceil(header.cluster_sectors);
        if needs > header.bat_entries {
            report.problems.push(Problem::BatTooSmall { needs });
        }
    }

    fn read_table(&mut self, bytes: &dyn ImageBytes, header: &Header, len: u64) {
        let needs = header.size_sectors.div_ceil(header.cluster_sectors);
        // The first data may stand anywhere in a damaged header: slots are looked at up to the end of its cluster only.
        let slack = (self
            .report
            .data_start
            .saturating_mul(SECTOR)
            .saturating_sub(HEADER)
            / 4)
        .max(header.bat_entries);
        let slots = slack
            .min(header.bat_entries + header.cluster_sectors * (SECTOR / 4))
            .min((len - HEADER) / 4);
        let mut chunk = [0; CHUNK];
        let mut slot = 0;
        while slot < slots {
            let n = ((slots - slot) * 4).min(CHUNK as u64) as usize;
            bytes.read(HEADER + 4 * slot, &mut chunk[..n]);
            for at in (0..n).step_by(4) {
                let entry = le32(&chunk, at);
                if entry != 0 {
                    self.take_entry(header, len, slot, entry, needs);
                }
                slot += 1;
            }
        }
    }

    fn take_entry(&mut self, header: &Header, len: u64, slot: u64, entry: u32, needs: u64) {
        let (report, cs) = (&mut self.report, header.cluster_sectors);
        if slot >= needs {
            report.problems.push(Problem::SlotBeyondSize { slot });
        }
        if slot >= header.bat_entries {
            return;
        }
        report.allocated += 1;
        let (guest, sector) = (slot, header.place(entry).unwrap_or(0));
        if sector < report.data_start {
            return report
                .problems
                .push(Problem::EntryInTable { guest, sector });
        }
        if sector >= len.div_ceil(SECTOR) {
            return report
                .problems
                .push(Problem::EntryBeyondEnd { guest, sector });
        }
        if sector + cs > len / SECTOR {
            report.problems.push(Problem::EntryCut { guest, sector });
        }
        if !sector.is_multiple_of(cs) && !(sector - report.data_start).is_multiple_of(cs) {
            report.off_grid += 1;
        }
        self.clusters.push((sector, Owner::Guest(guest)));
    }

    /// Takes the clusters of the extension; `None` if it is damaged.
    fn read_extension(&mut self, bytes: &dyn ImageBytes, header: &Header, len: u64) -> Option<u64> {
        let cs = header.cluster_sectors;
        let size = cs.checked_mul(SECTOR)?.min(MOST_EXTENSION);
        let inside = |sector: u64| {
            let end = sector
                .checked_add(cs)
                .and_then(|end| end.checked_mul(SECTOR));
            sector >= header.data_start() && end.is_some_and(|end| end <= len)
        };
        if !inside(header.ext_off) {
            return None;
        }
        self.extension.resize(usize::try_from(size).ok()?, 0);
        bytes.read(header.ext_off * SECTOR, &mut self.extension);
        let first = self.clusters.len();
        self.clusters.push((header.ext_off, Owner::Extension));
        let good = extension_clusters(&self.extension, |sector| {
            let good = inside(sector);
            if good {
                self.clusters.push((sector, Owner::Extension));
            }
            good
        });
        if good.is_none() {
            self.clusters.truncate(first);
        }
        good.map(|()| (self.clusters.len() - first) as u64)
    }

    fn find_aliases(&mut self, cs: u64) {
        let mut reach: Option<(u64, Owner)> = None;
        for &(sector, owner) in &self.clusters {
            if let Some((_, before)) = reach.filter(|&(start, _)| sector < start + cs) {
                self.report.problems.push(match (before, owner) {
                    (Owner::Guest(other), Owner::Guest(guest)) => Problem::Alias {
                        guest: guest.min(other),
                        other: guest.max(other),
                        sector,
                    },
                    (Owner::Guest(guest), Owner::Extension)
                    | (Owner::Extension, Owner::Guest(guest)) => {
                        Problem::EntryInExtension { guest, sector }
                    }
                    (Owner::Extension, Owner::Extension) => continue,
                });
            }
            reach = Some((sector, owner));
        }
    }

    fn find_leaks(&mut self, cs: u64, len: u64) {
        let (first, end) = (self.report.data_start, self.report.file_sectors);
        if end < first {
            return;
        }
        // Whole clusters, counted from the first data, that lie inside the gap [from, to).
        let mut gap = |from: u64, to: u64| {
            let (from, to) = ((from - first).div_ceil(cs), (to - first) / cs);
            if from < to {
                self.report.leaks.push(Leak {
                    sector: first + from * cs,
                    clusters: to - from,
                });
            }
        };
        let mut covered = first;
        for &(sector, _) in &self.clusters {
            if sector > covered {
                gap(covered, sector.min(end));
            }
            covered = covered.max(sector + cs);
        }
        if covered < end {
            gap(covered, end);
        }
        self.report.tail_bytes = (end - first) % cs * SECTOR + len % SECTOR;
    }
}

/// Calls `take` with every cluster that the dirty bitmaps of an extension refer to; `None` if the extension is damaged.
fn extension_clusters(raw: &[u8], mut take: impl FnMut(u64) -> bool) -> Option<()> {
    let le64 = |at: usize| -> Option<u64> {
        let word = raw.get(at..at.checked_add(8)?)?;
        Some(u64::from(le32(word, 0)) | u64::from(le32(word, 4)) << 32)
    };
    if le64(0)? != EXTENSION_MAGIC {
        return None;
    }
    // Magic and checksum, then features: magic, flags, size of the data, padding; the data, padded to 8.
    let mut at = 24;
    loop {
        let magic = le64(at)?;
        if magic == 0 {
            return Some(());
        }
        let data_size = le32(raw.get(at + 16..at + 20)?, 0) as usize;
        let data = at + 24;
        if raw.len() < data.checked_add(data_size)? {
            return None;
        }
        if magic == BITMAP_MAGIC {
            // Size in sectors, 16 bytes of id, granularity, number of table entries, the entries.
            let entries = le32(raw.get(data + 28..data + 32)?, 0) as usize;
            if entries.checked_mul(8)?.checked_add(32)? > data_size {
                return None;
            }
            for i in 0..entries {
                let entry = le64(data + 32 + 8 * i)?;
                if entry > 1 && !take(entry) {
                    return None;
                }
            }
        }
        at = data + data_size.next_multiple_of(8);
    }
}

#[cfg(test)]
mod tests;
