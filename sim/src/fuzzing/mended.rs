//! What the file operations make of an image from outside: repaired, grown, given dirty bitmaps. What they refuse they do not
//! write; what they say is done is there. Before that, what can be read of a damaged one is read.
//!
//! A panic begins with the checker's name in brackets, as in `open`.

use super::Extras;
use super::memory::Memory;
use model::image::{Image, ImageBytes, Level, SECTOR, read_sector};
use ploop_core::Options;
use ploop_core::control::files::{
    Change, Compact, ControlError, Merge, SlotMove, Source, change_bitmaps, grow, repair,
    update_index,
};
use ploop_core::delta::{Expanded, ExtensionState, LoadedDelta};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::{DirtyBitmap, Version};
use ploop_core::load::{self, Inspection};
use ploop_core::units::{Clu, Sector, Sectors};
use std::cell::RefCell;
use std::io;
use std::ops::Range;

/// Bytes that a file may have more than it had.
const SPACE: u64 = 1 << 20;

fn copy_of(bytes: &[u8]) -> Memory {
    Memory::new(
        bytes.to_vec(),
        (bytes.len() as u64).next_multiple_of(SECTOR) + SPACE,
    )
}

/// Some of it or all, to an image that can be inspected, and `sound` if it can be loaded.
pub(super) fn run(bytes: &[u8], sound: Option<&LoadedDelta>, extras: Extras) {
    if extras.has(2) {
        repaired(bytes);
    }
    if extras.has(3) {
        given_back(bytes);
    }
    let Some(image) = sound.and_then(LoadedDelta::expanded) else {
        return;
    };
    if extras.has(4) {
        grown(bytes, image);
    }
    if extras.has(5) {
        moved(bytes, image);
    }
    if extras.has(6) {
        merged_into(bytes, image);
    }
    if extras.has(7) {
        bitmaps(bytes, image);
    }
    if extras.has(9) {
        compacted(bytes, image);
    }
    if extras.has(8) {
        bitmap_alone(image.layout.size, 1 << (image.layout.entries % 8));
    }
}

/// A damaged image can be read as far as it goes, and never written.
pub(super) fn salvaged(bytes: &[u8], inspection: &Inspection) {
    let file = Memory::new(bytes.to_vec(), bytes.len() as u64);
    let options = Options {
        write: false,
        ..Options::default()
    };
    let opened = Disk::open(
        vec![inspection.delta.clone()],
        vec![Box::new(file.clone())],
        options,
    );
    let mut disk = opened.expect("what was left of the image can be read");
    let size = disk.device().geometry().size.0;
    let mut buffer = vec![0; (size.min(512) * SECTOR) as usize];
    disk.read(Sector(0), &mut buffer)
        .expect("memory can be read");
    disk.read(Sector(size - size.min(512)), &mut buffer)
        .expect("memory can be read");
    assert_eq!(file.changes(), 0, "[untouched] salvage changed the file");
}

/// True if it was done; a refusal must not have written anything.
fn is_done<T>(what: &str, file: &Memory, result: &Result<T, ControlError>) -> bool {
    let Err(error) = result else { return true };
    let full = error.is_no_space();
    let refused = error.is_refusal() || matches!(error, ControlError::Load(_));
    if refused {
        assert_eq!(
            file.changes(),
            0,
            "[mended] {what}: {error}, and was written"
        );
    }
    assert!(refused != full, "[mended] {what}: {error}");
    false
}

/// A file that takes space wherever nothing was given back.
#[derive(Debug)]
struct Thick {
    file: Memory,
    given_back: RefCell<Vec<Range<u64>>>,
}

