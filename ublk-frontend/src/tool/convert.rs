//! `convert`: a copy of a disk in a new file. Zeros are not copied.

use std::io::Write;
use std::path::{Path, PathBuf};

use ploop_core::format::Version;
use ploop_core::units::{SECTOR_BYTES, Sector, Sectors};

use super::ToolError;
use super::create::Made;
use super::load::{Trust, name_of, open_stack};
use super::output::Output;
use super::progress;
use super::sink::Sink;
use super::stack::Stack;
use crate::cli::{self, Convert, OutFormat};
use crate::files::id_of;

/// Bytes copied at a time, if clusters are not larger.
const STEP_BYTES: u64 = 4 << 20;

/// Cluster size of a new image.
pub(super) const USUAL_CLUSTER: Sectors = Sectors(2048);

/// Copies. OUT appears only when all of it is durable.
pub fn run(asked: &Convert, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let [inputs @ .., output] = asked.files.as_slice() else {
        return Err(incomplete());
    };
    if inputs.is_empty() {
        return Err(incomplete());
    }
    refuse_own_input(inputs, output)?;
    if let (Some(OutFormat::Raw), true) = (asked.to, is_shaped(asked)) {
        return Err(ToolError::Refused(
            "--cluster and --version are for images: a raw file has neither".into(),
        ));
    }
    let trust = if asked.salvage {
        Trust::Salvage
    } else {
        Trust::Sound
    };
    let stack = cli::Stack {
        inputs: inputs.to_vec(),
        of: asked.of.clone(),
    };
    let stack = open_stack(&stack, trust)?;
    let name = name_of(output);
    let (mut sink, step, made) = match asked.to.unwrap_or_else(|| usual_format(asked, &stack)) {
        OutFormat::Raw => (
            Sink::raw(output, stack.size())?,
            Sectors::whole_in(STEP_BYTES),
            Made::raw(name, stack.size()),
        ),
        OutFormat::Ploop => {
            let version = asked.version.map_or(Version::V2, Version::from);
            let cluster = asked.cluster.map_or(USUAL_CLUSTER, |size| size.0);
            (
                Sink::image(output, version, cluster, stack.size())?,
                step_of(cluster),
                Made::image(name, version, cluster, stack.size()),
            )
        }
    };
    copy(&stack, &mut sink, step)?;
    sink.finish()?;
    match asked.json {
        true => out.json_line(&made),
        false => Ok(()),
    }
}

fn incomplete() -> ToolError {
    ToolError::Refused("convert: give the files of the disk, then the one to make".into())
}

/// An output that is one of the inputs exists, so it would be refused anyhow; this says it better.
fn refuse_own_input(inputs: &[PathBuf], output: &Path) -> Result<(), ToolError> {
    let id = id_of(output);
    match inputs
        .iter()
        .find(|input| id.is_some() && id_of(input) == id)
    {
        None => Ok(()),
        Some(input) => {
            let (output, input) = (output.display(), input.display());
            Err(ToolError::Refused(format!(
                "{output}: OUT is the same file as the input {input}; nothing was changed"
            )))
        }
    }
}

/// A raw file becomes an image, an image becomes a raw file; unless what only an image has is asked for.
fn usual_format(asked: &Convert, stack: &Stack) -> OutFormat {
    if is_shaped(asked) || stack.cluster().is_none() {
        OutFormat::Ploop
    } else {
        OutFormat::Raw
    }
}

/// Something is asked for that only an image has.
fn is_shaped(asked: &Convert) -> bool {
    asked.cluster.is_some() || asked.version.is_some()
}

/// As many whole clusters as fit a step, or a step's worth of sectors of a cluster that is larger.
pub(super) fn step_of(cluster: Sectors) -> Sectors {
    let most = Sectors::whole_in(STEP_BYTES).0;
    Sectors(if cluster.0 > most {
        most
    } else {
        most - most % cluster.0
    })
}

pub(super) fn copy(stack: &Stack, sink: &mut Sink, step: Sectors) -> Result<(), ToolError> {
    let progress = progress::bytes(stack.size().bytes());
    let mut buf = vec![0; step.bytes() as usize];
    let mut at = Sector(0);
    while at.0 < stack.size().0 {
        let len = step.min(stack.size().minus(Sectors(at.0)));
        let part = &mut buf[..(len.0 * SECTOR_BYTES) as usize];
        if stack.read(at, part)? {
            sink.put(at, part)?;
        }
        at = at.after(len);
        progress.set_position(at.bytes());
    }
    progress.finish_and_clear();
    Ok(())
}
