//! A stack of files is loaded, inspected, read and written; core and model must agree at each step.
//!
//! * Loading, inspecting and reading change nothing; nor does an open for writing that is refused.
//! * The strict loader refuses exactly the images whose mapping the model calls damaged (see [`is_damaged`]).
//! * The lenient reader sees what the strict one sees, and a damaged image can be read as far as it goes.
//! * A panic begins with the checker's name in brackets: `image` (core and fsck differ), `lenient` (the two readers of
//!   the core differ), `linear` (wrong content), `chain` (opened against a rule, or refused without one), `untouched`
//!   (something was written that must not be), `close`.
//! * Not compared: the format extension beyond "there or not"; leaks of images with an extension.

use super::Extras;
use super::memory::Memory;
use super::picture::{Base, Scene, Top};
use super::session::{self, Written};
use super::{kept, mended, never, parts};
use model::fsck::{Extension, Problem, Report, fsck};
use model::image::{BadHeader, Image, ImageBytes, Level, SECTOR, Version, read_sector};
use ploop_core::delta::{Expanded, ExtensionState, LoadedDelta, chain};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::error::{Kind, LoadError, Rule};
use ploop_core::format::InUse;
use ploop_core::load::{self, Inspection};
use ploop_core::units::{Millis, Sector, Sectors};
use ploop_core::{Options, WriteBack};

/// The files of a stack as they were drawn, bottom to top.
pub(super) struct Files {
    pub(super) base: Option<(bool, Vec<u8>)>,
    pub(super) top: Vec<u8>,
}

impl Files {
    fn build(scene: &Scene) -> Files {
        let (top, cluster) = match &scene.top {
            Top::File(bytes) => (bytes.clone(), 64),
            Top::Picture(picture) => (picture.build(picture.cluster()), picture.cluster()),
        };
        let base = match &scene.base {
            Base::None => None,
            Base::Raw { bytes } => {
                Some((true, (0..*bytes).map(|at| (at >> 3) as u8 | 1).collect()))
            }
            Base::Image(picture) => Some((false, picture.build(cluster))),
        };
        Files { base, top }
    }

    /// What the model reads at a guest sector.
    pub(super) fn read(&self, sector: u64) -> [u8; SECTOR as usize] {
        let mut found = [0; SECTOR as usize];
        let image = |bytes| Image::open(bytes).ok().map(Level::Image);
        let base = match &self.base {
            None => None,
            Some((true, bytes)) => Some(Level::Raw(bytes)),
            Some((false, bytes)) => image(bytes),
        };
        match (base, image(&self.top)) {
            (Some(base), Some(top)) => read_sector(&[base, top], sector, &mut found),
            (Some(only), None) | (None, Some(only)) => read_sector(&[only], sector, &mut found),
            (None, None) => {}
        }
        found
    }
}

/// Everything that is done to one input.
pub(super) fn run(scene: &Scene, extras: Extras) {
    let files = Files::build(scene);
    let top = judge(&files.top, extras);
    let Some(top) = top else { return };
    let base = match &files.base {
        None => None,
        Some((true, bytes)) => {
            let file = Memory::new(bytes.clone(), 0);
            Some(load::load_raw(&file, "base").expect("any file is a raw one"))
        }
        Some((false, bytes)) => match judge(bytes, extras) {
            Some(base) => Some(base),
            None => return,
        },
    };
    let deltas: Vec<LoadedDelta> = base.into_iter().chain([top]).collect();
    never::chains(&deltas);
    never::options(scene, &deltas);
    never::creation(&deltas);
    never::nothing(scene, &deltas);
    if extras.has(0) {
        kept::run(scene, &deltas);
    }
    if extras.has(1) {
        parts::run(scene, &files, &deltas);
    }
    if let (Some((true, bytes)), Some(raw)) = (&files.base, deltas.first()) {
        never::raw_alone(scene, bytes, raw);
    }
    read_only(scene, &files, &deltas);
    let written = session::run(scene, &files, &deltas, options(scene, true, &deltas));
    if let Some(written) = written {
        check_written(&files, &deltas, &written);
    }
}

/// How the stack is opened.
pub(super) fn options(scene: &Scene, write: bool, deltas: &[LoadedDelta]) -> Options {
    let cluster = deltas
        .last()
        .and_then(|top| top.expanded())
        .map_or(1, |image| image.layout.cluster.0);
    Options {
        write,
        write_back: if scene.immediate {
            WriteBack::Immediate
        } else {
            WriteBack::Delayed(Millis(50))
        },
        prealloc: Sectors(u64::from(scene.prealloc % 8) * cluster),
        page_bytes: 512 << (scene.page % 4),
        ..Options::default()
    }
}

