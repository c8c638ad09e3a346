//! Images drawn from a tape: both versions, packed or aligned, with holes full of stale data, an extension, a disk that
//! ends inside a cluster, a file that ends where the disk does.

use crate::disk::sector::{SECTOR, fill_pattern};
use crate::tape::{Kind, Tape};
use model::op::Value;

const HEADER: u64 = 64;
const EXTENSION_MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
const BITMAP_MAGIC: u64 = 0x2038_5FAE_252C_B34A;
/// Write numbers of what no guest wrote: stale clusters, bytes behind the end of the disk, bitmaps.
const STALE: u32 = 1000;

/// The mark of an image that is in use.
const IN_USE: u32 = 0x746F_6E59;

/// A file, and what is in it.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// The file.
    pub bytes: Vec<u8>,
    /// By guest sector: what this file has there, if it has it.
    pub values: Vec<Option<Value>>,
    /// Number of BAT entries.
    pub entries: u64,
    /// Version 1.
    pub v1: bool,
    /// First sector of data.
    pub start: u64,
    /// What each slot holds.
    pub slots: Vec<u32>,
}

/// What is to be drawn.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Cluster size in sectors.
    pub cluster: u64,
    /// Virtual size in sectors.
    pub size: u64,
    /// Most mapped clusters.
    pub mapped: u32,
    /// Number of the write that made the content.
    pub write: u32,
}

struct Place {
    start: u64,
    field: u64,
}

/// Draws an image.
pub fn image(wish: &Wish, tape: &mut Tape) -> Drawn {
    let Wish {
        cluster,
        size,
        mapped,
        write,
    } = *wish;
    let v1 = tape.choose(Kind::Geometry, 2) == 1;
    let entries = size.div_ceil(cluster);
    let place = draw_place(v1, cluster, entries, tape);
    let slots = draw_slots(entries, mapped, tape);
    let free = tape.choose(Kind::Geometry, 4) as usize;
    let extension = match tape.choose(Kind::Geometry, 6) {
        5 => 2,
        4 => 1,
        _ => 0,
    };
    let mut hosts: Vec<u64> = (0..(slots.len() + free + extension) as u64)
        .map(|host| place.start + host * cluster)
        .collect();
    for index in (1..hosts.len()).rev() {
        hosts.swap(index, index - tape.index(Kind::Geometry, index + 1));
    }
    let (data, rest) = hosts.split_at(slots.len());
    let (own, stale) = rest.split_at(extension);
    let mut end = place.start + hosts.len() as u64 * cluster;
    let mut drawn = Drawn {
        bytes: Vec::new(),
        values: vec![None; size as usize],
        entries,
        v1,
        start: place.start,
        slots: vec![0; entries as usize],
    };
    // Behind the last cluster there may be less than one.
    let cut = slots.iter().position(|&slot| slot == entries - 1);
    let cut = cut.filter(|&at| data[at] + cluster == end && size % cluster != 0);
    match tape.choose(Kind::Geometry, 4) {
        3 => end += u64::from(tape.choose(Kind::Geometry, cluster as u32)),
        2 if cut.is_some() => end -= cluster - size % cluster,
        _ => {}
    }
    drawn.bytes = vec![0; (end.max(place.start) * 512) as usize];
    for (index, sector) in (place.start..end).enumerate() {
        drawn.put(sector, Value::of(STALE, index as u64));
    }
    for (&slot, &at) in slots.iter().zip(data) {
        drawn.slots[slot as usize] = (if v1 { at } else { at / cluster }) as u32;
        let empty = tape.choose(Kind::Arg, 6) == 5;
        for offset in 0..cluster {
            let guest = slot * cluster + offset;
            let value = match drawn.values.get_mut(guest as usize) {
                Some(value) => {
                    let new = if empty {
                        Value::ZERO
                    } else {
                        Value::of(write, guest)
                    };
                    *value = Some(new);
                    new
                }
                None => Value::of(STALE + 1, guest),
            };
            drawn.put(at + offset, value);
        }
    }
    // Stale clusters of zeros.
    for &at in stale {
        if tape.choose(Kind::Arg, 3) == 2 {
            (at..at + cluster).for_each(|sector| drawn.put(sector, Value::ZERO));
        }
    }
    let mark = if extension > 0 {
        drawn.put_extension(own, size, cluster);
        [0x312E_3276, 0x312E_3276, IN_USE, 0][tape.index(Kind::Geometry, 4)]
    } else {
        [0, 0, IN_USE, 0x312E_3276][tape.index(Kind::Geometry, 4)]
    };
    let extension = match own.first() {
        None => 0,
        Some(&at) if mark == IN_USE => drawn.leave_extension(at, data, cluster, tape),
        Some(&at) => at,
    };
    drawn.put_table(wish, &place, mark, extension);
    drawn
}