impl DeltaFile for Thick {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(at, buf)
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        if punch {
            self.given_back.borrow_mut().push(at..at + len);
        }
        self.file.zero_at(at, len, punch)
    }
    fn takes_space(&self, at: u64, len: u64) -> io::Result<bool> {
        let given_back = self.given_back.borrow();
        let inside = |range: &Range<u64>| range.start <= at && at + len <= range.end;
        Ok(!given_back.iter().any(inside))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Clusters of nobody that read as zeros, but take space, are given back: afterwards the image takes no more than it needs.
fn given_back(bytes: &[u8]) {
    let file = Thick {
        file: copy_of(bytes),
        given_back: RefCell::default(),
    };
    if repair(&file, "image").is_ok_and(|done| done.sound) {
        let found = load::inspect(&file, "image").expect("repaired before");
        let layout = found.delta.expanded().expect("an image").layout;
        for leak in &found.leaked {
            let at = layout.host_sector(leak.start).bytes();
            let end = layout.host_sector(leak.end).bytes();
            let end = end.min(found.delta.file_len);
            let takes = at < end && file.takes_space(at, end - at).expect("memory");
            assert!(!takes, "[mended] {leak:?} still takes space");
        }
    }
}

/// What an upper delta has comes into the image, which grows for it.
fn merged_into(bytes: &[u8], image: &Expanded) {
    let (lower, upper) = (copy_of(bytes), Memory::new(Vec::new(), SPACE));
    let layout = &image.layout;
    let size = Sectors(layout.size.0.saturating_add(1));
    if load::new_image(&upper, Version::V2, layout.cluster, size).is_err() {
        return;
    }
    let source = |file| Source {
        file,
        name: "delta",
        raw: false,
    };
    let merge = Merge::backward(source(&lower), source(&upper));
    if let Ok(mut merge) = merge
        && merge.step(u32::MAX).is_ok()
    {
        let merged = load::load(&lower, "image").expect("what was merged is sound");
        assert_eq!(merged.size(), size, "[mended] merged");
        given_up(image, &lower);
        same(&bytes.to_vec(), &lower.bytes(), image.layout.size.0);
    }
}

/// A slot does not lead to another slot's cluster.
fn moved(bytes: &[u8], image: &Expanded) {
    let host = |clu: usize| image.layout.host_of(image.bat[clu]);
    let mut mapped = (0..image.bat.len()).filter(|&clu| host(clu).is_some());
    let (Some(one), Some(other)) = (mapped.next(), mapped.next()) else {
        return;
    };
    if let (Some(from), Some(to)) = (host(one), host(other)) {
        let clu = Clu(one as u32);
        let file = copy_of(bytes);
        let done = update_index(&file, "image", &[SlotMove { clu, from, to }]);
        assert!(
            !is_done("moving", &file, &done),
            "[mended] two slots, one cluster"
        );
    }
}

/// A repair says whether the image is sound, and another one finds nothing to do.
fn repaired(bytes: &[u8]) {
    let file = copy_of(bytes);
    let done = repair(&file, "image");
    if !is_done("repair", &file, &done) {
        return;
    }
    let sound = done.is_ok_and(|done| done.sound);
    let loaded = load::load(&file, "image");
    assert_eq!(loaded.is_ok(), sound, "[mended] {loaded:?}");
    let bytes = file.bytes();
    let again = repair(&file, "image");
    let again = again.unwrap_or_else(|error| panic!("[mended] repaired again: {error}"));
    assert_eq!(again.sound, sound, "[mended] {again:?}");
    assert!(!sound || bytes == file.bytes(), "[mended] {again:?}");
}

fn read(bytes: &dyn ImageBytes, sector: u64) -> [u8; SECTOR as usize] {
    let mut found = [0; SECTOR as usize];
    let image = Image::open(bytes).expect("a sound image");
    read_sector(&[Level::Image(image)], sector, &mut found);
    found
}

/// Both ends of a disk of so many sectors read as before.
fn same(before: &dyn ImageBytes, after: &dyn ImageBytes, size: u64) {
    for sector in (0..size.min(64)).chain(size.saturating_sub(64)..size) {
        let same = read(after, sector) == read(before, sector);
        assert!(same, "[mended] sector {sector} reads differently");
    }
}

/// After any operation no header leads to an extension that was given up.
fn given_up(before: &Expanded, file: &Memory) {
    let found = load::inspect(file, "image").expect("a sound image");
    assert!(
        !(before.extension_astray && found.extension_is_damaged()),
        "[mended] an extension that is given up is still named: {:?}",
        found.problems
    );
}

/// A compacted image reads as before, and is no longer.
fn compacted(bytes: &[u8], image: &Expanded) {
    let file = copy_of(bytes);
    let done = Compact::new(&file, "image").and_then(|mut work| work.step(u32::MAX));
    if is_done("compacting", &file, &done) {
        let after = file.bytes();
        // A file may end inside the last sector of its table, which is written whole.
        let most = (bytes.len() as u64).max(image.layout.data_start.bytes());
        assert!(after.len() as u64 <= most, "[mended] compacted, and longer");
        given_up(image, &file);
        same(&bytes.to_vec(), &after, image.layout.size.0);
    }
}

/// A larger image reads as before, and as zeros behind that.
fn grown(bytes: &[u8], image: &Expanded) {
    let (old, before) = (image.layout.size.0, bytes.to_vec());
    if image.layout.version == Version::V1 {
        let file = copy_of(bytes);
        let grown = grow(&file, "image", Sectors(1 << 33));
        assert!(
            !is_done("growing too far", &file, &grown),
            "[mended] {grown:?}"
        );
    }
    for more in [1, 150 * image.layout.cluster.0 + 1] {
        let file = copy_of(bytes);
        let size = old.saturating_add(more);
        let grown = grow(&file, "image", Sectors(size));
        if !is_done("growing", &file, &grown) {
            continue;
        }
        let after = file.bytes();
        let loaded = load::load(&file, "image");
        let loaded = loaded.unwrap_or_else(|error| panic!("[mended] grown: {error}"));
        assert_eq!(loaded.size(), Sectors(size), "[mended] its size");
        given_up(image, &file);
        same(&before, &after, old);
        for sector in old..old + more.min(64) {
            let zero = read(&after, sector) == [0; SECTOR as usize];
            assert!(zero, "[mended] sector {sector} is new, and not zero");
        }
    }
}

/// As many dirty bitmaps as there may be; then the disk becomes so large that they have no room.
fn bitmaps(bytes: &[u8], image: &Expanded) {
    const MOST: u8 = 80;
    let file = copy_of(bytes);
    let mut started = 0;
    for id in 1..=MOST {
        let before = file.changes();
        let change = Change::Start {
            id: [id; 16],
            granularity: 1,
        };
        match change_bitmaps(&file, "image", change) {
            Ok(()) => started += 1,
            // It has one of that name.
            Err(_) if id == 7 && before == file.changes() => {}
            Err(error) if error.is_no_space() => return,
            Err(error) => {
                assert!(
                    error.is_refusal() || matches!(error, ControlError::Load(_)),
                    "[mended] starting a bitmap: {error}"
                );
                assert_eq!(before, file.changes(), "[mended] {error}, and was written");
                break;
            }
        }
    }
    assert!(started < MOST - 1, "[mended] there is no end of bitmaps");
    if started == 0 {
        return;
    }
    let loaded = load::load(&file, "image").expect("what was changed is sound");
    let now = loaded.expanded().expect("an image");
    assert_eq!(now.extension, ExtensionState::Valid, "[mended] bitmaps");
    assert!(
        now.bitmaps.len() >= usize::from(started),
        "[mended] one is lost"
    );
    let more = 8 * image.layout.cluster_bytes();
    let grown = grow(
        &file,
        "image",
        Sectors(image.layout.size.0.saturating_add(more)),
    );
    if let Ok(grown) = grown {
        let loaded = load::load(&file, "image").expect("what was grown is sound");
        let now = loaded.expanded().map_or(0, |image| image.bitmaps.len());
        assert_eq!(now, grown.bitmaps as usize, "[mended] bitmaps it tells of");
    }
}

/// A bitmap of a disk of this size, by itself.
fn bitmap_alone(size: Sectors, granularity: u32) {
    let Some(mut bitmap) = DirtyBitmap::new([1; 16], size, granularity) else {
        return;
    };
    let end = Sector(size.0);
    bitmap.mark(end, Sectors(5));
    assert_eq!(bitmap.dirty(), Sectors(0), "[mended] behind the end");
    bitmap.mark(Sector(0), size);
    assert_eq!(bitmap.dirty(), size, "[mended] all of it");
    assert!(!bitmap.is_dirty(end), "[mended] behind the end");
    assert!(!bitmap.grow(Sectors(u64::MAX >> 20)) || granularity > 1 << 10);
    assert!(size.0 == 0 || !bitmap.grow(Sectors(size.0 - 1)));
    if bitmap.size() == size {
        let larger = Sectors(size.0 + 1000);
        assert!(bitmap.grow(larger), "[mended] a larger one");
        assert_eq!(bitmap.dirty(), larger, "[mended] what is new is dirty");
    }
}
