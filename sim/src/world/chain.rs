//! The files of a world as other tools might have left them: levels with holes, gaps and tails. Each image is a
//! [`Plan`], drawn from the tape or written down in a scenario, and then built.

use model::op::Value;
use ploop_core::format::{Header, InUse, Layout, Version};
use ploop_core::units::{DstClu, Sector};

use crate::check::bitmaps::Since;
use crate::check::extension::Kept;
use crate::disk::{Change, Effect, Geometry, SimFile, SyncEffect};
use crate::tape::{Kind, Tape};
use crate::world::extension::{Bitmap, Extension};
use crate::world::shape::Shape;

/// Writes that made the content of level 0, 1, ... before the run began: above all numbers that clients use.
pub(crate) const FIRST_BASE_WRITE: u32 = 0xF000_0000;
/// Rubbish in free clusters, and the content of a bitmap.
const RUBBISH: u32 = FIRST_BASE_WRITE + 100;
const BITMAP: u32 = FIRST_BASE_WRITE + 101;

/// Where content comes from that was there before the run began; `None` for the write of a client.
pub(crate) fn origin(write: u32) -> Option<String> {
    Some(match write {
        RUBBISH => "rubbish".to_owned(),
        BITMAP => "a bitmap".to_owned(),
        FIRST_BASE_WRITE => "old data (raw base)".to_owned(),
        _ => format!(
            "old data (file {})",
            write.checked_sub(FIRST_BASE_WRITE + 1)?
        ),
    })
}

/// What lies under the top, and in all.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Per guest sector: what the lower levels show.
    pub below: Vec<Value>,
    /// Per guest sector: what the whole chain shows.
    pub all: Vec<Value>,
    /// What of the top must never change.
    pub kept: Kept,
    /// What its dirty bitmaps must have marked.
    pub since: Since,
}

/// Whose a host cluster is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: it holds rubbish.
    Free,
    /// This guest cluster's.
    Guest(u32),
    /// The format extension's.
    Extension,
    /// Its bitmap's.
    Bitmap,
}

/// An image to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Owners of the host clusters, from the first one on.
    pub hosts: Vec<Owner>,
    /// The file ends with a sector too many.
    pub ragged: bool,
    /// How the image was left.
    pub in_use: InUse,
    /// The format extension's bitmap, if some host cluster is its.
    pub bitmap: Bitmap,
    /// Below a top: it is a shorter disk, of so many sectors.
    pub size: Option<u64>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            hosts: Vec::new(),
            ragged: false,
            in_use: InUse::Closed0,
            bitmap: Bitmap::Clean,
            size: None,
        }
    }
}

/// A level of a chain to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Level {
    /// A raw file of so many guest clusters; those of the list hold data, the others zeros.
    Raw {
        /// Clusters that the file reaches.
        clusters: u32,
        /// Guest clusters that hold data.
        data: Vec<u32>,
    },
    /// An image.
    Image(Plan),
}

/// Draws the files of a chain, bottom to top: `lowers`, then `top`, and what they read as. `short`: images below the top may
/// be disks that are shorter than the ones above them. Returns how many are.
pub fn draw(
    shape: &Shape,
    short: bool,
    lowers: &mut Vec<SimFile>,
    top: &mut SimFile,
    tape: &mut Tape,
    content: &mut Content,
) -> u64 {
    begin(shape, lowers, content);
    // What the levels so far reach: the next one reaches no less.
    let mut reached = 1;
    let mut shorter = 0;
    for (level, file) in lowers.iter_mut().enumerate() {
        if level == 0 && shape.raw_base {
            let (clusters, data) = draw_raw(shape, tape);
            build_raw(shape, clusters, &data, file, &mut content.below);
            reached = file.len_sectors();
            continue;
        }
        let mut lower = shape.lower();
        if short {
            let less = tape.choose(Kind::Geometry, (shape.size - reached + 1) as u32);
            lower = shape.lower_of(Some(shape.size - u64::from(less)));
            reached = lower.size;
            shorter += u64::from(less > 0);
        }
        let plan = draw_plan(&lower, true, tape);
        build_lower(&lower, level as u32, &plan, file, &mut content.below);
    }
    let plan = draw_plan(shape, false, tape);
    build_top(shape, &plan, top, content);
    shorter
}

