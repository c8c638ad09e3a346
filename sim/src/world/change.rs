//! The files of a chain are changed, in blocking calls, as the control plane does it.
//!
//! * The power may be lost in one of the calls, or one may fail; then the files are what that left, and the same change can be
//!   made anew.
//! * What a change is about is planned once, before the first try: the size of a growth, the bitmap that goes.

use model::bitmap::{self, Bitmap};
use model::op::Value;
use ploop_core::control::files::{
    self, Change as BitmapChange, Compact, ControlError, Merge, SlotMove, Source,
};
use ploop_core::delta::ExtensionState;
use ploop_core::drive::DeltaFile;
use ploop_core::format::{InUse, Layout};
use ploop_core::load;
use ploop_core::units::{Clu, DstClu, Sectors};

use crate::disk::{BlockingFile, Geometry, Power as Supply, SimFile};
use crate::fuzzing::control::judge::Bytes;
use crate::world::switch::Switch;
use crate::world::trouble::Trouble;
use crate::world::{Run, World};

/// Clusters that a merge or a compaction handles at once.
const STEP: u32 = 2;
/// The bitmap that is started.
const NEW: [u8; 16] = [0xC0; 16];
/// Bytes of a header, which are written whole: the control plane relies on sectors, and small worlds have smaller granules.
const HEADER: u32 = 64;
/// Where the in-use mark stands in the header.
const MARK_AT: u64 = 44;

/// What a change is to come to.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Sectors of the disk afterwards.
    pub(super) size: u64,
    /// What is done to dirty bitmaps, if it is one of that sort and there is something to be done.
    pub(super) bitmap: Option<BitmapChange>,
    /// The dirty bitmaps that counted before.
    pub(super) bitmaps: Vec<Bitmap>,
    /// What the disk reads as, closed.
    pub(super) content: Vec<Value>,
}

/// How a try ended.
pub(super) struct Tried {
    /// How many clusters a merge had to copy although they were promoted.
    pub(super) result: Result<u64, ControlError>,
    /// The power was lost.
    pub(super) lost: bool,
    /// What was to go wrong did.
    pub(super) befell: bool,
}