fn draw_place(v1: bool, cluster: u64, entries: u64, tape: &mut Tape) -> Place {
    let table = (HEADER + 4 * entries).div_ceil(512);
    let aligned = table.next_multiple_of(cluster);
    let (start, field) = match (v1, tape.choose(Kind::Geometry, 4)) {
        (true, 0) => (table, 0),
        (true, 1) => (table, table),
        (true, 2) => {
            let start = table + u64::from(tape.choose(Kind::Geometry, cluster as u32));
            (start, start)
        }
        (false, 3) => (aligned + cluster, aligned + cluster),
        _ => (aligned, aligned),
    };
    Place { start, field }
}

/// Mapped guest clusters, in the order drawn. The last one is likelier than others.
fn draw_slots(entries: u64, mapped: u32, tape: &mut Tape) -> Vec<u64> {
    let mut slots = Vec::new();
    for _ in 0..tape.choose(Kind::Geometry, mapped + 1) {
        let slot = match tape.choose(Kind::Arg, 4) {
            3 => entries - 1,
            2 => u64::from(tape.choose(Kind::Arg, entries.min(4) as u32)),
            _ => u64::from(tape.choose(Kind::Arg, entries as u32)),
        };
        if !slots.contains(&slot) {
            slots.push(slot);
        }
    }
    slots
}

impl Drawn {
    fn put(&mut self, sector: u64, value: Value) {
        let at = (sector * 512) as usize;
        if let Some(bytes) = self.bytes.get_mut(at..at + SECTOR) {
            fill_pattern(value, 0, bytes);
        }
    }

    fn put_bytes(&mut self, at: u64, bytes: &[u8]) {
        self.bytes[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn put_table(&mut self, wish: &Wish, place: &Place, mark: u32, ext_off: u64) {
        let magic = if self.v1 {
            b"WithoutFreeSpace"
        } else {
            b"WithouFreSpacExt"
        };
        let mut raw = magic.to_vec();
        for field in [2, 16, 7, wish.cluster as u32, self.entries as u32] {
            raw.extend(field.to_le_bytes());
        }
        raw.extend(wish.size.to_le_bytes());
        for field in [mark, place.field as u32, 1] {
            raw.extend(field.to_le_bytes());
        }
        raw.extend(ext_off.to_le_bytes());
        for slot in &self.slots {
            raw.extend(slot.to_le_bytes());
        }
        self.put_bytes(0, &raw);
    }

    /// An image that was not closed may have an extension that nobody can read any more: the one who had it in use was cut while he
    /// wrote over it, or has given its cluster to a guest, or the file ends before it. Returns where the header says that it is.
    fn leave_extension(&mut self, at: u64, data: &[u64], cluster: u64, tape: &mut Tape) -> u64 {
        match tape.choose(Kind::Geometry, 6) {
            1 => {
                let byte = at * 512 + u64::from(tape.choose(Kind::Arg, 64));
                self.bytes[byte as usize] ^= 0x40;
                at
            }
            2 => (self.bytes.len() as u64 / 512).next_multiple_of(cluster) + cluster,
            3 => data.first().copied().unwrap_or(at),
            _ => at,
        }
    }

    /// An extension with a dirty bitmap, which has a cluster of its own if there is a second one.
    fn put_extension(&mut self, own: &[u64], size: u64, cluster: u64) {
        let mut list = Vec::new();
        let entry = own.get(1).copied().unwrap_or(1);
        let granularity = size.div_ceil(cluster * 512 * 8).next_power_of_two();
        for word in [BITMAP_MAGIC, 0, 40, size, 7, 7] {
            list.extend(word.to_le_bytes());
        }
        list.extend((granularity as u32).to_le_bytes());
        list.extend(1_u32.to_le_bytes());
        list.extend(entry.to_le_bytes());
        list.resize((cluster * 512 - 24) as usize, 0);
        let sum = md5::compute(&list).0;
        self.put_bytes(own[0] * 512, &EXTENSION_MAGIC.to_le_bytes());
        self.put_bytes(own[0] * 512 + 8, &sum);
        self.put_bytes(own[0] * 512 + 24, &list);
        if let Some(at) = own.get(1) {
            // Every third bit.
            let bits = size.div_ceil(granularity);
            let mut bytes = vec![0u8; (cluster * 512) as usize];
            for bit in (0..bits).step_by(3) {
                bytes[(bit / 8) as usize] |= 1 << (bit % 8);
            }
            self.put_bytes(at * 512, &bytes);
        }
    }
}
