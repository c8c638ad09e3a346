//! `add`: makes a device of an image.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::served::{Served, number_in};
use super::set::whole_seconds;
use super::tell::question;
use super::{detach, folder, recover, refused};
use crate::bundle::{folder_of, must_not_be_lower};
use crate::cli::Add;
use crate::files::child;
use crate::tool::ToolError;
use crate::tool::load::doubts_of;
use crate::tool::output::{Output, complain};
use crate::ublk::server::{Task, ZeroCopy, serve};
use crate::ublk::setup::bundle_images;
use crate::ublk::socket::Question;
use crate::ublk::state::{Folder, NoSpace, Record, Stale};
use crate::ublk::sys;

/// Makes the device and prints its path when it can be used. In the foreground it serves until it is told to end.
pub fn run(asked: &Add, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    if !asked.foreground && !detach::is_background() {
        let arguments: Vec<_> = std::env::args_os().skip(1).collect();
        let said = detach::start(&arguments)?;
        let told = out.line(&said).and_then(|()| out.flush());
        if told.is_err() && !asked.or_recover {
            // Nobody knows of the device: what failed leaves nothing behind.
            if let Some(id) = number_in(&said) {
                let _ = question(&folder()?, id, Question::Stop { force: true });
            }
        }
        return told;
    }
    let folder = folder()?;
    if asked.or_recover {
        // What a bundle names may come and go until then.
        recover::settle(&folder, &source(asked)?)?;
    }
    let record = record(asked)?;
    if asked.or_recover
        && let Some(left) = recover::left_behind(&folder, &record.source, &record.images)?
    {
        let task = Task::Recover(Box::new(left));
        return work(&folder, task, |_| Ok(()), asked.json, out);
    }
    let allowed = |record: &Record| allowed(&folder, record, asked.ignore_snapshot);
    allowed(&record)?;
    let zero_copy = match asked.trace_io {
        Some(_) => ZeroCopy::Off,
        None => asked.zero_copy,
    };
    let task = Task::Add(Box::new(record), zero_copy);
    work(&folder, task, allowed, asked.json, out)
}

/// Whether these images may be given to a new device.
fn allowed(folder: &Folder, record: &Record, ignore_snapshot: bool) -> Result<(), ToolError> {
    if let Some(why) = recover::claims(folder, record)? {
        return Err(refused(why));
    }
    if !ignore_snapshot {
        refuse_merged(&record.images)?;
    }
    if !record.read_only && !ignore_snapshot {
        refuse_lower(&record.images)?;
    }
    let Some(bundle) = &record.bundle else {
        return Ok(());
    };
    let now = bundle_images(bundle)?;
    if (&now.images, now.raw_base) != (&record.images, record.raw_base) {
        return Err(refused(format!(
            "{}: was changed by another command meanwhile",
            bundle.display()
        )));
    }
    Ok(())
}

/// Serves; says the path when the disk can be used, or what there is to know of it. `allowed`: see [`serve`].
pub(crate) fn work(
    folder: &Folder,
    task: Task,
    allowed: impl Fn(&Record) -> Result<(), ToolError>,
    json: bool,
    out: &mut Output<impl Write>,
) -> Result<(), ToolError> {
    let background = detach::is_background();
    if background {
        detach::new_session();
    }
    let recovered = matches!(task, Task::Recover(_));
    serve(folder, task, allowed, |report, notes| {
        for note in notes {
            complain("note", note);
        }
        let log = background
            .then(|| detach::log(folder, report.id))
            .transpose()?;
        match json {
            true => out.json_line(&Served::of(report, recovered))?,
            false => out.line(report.device.display())?,
        }
        out.flush()?;
        // From here on the user has a device.
        if let Some(log) = log {
            detach::let_go(&log);
        }
        Ok(())
    })
}

/// Refuses a list with an image that went up into one above it: where that one has given clusters back, old data would show.
fn refuse_merged(images: &[PathBuf]) -> Result<(), ToolError> {
    for (level, image) in images.iter().enumerate() {
        for lower in &images[..level] {
            let failed = ToolError::io(image, "read the attributes of");
            if child::has_merged(image, lower).map_err(failed)? {
                return Err(refused(format!(
                    "{}: was merged into {}: leave it out (or --ignore-snapshot, and see what was deleted since)",
                    lower.display(),
                    image.display()
                )));
            }
        }
    }
    Ok(())
}

