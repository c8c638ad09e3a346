//! `check`: is an image what it should be? The answer is the exit status; the image is changed only by `--repair`, which
//! looks again behind the repair and reports what is left.
//!
//! Corruption: anything that breaks a rule of the format, and the mark of an image that was not closed. Leak: space
//! in the data area that neither the block table nor the format extension refers to, wherever it lies. A cluster
//! that was given back and punched takes no space: in front of the last one in use it is just free. Behind it the
//! file should have ended.
//! An image whose header makes no sense cannot be checked, as in QEMU: that is an error, not a result.

use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

use ploop_core::control::files::repair;
use ploop_core::drive::file::read_padded;
use ploop_core::error::{Field, Kind, Problem, Rule};
use ploop_core::format::Layout;
use ploop_core::load::{Inspection, inspect};
use ploop_core::units::{DstClu, SECTOR_BYTES, Sector, Sectors};
use serde::Serialize;

use super::load::{Trust, is_raw, name_of, open_stack};
use super::output::Output;
use super::progress::watched;
use super::{ToolError, Verdict, change};
use crate::bundle::{files_of, folder_of};
use crate::cli::{Check, Reading, Stack};
use crate::files::RealFile;
use crate::size::Human;

/// Leaked ranges that are printed one by one.
const SHOWN: usize = 100;

/// The JSON form: the keys of `qemu-img check --output=json`, zeros included, and the problems in words.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    filename: String,
    format: &'static str,
    check_errors: u64,
    image_end_offset: u64,
    total_clusters: u64,
    allocated_clusters: u64,
    fragmented_clusters: u64,
    corruptions: u64,
    /// Those of them that are about the format extension alone.
    #[serde(skip)]
    of_extension: u64,
    leaks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    corruptions_fixed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaks_fixed: Option<u64>,
    problems: Vec<String>,
    /// What was mended, in words.
    fixes: Vec<String>,
    notes: Vec<String>,
}

/// Checks and prints.
pub fn run(asked: &Check, out: &mut Output<impl Write>) -> Result<Verdict, ToolError> {
    if folder_of(&asked.image).is_some() {
        return whole_bundle(asked, out);
    }
    let report = examined(&asked.image, asked.repair)?;
    if asked.json {
        out.json(&report)?
    } else {
        print(&report, out)?
    }
    Ok(verdict(&report))
}

/// Looks at an image, and mends it if that is asked for.
fn examined(path: &Path, mend: bool) -> Result<Report, ToolError> {
    if !mend {
        return examine(&RealFile::open_read(path)?);
    }
    let file = change::image(path)?;
    let before = examine(&file)?;
    let repaired = watched(&file, |file| repair(file, &name_of(path)))?;
    let mut fixes: Vec<String> = repaired.fixes.iter().map(ToString::to_string).collect();
    let not_kept = repaired.count - fixes.len() as u64;
    if not_kept > 0 {
        fixes.push(format!("and {not_kept} more"));
    }
    let after = examine(&file)?;
    Ok(Report {
        corruptions_fixed: Some(before.corruptions.saturating_sub(after.corruptions)),
        leaks_fixed: Some(before.leaks.saturating_sub(after.leaks)),
        fixes,
        ..after
    })
}

fn verdict(report: &Report) -> Verdict {
    match (report.corruptions, report.leaks) {
        (0, 0) => Verdict::Fine,
        (0, _) => Verdict::Leaks,
        _ => Verdict::Corrupt,
    }
}

/// Checks each file of the top's chain, the top first, and whether they fit together; the worst verdict counts. A raw base
/// has nothing to be checked.
fn whole_bundle(asked: &Check, out: &mut Output<impl Write>) -> Result<Verdict, ToolError> {
    let _locked = match asked.repair {
        true => Some(change::bundle(&asked.image)?),
        false => None,
    };
    let files = files_of(&asked.image, None)?;
    let (mut reports, mut worst) = (Vec::new(), Verdict::Fine);
    for (level, path) in files.images.iter().enumerate().rev() {
        if level == 0 && (files.raw_base || is_raw(&RealFile::open_read(path)?)?) {
            continue;
        }
        let report = examined(path, asked.repair)?;
        worst = match (worst, verdict(&report)) {
            (Verdict::Corrupt, _) | (_, Verdict::Corrupt) => Verdict::Corrupt,
            (Verdict::Leaks, _) | (_, Verdict::Leaks) => Verdict::Leaks,
            _ => Verdict::Fine,
        };
        reports.push(report);
    }
    if worst != Verdict::Corrupt {
        let stack = Stack {
            inputs: vec![asked.image.clone()],
            of: Reading::default(),
        };
        open_stack(&stack, Trust::Sound)?;
    }
    if asked.json {
        out.json(&reports)?;
        return Ok(worst);
    }
    for report in &reports {
        out.line(format_args!("{}:", report.filename))?;
        print(report, out)?;
    }
    Ok(worst)
}

