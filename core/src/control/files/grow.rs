//! Makes an image's virtual disk larger.
//!
//! The BAT grows into the data area. What lies there moves first:
//! ```text
//!   mark ▶ copies of the clusters in the way ─sync▶ their slots ─sync▶ zeros in the new part of the BAT and behind the
//!        old end of the disk ─sync▶ header: m_Size, m_SizeInSectors, m_FirstBlockOffset ─sync▶ mark cleared
//! ```
//! * Until the header is written the image has its old size, and each cluster is whole where its slot says (I29). The
//!   header is one sector: old or new.
//! * The new part of the BAT is zeroed wherever it was not a slot before, whether a cluster was there or not: what is
//!   left in a free cluster would be taken for mappings (catalogue O1).
//! * A disk that ends inside a cluster has bytes behind its end that nobody ever had to zero. They become part of it.
//! * Dirty bitmaps have the old size. The header forgets the extension in the same write that sets the mark; when all else
//!   is done they are written anew, what is new of the disk being dirty, and vouched for as the mark is cleared (I32).
//! * An extension that nobody vouches for is forgotten: its bitmaps have a wrong size then, and QEMU would not open the image.
//! * One without bitmaps does not count afterwards. It stays where it is, unless its clusters are in the way; then the header
//!   forgets it.

use super::copy::Copier;
use super::edit::Edit;
use super::error::{ControlError, Refusal};
use super::space::Space;
use crate::drive::file::DeltaFile;
use crate::error::{Field, Problem, Rule};
use crate::format::geometry::MAX_ENTRIES;
use crate::format::{DirtyBitmap, Header, Layout, Version};
use crate::units::{Clu, DstClu, Sector, Sectors};

/// What growing did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Virtual size before.
    pub from: Sectors,
    /// Virtual size now.
    pub to: Sectors,
    /// Clusters that were in the way of the BAT and moved.
    pub moved: u32,
    /// Where the format extension was that had to be given up.
    pub extension_dropped: Option<Sector>,
    /// Dirty bitmaps that go on.
    pub bitmaps: u32,
}

/// Makes the virtual disk `size` sectors large. The same size is no change. A failure leaves the old size, or, if it
/// came after the new one was written, the new one.
///
/// # Errors
/// [`ControlError::Refused`] if the disk would become smaller or larger than the format allows.
pub fn grow(file: &dyn DeltaFile, name: &str, size: Sectors) -> Result<Grown, ControlError> {
    let mut edit = Edit::open(file, name)?;
    let grows = edit.layout.size < size;
    let old = match &edit.given_up {
        Some((at, _)) => *at,
        None => edit.header.ext_off,
    };
    let forgets = old.0 != 0 && (!edit.vouched || !edit.bitmaps.is_empty());
    let freed = if grows && forgets {
        edit.forget_extension()
    } else {
        Vec::new()
    };
    let plan = Plan::new(&edit, size).map_err(|refusal| refusal.of(name))?;
    let mut grown = Grown {
        from: edit.layout.size,
        to: size,
        moved: plan.moves.len() as u32,
        extension_dropped: None,
        bitmaps: 0,
    };
    if grown.from == size {
        // A mark that an earlier try left is cleared.
        if edit.header.is_dirty() {
            edit.mark()?;
            edit.close(false)?;
        }
        return Ok(grown);
    }
    if plan.drops_extension {
        grown.extension_dropped = Some(old);
        edit.header.ext_off = Sector(0);
    }
    edit.mark()?;
    plan.relocate(&mut edit)?;
    plan.clear_the_way(&edit)?;
    plan.switch(&mut edit)?;
    let bitmaps = std::mem::take(&mut edit.bitmaps);
    if !bitmaps.is_empty() {
        let kept = larger(bitmaps, size);
        if edit.put_bitmaps(&kept)? {
            grown.bitmaps = kept.len() as u32;
        } else {
            grown.extension_dropped = Some(old);
        }
    } else if forgets {
        grown.extension_dropped = Some(old);
    }
    if !freed.is_empty() {
        edit.free(&freed)?;
    }
    edit.close(grown.bitmaps > 0)?;
    Ok(grown)
}

/// The clusters that will be free in an image grown to this size, not counting what its bitmaps will take. Nothing is
/// written.
pub(super) fn space_after(
    file: &dyn DeltaFile,
    name: &str,
    size: Sectors,
) -> Result<Space, ControlError> {
    let mut edit = Edit::open(file, name)?;
    if !edit.vouched || !edit.bitmaps.is_empty() {
        edit.forget_extension();
    }
    let plan = Plan::new(&edit, size).map_err(|refusal| refusal.of(name))?;
    let first = first_behind(&edit.layout, plan.layout.data_start);
    let mut space = Space::new(edit.layout, &edit.bat, &edit.reserved, first);
    for _ in &plan.moves {
        space.take();
    }
    Ok(space)
}

