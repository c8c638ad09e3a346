//! The slots that a killed device left (`bat::visible`): compared with what the file says, checked, taken over.
//!
//! What the file shows is not durable before a sync of it: the mark's sync, which comes before any change, sees to that. So
//! no host that is free here is handed out while the medium may still name it.

use std::collections::BTreeSet;

use crate::bat::level;
use crate::bat::visible::VisibleMap;
use crate::delta::{Expanded, LoadedDelta};
use crate::device::Device;
use crate::device::options::OpenError;
use crate::format::{InUse, Layout};
use crate::units::{Clu, DstClu};
use crate::verify::mark;

/// A slot that the file does not show as the killed device did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    clu: Clu,
    /// What the file says.
    pub(super) file: u32,
}

/// Makes the visible slots those of the chain's top. Returns the slots that differed. An error has changed nothing that
/// matters: the chain is dropped with it.
pub(super) fn apply(
    chain: &mut [LoadedDelta],
    visible: &dyn VisibleMap,
) -> Result<Vec<Slot>, OpenError> {
    let Some((top, lowers)) = chain.split_last_mut() else {
        return Ok(Vec::new());
    };
    let (file, file_len) = (top.name.clone(), top.file_len);
    let Some(image) = top.expanded_mut() else {
        return Ok(Vec::new());
    };
    let refuse = |clu: Clu, entry, rule| OpenError::Recovered {
        file: file.clone(),
        clu: clu.0,
        entry,
        rule,
    };
    let in_use = image.header.in_use == InUse::InUse;
    let mut taken = taken(image);
    let mut differ = Vec::new();
    let layout = image.layout;
    for (clu, entry) in (0..).map(Clu).zip(&mut image.bat) {
        let kept = visible.get(clu);
        if kept == *entry {
            continue;
        }
        // The mark is durable before the first change, and goes when everything is written.
        if !in_use {
            return Err(refuse(
                clu,
                kept,
                "the image was closed since: what was kept is older than it",
            ));
        }
        let below = |lower: &LoadedDelta| level::mapped(lower, clu, layout.cluster).is_some();
        if kept == 0 && lowers.iter().any(below) {
            return Err(refuse(
                clu,
                kept,
                "a lower delta has the cluster: never un-mapped",
            ));
        }
        if kept != 0 {
            match host_inside(&layout, kept, file_len) {
                None => return Err(refuse(clu, kept, "must name a cluster inside the file")),
                Some(host) if !taken.insert(host) => {
                    return Err(refuse(clu, kept, "names a cluster that is in use"));
                }
                Some(_) => {}
            }
        }
        differ.push(Slot { clu, file: *entry });
        *entry = kept;
    }
    Ok(differ)
}

/// All host clusters that the file uses.
fn taken(image: &Expanded) -> BTreeSet<DstClu> {
    let mapped = image.bat.iter();
    let mapped = mapped.filter_map(|&entry| image.layout.host_of(entry));
    mapped.chain(image.reserved.iter().copied()).collect()
}

fn host_inside(layout: &Layout, entry: u32, file_len: u64) -> Option<DstClu> {
    let host = layout.host_of(entry)?;
    let inside = host >= layout.first_host() && host.0 < layout.hosts_in(file_len);
    inside.then_some(host)
}

impl Device {
    /// Notes what the recovered slots owe to the disk.
    pub(super) fn owe(&self, slots: &[Slot]) {
        for recovered in slots {
            mark!(RecoveredSlot);
            let (page, slot) = self.table.slot(recovered.clu);
            let need = self.gate.next();
            let cx = self.context();
            self.page(page).recovered(slot, recovered.file, need, cx);
        }
    }

    /// Writes all slots into the kept map.
    pub(super) fn keep_all(&self, top: Option<&Expanded>) {
        let entries = top.map_or(&[][..], |image| &image.bat);
        for (clu, &entry) in (0..).map(Clu).zip(entries) {
            self.visible.set(clu, entry);
        }
    }
}
