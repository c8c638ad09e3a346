//! The files of a world as other tools might have left them: levels with holes, gaps and tails.

use model::op::Value;
use ploop_core::format::{Header, InUse, Layout, Version};
use ploop_core::units::{DstClu, Sector, Sectors};

use crate::disk::{Geometry, SimFile};
use crate::tape::{Kind, Tape};
use crate::world::shape::Shape;

/// Writes that made the content of level 0, 1, ... before the run began: above all numbers that clients use.
const FIRST_BASE_WRITE: u32 = 0xF000_0000;

/// What lies under the top, and in all.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Per guest sector: what the lower levels show.
    pub below: Vec<Value>,
    /// Per guest sector: what the whole chain shows.
    pub all: Vec<Value>,
}

/// Draws the files of a chain, bottom to top: `lowers`, then `top`. Returns what they read as.
pub fn draw(
    shape: &Shape,
    lowers: &mut Vec<SimFile>,
    top: &mut SimFile,
    tape: &mut Tape,
    content: &mut Content,
) {
    let size = shape.size as usize;
    content.below.clear();
    content.below.resize(size, Value::ZERO);
    lowers.resize_with(usize::from(shape.levels) - 1, SimFile::new);
    for (level, file) in lowers.iter_mut().enumerate() {
        if level == 0 && shape.raw_base {
            draw_raw(shape, file, tape, &mut content.below);
        } else {
            // Lower images are always plain version 2: the top's version is what the core writes.
            let lower = Shape {
                version: Version::V2,
                packed: false,
                ..shape.clone()
            };
            draw_image(&lower, level as u32, true, file, tape, &mut content.below);
        }
    }
    content.all.clone_from(&content.below);
    draw_image(
        shape,
        u32::from(shape.levels) - 1,
        false,
        top,
        tape,
        &mut content.all,
    );
}

fn draw_raw(shape: &Shape, file: &mut SimFile, tape: &mut Tape, content: &mut [Value]) {
    let clusters = 1 + tape.choose(Kind::Geometry, shape.entries);
    let len = (u64::from(clusters) * shape.cluster).min(shape.size) as usize;
    let holes = 2 + tape.choose(Kind::Geometry, 3);
    for (sector, value) in content[..len].iter_mut().enumerate() {
        let clu = sector as u64 / shape.cluster;
        *value = if clu % u64::from(holes) == 1 {
            Value::ZERO
        } else {
            Value::of(FIRST_BASE_WRITE, sector as u64)
        };
    }
    let geometry = Geometry {
        meta_len: 0,
        granule: shape.options.granule,
        limit_sectors: shape.size,
    };
    file.reset(geometry, &[], &content[..len], len as u64 * 512);
}

fn draw_image(
    shape: &Shape,
    level: u32,
    lower: bool,
    file: &mut SimFile,
    tape: &mut Tape,
    content: &mut [Value],
) {
    let layout = shape.layout();
    let density = tape.choose(Kind::Geometry, if lower { 3 } else { 4 });
    let gaps = tape.choose(Kind::Geometry, 3);
    let mut bat = vec![0u32; shape.entries as usize];
    let first = layout.first_host().0;
    let mut next = first;
    let mut owners: Vec<Option<u32>> = Vec::new();
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
            owners.push(None);
            next += 1;
        }
        if let Some(entry) = layout.entry_of(DstClu(next)) {
            bat[clu as usize] = entry;
            owners.push(Some(clu));
            next += 1;
        }
    }
    let spare = if lower {
        0
    } else {
        tape.choose(Kind::Geometry, 3)
    };
    let ragged = !lower && shape.cluster > 1 && tape.choose(Kind::Geometry, 8) == 7;
    let end = layout
        .host_sector(DstClu(next + spare))
        .0
        .max(layout.data_start.0)
        + u64::from(ragged);
    let mut data = vec![Value::ZERO; (end - layout.data_start.0) as usize];
    for (index, owner) in owners.iter().enumerate() {
        let at =
            (layout.host_sector(DstClu(first + index as u32)).0 - layout.data_start.0) as usize;
        for within in 0..shape.cluster {
            let guest = owner.map(|clu| u64::from(clu) * shape.cluster + within);
            // Free clusters hold rubbish, and so does what lies behind the virtual size.
            let value = match guest.filter(|&guest| guest < shape.size) {
                Some(guest) => Value::of(FIRST_BASE_WRITE + 1 + level, guest),
                None => Value::of(FIRST_BASE_WRITE + 100, at as u64 + within),
            };
            data[at + within as usize] = value;
            if let Some(guest) = guest.filter(|&guest| guest < shape.size) {
                content[guest as usize] = value;
            }
        }
    }
    let meta = metadata(&layout, &bat);
    let geometry = Geometry {
        meta_len: layout.data_start.bytes(),
        granule: shape.options.granule,
        limit_sectors: if lower { end } else { shape.limit().max(end) },
    };
    file.reset(geometry, &meta, &data, end * 512);
}

/// Header and BAT.
fn metadata(layout: &Layout, bat: &[u32]) -> Vec<u8> {
    let header = Header {
        version: layout.version,
        heads: 16,
        cylinders: 1,
        cluster: layout.cluster,
        entries: layout.entries,
        size: layout.size,
        size_high_unused: 0,
        in_use: InUse::Closed0,
        data_off: layout.data_start.0 as u32,
        flags: 1,
        ext_off: Sector(0),
    };
    let mut meta = header.to_bytes().to_vec();
    meta.extend(bat.iter().flat_map(|entry| entry.to_le_bytes()));
    meta.resize(Sectors(layout.data_start.0).bytes() as usize, 0);
    meta
}