/// Loads and inspects one file, and asks the model. The image, if it is sound.
fn judge(bytes: &[u8], extras: Extras) -> Option<LoadedDelta> {
    let file = Memory::new(bytes.to_vec(), bytes.len() as u64);
    let sniffed = load::sniff(&file).expect("memory can be read");
    let loaded = load::load(&file, "image");
    let inspected = load::inspect(&file, "image");
    let report = ask_model(bytes);
    assert_eq!(file.changes(), 0, "[untouched] a reader changed the file");
    if loaded.is_ok() || inspected.is_ok() {
        assert!(sniffed, "[lenient] an image that sniff does not see");
    }
    compare(&loaded, &report, bytes);
    match (&loaded, &inspected) {
        (Ok(image), Ok(inspection)) => {
            assert_eq!(
                *image, inspection.delta,
                "[lenient] the lenient reader sees another image"
            );
            assert!(
                !inspection.is_corrupt(),
                "[lenient] sound, but inspected: {:?}",
                inspection.problems
            );
            compare_counts(inspection, &report);
        }
        (Ok(_), Err(error)) => panic!("[lenient] loaded, but not inspected: {error}"),
        (Err(error), Ok(inspection)) => {
            assert!(
                inspection.is_corrupt(),
                "[lenient] refused ({error}), but inspected as sound"
            );
            mended::salvaged(bytes, inspection);
        }
        (Err(_), Err(_)) => {}
    }
    if inspected.is_ok() {
        mended::run(bytes, loaded.as_ref().ok(), extras);
    }
    loaded.ok()
}

/// The strict loader and the model must agree on whether the mapping is damaged.
fn compare(loaded: &Result<LoadedDelta, LoadError>, report: &Report, bytes: &[u8]) {
    let damaged: Vec<&Problem> = report
        .problems
        .iter()
        .filter(|problem| is_damaged(problem, report, bytes))
        .collect();
    match loaded {
        Ok(_) => assert!(
            damaged.is_empty(),
            "[image] the core loads it, the model says {damaged:?}"
        ),
        Err(LoadError::Io { what, source, .. }) => panic!("memory cannot fail: {what}: {source}"),
        // The model has no opinion on limits.
        Err(LoadError::Refused { problem, .. })
            if matches!(problem.rule, Rule::ClusterLimit | Rule::EntriesLimit) => {}
        Err(error @ LoadError::Refused { problem, .. }) => {
            // Whoever reads it must know which file, and which rule.
            let text = error.to_string();
            assert!(
                text.starts_with("image") && text.ends_with(problem.rule.text()),
                "[image] refused, and told as: {text}"
            );
            assert_eq!(error.rule(), Some(problem.rule));
            assert!(
                matches!(problem.rule.kind(), Kind::Corrupt | Kind::NotAnImage),
                "[image] refused for reading: {problem}"
            );
            assert!(
                !damaged.is_empty(),
                "[image] the core refuses it ({problem}), the model has {:?}",
                report.problems
            );
        }
    }
}

/// What the model says of a file. In version 2, whose entries are cluster numbers, QEMU leaves a start of data inside a
/// cluster if the cluster size is not a power of two; the core takes it for the start of that cluster, and so must the
/// model, which else takes it as it stands.
fn ask_model(bytes: &[u8]) -> Report {
    let mut bytes = bytes.to_vec();
    let report = fsck(&bytes);
    match report.header {
        Some(header) if header.version == Version::V2 => {
            let start = header.data_off / header.cluster_sectors * header.cluster_sectors;
            bytes[48..52].copy_from_slice(&(start as u32).to_le_bytes());
            fsck(&bytes)
        }
        _ => report,
    }
}

/// True for what must keep an image from being read. The rest of what fsck says is untidy, yet every sector of the disk
/// has one place: clusters cut where the disk ends, slots behind the disk's end, an extension that shares a cluster with
/// data.
fn is_damaged(problem: &Problem, report: &Report, bytes: &[u8]) -> bool {
    let Some(header) = report.header else {
        return true;
    };
    match *problem {
        Problem::Header(
            BadHeader::TooShort | BadHeader::Magic | BadHeader::Type(_) | BadHeader::ClusterSize,
        )
        | Problem::BatCut
        | Problem::BatTooSmall { .. }
        | Problem::DataOffset { .. }
        | Problem::EntryInTable { .. }
        | Problem::EntryBeyondEnd { .. }
        | Problem::Alias { .. } => true,
        Problem::EntryCut { guest, sector } => {
            let rest = header
                .size_sectors
                .saturating_sub(guest * header.cluster_sectors);
            sector + rest.clamp(1, header.cluster_sectors) > bytes.len() as u64 / SECTOR
        }
        Problem::EntryInExtension { .. } | Problem::SlotBeyondSize { .. } => false,
    }
}

