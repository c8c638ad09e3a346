//! A chain of image files becomes a device that can be served: locked, checked, and read past the page cache if it can be.
//!
//! * The top is locked for writing, the others for reading: a second server is refused, also when the first one was killed
//!   and a third one recovers.
//! * An image that was not closed is used only if it is sound, which the loader checks in full; otherwise it is refused
//!   with advice.
//! * Nothing is written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ploop_core::control::files;
use ploop_core::delta::{Body, LoadedDelta};
use ploop_core::drive::DeltaFile;
use ploop_core::load::{load, load_raw, sniff};
use ploop_core::units::Sectors;
use ploop_core::{Device, Kept, Options};
use serde::{Deserialize, Serialize};

use crate::files::RealFile;
use crate::files::trace::Trace;
use crate::raw;
use crate::ring::shadow::{Shadow, ShadowError, Told};
use crate::tool::ToolError;
use crate::tool::load::name_of;

/// Whether files are read and written past the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direct {
    /// If file and image allow it in units of 512 bytes; otherwise not, and that is said.
    Auto,
    /// Or not at all: the disk has blocks of 4096 bytes if the file needs that.
    On,
    /// Through the page cache.
    Off,
}

/// What to open.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The files, oldest first.
    pub images: Vec<PathBuf>,
    /// The first file is a raw disk, whatever it looks like.
    pub raw_base: bool,
    /// Direct I/O.
    pub direct: Direct,
    /// Where every change of the files is told, if anywhere; see [`Trace`].
    pub trace: Option<PathBuf>,
}