fn examine(file: &RealFile) -> Result<Report, ToolError> {
    let inspection = watched(file, |watched| inspect(watched, &name_of(file.path())))?;
    let image = inspection.delta.expanded();
    let is_dirty = image.is_some_and(|image| image.header.is_dirty());
    let (mut problems, mut notes) = (Vec::new(), Vec::new());
    if is_dirty {
        let (field, mark) = (Field::InUse, inspection.in_use.raw());
        problems.push(format!(
            "{field} = {mark:#x}: the image was not closed properly, or is in use"
        ));
    }
    for problem in &inspection.problems {
        if is_damage(problem) {
            &mut problems
        } else {
            &mut notes
        }
        .push(problem.to_string());
    }
    let of_extension = inspection.problems.iter();
    let of_extension = of_extension
        .filter(|problem| is_damage(problem) && problem.rule.kind() == Kind::Extension)
        .count() as u64;
    let corruptions = damage_count(&inspection) + u64::from(is_dirty);
    let not_kept = corruptions - problems.len() as u64;
    if not_kept > 0 {
        problems.push(format!("and {not_kept} more"));
    }
    let mut leaks = 0;
    if let Some(image) = image {
        let found = find_leaks(file, &inspection, &image.layout)?;
        leaks = found
            .iter()
            .map(|range| u64::from(range.end.0 - range.start.0))
            .sum();
        notes.extend(describe(&found, &image.layout));
    }
    Ok(Report {
        filename: inspection.delta.name.clone(),
        format: "parallels",
        check_errors: 0,
        image_end_offset: inspection.image_end.bytes(),
        total_clusters: image.map_or(0, |image| u64::from(image.layout.entries)),
        allocated_clusters: u64::from(inspection.allocated),
        fragmented_clusters: u64::from(inspection.fragmented),
        corruptions,
        of_extension,
        leaks,
        corruptions_fixed: None,
        leaks_fixed: None,
        problems,
        fixes: Vec::new(),
        notes,
    })
}

/// Number of broken rules. The mark of an image that was not closed is none.
#[must_use]
pub fn damage_count(inspection: &Inspection) -> u64 {
    let notes = inspection
        .problems
        .iter()
        .filter(|problem| !is_damage(problem))
        .count();
    // Of more problems than are kept only the number is known; what is not kept are entries of tables.
    inspection.problem_count.saturating_sub(notes as u64)
}

/// False for what is unusual, and right.
fn is_damage(problem: &Problem) -> bool {
    match problem.rule.kind() {
        Kind::NotAnImage | Kind::Corrupt | Kind::Chain => true,
        Kind::ReadOnly => false,
        Kind::Extension => problem.rule != Rule::ExtensionVouched,
    }
}

/// The leaked ranges in words.
fn describe(leaks: &[Range<DstClu>], layout: &Layout) -> Vec<String> {
    let describe_one = |range: &Range<DstClu>| {
        let (from, count) = (
            layout.host_sector(range.start).bytes(),
            range.end.0 - range.start.0,
        );
        let clusters = if count == 1 { "cluster" } else { "clusters" };
        format!("leak: {count} {clusters} at byte {from} of the file that nothing refers to")
    };
    let mut lines: Vec<String> = leaks.iter().take(SHOWN).map(describe_one).collect();
    if leaks.len() > SHOWN {
        lines.push(format!("leak: and {} more ranges", leaks.len() - SHOWN));
    }
    lines
}

/// The unreferenced clusters that take space which could be given back, as `--repair` sees it.
fn find_leaks(
    file: &RealFile,
    inspection: &Inspection,
    layout: &Layout,
) -> Result<Vec<Range<DstClu>>, ToolError> {
    let failed = ToolError::io(file.path(), "read");
    let zeros_count = file.gives_back().map_err(&failed)?;
    let mut leaks: Vec<Range<DstClu>> = Vec::new();
    for range in &inspection.leaked {
        if layout.host_sector(range.start) >= inspection.image_end {
            leaks.push(range.clone());
            continue;
        }
        let end = layout.host_sector(range.end);
        let mut at = layout.host_sector(range.start).bytes();
        while let Some(data) = file.next_block(at..end.bytes()).map_err(&failed)? {
            let touched = layout.hosts_touching(Sector(data / SECTOR_BYTES), Sectors(1));
            let found = DstClu(touched.start)..DstClu(touched.end);
            let from = at.max(layout.host_sector(found.start).bytes());
            at = layout.host_sector(found.end).bytes();
            if !zeros_count && is_zero(file, from..at).map_err(&failed)? {
                continue;
            }
            match leaks.last_mut() {
                Some(Range { end, .. }) if *end == found.start => *end = found.end,
                _ => leaks.push(found),
            }
        }
    }
    Ok(leaks)
}

/// True if these bytes read as zeros; beyond the end of the file they do.
fn is_zero(file: &RealFile, within: Range<u64>) -> io::Result<bool> {
    let mut piece = [0; 1 << 16];
    let mut at = within.start;
    while at < within.end {
        let len = (within.end - at).min(piece.len() as u64) as usize;
        if read_padded(file, at, &mut piece[..len])? == 0 {
            return Ok(true);
        }
        if piece[..len].iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}

fn print(report: &Report, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    for fix in &report.fixes {
        out.line(format_args!("Repaired {fix}"))?;
    }
    for problem in &report.problems {
        out.line(format_args!("ERROR {problem}"))?;
    }
    for note in &report.notes {
        out.line(note)?;
    }
    match (report.corruptions, report.leaks) {
        (0, 0) => out.line("No errors were found on the image.")?,
        (0, leaks) => out.line(format_args!(
            "{leaks} leaked clusters; data is not affected."
        ))?,
        (errors, leaks) if errors == report.of_extension => out.line(format_args!(
            "{errors} errors in the format extension, {leaks} leaked clusters. Its dirty bitmaps are lost, data is not affected."
        ))?,
        (errors, leaks) => out.line(format_args!(
            "{errors} errors, {leaks} leaked clusters. Do not write to this image."
        ))?,
    }
    if report.total_clusters > 0 {
        let percent = |part: u64, whole: u64| part as f64 * 100.0 / whole.max(1) as f64;
        let (allocated, total) = (report.allocated_clusters, report.total_clusters);
        let fragmented = percent(report.fragmented_clusters, allocated);
        out.line(format_args!(
            "{allocated}/{total} = {:.2}% allocated, {fragmented:.2}% fragmented",
            percent(allocated, total)
        ))?;
    }
    let end = report.image_end_offset;
    out.line(format_args!("Image end offset: {end} ({})", Human(end)))
}