/// Builds the files of a chain that was written down: `levels`, bottom to top, the last of them the top.
pub fn build(
    shape: &Shape,
    levels: &[Level],
    top_plan: &Plan,
    lowers: &mut Vec<SimFile>,
    top: &mut SimFile,
    content: &mut Content,
) {
    begin(shape, lowers, content);
    for ((number, level), file) in levels.iter().enumerate().zip(lowers) {
        match level {
            Level::Raw { clusters, data } => {
                build_raw(shape, *clusters, data, file, &mut content.below);
            }
            Level::Image(plan) => {
                let lower = shape.lower_of(plan.size);
                build_lower(&lower, number as u32, plan, file, &mut content.below);
            }
        }
    }
    build_top(shape, top_plan, top, content);
}

fn begin(shape: &Shape, lowers: &mut Vec<SimFile>, content: &mut Content) {
    content.below.clear();
    content.below.resize(shape.size as usize, Value::ZERO);
    lowers.resize_with(usize::from(shape.levels) - 1, SimFile::new);
}

fn draw_raw(shape: &Shape, tape: &mut Tape) -> (u32, Vec<u32>) {
    let clusters = 1 + tape.choose(Kind::Geometry, shape.entries);
    let holes = 2 + tape.choose(Kind::Geometry, 3);
    let data = (0..clusters).filter(|clu| clu % holes != 1).collect();
    (clusters, data)
}

fn draw_plan(shape: &Shape, lower: bool, tape: &mut Tape) -> Plan {
    let density = tape.choose(Kind::Geometry, if lower { 3 } else { 4 });
    let gaps = tape.choose(Kind::Geometry, 3);
    let mut plan = Plan::default();
    // One draw decides eight clusters: big images stay cheap.
    let mut dice = 0;
    for clu in 0..shape.entries {
        if clu % 8 == 0 {
            dice = tape.choose(Kind::Geometry, 1 << 24);
        }
        let roll = dice >> (3 * (clu % 8)) & 7;
        let mapped = match density {
            0 if lower => roll < 4,
            0 => false,
            1 => roll < 2,
            2 => roll < 6,
            _ => true,
        };
        if !mapped {
            continue;
        }
        if gaps == 2 && roll == 1 {
            plan.hosts.push(Owner::Free);
        }
        plan.hosts.push(Owner::Guest(clu));
    }
    if lower {
        return plan;
    }
    draw_state(&mut plan, tape);
    let spare = tape.choose(Kind::Geometry, 3);
    plan.hosts
        .extend(std::iter::repeat_n(Owner::Free, spare as usize));
    plan.ragged = shape.cluster > 1 && tape.choose(Kind::Geometry, 8) == 7;
    plan
}

/// How the top was left, and whether it has a format extension.
fn draw_state(plan: &mut Plan, tape: &mut Tape) {
    plan.in_use = match tape.choose(Kind::Geometry, 16) {
        0..=11 => return,
        12 => {
            plan.in_use = InUse::InUse;
            return;
        }
        13 => [InUse::Closed0, InUse::InUse][tape.index(Kind::Geometry, 2)],
        _ => InUse::ClosedV21,
    };
    plan.bitmap = [Bitmap::Clean, Bitmap::Dirty, Bitmap::Mixed][tape.index(Kind::Geometry, 3)];
    let at = match tape.choose(Kind::Geometry, 3) {
        0 => plan.hosts.len(),
        1 => 0,
        _ => plan.hosts.len() / 2,
    };
    let owners = [Owner::Extension, Owner::Bitmap];
    let taken = if plan.bitmap == Bitmap::Mixed { 2 } else { 1 };
    plan.hosts.splice(at..at, owners.into_iter().take(taken));
}

fn build_raw(
    shape: &Shape,
    clusters: u32,
    data: &[u32],
    file: &mut SimFile,
    content: &mut [Value],
) {
    let len = (u64::from(clusters) * shape.cluster).min(shape.size);
    for &clu in data {
        let start = u64::from(clu) * shape.cluster;
        for sector in start..(start + shape.cluster).min(len) {
            content[sector as usize] = Value::of(FIRST_BASE_WRITE, sector);
        }
    }
    let geometry = Geometry {
        meta_len: 0,
        granule: shape.options.granule,
        limit_sectors: shape.size,
    };
    file.reset(geometry, &[], &content[..len as usize], len * 512);
}

/// `lower`: the shape of this image.
fn build_lower(lower: &Shape, level: u32, plan: &Plan, file: &mut SimFile, content: &mut [Value]) {
    build_image(lower, level, None, plan, file, content);
}