/// What is to become of the map that outlives the server.
#[derive(Clone, Copy, Debug)]
pub enum Survives<'a> {
    /// It does not.
    No,
    /// A new one, in this file.
    New(&'a File),
    /// What the last server has left in this file.
    Left(&'a File),
}

/// An open device and its files.
#[derive(Debug)]
pub struct Opened {
    /// The core.
    pub device: Device,
    /// The files, oldest first, direct where that was decided.
    pub files: Vec<RealFile>,
    /// True if the top is read and written past the page cache.
    pub direct: bool,
    /// Unit in which the disk may be read and written, in bytes: 512 or 4096.
    pub block: u32,
    /// What the user should know: one line each.
    pub notes: Vec<String>,
}

/// Opens a chain. `options.granule` is decided here; `options.depth` is the guest's.
pub fn open(chain: &Chain, options: Options, survives: Survives<'_>) -> Result<Opened, ToolError> {
    open_if(chain, options, survives, &|| Ok(()))
}

/// The same, if it is allowed when the files are locked. Nothing was written then.
pub fn open_if(
    chain: &Chain,
    options: Options,
    survives: Survives<'_>,
    allowed: &dyn Fn() -> Result<(), ToolError>,
) -> Result<Opened, ToolError> {
    let mut notes = Vec::new();
    let (mut files, mut deltas) = (Vec::new(), Vec::new());
    let trace = chain.trace.as_deref().map(open_trace).transpose()?;
    for (level, path) in chain.images.iter().enumerate() {
        let is_top = level + 1 == chain.images.len();
        let mut file = if is_top && options.write {
            RealFile::open_write(path)?
        } else {
            RealFile::open_read(path)?
        };
        if !file.is_locked() {
            notes.push(format!(
                "{}: its file system has no locks: nothing keeps other programs from it",
                name_of(path)
            ));
        }
        file.forget_access_time();
        if let Some(trace) = &trace {
            file.trace(Arc::clone(trace), level);
        }
        let is_image = sniff(&file).map_err(ToolError::io(path, "read"))?;
        let raw = !is_image || (level == 0 && chain.raw_base);
        deltas.push(load_delta(&file, raw, &mut notes)?);
        files.push(file);
    }
    allowed()?;
    if options.write && !matches!(survives, Survives::Left(_)) {
        settle(files.last(), &mut deltas, options)?;
    }
    let kept = kept(&files, &deltas, survives, options.write)?;
    let block = decide(&files, &deltas, chain.direct, &mut notes)?;
    let options = Options {
        granule: block.unwrap_or(512),
        // The last one is the server's own.
        depth: options.depth + 1,
        ..options
    };
    let device = Device::open_kept(deltas, options, kept).map_err(|error| refused(&error))?;
    Ok(Opened {
        device,
        files,
        direct: block.is_some(),
        block: options.granule,
        notes,
    })
}

/// An image that was not closed is made durable as it is read, before anything rests on what is read. Nothing is written to a
/// chain that is refused.
fn settle(
    top: Option<&RealFile>,
    deltas: &mut [LoadedDelta],
    options: Options,
) -> Result<(), ToolError> {
    let (Some(file), false) = (top, deltas.is_empty()) else {
        return Ok(());
    };
    Device::check(deltas, &options).map_err(|error| refused(&error))?;
    if let Some(top) = deltas.last_mut() {
        files::settle(file, top).map_err(|error| ToolError::Refused(error.to_string()))?;
    }
    Ok(())
}

/// The map that outlives the server.
fn kept(
    files: &[RealFile],
    deltas: &[LoadedDelta],
    survives: Survives<'_>,
    write: bool,
) -> Result<Kept, ToolError> {
    let (Some(top), Some(delta), true) = (files.last(), deltas.last(), write) else {
        return Ok(Kept::Nowhere);
    };
    let name = name_of(top.path());
    let failed = |error: ShadowError| {
        ToolError::Refused(format!(
            "{name}: the map that the last server has left: {error}"
        ))
    };
    let told = |shadow| Box::new(Told(Arc::new(shadow)));
    Ok(match survives {
        Survives::No => Kept::Nowhere,
        Survives::New(file) => Kept::From(told(Shadow::create(file, top, delta).map_err(failed)?)),
        Survives::Left(file) => {
            Kept::Recovered(told(Shadow::open(file, top, delta).map_err(failed)?))
        }
    })
}

fn open_trace(path: &Path) -> Result<Arc<Trace>, ToolError> {
    Trace::open(path).map_err(ToolError::io(path, "open"))
}

fn refused(error: &ploop_core::OpenError) -> ToolError {
    ToolError::Refused(error.to_string())
}

fn load_delta(
    file: &RealFile,
    raw: bool,
    notes: &mut Vec<String>,
) -> Result<LoadedDelta, ToolError> {
    let name = name_of(file.path());
    if raw {
        return Ok(load_raw(file, &name)?);
    }
    let delta = load(file, &name).map_err(|error| {
        ToolError::Refused(format!(
            "{error} (`ploop-ublk check` lists all that is wrong, `ploop-ublk convert --salvage` saves what can be read)"
        ))
    })?;
    if let Body::Expanded(image) = &delta.body
        && image.header.is_dirty()
    {
        notes.push(format!(
            "{name}: was not closed properly; it was checked and is sound"
        ));
    }
    Ok(delta)
}

/// Switches direct I/O on. The unit, or `None` if the page cache is used. A file that is not aligned, below one that is,
/// goes through the page cache.
fn decide(
    files: &[RealFile],
    deltas: &[LoadedDelta],
    direct: Direct,
    notes: &mut Vec<String>,
) -> Result<Option<u32>, ToolError> {
    if direct == Direct::Off {
        return Ok(None);
    }
    let (Some((top, lower)), Some((top_delta, lower_deltas))) =
        (files.split_last(), deltas.split_last())
    else {
        return Ok(None);
    };
    let largest = if direct == Direct::Auto { 512 } else { 4096 };
    let block = match try_direct(top, top_delta, largest) {
        Ok(block) => block,
        Err(why) if direct == Direct::Auto => {
            notes.push(format!(
                "{}: direct I/O is not used: {why}",
                name_of(top.path())
            ));
            return Ok(None);
        }
        Err(why) => {
            return Err(ToolError::Refused(format!(
                "{}: direct I/O is not possible: {why}",
                name_of(top.path())
            )));
        }
    };
    for (file, delta) in lower.iter().zip(lower_deltas) {
        if let Err(why) = try_direct(file, delta, block) {
            notes.push(format!(
                "{}: read through the page cache: {why}",
                name_of(file.path())
            ));
        }
    }
    Ok(Some(block))
}

/// Switches direct I/O on for one file. The unit, at most `largest`, or why not; then it is off.
fn try_direct(file: &RealFile, delta: &LoadedDelta, largest: u32) -> Result<u32, String> {
    file.set_direct(true)
        .map_err(|_| "the file system has none".to_owned())?;
    let outcome = alignment(file, largest).and_then(|unit| fits(delta, unit).map(|()| unit));
    if outcome.is_err() {
        // What could be switched on can be switched off.
        let _ = file.set_direct(false);
    }
    outcome
}

/// The unit of direct I/O, found by trying.
fn alignment(file: &RealFile, largest: u32) -> Result<u32, String> {
    let len = file.len().map_err(|error| error.to_string())?;
    for unit in [512, 4096].into_iter().filter(|&unit| unit <= largest) {
        // At its end a file says "nothing more" before it says "not aligned".
        if len < 2 * u64::from(unit) {
            return Err(format!(
                "the file is too short to find out about units of {unit} bytes"
            ));
        }
        if raw::probe_direct(file, unit as usize).is_ok() {
            return Ok(unit);
        }
    }
    Err(format!(
        "the file cannot be read in units of {largest} bytes"
    ))
}

/// Whether everything in the image lies at multiples of the unit.
fn fits(delta: &LoadedDelta, unit: u32) -> Result<(), String> {
    let places = match &delta.body {
        Body::Raw => [delta.file_len, 0, 0, 0],
        Body::Expanded(image) => [
            image.layout.cluster.bytes(),
            image.layout.phase.bytes(),
            image.layout.data_start.bytes(),
            image.layout.size.bytes(),
        ],
    };
    match places.iter().find(|&&at| at % u64::from(unit) != 0) {
        None => Ok(()),
        Some(at) => Err(format!(
            "byte {at} of the image's layout is no multiple of {unit}"
        )),
    }
}

/// The virtual size of an open device.
#[must_use]
pub fn size_of(device: &Device) -> Sectors {
    device.geometry().size
}
