//! `info`: what an image's header says, and whether the rest agrees.

use std::io::Write;
use std::path::Path;

use ploop_core::delta::chain::check_writable;
use ploop_core::delta::{Expanded, ExtensionState};
use ploop_core::drive::DeltaFile;
use ploop_core::format::{InUse, Version};
use ploop_core::load::{Inspection, inspect};
use ploop_core::units::Sectors;
use serde::Serialize;

use super::ToolError;
use super::check::damage_count;
use super::load::{doubts_of, is_raw, name_of};
use super::output::Output;
use crate::bundle::{files_of, folder_of};
use crate::cli::Info;
use crate::files::RealFile;
use crate::size::Human;

/// The JSON form; the outer keys are those of `qemu-img info --output=json`. Sizes and positions are in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    filename: String,
    format: &'static str,
    virtual_size: u64,
    file_length: u64,
    actual_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster_size: Option<u64>,
    dirty_flag: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format_specific: Option<Specific>,
}

/// What only an image has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Specific {
    version: u8,
    total_clusters: u32,
    allocated_clusters: u32,
    data_offset: u64,
    in_use: u32,
    flags: u32,
    extension: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    extension_problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_only: Option<String>,
    problems: u64,
}

/// Prints what is known. Of a bundle: of each file of its chain, the top first, as `qemu-img info --backing-chain` does it.
pub fn run(asked: &Info, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    if folder_of(&asked.image).is_none() {
        let report = report(&asked.image, false)?;
        return if asked.json {
            out.json(&report)
        } else {
            print(&report, out)
        };
    }
    let files = files_of(&asked.image, None)?;
    doubts_of(&asked.image)?;
    let mut reports = Vec::new();
    for (level, path) in files.images.iter().enumerate().rev() {
        reports.push(report(path, level == 0 && files.raw_base)?);
    }
    if asked.json {
        return out.json(&reports);
    }
    for (index, report) in reports.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        print(report, out)?;
    }
    Ok(())
}

fn report(path: &Path, is_raw_base: bool) -> Result<Report, ToolError> {
    let file = RealFile::open_read(path)?;
    if is_raw_base || is_raw(&file)? {
        raw(&file)
    } else {
        image(&file)
    }
}

fn raw(file: &RealFile) -> Result<Report, ToolError> {
    let failed = ToolError::io(file.path(), "read");
    let file_length = file.len().map_err(&failed)?;
    Ok(Report {
        filename: name_of(file.path()),
        format: "raw",
        virtual_size: Sectors::covering(file_length).bytes(),
        file_length,
        actual_size: file.allocated().map_err(&failed)?,
        cluster_size: None,
        dirty_flag: false,
        format_specific: None,
    })
}

fn image(file: &RealFile) -> Result<Report, ToolError> {
    let inspection = inspect(file, &name_of(file.path()))?;
    let Some(image) = inspection.delta.expanded() else {
        return raw(file);
    };
    Ok(Report {
        format: "parallels",
        virtual_size: image.header.size.bytes(),
        cluster_size: Some(image.layout.cluster_bytes()),
        dirty_flag: image.header.is_dirty(),
        format_specific: Some(specific(&inspection, image)),
        ..raw(file)?
    })
}

fn specific(inspection: &Inspection, image: &Expanded) -> Specific {
    let (extension, why) = match image.extension {
        ExtensionState::None => ("none", None),
        ExtensionState::Valid => ("valid", None),
        ExtensionState::Ignored { why } => ("ignored", Some(why.to_string())),
        ExtensionState::Damaged { why } => ("damaged", Some(why.to_string())),
        ExtensionState::Foreign { .. } | ExtensionState::ReadOnly { .. } => {
            ("unknown feature", None)
        }
    };
    Specific {
        version: match image.layout.version {
            Version::V1 => 1,
            Version::V2 => 2,
        },
        total_clusters: image.layout.entries,
        allocated_clusters: inspection.allocated,
        data_offset: image.layout.data_start.bytes(),
        in_use: image.header.in_use.raw(),
        flags: image.header.flags,
        extension,
        extension_problem: why,
        read_only: check_writable(image)
            .err()
            .map(|problem| problem.to_string()),
        problems: damage_count(inspection),
    }
}

fn print(report: &Report, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut row =
        |name: &str, value: String| out.line(format_args!("{:<14} {value}", format!("{name}:")));
    let size = |bytes| match bytes {
        0..1024 => Human(bytes).to_string(),
        _ => format!("{} ({bytes} bytes)", Human(bytes)),
    };
    row("image", report.filename.clone())?;
    let version = report
        .format_specific
        .as_ref()
        .map(|specific| format!(" (ploop), version {}", specific.version));
    row(
        "format",
        format!("{}{}", report.format, version.unwrap_or_default()),
    )?;
    row("virtual size", size(report.virtual_size))?;
    row("file length", size(report.file_length))?;
    row("space taken", size(report.actual_size))?;
    let Some(specific) = &report.format_specific else {
        return Ok(());
    };
    row("cluster size", size(report.cluster_size.unwrap_or(0)))?;
    row(
        "clusters",
        format!(
            "{}, {} of them allocated",
            specific.total_clusters, specific.allocated_clusters
        ),
    )?;
    row("data starts at", size(specific.data_offset))?;
    row("state", state(InUse::from_raw(specific.in_use)))?;
    let why = specific
        .extension_problem
        .as_ref()
        .map(|why| format!(": {why}"));
    row(
        "extension",
        format!("{}{}", specific.extension, why.unwrap_or_default()),
    )?;
    if let Some(why) = &specific.read_only {
        row("read-only", why.clone())?;
    }
    match specific.problems {
        0 => Ok(()),
        1 => row("problems", "1 (see `ploop-ublk check`)".into()),
        n => row("problems", format!("{n} (see `ploop-ublk check`)")),
    }
}

fn state(mark: InUse) -> String {
    match mark {
        InUse::Closed0 => "closed".into(),
        InUse::ClosedV21 => "closed (v2.1)".into(),
        InUse::InUse => "in use, or not closed properly".into(),
        InUse::Other(mark) => format!("closed (unknown mark {mark:#x})"),
    }
}
