//! Opening the inputs of a command: read-only, sniffed, checked, and as far as allowed in spite of damage.

use std::path::{Path, PathBuf};

use ploop_core::control::files::check_nested;
use ploop_core::delta::chain::{self, check_writable};
use ploop_core::delta::{Body, Expanded, LoadedDelta};
use ploop_core::drive::file::read_padded;
use ploop_core::error::{Kind, Rule};
use ploop_core::format::Layout;
use ploop_core::load::{inspect, load, load_raw, sniff};
use ploop_core::units::Sectors;

use super::ToolError;
use super::output::complain;
use super::stack::{Stack, StackedFile};
use crate::bundle::{Bundle, Files, RealFolder, files_of, folder_of, tell_contradictions};
use crate::cli;
use crate::files::RealFile;

/// Losses that are told one by one; of more, only the number.
const TOLD: usize = 20;
/// Bytes of the block table read at a time.
const TABLE_STEP: usize = 1 << 20;

/// What a command makes of a damaged image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It is refused.
    Sound,
    /// What can be read is read; every loss is told on standard error.
    Salvage,
}

/// Opens the files of a disk and checks that they fit together.
pub fn open_stack(asked: &cli::Stack, trust: Trust) -> Result<Stack, ToolError> {
    load_stack(&files_asked(asked)?, trust)
}

/// Checks that a chain may grow to this size: nothing below its top lies behind its end now.
pub fn check_growing(images: &[PathBuf], raw_base: bool, size: Sectors) -> Result<(), ToolError> {
    let images = images.to_vec();
    let stack = load_stack(&Files { images, raw_base }, Trust::Sound)?;
    if stack.size() < size {
        let lower = stack.levels().iter().map(|level| &level.delta);
        check_nested(lower, stack.size())?;
    }
    Ok(())
}

fn load_stack(asked: &Files, trust: Trust) -> Result<Stack, ToolError> {
    let Files { images, raw_base } = asked;
    let mut files: Vec<RealFile> = Vec::new();
    let mut deltas = Vec::new();
    for (index, path) in images.iter().enumerate() {
        let file = RealFile::open_read(path)?;
        if let Some(same) = files.iter().find(|other| other.id() == file.id()) {
            let (again, first) = (path.display(), same.path().display());
            return Err(ToolError::Refused(format!(
                "{again}: is the same file as {first}, and has one place in a stack"
            )));
        }
        let raw = (index == 0 && *raw_base) || is_raw(&file)?;
        deltas.push(if raw {
            load_raw(&file, &name_of(path))?
        } else {
            load_image(&file, trust)?
        });
        files.push(file);
    }
    chain::validate(&deltas, false)?;
    let levels = files
        .into_iter()
        .zip(deltas)
        .map(|(file, delta)| StackedFile { file, delta })
        .collect();
    Stack::new(levels).ok_or_else(|| ToolError::Refused("no input given".into()))
}

/// Tells where the descriptor of a bundle contradicts its files.
pub fn doubts_of(path: &Path) -> Result<(), ToolError> {
    if let Some(folder) = folder_of(path) {
        tell_contradictions(&folder, &Bundle::read(&RealFolder::new(&folder))?);
    }
    Ok(())
}

/// The files meant: a bundle given alone is its chain.
fn files_asked(asked: &cli::Stack) -> Result<Files, ToolError> {
    let files = match asked.inputs.as_slice() {
        [only] => {
            let files = files_of(only, asked.of.snapshot)?;
            doubts_of(only)?;
            files
        }
        _ if asked.of.snapshot.is_some() => {
            return Err(ToolError::Refused(
                "--snapshot: give one bundle, and nothing else".into(),
            ));
        }
        several => Files {
            images: several.to_vec(),
            raw_base: false,
        },
    };
    Ok(Files {
        raw_base: files.raw_base || asked.of.raw_base,
        ..files
    })
}

/// True if the file does not begin with an image's signature.
pub fn is_raw(file: &RealFile) -> Result<bool, ToolError> {
    let image = sniff(file).map_err(ToolError::io(file.path(), "read"))?;
    Ok(!image)
}

/// How a file is called in messages.
#[must_use]
pub fn name_of(path: &Path) -> String {
    path.display().to_string()
}

fn load_image(file: &RealFile, trust: Trust) -> Result<LoadedDelta, ToolError> {
    let name = name_of(file.path());
    let delta = match trust {
        Trust::Sound => load(file, &name)?,
        Trust::Salvage => salvage(file, &name)?,
    };
    let Some(image) = delta.expanded() else {
        return Ok(delta);
    };
    if image.header.is_converting() {
        // Closed by somebody who knew nothing of it, it is sound for reading, or the loader would have refused it.
        if let (true, Err(problem), Trust::Sound) =
            (image.header.is_dirty(), check_writable(image), trust)
        {
            return Err(problem.refuse(&name).into());
        }
        complain(
            "warning",
            format_args!(
                "{name}: a conversion of the format was interrupted; its data may be misplaced"
            ),
        );
    } else if image.header.is_dirty() {
        complain(
            "warning",
            format_args!(
                "{name}: was not closed properly, or is in use; its last writes may be missing"
            ),
        );
    }
    Ok(delta)
}

/// Loads in spite of damage. Entries that lead to something that is there are kept, whoever else claims it.
fn salvage(file: &RealFile, name: &str) -> Result<LoadedDelta, ToolError> {
    let mut inspection = inspect(file, name)?;
    let lost = inspection
        .problems
        .iter()
        .filter(|problem| problem.rule.kind() == Kind::Corrupt);
    for problem in lost.take(TOLD) {
        let outcome = if is_readable(problem.rule) {
            "what is there is read"
        } else {
            "not believed"
        };
        complain("warning", format_args!("{name}: {problem} ({outcome})"));
    }
    if inspection.problem_count > TOLD as u64 {
        complain(
            "warning",
            format_args!("{name}: {} problems in all", inspection.problem_count),
        );
    }
    let file_len = inspection.delta.file_len;
    if let (Body::Expanded(image), true) =
        (&mut inspection.delta.body, inspection.problem_count > 0)
    {
        restore_entries(file, file_len, image)?;
    }
    Ok(inspection.delta)
}

/// True for damage behind which there may be data: entries that share a cluster, or whose cluster is cut by the end.
fn is_readable(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::EntryUnique | Rule::EntryOverlap | Rule::EntryInFile
    )
}

/// Puts back the entries that the lenient loader left out, if any sector of their cluster is in the data area.
fn restore_entries(file: &RealFile, file_len: u64, image: &mut Expanded) -> Result<(), ToolError> {
    let Expanded { layout, bat, .. } = image;
    let file_end = Sectors::covering(file_len).0;
    let readable = |layout: &Layout, entry: u32| {
        let at = layout.entry_sector(entry);
        at >= layout.data_start && at.0 < file_end
    };
    let mut table = vec![0; TABLE_STEP];
    let mut at = layout.bat_end() - 4 * bat.len() as u64;
    for part in bat.chunks_mut(TABLE_STEP / 4) {
        let bytes = &mut table[..4 * part.len()];
        read_padded(file, at, bytes).map_err(ToolError::io(file.path(), "read"))?;
        at += bytes.len() as u64;
        for (slot, raw) in part.iter_mut().zip(bytes.chunks_exact(4)) {
            let entry = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
            if *slot == 0 && entry != 0 && readable(layout, entry) {
                *slot = entry;
            }
        }
    }
    Ok(())
}
