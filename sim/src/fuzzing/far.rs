//! A version 1 image whose entries name all the sectors that they can: 2 TiB, most of it holes. What needs one cluster more is
//! refused, and nothing was written; what needs none is done.
//!
//! No drawn file is so long: this one is always the same.

use ploop_core::control::files::{ControlError, Merge, Refusal, Source, repair};
use ploop_core::delta::{ExtensionState, LoadedDelta};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::units::{Sector, Sectors};
use ploop_core::{Failure, Options, load};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

const SECTOR: u64 = 512;
/// Sectors of a cluster: 65536 of them are all that 32 bits name.
const CLUSTER: u64 = 1 << 16;
const ENTRIES: u32 = 1 << 16;
/// Behind the BAT.
const START: u64 = 513;

/// A file of which only the sectors that are not zeros take memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sparse {
    sectors: Rc<RefCell<BTreeMap<u64, [u8; SECTOR as usize]>>>,
    len: Rc<Cell<u64>>,
    changes: Rc<Cell<u64>>,
}

impl Sparse {
    /// Calls that change something, so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// From now on they are counted.
    pub(crate) fn forget_changes(&self) {
        self.changes.set(0);
    }

    fn changed(&self) {
        self.changes.set(self.changes.get() + 1);
    }
}

impl DeltaFile for Sparse {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.get())
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.len.get().saturating_sub(at).min(buf.len() as u64);
        let buf = &mut buf[..there as usize];
        buf.fill(0);
        let end = at + there;
        let sectors = self.sectors.borrow();
        for (sector, bytes) in sectors.range(at / SECTOR..end.div_ceil(SECTOR)) {
            let (from, to) = ((sector * SECTOR).max(at), ((sector + 1) * SECTOR).min(end));
            let skipped = (from % SECTOR) as usize;
            let piece = &mut buf[(from - at) as usize..(to - at) as usize];
            piece.copy_from_slice(&bytes[skipped..skipped + piece.len()]);
        }
        Ok(there as usize)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.changed();
        let mut sectors = self.sectors.borrow_mut();
        let mut done = 0;
        while done < buf.len() {
            let (number, within) = ((at + done as u64) / SECTOR, (at + done as u64) % SECTOR);
            let (within, rest) = (within as usize, &buf[done..]);
            let piece = &rest[..rest.len().min(SECTOR as usize - within)];
            done += piece.len();
            // Zeros take no memory.
            if sectors.contains_key(&number) || piece.iter().any(|&byte| byte != 0) {
                let sector = sectors.entry(number).or_insert([0; SECTOR as usize]);
                sector[within..within + piece.len()].copy_from_slice(piece);
            }
        }
        self.len.set(self.len.get().max(at + buf.len() as u64));
        Ok(buf.len())
    }
    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        self.changed();
        let mut sectors = self.sectors.borrow_mut();
        let inside: Vec<u64> = sectors
            .range(at / SECTOR..(at + len) / SECTOR)
            .map(|(sector, _)| *sector)
            .collect();
        inside.iter().for_each(|sector| {
            sectors.remove(sector);
        });
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.changed();
        self.len.set(len);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// An image with these slots: (slot, entry). Its extension, which counts for nothing, has the first cluster.
fn image(v1: bool, slots: impl Iterator<Item = (u32, u32)>, sectors: u64) -> Sparse {
    let magic = if v1 {
        b"WithoutFreeSpace"
    } else {
        b"WithouFreSpacExt"
    };
    let start = if v1 { START } else { CLUSTER };
    let mut raw = magic.to_vec();
    for field in [2, 16, 0, CLUSTER as u32, ENTRIES] {
        raw.extend(field.to_le_bytes());
    }
    // Of version 1, the upper half of the size is no part of it.
    raw.extend((u64::from(ENTRIES) * CLUSTER - 8).to_le_bytes());
    for field in [0, start as u32, 0] {
        raw.extend(field.to_le_bytes());
    }
    raw.extend((if v1 { start } else { 0 }).to_le_bytes());
    let mut bat = vec![0_u32; ENTRIES as usize];
    for (slot, entry) in slots {
        bat[slot as usize] = entry;
    }
    raw.extend(bat.iter().flat_map(|entry| entry.to_le_bytes()));
    let file = Sparse::default();
    file.write_at(0, &raw).expect("memory");
    file.set_len(sectors * SECTOR).expect("memory");
    file.changes.set(0);
    file
}

/// The entry of a host cluster, version 1.
fn entry(host: u32) -> u32 {
    (START + u64::from(host) * CLUSTER) as u32
}

/// All slots but the last two are mapped, and one cluster is left.
fn nearly_full() -> Sparse {
    let slots = (0..ENTRIES - 2).map(|slot| (slot, entry(slot + 1)));
    image(true, slots, START + u64::from(ENTRIES - 1) * CLUSTER)
}

/// Everything.
///
/// # Panics
/// If something was done for which there is no room, or refused although there is.
pub fn run() {
    last_cluster();
    from_an_image();
    from_a_raw_file();
    no_copy();
    long_file();
    too_many_bits();
}

