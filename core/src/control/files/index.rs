//! Slots are pointed at copies that somebody else has made: all of them, or none.
//!
//! ```text
//!   every move checked ▶ mark ▶ copies written once more ─sync▶ slots ─sync▶ mark cleared
//! ```
//! * Checked before anything is written: each slot is named once and holds the old place (or already the new one, if
//!   this was tried before); each new place is a whole free cluster of the data area, named once; **both places read
//!   the same**. So a power cut between two slots shows the same disk, with some slots old and some new.
//! * A copy that can be read need not be durable: if a sync failed since it was made, by us or by whoever made it, it may
//!   stand in the page cache alone, and no later sync writes it. So each copy is written once more, from the old place.
//! * The old places are not touched. They belong to nobody afterwards.

use std::collections::BTreeSet;

use super::copy::Copier;
use super::edit::Edit;
use super::error::{ControlError, Refusal};
use crate::drive::file::DeltaFile;
use crate::units::{Clu, DstClu};

/// A cluster that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotMove {
    /// Guest cluster.
    pub clu: Clu,
    /// Where its slot points.
    pub from: DstClu,
    /// Where the copy is.
    pub to: DstClu,
}

/// Points slots at the copies of their clusters. Returns how many changed: fewer than there are moves, if some were
/// made before.
///
/// # Errors
/// [`ControlError::Refused`] with the first move that is not allowed; then none was made. After an I/O error the same call
/// goes on; after a power cut the copies may be gone.
pub fn update_index(
    file: &dyn DeltaFile,
    name: &str,
    moves: &[SlotMove],
) -> Result<u32, ControlError> {
    let mut edit = Edit::open(file, name)?;
    let file_len = edit.io.len()?;
    let changes = check(&edit, file_len, moves).map_err(|refusal| refusal.of(name))?;
    let mut copier = Copier::default();
    for &(step, _) in &changes {
        let layout = &edit.layout;
        let places = (layout.host_sector(step.from), layout.host_sector(step.to));
        if !copier.is_same(edit.io, places, layout.guest_len(step.clu))? {
            return Err(Refusal::Host {
                clu: step.clu,
                to: step.to,
                rule: "does not read as the cluster that is there now",
            }
            .of(name));
        }
    }
    if changes.is_empty() && !edit.header.is_dirty() {
        return Ok(0);
    }
    // No tail is cut: the copies may be there.
    edit.mark_with_tail()?;
    edit.io.assert_len()?;
    let (io, cluster) = (edit.io, edit.layout.cluster);
    for &(step, _) in &changes {
        let from = edit.layout.host_sector(step.from);
        let to = edit.layout.host_sector(step.to);
        copier.copy((io, from), (io, to), cluster, cluster)?;
    }
    edit.io.sync("the sync of the copies")?;
    for &(step, entry) in &changes {
        edit.bat[step.clu.0 as usize] = entry;
    }
    let slots: BTreeSet<u32> = changes.iter().map(|(step, _)| step.clu.0).collect();
    edit.write_slots(slots.into_iter())?;
    edit.close(true)?;
    Ok(changes.len() as u32)
}

/// The moves that are still to be made, with their new entries.
fn check(
    edit: &Edit<'_>,
    file_len: u64,
    moves: &[SlotMove],
) -> Result<Vec<(SlotMove, u32)>, Refusal> {
    let layout = &edit.layout;
    let taken: BTreeSet<DstClu> = edit
        .bat
        .iter()
        .filter_map(|&entry| layout.host_of(entry))
        .chain(edit.reserved.iter().copied())
        .collect();
    let (mut slots, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    let mut changes = Vec::new();
    for step in moves {
        let SlotMove { clu, from, to } = *step;
        let Some(&entry) = edit.bat.get(clu.0 as usize) else {
            let rule = "there is no such slot";
            return Err(Refusal::Slot { clu, rule });
        };
        if !slots.insert(clu) {
            let rule = "the slot is named twice";
            return Err(Refusal::Slot { clu, rule });
        }
        let host = |rule| Refusal::Host { clu, to, rule };
        if !hosts.insert(to) {
            return Err(host("the cluster is named twice"));
        }
        let holds = layout.host_of(entry);
        if holds == Some(to) {
            continue;
        }
        if holds != Some(from) {
            return Err(Refusal::SlotDiffers {
                clu,
                entry,
                from,
                to,
            });
        }
        if to < layout.first_host() || to.0 >= layout.hosts_in(file_len) {
            return Err(host("not a whole cluster of the data area"));
        }
        if taken.contains(&to) {
            return Err(host(
                "the cluster belongs to another slot, or to the extension",
            ));
        }
        let new = layout.entry_of(to);
        let new = new.ok_or_else(|| host("a BAT entry cannot name the cluster"))?;
        changes.push((*step, new));
    }
    Ok(changes)
}