/// Refuses to write to an image that a snapshot was made of.
pub(crate) fn refuse_lower(images: &[PathBuf]) -> Result<(), ToolError> {
    let Some(top) = images.last() else {
        return Ok(());
    };
    must_not_be_lower(top)?;
    let child = child::of(top).map_err(ToolError::io(top, "read the attributes of"))?;
    child.map_or(Ok(()), |child| {
        if child::has_merged(&child, top).unwrap_or(false) {
            return Err(refused(format!(
                "{}: was merged into {}: give that one without it; or --ignore-snapshot to go back and lose what came later",
                top.display(),
                child.display()
            )));
        }
        Err(refused(format!(
            "{}: a snapshot was made of it, the disk goes on in {}: give both, oldest first; or --ignore-snapshot to go back and \
             lose what came later",
            top.display(),
            child.display()
        )))
    })
}

/// What was named, by its real names.
fn source(asked: &Add) -> Result<Vec<PathBuf>, ToolError> {
    let real = |path: &PathBuf| fs::canonicalize(path).map_err(ToolError::io(path, "open"));
    asked.images.iter().map(real).collect()
}

fn record(asked: &Add) -> Result<Record, ToolError> {
    let source = source(asked)?;
    let bundle = match source.as_slice() {
        [one] => folder_of(one),
        _ => None,
    };
    let (images, raw_base) = match &bundle {
        Some(_) if asked.raw_base => {
            return Err(refused(
                "--raw-base: the descriptor of a bundle says what its base is",
            ));
        }
        Some(bundle) => {
            let files = bundle_images(bundle)?;
            doubts_of(bundle)?;
            (files.images, files.raw_base)
        }
        None => (source.clone(), asked.raw_base),
    };
    if asked.depth == 0 || asked.depth > sys::MAX_QUEUE_DEPTH {
        return Err(refused(format!(
            "--depth {}: from 1 to {}",
            asked.depth,
            sys::MAX_QUEUE_DEPTH
        )));
    }
    let limit = asked.no_space_limit.map(|limit| whole_seconds(limit.0));
    let limit = limit.transpose()?.flatten();
    if asked.trace_io.is_some() && matches!(asked.zero_copy, ZeroCopy::On | ZeroCopy::ByHand) {
        return Err(refused(
            "--trace-io: what is written without a copy cannot be seen",
        ));
    }
    let link = asked.symlink.as_deref().map(absolute).transpose()?;
    let trace = asked.trace_io.as_deref().map(absolute).transpose()?;
    let given = source.iter().chain(&images).chain(&bundle);
    for path in given.chain(&link).chain(&trace) {
        if path.to_str().is_none() {
            return Err(refused(format!(
                "{}: is not UTF-8: such a name cannot be recorded",
                path.display()
            )));
        }
    }
    let delay = asked.flush_delay.0.as_millis();
    Ok(Record {
        version: Record::version(),
        id: asked.id.unwrap_or(u32::MAX),
        pid: 0,
        source,
        images,
        bundle,
        raw_base,
        read_only: asked.read_only,
        queues: asked.queues,
        depth: asked.depth,
        request_bytes: 0,
        flags: 0,
        zero_copy: false,
        direct: asked.direct,
        block: 512,
        flush_delay_ms: u64::try_from(delay).unwrap_or(u64::MAX),
        no_space: match asked.no_space {
            crate::cli::NoSpaceArg::Fail => NoSpace::Fail,
            crate::cli::NoSpaceArg::Wait => NoSpace::Wait { seconds: limit },
        },
        symlink: link,
        token: uuid::Uuid::new_v4().as_u64_pair().0,
        closed: false,
        retell: Stale::Nothing,
        trace_io: trace,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, ToolError> {
    std::path::absolute(path).map_err(ToolError::io(path, "find"))
}