fn compare_counts(inspection: &Inspection, report: &Report) {
    assert_eq!(
        u64::from(inspection.allocated),
        report.allocated,
        "[image] mapped entries"
    );
    let image = inspection.delta.expanded().expect("an image");
    let there = matches!(report.extension, Extension::Present { .. });
    match image.extension {
        ExtensionState::None => assert_eq!(report.extension, Extension::None),
        ExtensionState::Valid => assert!(
            there,
            "[image] a valid extension that the model does not see"
        ),
        ExtensionState::Ignored { .. }
        | ExtensionState::Damaged { .. }
        | ExtensionState::Foreign { .. }
        | ExtensionState::ReadOnly { .. } => {}
    }
    // fsck counts from the start of data, the core on the grid of the entries.
    let same_grid = image.on_grid && image.layout.host_at(image.layout.data_start).is_some();
    if image.extension == ExtensionState::None && same_grid && report.problems.is_empty() {
        // The core counts the cluster that the end of the file cuts, too.
        let whole = image.layout.hosts_in(inspection.delta.file_len);
        let cut = inspection.leaked_clusters().saturating_sub(report.leaked());
        assert!(cut <= 1, "[image] {cut} clusters are cut by the end");
        let leaked = inspection.leaked.iter();
        let leaked: u64 = leaked
            .map(|range| u64::from(range.end.0.min(whole).saturating_sub(range.start.0)))
            .sum();
        assert_eq!(leaked, report.leaked(), "[image] leaked clusters");
    }
}

/// Opens the stack for reading and compares what it reads as.
fn read_only(scene: &Scene, files: &Files, deltas: &[LoadedDelta]) {
    let memory = open_files(files, 0);
    let boxed = memory
        .iter()
        .map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>)
        .collect();
    let opened = Disk::open(deltas.to_vec(), boxed, options(scene, false, deltas));
    let valid = chain::validate(deltas, false);
    let mut disk = match (opened, valid) {
        (Ok(disk), Ok(())) => disk,
        (Err(_), Err(_)) => return,
        (Ok(_), Err(why)) => panic!("[chain] opened a chain that breaks a rule: {why}"),
        (Err(why), Ok(())) => panic!("[chain] a valid chain was not opened for reading: {why}"),
    };
    let size = disk.device().geometry().size.0;
    for (start, len) in windows(size, deltas) {
        let mut buffer = vec![0xEE; (len * SECTOR) as usize];
        disk.read(Sector(start), &mut buffer)
            .expect("memory can be read");
        for (sector, found) in (start..).zip(buffer.as_chunks::<512>().0) {
            assert!(
                *found == files.read(sector),
                "[linear] sector {sector} reads differently in core and model"
            );
        }
    }
    disk.device().verify();
    disk.close().expect("nothing was changed");
    assert!(
        memory.iter().all(|file| file.changes() == 0),
        "[untouched] reading changed a file"
    );
}

/// The pieces of the disk that are compared: all of a small one; of a large one its ends and the first mapped clusters.
fn windows(size: u64, deltas: &[LoadedDelta]) -> Vec<(u64, u64)> {
    const PIECE: u64 = 61;
    if size <= 700 {
        return (0..size)
            .step_by(PIECE as usize)
            .map(|start| (start, PIECE.min(size - start)))
            .collect();
    }
    let mut starts = vec![0, size - PIECE];
    for image in deltas.iter().filter_map(|delta| delta.expanded()) {
        let mapped = (0_u64..).zip(&image.bat).filter(|(_, entry)| **entry != 0);
        starts.extend(
            mapped
                .map(|(clu, _)| (clu * image.layout.cluster.0).saturating_sub(7))
                .take(32),
        );
    }
    starts.retain(|start| start + PIECE <= size);
    starts.into_iter().map(|start| (start, PIECE)).collect()
}

/// The files, with this many sectors of space beyond the top's length.
pub(super) fn open_files(files: &Files, space: u64) -> Vec<Memory> {
    let base = files
        .base
        .iter()
        .map(|(_, bytes)| Memory::new(bytes.clone(), 0));
    // No file system runs out inside a sector.
    let most = (files.top.len() as u64).next_multiple_of(SECTOR) + space * SECTOR;
    base.chain([Memory::new(files.top.clone(), most)]).collect()
}

