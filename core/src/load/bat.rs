//! The checks of BAT entries: each alone, then the grid they agree on, then against each other.

use crate::error::{Field, Problem, Rule};
use crate::format::geometry::ENTRY_RESERVED;
use crate::format::{Layout, Version};
use crate::load::report::Report;
use crate::load::used::Used;
use crate::units::{Clu, SECTOR_BYTES, Sector, Sectors};

/// Checks each entry alone: it must point behind the BAT, into the file, and every virtual sector of its guest cluster
/// must be inside the file. (The last cluster of a file may be cut where the virtual disk ends.) Damaged entries become
/// 0 when the report is lenient.
pub(super) fn check_entries(
    layout: &Layout,
    file_len: u64,
    bat: &mut [u32],
    report: &mut Report,
) -> Result<(), Problem> {
    let file_end = file_len / SECTOR_BYTES;
    for (clu, entry) in (0u32..).zip(bat) {
        if *entry == 0 {
            continue;
        }
        let at = layout.entry_sector(*entry);
        let needed = layout.guest_len(Clu(clu)).0.max(1);
        let rule = if *entry == ENTRY_RESERVED {
            Rule::EntryNotReserved
        } else if at < layout.data_start {
            Rule::EntryBehindBat
        } else if at.after(Sectors(needed)).0 > file_end {
            Rule::EntryInFile
        } else {
            continue;
        };
        report.damage(Problem::new(Field::Bat(clu), *entry, rule))?;
        *entry = 0;
    }
    Ok(())
}

/// Finds the grid. Version 1 entries may agree on one that is not where data starts. Returns the phase, and whether all
/// entries lie on that grid.
pub(super) fn find_grid(layout: &Layout, bat: &[u32]) -> (Sectors, bool) {
    if layout.version == Version::V2 {
        return (Sectors::ZERO, true);
    }
    let phase_of = |sector: u64| Sectors(sector % layout.cluster.0);
    let default = phase_of(layout.data_start.0);
    let mut phases = bat
        .iter()
        .filter(|&&entry| entry != 0)
        .map(|&entry| phase_of(u64::from(entry)));
    match phases.next() {
        None => (default, true),
        Some(first) if phases.all(|phase| phase == first) => (first, true),
        Some(_) => (default, false),
    }
}

/// Claims the cluster of every entry. Of two entries that overlap the later one is damaged.
pub(super) fn claim_all(
    layout: &Layout,
    bat: &mut [u32],
    used: &mut Used,
    report: &mut Report,
) -> Result<(), Problem> {
    for (clu, entry) in (0u32..).zip(bat) {
        if *entry == 0 {
            continue;
        }
        if let Err(rule) = used.claim(layout.entry_sector(*entry)) {
            report.damage(Problem::new(Field::Bat(clu), *entry, rule))?;
            *entry = 0;
        }
    }
    Ok(())
}

/// Number of mapped entries, and of those that do not follow the entry before them in the file.
pub(super) fn fragments(layout: &Layout, bat: &[u32]) -> (u32, u32) {
    let (mut allocated, mut fragmented) = (0, 0);
    let mut expected: Option<Sector> = None;
    for &entry in bat {
        if entry == 0 {
            expected = None;
            continue;
        }
        let at = layout.entry_sector(entry);
        allocated += 1;
        fragmented += u32::from(expected.is_some_and(|expected| expected != at));
        expected = Some(at.after(layout.cluster));
    }
    (allocated, fragmented)
}
