//! `sim replay`.

use super::USAGE;
use super::args::ReplayArguments;
use crate::campaign::{catch, world_on};
use crate::explain::names::plain;
use crate::profile::Profile;
use crate::replay::{Agreement, Replay, replay_in_time as run_again};
use crate::tape::{Tape, TapeFile};
use crate::world::World;
use crate::world::log::Entry;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;

/// The command.
pub(super) fn replay(arguments: &ReplayArguments, out: &mut dyn Write) -> io::Result<u8> {
    let (tape, profile) = match load(&arguments.tape) {
        Ok(loaded) => loaded,
        Err(problem) => {
            eprintln!("sim: {}: {problem}", arguments.tape.display());
            return Ok(USAGE);
        }
    };
    let replay = run_again(&tape, profile, world_on(tape.lies), arguments.patience);
    if arguments.trace && replay.hangs() {
        writeln!(out, "no trace: the run does not end")?;
    } else if arguments.trace {
        for (index, entry) in timeline(profile, tape.lies, &replay).iter().enumerate() {
            writeln!(out, "{index:>5}  {}", entry.what)?;
        }
    }
    report(&tape, &replay, out)?;
    if arguments.record {
        let path = arguments.tape.display();
        if let Err(error) = record(&arguments.tape, tape, &replay) {
            eprintln!("sim: {path}: {error}");
            return Ok(USAGE);
        }
        writeln!(out, "recorded in {path}")?;
    }
    let differs = arguments.strict && replay.agreement != Agreement::Same;
    Ok(match &replay.result {
        Ok(_) if differs => 2,
        Ok(_) => 0,
        Err(failure) => failure.class.exit_code(),
    })
}

pub(super) fn load(path: &Path) -> Result<(TapeFile, Profile), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let tape = TapeFile::load(BufReader::new(file)).map_err(|error| error.to_string())?;
    let profile = tape.profile.parse()?;
    Ok((tape, profile))
}

/// The file says from now on what came out today. The choices stay: with the bug that they found, they find it again.
fn record(path: &Path, tape: TapeFile, replay: &Replay) -> io::Result<()> {
    let (trace, failure) = match &replay.result {
        Ok(stats) => (stats.trace, String::new()),
        Err(failure) => (failure.trace, failure.checker.to_owned()),
    };
    let mut bytes = Vec::new();
    TapeFile {
        trace: Some(trace),
        failure,
        ..tape
    }
    .save(&mut bytes)?;
    fs::write(path, bytes)
}

fn report(tape: &TapeFile, replay: &Replay, out: &mut dyn Write) -> io::Result<()> {
    let recorded = if tape.failure.is_empty() {
        "no failure"
    } else {
        &tape.failure
    };
    writeln!(
        out,
        "profile {}, {} choices, recorded: {recorded}",
        tape.profile,
        tape.choices.len()
    )?;
    match &replay.result {
        Ok(stats) => writeln!(
            out,
            "passed: {} operations, {} steps, {} crashes, trace {:016x}",
            stats.ops, stats.steps, stats.crashes, stats.trace
        )?,
        Err(failure) => writeln!(
            out,
            "{}\ntrace {:016x}",
            plain(&failure.to_string()),
            failure.trace
        )?,
    }
    writeln!(out, "alignment {:.1} %", replay.alignment)?;
    if replay.misaligned > 0 {
        writeln!(
            out,
            "{} choices or questions did not fit: the code has changed",
            replay.misaligned
        )?;
    }
    writeln!(out, "{}", replay.agreement)
}

/// What happened, event by event, to the end or to the panic.
fn timeline(profile: Profile, lies: bool, replay: &Replay) -> Vec<Entry> {
    let mut world = World::new(profile);
    world.set_canary(lies);
    world.set_logging(true);
    // The result is known already.
    let _ = catch(|| world.run(&mut Tape::replay_spans(&replay.choices, &replay.spans)));
    world.take_log()
}