/// The dirty bitmaps of an image that count.
pub(super) fn bitmaps_of(file: &SimFile) -> Vec<Bitmap> {
    let loaded = load::load(file, "top").ok();
    let image = loaded.as_ref().and_then(|loaded| loaded.expanded());
    match image {
        Some(image) if image.extension == ExtensionState::Valid => {
            bitmap::read(&Bytes(file.view())).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

impl Run<'_> {
    /// What is going to be done. The image was closed and judged just now.
    pub(super) fn plan(&self, switch: Switch) -> Plan {
        let bitmaps = match self.world.content.kept.ext_off {
            0 => Vec::new(),
            _ => bitmaps_of(&self.world.top),
        };
        let first = bitmaps.first().map(|bitmap| bitmap.id);
        let bitmap = match switch {
            Switch::StartBitmap(granularity) if bitmaps.iter().all(|b| b.id != NEW) => {
                Some(BitmapChange::Start {
                    id: NEW,
                    granularity,
                })
            }
            Switch::ClearBitmap => first.map(|id| BitmapChange::Clear { id }),
            Switch::StopBitmap => first.map(|id| BitmapChange::Stop { id }),
            _ => None,
        };
        let more = match switch {
            Switch::Grow(more) => more,
            _ => 0,
        };
        Plan {
            size: self.shape.size + more,
            bitmap,
            bitmaps,
            content: self.world.images.seen.clone(),
        }
    }

    /// Makes a change, or a part of it.
    pub(super) fn change_files(&mut self, switch: Switch, plan: &Plan, trouble: Trouble) -> Tried {
        let mut faults = trouble.faults();
        let mut given_up = false;
        let limit = self.limit_of(plan);
        let promoted = switch == Switch::Forward && self.is_promoted();
        let raw = self.shape.raw_base && self.shape.levels == 2;
        let (version, cluster) = (self.shape.version, Sectors(self.shape.cluster));
        let granule = self.shape.options.granule.max(HEADER);
        if trouble != Trouble::None {
            self.write_headers_whole(switch);
        }
        let World { lowers, top, .. } = &mut *self.world;
        let supply = Supply::new(self.tape, &mut faults, trouble.calls());
        let result = match switch {
            Switch::Reload | Switch::WriteBack(_) | Switch::ReadOnly => Ok(0),
            Switch::Snapshot | Switch::Rollback => {
                let mut new = SimFile::new();
                let entries = plan.size.div_ceil(cluster.0) as u32;
                let start = Layout::lowest_data_start(version, cluster, entries);
                let geometry = Geometry {
                    meta_len: start.bytes(),
                    granule,
                    limit_sectors: limit,
                };
                new.reset(geometry, &[], &[], 0);
                let file = BlockingFile::new(&mut new, &supply);
                let made = load::new_image(&file, version, cluster, Sectors(plan.size));
                made.map_err(not_created).map(|_| {
                    let old = std::mem::replace(top, new);
                    if switch == Switch::Snapshot {
                        lowers.push(old);
                    }
                    0
                })
            }
            Switch::Grow(_) => {
                top.set_limit(limit);
                let file = BlockingFile::new(top, &supply);
                files::grow(&file, "top", Sectors(plan.size)).map(|_| 0)
            }
            Switch::Compact => {
                let file = BlockingFile::new(top, &supply);
                compact(&file, trouble, &mut given_up)
            }
            Switch::Index { level, every } => {
                let lower = level.and_then(|level| lowers.get_mut(usize::from(level)));
                let file = lower.unwrap_or(top);
                file.set_limit(file.len_sectors() + limit);
                move_clusters(&BlockingFile::new(file, &supply), every)
            }
            Switch::Repair { marked } => {
                top.set_limit(limit + 2 * cluster.0);
                leak_and_repair(&BlockingFile::new(top, &supply), cluster, marked)
            }
            Switch::StartBitmap(_) | Switch::ClearBitmap | Switch::StopBitmap => {
                top.set_limit(limit);
                let now = bitmaps_of(top);
                let file = BlockingFile::new(top, &supply);
                match plan.bitmap {
                    Some(change) if is_left(&now, change) => {
                        files::change_bitmaps(&file, "top", change).map(|()| 0)
                    }
                    _ => Ok(0),
                }
            }
            Switch::Forward | Switch::Backward => {
                let Some(mut below) = lowers.pop() else {
                    return Tried {
                        result: Ok(0),
                        lost: false,
                        befell: false,
                    };
                };
                below.set_limit(limit);
                top.set_limit(limit);
                let forward = switch == Switch::Forward;
                let merged = {
                    let lower = BlockingFile::new(&mut below, &supply);
                    let upper = BlockingFile::new(top, &supply);
                    merge((&lower, raw), &upper, forward, trouble, &mut given_up)
                };
                match (&merged, forward) {
                    (Err(_), _) => lowers.push(below),
                    (Ok(_), true) => {}
                    (Ok(_), false) => *top = below,
                }
                match promoted {
                    true => {
                        self.stats.promoted_merges += u64::from(merged.is_ok());
                        merged
                    }
                    false => merged.map(|_| 0),
                }
            }
        };
        let lost = supply.is_lost();
        let befell = match trouble {
            Trouble::Cancel(_) => given_up,
            _ => lost || !faults.untouched(),
        };
        Tried {
            result,
            lost,
            befell,
        }
    }

    /// The files of a change tear no header.
    fn write_headers_whole(&mut self, switch: Switch) {
        let granule = self.shape.options.granule.max(HEADER);
        let lower = self.lower_of(switch);
        let World { lowers, top, .. } = &mut *self.world;
        let lower = lower.and_then(|level| lowers.get_mut(level));
        // After a fault they do so already.
        for file in [Some(top), lower].into_iter().flatten() {
            if file.pending() == 0 {
                file.set_granule(granule);
            }
        }
    }

    /// How long a file may become in a change.
    pub(super) fn limit_of(&self, plan: &Plan) -> u64 {
        let entries = plan.size.div_ceil(self.shape.cluster);
        self.shape.limit() + (3 * entries + 16) * self.shape.cluster
    }
}

fn not_created(error: impl std::fmt::Display) -> ControlError {
    ControlError::Io {
        file: "new top".to_owned(),
        what: "creating it",
        source: std::io::Error::other(error.to_string()),
    }
}

/// Returns how many clusters there were to copy.
fn merge(
    (lower, raw): (&dyn DeltaFile, bool),
    upper: &dyn DeltaFile,
    forward: bool,
    trouble: Trouble,
    given_up: &mut bool,
) -> Result<u64, ControlError> {
    let source = |file, name, raw| Source { file, name, raw };
    let (lower, upper) = (source(lower, "below", raw), source(upper, "top", false));
    let new = || match forward {
        true => Merge::forward(lower, upper),
        false => Merge::backward(lower, upper),
    };
    let mut merge = new()?;
    let total = merge.progress().total;
    if let Trouble::Cancel(steps) = trouble {
        let mut finished = false;
        for _ in 0..steps {
            finished = finished || merge.step(STEP)?.finished;
        }
        if finished {
            return Ok(total);
        }
        *given_up = true;
        merge.cancel()?;
        merge = new()?;
    }
    while !merge.step(STEP)?.finished {}
    Ok(total)
}

fn compact(
    file: &dyn DeltaFile,
    trouble: Trouble,
    given_up: &mut bool,
) -> Result<u64, ControlError> {
    let mut compact = Compact::new(file, "top")?;
    if let Trouble::Cancel(steps) = trouble {
        let mut finished = false;
        for _ in 0..steps {
            finished = finished || compact.step(STEP)?.finished;
        }
        if finished {
            return Ok(0);
        }
        *given_up = true;
        compact.cancel()?;
        compact = Compact::new(file, "top")?;
    }
    while !compact.step(STEP)?.finished {}
    Ok(0)
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> ControlError {
    move |source| ControlError::Io {
        file: "a level".to_owned(),
        what,
        source,
    }
}

/// Copies clusters behind the end of the file, one in `every`, and points their slots there.
fn move_clusters(file: &dyn DeltaFile, every: u32) -> Result<u64, ControlError> {
    let loaded = load::load(file, "a level")?;
    let Some(image) = loaded.expanded() else {
        return Ok(0);
    };
    let (layout, len) = (image.layout, file.len().map_err(failed("its length"))?);
    let mut next = layout.hosts_in(len + layout.cluster_bytes() - 1);
    let mut moves = Vec::new();
    let mut bytes = vec![0; layout.cluster_bytes() as usize];
    for (clu, &entry) in (0..).zip(&image.bat) {
        let Some(from) = layout.host_of(entry).filter(|_| clu % every == 0) else {
            continue;
        };
        let to = DstClu(next.max(layout.first_host().0));
        next = to.0 + 1;
        bytes.fill(0);
        let (old, new) = (layout.host_sector(from), layout.host_sector(to));
        ploop_core::drive::file::read_padded(file, old.bytes(), &mut bytes)
            .map_err(failed("reading a cluster"))?;
        let mut done = 0;
        while done < bytes.len() {
            let written = file.write_at(new.bytes() + done as u64, &bytes[done..]);
            match written.map_err(failed("copying a cluster"))? {
                0 => {
                    return Err(failed("copying a cluster")(
                        std::io::ErrorKind::WriteZero.into(),
                    ));
                }
                written => done += written,
            }
        }
        let clu = Clu(clu);
        moves.push(SlotMove { clu, from, to });
    }
    files::update_index(file, "a level", &moves).map(|_| 0)
}

/// A cluster that nobody has behind the end, perhaps a mark that nobody took away; then the repair.
fn leak_and_repair(
    file: &dyn DeltaFile,
    cluster: Sectors,
    marked: bool,
) -> Result<u64, ControlError> {
    let len = file.len().map_err(failed("its length"))?;
    file.set_len(len + 2 * cluster.bytes())
        .map_err(failed("a leak"))?;
    if marked {
        let mark = InUse::InUse.raw().to_le_bytes();
        file.write_at(MARK_AT, &mark).map_err(failed("a mark"))?;
    }
    let repaired = files::repair(file, "top")?;
    if repaired.sound {
        return Ok(0);
    }
    let what = format!("not sound after a repair: {:?}", repaired.left);
    Err(failed("the repair")(std::io::Error::other(what)))
}

/// There is something to be done still; a power cut may have taken the bitmaps away.
fn is_left(now: &[Bitmap], change: BitmapChange) -> bool {
    let has = |id| now.iter().any(|bitmap| bitmap.id == id);
    match change {
        BitmapChange::Start { id, .. } => !has(id),
        BitmapChange::Stop { id } | BitmapChange::Clear { id } => has(id),
    }
}
