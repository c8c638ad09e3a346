//! `sim shrink`.

use super::args::ShrinkArguments;
use super::replay::load;
use super::{USAGE, grouped};
use crate::campaign::world_on;
use crate::explain::names::plain;
use crate::report::Class;
use crate::shrink::{Counts, Effort, Shrunk, shrink as make_small};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Line<'a> {
    class: Class,
    checker: &'a str,
    message: &'a str,
    trace: String,
    before: Counts,
    after: Counts,
    runs: u64,
    seconds: f64,
    output: String,
}

/// The command. The exit code is that of a command that worked, not of the failure.
pub(super) fn shrink(arguments: &ShrinkArguments, out: &mut dyn Write) -> io::Result<u8> {
    let complain = |problem: String| {
        eprintln!("sim: {}: {problem}", arguments.tape.display());
        Ok(USAGE)
    };
    let (tape, profile) = match load(&arguments.tape) {
        Ok(loaded) => loaded,
        Err(problem) => return complain(problem),
    };
    let effort = Effort {
        runs: arguments.runs,
        time: arguments.time,
    };
    let shrunk = match make_small(&tape, profile, world_on(tape.lies), effort) {
        Ok(shrunk) => shrunk,
        Err(refusal) => return complain(refusal.to_string()),
    };
    let path = arguments
        .output
        .clone()
        .unwrap_or_else(|| beside(&arguments.tape));
    if let Err(error) = save(&shrunk, &path) {
        eprintln!("sim: {}: {error}", path.display());
        return Ok(USAGE);
    }
    if arguments.json {
        write_json(&shrunk, &path, out)?;
    } else {
        write_table(&shrunk, &path, out)?;
    }
    Ok(0)
}

/// `a/b.tape` becomes `a/b.min.tape`.
fn beside(tape: &Path) -> PathBuf {
    tape.with_extension("min.tape")
}

fn save(shrunk: &Shrunk, path: &Path) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    shrunk.file.save(&mut file)?;
    file.flush()
}

fn write_json(shrunk: &Shrunk, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    let line = Line {
        class: shrunk.failure.class,
        checker: shrunk.failure.checker,
        message: &shrunk.failure.message,
        trace: format!("{:016x}", shrunk.failure.trace),
        before: shrunk.before,
        after: shrunk.after,
        runs: shrunk.runs,
        seconds: shrunk.elapsed.as_secs_f64(),
        output: path.display().to_string(),
    };
    writeln!(out, "{}", serde_json::to_string(&line)?)
}

fn write_table(shrunk: &Shrunk, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:12}{:>8}{:>8}", "", "before", "after")?;
    for ((name, before), (_, after)) in shrunk.before.rows().iter().zip(shrunk.after.rows()) {
        writeln!(
            out,
            "{name:12}{:>8}{:>8}",
            grouped((*before).into()),
            grouped(after.into())
        )?;
    }
    writeln!(
        out,
        "{} runs in {:.1} s; run twice more, with the same trace {:016x}",
        grouped(shrunk.runs),
        shrunk.elapsed.as_secs_f64(),
        shrunk.failure.trace
    )?;
    writeln!(out, "{}", plain(&shrunk.failure.to_string()))?;
    writeln!(out, "tape: {}", path.display())
}