/// What was dirty is, and what was touched: unless there was no space for the bitmaps.
fn check_bitmaps(old: &Expanded, new: &Expanded, files: &Files, written: &Written) {
    if new.extension != ExtensionState::Valid {
        assert_eq!(
            (new.header.ext_off.0, new.header.in_use),
            (0, InUse::Closed0),
            "[bitmaps] neither saved nor given up: {:?}",
            new.extension
        );
        return;
    }
    assert_eq!(
        old.bitmaps.len(),
        new.bitmaps.len(),
        "[bitmaps] one is lost"
    );
    for (old, new) in old.bitmaps.iter().zip(&new.bitmaps) {
        assert_eq!(old.id(), new.id(), "[bitmaps] names");
        for (start, len) in old.ranges().take(100) {
            assert!(
                new.is_dirty(start) && new.is_dirty(Sector(start.0 + len.0 - 1)),
                "[bitmaps] what was dirty is clean"
            );
        }
        let after = Files {
            base: files.base.clone(),
            top: written.top.clone(),
        };
        for &sector in written.sectors.keys() {
            let same = after.read(sector) == files.read(sector);
            assert!(
                same || new.is_dirty(Sector(sector)),
                "[bitmaps] sector {sector} has changed and is not marked"
            );
        }
    }
}

/// A written image must be sound for core and model, with the extension's clusters as they were.
fn check_written(files: &Files, deltas: &[LoadedDelta], written: &Written) {
    let report = ask_model(&written.top);
    let memory = Memory::new(written.top.clone(), 0);
    let loaded = load::load(&memory, "written");
    compare(&loaded, &report, &written.top);
    let loaded =
        loaded.unwrap_or_else(|error| panic!("[image] what was written cannot be loaded: {error}"));
    let image = loaded.expanded().expect("an image");
    if written.closed && written.changed {
        assert!(
            !image.header.is_dirty(),
            "[image] closed, and still marked as in use"
        );
    }
    let old = deltas
        .last()
        .and_then(|top| top.expanded())
        .expect("an image");
    let bytes = old.layout.cluster_bytes();
    let saved = written.changed
        && written.closed
        && !old.bitmaps.is_empty()
        && old.extension == ExtensionState::Valid;
    if saved {
        check_bitmaps(old, image, files, written);
    } else {
        assert!(
            !written.changed || image.extension != ExtensionState::Valid,
            "[bitmaps] vouched for, and nobody knew the changes"
        );
    }
    // A header that leads astray is forgotten, and a close may cut off what nothing names then.
    let cut = old.extension_astray && (written.closed || old.header.is_dirty());
    assert!(
        !(cut && written.changed) || image.header.ext_off.0 == 0,
        "[image] closed, and the extension that is given up is still named"
    );
    for host in old.reserved.iter().filter(|_| !saved && !cut) {
        let at = old.layout.host_sector(*host).bytes();
        let mut pair = [
            vec![0; bytes.min(1 << 16) as usize],
            vec![0; bytes.min(1 << 16) as usize],
        ];
        ImageBytes::read(&files.top, at, &mut pair[0]);
        ImageBytes::read(&written.top, at, &mut pair[1]);
        assert!(
            pair[0] == pair[1],
            "[image] an extension's cluster was overwritten: {host:?}"
        );
    }
    let after = Files {
        base: files.base.clone(),
        top: written.top.clone(),
    };
    for (&sector, legal) in &written.sectors {
        let found = after.read(sector);
        assert!(
            legal
                .iter()
                .any(|content| content.fits(files, sector, &found)),
            "[linear] sector {sector} of the written image is none of {legal:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploop_core::control::files::{Change, change_bitmaps};
    use ploop_core::format::Version as CoreVersion;

    /// An image with a bitmap, some of it dirty.
    fn with_bitmap(version: CoreVersion) -> Vec<u8> {
        let file = Memory::new(Vec::new(), 1 << 20);
        load::new_image(&file, version, Sectors(4), Sectors(200)).expect("an image");
        let start = Change::Start {
            id: [5; 16],
            granularity: 1,
        };
        change_bitmaps(&file, "image", start).expect("starts");
        let loaded = load::load(&file, "image").expect("loads");
        let mut disk = Disk::open(
            vec![loaded],
            vec![Box::new(file.clone())],
            Options::default(),
        )
        .expect("opens");
        disk.write(Sector(150), &[1; 1536], false).expect("writes");
        disk.close().expect("closes");
        file.bytes()
    }

    #[test]
    fn a_session_loads_and_saves_bitmaps() {
        for version in [CoreVersion::V1, CoreVersion::V2] {
            let bytes = with_bitmap(version);
            let scene = Scene::of_file(&bytes);
            run(&scene, Extras::All);
            let files = Files::build(&scene);
            let deltas = [judge(&files.top, Extras::All).expect("sound")];
            let written = session::run(&scene, &files, &deltas, options(&scene, true, &deltas));
            let written = written.expect("it may be written");
            assert!(written.changed && written.closed);
            let saved = judge(&written.top, Extras::All).expect("sound");
            let image = saved.expanded().expect("an image");
            assert_eq!(image.extension, ExtensionState::Valid);
            assert!(image.bitmaps[0].is_dirty(Sector(150)) && image.bitmaps[0].is_dirty(Sector(0)));
        }
    }
}