/// The bitmaps of the larger disk, as far as there may be such.
fn larger(bitmaps: Vec<DirtyBitmap>, size: Sectors) -> Vec<DirtyBitmap> {
    let grown = bitmaps.into_iter();
    let grown = grown.map(|mut bitmap| bitmap.grow(size).then_some(bitmap));
    grown.collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// A cluster that is in the way.
#[derive(Clone, Copy, Debug)]
struct Move {
    slot: u32,
    to: DstClu,
    entry: u32,
}

/// Everything that is decided before anything is written.
struct Plan {
    layout: Layout,
    data_off: u32,
    /// By slot.
    moves: Vec<Move>,
    drops_extension: bool,
    /// Sectors that the file must have.
    file: u64,
}

impl Plan {
    fn new(edit: &Edit<'_>, size: Sectors) -> Result<Plan, Refusal> {
        let old = edit.layout;
        if size < old.size {
            return Err(Refusal::Shrink {
                from: old.size,
                to: size,
            });
        }
        let (layout, data_off) = grown_layout(&edit.header, &old, size)?;
        let start = layout.data_start;
        let mut plan = Plan {
            layout,
            data_off,
            moves: Vec::new(),
            // Of what is still reserved, the header tells: what counts for nothing was forgotten before.
            drops_extension: edit
                .reserved
                .iter()
                .any(|&host| old.host_sector(host) < start),
            file: start.0,
        };
        // In the old grid: without entries a version 1 image may get another one.
        let mut space = Space::new(old, &edit.bat, &edit.reserved, first_behind(&old, start));
        for (slot, &entry) in (0u32..).zip(&edit.bat) {
            if entry == 0 || old.entry_sector(entry) >= start {
                continue;
            }
            let Some((to, entry)) = space.take() else {
                return Err(Refusal::NoHost {
                    at: old.entry_sector(u32::MAX),
                });
            };
            plan.file = plan.file.max(old.host_sector(to).after(old.cluster).0);
            plan.moves.push(Move { slot, to, entry });
        }
        if let Some((at, len)) = plan.ragged(edit).filter(|(at, _)| *at >= start) {
            plan.file = plan.file.max(at.after(len).0);
        }
        Ok(plan)
    }

    /// Behind the old end of the disk: the rest of the last cluster, where it is now.
    fn ragged(&self, edit: &Edit<'_>) -> Option<(Sector, Sectors)> {
        let last = Clu(edit.layout.entries.checked_sub(1)?);
        let inside = edit.guest_len(last);
        let entry = *edit.bat.get(last.0 as usize)?;
        (inside < self.layout.cluster && entry != 0).then(|| {
            let at = self.layout.entry_sector(entry).after(inside);
            (at, self.layout.cluster.minus(inside))
        })
    }

    fn relocate(&self, edit: &mut Edit<'_>) -> Result<(), ControlError> {
        edit.io.extend(self.file, "extending the file")?;
        if self.moves.is_empty() {
            return Ok(());
        }
        let (io, cluster) = (edit.io, edit.layout.cluster);
        let mut copier = Copier::default();
        for step in &self.moves {
            let from = edit.layout.entry_sector(edit.bat[step.slot as usize]);
            let to = edit.layout.host_sector(step.to);
            copier.copy((io, from), (io, to), cluster, cluster)?;
        }
        io.sync("the sync of the moved clusters")?;
        for step in &self.moves {
            edit.bat[step.slot as usize] = step.entry;
        }
        edit.write_slots(self.moves.iter().map(|step| step.slot))?;
        io.sync("the sync of the slots of moved clusters")
    }

    fn clear_the_way(&self, edit: &Edit<'_>) -> Result<(), ControlError> {
        if self.layout.entries > edit.layout.entries {
            edit.zero_behind_bat(self.layout.data_start)?;
        }
        if let Some((at, len)) = self.ragged(edit) {
            edit.io
                .zero(at, len, "zeroing behind the old end of the disk")?;
        }
        edit.io.sync("the sync of the cleared BAT")
    }

    fn switch(&self, edit: &mut Edit<'_>) -> Result<(), ControlError> {
        edit.layout = self.layout;
        edit.bat.resize(self.layout.entries as usize, 0);
        edit.header.entries = self.layout.entries;
        edit.header.size = self.layout.size;
        edit.header.data_off = self.data_off;
        edit.write_header()?;
        edit.io.sync("the sync of the new size")
    }
}

/// The layout of an image that has grown to this size, and its m_FirstBlockOffset.
pub(super) fn grown_layout(
    header: &Header,
    old: &Layout,
    size: Sectors,
) -> Result<(Layout, u32), Refusal> {
    let too_large = |field, value, rule| Refusal::Format(Problem::new(field, value, rule));
    if old.version == Version::V1 && size.0 > u64::from(u32::MAX) {
        return Err(too_large(Field::VirtualSize, size.0, Rule::SizeLimit));
    }
    let clusters = size.0.div_ceil(old.cluster.0);
    let entries = u32::try_from(clusters)
        .ok()
        .filter(|&entries| entries <= MAX_ENTRIES)
        .ok_or(too_large(Field::Entries, clusters, Rule::EntriesLimit))?;
    let lowest = Layout::lowest_data_start(old.version, old.cluster, entries);
    let (data_start, data_off) = if lowest <= old.data_start {
        (old.data_start, header.data_off)
    } else {
        let start = on_grid(old, lowest);
        let field = u32::try_from(start.0);
        let field =
            field.map_err(|_| too_large(Field::DataOffset, start.0, Rule::DataOffsetInFile))?;
        (start, field)
    };
    Layout::check_reach(old.version, old.cluster, entries, data_start).map_err(Refusal::Format)?;
    let layout = Layout {
        entries,
        size,
        data_start,
        ..*old
    };
    Ok((layout, data_off))
}

/// The first sector at or behind `at` where a cluster may begin.
fn on_grid(layout: &Layout, at: Sector) -> Sector {
    layout.host_sector(first_behind(layout, at))
}

/// The first cluster at or behind a sector.
fn first_behind(layout: &Layout, at: Sector) -> DstClu {
    Layout {
        data_start: at,
        ..*layout
    }
    .first_host()
}