/// The device hands out the last cluster that an entry can name, and no other.
fn last_cluster() {
    let file = nearly_full();
    let top = load::load(&file, "top").expect("a sound image");
    let options = Options {
        prealloc: Sectors(7 * CLUSTER),
        ..Options::default()
    };
    let chain: Vec<LoadedDelta> = vec![top];
    let mut disk = Disk::open(chain, vec![Box::new(file)], options).expect("it may be written");
    let first = u64::from(ENTRIES - 2) * CLUSTER;
    let bytes = [7; SECTOR as usize];
    assert_eq!(disk.write(Sector(first), &bytes, false), Ok(()));
    let beyond = disk.write(Sector(first + CLUSTER), &bytes, false);
    assert_eq!(
        beyond,
        Err(Failure::NoSpace),
        "[far] there is no such entry"
    );
    let mut found = [0; SECTOR as usize];
    assert_eq!(disk.read(Sector(first), &mut found), Ok(()));
    assert_eq!(found, bytes, "[far] the last cluster");
    assert_eq!(disk.close(), Ok(()));
}

fn merge(lower: &Sparse, raw: bool, upper: &Sparse) -> Result<(), ControlError> {
    let lower = Source {
        file: lower,
        name: "lower",
        raw,
    };
    let upper = Source {
        file: upper,
        name: "upper",
        raw: false,
    };
    let mut merge = Merge::forward(lower, upper)?;
    while !merge.step(u32::MAX)?.finished {}
    Ok(())
}

fn refused(upper: &Sparse, result: &Result<(), ControlError>) {
    let no_host = result.as_ref().err().and_then(ControlError::refusal);
    assert!(
        matches!(no_host, Some(Refusal::NoHost { .. })),
        "[far] {result:?}"
    );
    assert_eq!(upper.changes.get(), 0, "[far] refused, and written");
}

/// Two clusters come up, and there is room for one.
fn from_an_image() {
    let slots = [(ENTRIES - 2, 1), (ENTRIES - 1, 2)];
    let lower = image(false, slots.into_iter(), 3 * CLUSTER);
    let upper = nearly_full();
    refused(&upper, &merge(&lower, false, &upper));
}

/// Zeros of a raw file need no room.
fn from_a_raw_file() {
    let lower = Sparse::default();
    let last = u64::from(ENTRIES - 1) * CLUSTER;
    lower.set_len((last + 8) * SECTOR).expect("memory");
    let mut file = nearly_full();
    let merged = merge(&lower, true, &file);
    assert!(merged.is_ok(), "[far] zeros: {merged:?}");
    for sector in [last - CLUSTER, last] {
        lower
            .write_at(sector * SECTOR, &[1; SECTOR as usize])
            .expect("memory");
    }
    file = nearly_full();
    refused(&file, &merge(&lower, true, &file));
}

/// Four slots of a file that has a million clusters: what is used is found all the same, and what two slots share is refused.
fn long_file() {
    const HOSTS: u64 = 1 << 20;
    let mut raw = b"WithouFreSpacExt".to_vec();
    for field in [2_u32, 16, 0, 8, 4, 32, 0, 0, 8, 0, 0, 0] {
        raw.extend(field.to_le_bytes());
    }
    for (last, sound) in [(HOSTS as u32 - 2, true), (HOSTS as u32 - 1, false)] {
        let file = Sparse::default();
        let bat = [1, HOSTS as u32 - 1, 0, last].map(u32::to_le_bytes);
        file.write_at(0, &[&raw[..], bat.as_flattened()].concat())
            .expect("memory");
        file.set_len(HOSTS * 8 * SECTOR).expect("memory");
        let loaded = load::load(&file, "image");
        assert_eq!(loaded.is_ok(), sound, "[far] {loaded:?}");
    }
}

/// Two bitmaps of a bit a sector: each is one that there may be, and both are too much.
fn too_many_bits() {
    const EXTENSION: u64 = 0xAB23_4CEF_23DC_EA87;
    const BITMAP: u64 = 0x2038_5FAE_252C_B34A;
    const L1: u32 = 16;
    for (bitmaps, valid) in [(1_u8, true), (2, false)] {
        let file = image(false, std::iter::empty(), 2 * CLUSTER);
        let mut list = Vec::new();
        for id in 0..bitmaps {
            list.extend(BITMAP.to_le_bytes());
            list.extend(0_u64.to_le_bytes());
            list.extend((32 + 8 * L1).to_le_bytes());
            list.extend([0; 4]);
            list.extend((u64::from(ENTRIES) * CLUSTER - 8).to_le_bytes());
            list.extend([id; 16]);
            list.extend(1_u32.to_le_bytes());
            list.extend(L1.to_le_bytes());
            list.extend([0; 8 * L1 as usize]);
        }
        let mut all = list.clone();
        all.resize((CLUSTER * SECTOR) as usize - 24, 0);
        let sum = md5::compute(&all).0;
        let head = [&EXTENSION.to_le_bytes()[..], &sum, &list].concat();
        file.write_at(CLUSTER * SECTOR, &head).expect("memory");
        // m_DiskInUse, and where the extension is.
        file.write_at(44, &0x312E_3276_u32.to_le_bytes())
            .expect("memory");
        file.write_at(56, &CLUSTER.to_le_bytes()).expect("memory");
        let loaded = load::load(&file, "image").expect("a sound mapping");
        let found = loaded.expanded().expect("an image").extension;
        assert_eq!(found == ExtensionState::Valid, valid, "[far] {found:?}");
    }
}

/// Ten slots lead to clusters of others, and nine clusters are left.
fn no_copy() {
    const TWICE: u32 = 10;
    let slots = (0..ENTRIES).map(|slot| match slot.checked_sub(ENTRIES - TWICE) {
        Some(other) => (slot, entry(other + 1)),
        None => (slot, entry(slot + 1)),
    });
    let file = image(true, slots, START + u64::from(ENTRIES - 1) * CLUSTER);
    let mended = repair(&file, "image").map(drop);
    refused(&file, &mended);
}
