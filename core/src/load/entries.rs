//! How many slots the BAT has, where header fields contradict each other.
//!
//! Three fields say where it ends: `m_Size` itself; `m_SizeInSectors`, whose clusters need a slot each; and
//! `m_FirstBlockOffset`, since data starts behind it. Whoever writes an image makes the first two equal. If they are not,
//! the third one decides, and one field that was damaged is found out:
//!
//! | the longer BAT is that of | data starts behind it | only behind the shorter one | behind neither |
//! |---|---|---|---|
//! | `m_Size` | `m_Size`: more slots than the disk has clusters | the size's | unsure |
//! | the size | the size's: its slots may still be there | `m_Size` | unsure |
//!
//! Version 1 may leave the start of data out: then it is where the BAT ends, and what lies between the two possible ends
//! is slots or data. An entry of the shorter BAT that leads there says: data. Words there that lead into the file behind
//! it say: slots.

use crate::drive::file::DeltaFile;
use crate::error::{Field, Problem, Rule};
use crate::format::geometry::{ENTRY_RESERVED, HEADER_BYTES, MAX_ENTRIES};
use crate::format::{Header, Layout};
use crate::load::image::{claimed_start, fill};
use crate::load::report::{Report, Stop};
use crate::units::{SECTOR_BYTES, Sector, Sectors};

/// Bytes of the BAT that are looked at at a time.
const PIECE: usize = 4096;

/// The length of a BAT.
pub(super) struct Entries {
    /// Number of slots.
    pub(super) count: u32,
    /// Nothing tells whether `m_Size` is right: `count` is what it says.
    pub(super) unsure: bool,
}

/// How many slots there are. Lenient: if `m_Size` is wrong, how many there must have been.
pub(super) fn believed(
    file: &dyn DeltaFile,
    file_len: u64,
    header: &Header,
    report: &mut Report,
) -> Result<Entries, Stop> {
    let claimed = header.entries;
    let needed = header.size.0.div_ceil(header.cluster.0);
    let problem = |rule| Problem::new(Field::Entries, claimed, rule);
    if u64::from(claimed) < needed {
        report.damage(problem(Rule::EntriesCoverSize))?;
    }
    let found = match u32::try_from(needed) {
        Ok(needed) if needed != claimed => decide(file, file_len, header, needed)?,
        _ => Entries::sure(claimed),
    };
    let in_file = bat_end(found.count) <= file_len;
    if found.count < claimed {
        let rule = if bat_end(claimed) > file_len {
            Rule::BatInFile
        } else {
            Rule::DataBehindBat
        };
        report.damage(problem(rule))?;
    }
    if in_file {
        Ok(found)
    } else {
        Err(problem(Rule::BatInFile).into())
    }
}

impl Entries {
    fn sure(count: u32) -> Entries {
        Entries {
            count,
            unsure: false,
        }
    }
}

fn bat_end(entries: u32) -> u64 {
    HEADER_BYTES + 4 * u64::from(entries)
}

/// `m_Size` or the number that the size needs, which is another one.
fn decide(
    file: &dyn DeltaFile,
    file_len: u64,
    header: &Header,
    needed: u32,
) -> Result<Entries, Stop> {
    let claimed = header.entries;
    let possible = |entries| entries <= MAX_ENTRIES && bat_end(entries) <= file_len;
    if !possible(needed) {
        return Ok(Entries::sure(claimed));
    }
    let (short, long) = (claimed.min(needed), claimed.max(needed));
    let lowest = |entries| Layout::lowest_data_start(header.version, header.cluster, entries);
    if let Some(start) = claimed_start(header) {
        let in_file = header.data_off != 0 && start.0 <= Sectors::covering(file_len).0;
        return Ok(match (in_file, start) {
            (true, start) if start >= lowest(long) => Entries::sure(long),
            (true, start) if start >= lowest(short) => Entries::sure(short),
            _ => Entries {
                count: claimed,
                unsure: true,
            },
        });
    }
    if !possible(long) {
        return Ok(Entries::sure(short));
    }
    let words = Words::count(file, file_len, short, long, lowest(short)..lowest(long))?;
    let count = match words {
        Words {
            data: false,
            nonsense,
            ..
        } if claimed == long || nonsense == 0 => long,
        Words { slots: 0, .. } => short,
        // A word of data looks like a slot now and then.
        Words {
            data: true,
            slots,
            nonsense,
        } if nonsense > 8 * slots => short,
        _ => {
            return Ok(Entries {
                count: claimed,
                unsure: true,
            });
        }
    };
    Ok(Entries::sure(count))
}

/// What stands where a version 1 BAT may have ended, or not.
#[derive(Clone, Copy, Debug)]
struct Words {
    /// An entry of the shorter BAT leads to between the two ends.
    data: bool,
    /// Words between them that could be slots of data, if the BAT is the longer one.
    slots: u64,
    /// Words that could not.
    nonsense: u64,
}

impl Words {
    fn count(
        file: &dyn DeltaFile,
        file_len: u64,
        short: u32,
        long: u32,
        between: std::ops::Range<Sector>,
    ) -> Result<Words, Stop> {
        let mut words = Words {
            data: false,
            slots: 0,
            nonsense: 0,
        };
        let mut bytes = [0; PIECE];
        let (mut at, end) = (HEADER_BYTES, bat_end(long));
        while at < end {
            let piece = &mut bytes[..(end - at).min(PIECE as u64) as usize];
            fill(file, at, piece, "the BAT")?;
            for word in piece.as_chunks::<4>().0 {
                let entry = u32::from_le_bytes(*word);
                let sector = Sector(u64::from(entry));
                let inside = sector.bytes() < file_len / SECTOR_BYTES * SECTOR_BYTES;
                if entry == 0 {
                } else if at < bat_end(short) {
                    words.data |= between.contains(&sector);
                } else if entry != ENTRY_RESERVED && sector >= between.end && inside {
                    words.slots += 1;
                } else {
                    words.nonsense += 1;
                }
                at += 4;
            }
        }
        Ok(words)
    }
}