fn build_top(shape: &Shape, plan: &Plan, top: &mut SimFile, content: &mut Content) {
    content.all.clone_from(&content.below);
    let extension = Extension::of(shape, plan);
    let level = u32::from(shape.levels) - 1;
    build_image(shape, level, Some(&extension), plan, top, &mut content.all);
    for (at, bytes) in extension.cluster.iter().chain(&extension.bits) {
        write_durably(top, at.bytes(), bytes);
    }
    extension.keep(top, &mut content.kept);
    let vouched = extension.cluster.is_some() && plan.in_use == InUse::ClosedV21;
    content.since.begin(&content.all, vouched);
}

/// `extension` is that of a top; a lower image has none.
fn build_image(
    shape: &Shape,
    level: u32,
    extension: Option<&Extension>,
    plan: &Plan,
    file: &mut SimFile,
    content: &mut [Value],
) {
    let layout = shape.layout();
    let mut bat = vec![0; shape.entries as usize];
    let first = layout.first_host().0;
    let end = layout
        .host_sector(DstClu(first + plan.hosts.len() as u32))
        .0
        .max(layout.data_start.0)
        + u64::from(plan.ragged);
    let mut data = vec![Value::ZERO; (end - layout.data_start.0) as usize];
    for (index, &owner) in plan.hosts.iter().enumerate() {
        let host = DstClu(first + index as u32);
        let at = (layout.host_sector(host).0 - layout.data_start.0) as usize;
        if let Owner::Guest(clu) = owner {
            bat[clu as usize] = layout.entry_of(host).unwrap_or(0);
        }
        for within in 0..shape.cluster {
            let place = at + within as usize;
            data[place] = match owner {
                Owner::Guest(clu) => {
                    let guest = u64::from(clu) * shape.cluster + within;
                    let value = match guest < shape.size {
                        true => Value::of(FIRST_BASE_WRITE + 1 + level, guest),
                        // What lies behind the virtual size is rubbish.
                        false => Value::of(RUBBISH, place as u64),
                    };
                    // And is not seen, if the disk is larger.
                    if let Some(seen) = content.get_mut(guest as usize) {
                        *seen = if guest < shape.size {
                            value
                        } else {
                            Value::ZERO
                        };
                    }
                    value
                }
                Owner::Bitmap => Value::of(BITMAP, place as u64),
                Owner::Free | Owner::Extension => Value::of(RUBBISH, place as u64),
            };
        }
    }
    let ext_off = extension.map_or(Sector(0), Extension::offset);
    let meta = metadata(&layout, &bat, plan.in_use, ext_off);
    let geometry = Geometry {
        meta_len: layout.data_start.bytes(),
        granule: shape.options.granule,
        limit_sectors: if extension.is_none() {
            end
        } else {
            shape.limit().max(end)
        },
    };
    file.reset(geometry, &meta, &data, end * 512);
}

/// Header and BAT; zeros follow.
fn metadata(layout: &Layout, bat: &[u32], in_use: InUse, ext_off: Sector) -> Vec<u8> {
    let header = Header {
        version: layout.version,
        heads: 16,
        cylinders: 1,
        cluster: layout.cluster,
        entries: layout.entries,
        size: layout.size,
        size_high_unused: 0,
        in_use,
        data_off: layout.data_start.0 as u32,
        flags: 1,
        ext_off,
    };
    let header = header.to_bytes();
    let mut meta = Vec::with_capacity(header.len() + 4 * bat.len());
    meta.extend_from_slice(&header);
    meta.extend(bat.iter().flat_map(|entry| entry.to_le_bytes()));
    meta
}

/// Writes bytes that are there before the run begins. Nothing races, so nothing is drawn.
fn write_durably(file: &mut SimFile, at: u64, bytes: &[u8]) {
    let mut tape = Tape::replay(Vec::new());
    let write = file.submit(Change::Bytes { at, bytes });
    file.complete(write, Effect::Done, &mut tape);
    let sync = file.submit_sync();
    file.complete_sync(sync, SyncEffect::Done, &mut tape);
}

impl Shape {
    /// The shape of a lower image that is a disk of this size.
    fn lower_of(&self, size: Option<u64>) -> Shape {
        let lower = self.lower();
        let size = size.unwrap_or(lower.size);
        Shape {
            entries: size.div_ceil(lower.cluster) as u32,
            size,
            ..lower
        }
    }

    /// Lower images are always plain version 2: the top's version is what the core writes.
    fn lower(&self) -> Shape {
        Shape {
            version: Version::V2,
            packed: false,
            ..self.clone()
        }
    }
}
