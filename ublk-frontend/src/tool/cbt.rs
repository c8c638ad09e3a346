//! `cbt`: the dirty bitmaps of an image, of a bundle's top, or of a disk in use, whose server steps aside for it.

use std::io::Write;
use std::path::Path;

use ploop_core::control::files::{Change, change_bitmaps};
use ploop_core::format::DirtyBitmap;
use ploop_core::load::load;
use serde::Serialize;

use super::load::{is_raw, name_of};
use super::output::Output;
use super::progress::watched;
use super::{ToolError, change};
use crate::bundle::{Guid, files_of, folder_of};
use crate::cli::{Cbt, CbtDump, CbtList, CbtOf, CbtStart, CbtStop};
use crate::commands::add::refuse_lower;
use crate::commands::topology::with_server_aside;
use crate::commands::{folder, refused};
use crate::files::RealFile;
use crate::size::Human;

/// Carries out one of them.
pub fn run(asked: &Cbt, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    match asked {
        Cbt::Start(asked) => start(asked, out),
        Cbt::Stop(asked) => stop(asked, out),
        Cbt::List(asked) => list(asked, out),
        Cbt::Dump(asked) => dump(asked, out),
    }
}

/// A bitmap in JSON. Sizes are in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    name: Guid,
    granularity: u64,
    dirty: u64,
}

/// A range in JSON, in bytes.
#[derive(Debug, Serialize)]
struct Range {
    start: u64,
    length: u64,
}

#[derive(Debug, Serialize)]
struct Dump {
    #[serde(flatten)]
    bitmap: Row,
    ranges: Vec<Range>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: Guid,
}

/// Bytes. QEMU keeps a granularity in 32 bits, and ends with a failed assertion if there are more.
const LARGEST_GRANULARITY: u64 = 2 << 30;

fn row(bitmap: &DirtyBitmap) -> Row {
    Row {
        name: Guid::from_bytes(bitmap.id()),
        granularity: u64::from(bitmap.granularity()) * 512,
        dirty: bitmap.dirty().bytes(),
    }
}

fn start(asked: &CbtStart, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let name = asked.name.unwrap_or_else(Guid::random);
    let bytes = asked.granularity.0.bytes();
    if bytes > LARGEST_GRANULARITY {
        return Err(refused(format!(
            "a granularity of {bytes} is too large: at most {LARGEST_GRANULARITY}, or QEMU aborts on the image"
        )));
    }
    let change = Change::Start {
        id: name.to_bytes(),
        granularity: (bytes / 512) as u32,
    };
    on_top(&asked.of, true, |top| apply(top, change))?;
    print_name(name, asked.json, out)
}

fn stop(asked: &CbtStop, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let name = on_top(&asked.of, true, |top| {
        let bitmap = choose(top, asked.name)?;
        let id = bitmap.id();
        apply(top, Change::Stop { id })?;
        Ok(Guid::from_bytes(id))
    })?;
    match asked.json {
        true => print_name(name, true, out),
        false => Ok(()),
    }
}

fn print_name(name: Guid, json: bool, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    if json {
        out.json(&Named { name })
    } else {
        out.line(name)
    }
}

fn list(asked: &CbtList, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let bitmaps = on_top(&asked.of, false, bitmaps_of)?;
    let rows: Vec<Row> = bitmaps.iter().map(row).collect();
    if asked.json {
        return out.json(&rows);
    }
    for row in rows {
        out.line(format_args!(
            "{}  granularity {}, {} dirty",
            row.name,
            Human(row.granularity),
            Human(row.dirty)
        ))?;
    }
    Ok(())
}

fn dump(asked: &CbtDump, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let bitmap = on_top(&asked.of, asked.clear, |top| {
        let bitmap = choose(top, asked.name)?;
        if asked.clear {
            let id = bitmap.id();
            apply(top, Change::Clear { id })?;
        }
        Ok(bitmap)
    })?;
    if asked.json {
        let ranges = bitmap.ranges().map(|(start, len)| Range {
            start: start.bytes(),
            length: len.bytes(),
        });
        return out.json(&Dump {
            bitmap: row(&bitmap),
            ranges: ranges.collect(),
        });
    }
    for (start, len) in bitmap.ranges() {
        out.line(format_args!("{} {}", start.0, len.0))?;
        if out.is_closed() {
            break;
        }
    }
    Ok(())
}

fn apply(top: &RealFile, change: Change) -> Result<(), ToolError> {
    let name = name_of(top.path());
    Ok(watched(top, |file| change_bitmaps(file, &name, change))?)
}

/// The bitmaps of an image that count.
pub fn bitmaps_of(top: &RealFile) -> Result<Vec<DirtyBitmap>, ToolError> {
    let delta = watched(top, |file| load(file, &name_of(top.path())))?;
    Ok(delta
        .expanded()
        .map(|image| image.bitmaps.clone())
        .unwrap_or_default())
}

/// The bitmap of this name, or the only one.
fn choose(top: &RealFile, name: Option<Guid>) -> Result<DirtyBitmap, ToolError> {
    let mut bitmaps = bitmaps_of(top)?;
    let path = top.path().display();
    let found = match name {
        Some(name) => bitmaps
            .iter()
            .position(|bitmap| bitmap.id() == name.to_bytes())
            .ok_or_else(|| refused(format!("{path}: has no dirty bitmap {name}")))?,
        None if bitmaps.len() > 1 => {
            let count = bitmaps.len();
            return Err(refused(format!(
                "{path}: has {count} dirty bitmaps: name one with --name"
            )));
        }
        None if bitmaps.is_empty() => {
            return Err(refused(format!("{path}: has no dirty bitmap that counts")));
        }
        None => 0,
    };
    Ok(bitmaps.swap_remove(found))
}

/// Does something with the file that bears the bitmaps, alone with it if it is to be changed.
pub fn on_top<T>(
    of: &CbtOf,
    write: bool,
    work: impl FnOnce(&RealFile) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    if let Some(id) = of.id {
        return with_server_aside(&folder()?, id, |change| {
            let top = RealFile::open_write(change.top()?)?;
            let done = with_image(&top, work)?;
            drop(top);
            if write {
                change.commit(change.images().to_vec())?;
            }
            Ok(done)
        });
    }
    let path = of.image.as_deref().unwrap_or(Path::new(""));
    let is_bundle = folder_of(path).is_some();
    if !write {
        let images = files_of(path, None)?.images;
        let top = images.last().map_or(path, |top| top.as_path());
        return with_image(&RealFile::open_read(top)?, work);
    }
    if is_bundle {
        let (folder, _lock) = change::bundle(path)?;
        let images = files_of(crate::bundle::Folder::path(&folder), None)?.images;
        let top = images.last().map_or(path, |top| top.as_path());
        return with_image(&RealFile::open_write(top)?, work);
    }
    let file = change::image(path)?;
    refuse_lower(std::slice::from_ref(&path.to_owned()))?;
    with_image(&file, work)
}

fn with_image<T>(
    top: &RealFile,
    work: impl FnOnce(&RealFile) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    if is_raw(top)? {
        let path = top.path().display();
        return Err(refused(format!("{path}: a raw disk has no dirty bitmaps")));
    }
    work(top)
}
