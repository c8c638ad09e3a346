//! The command line. Exit codes: 0 fine, 1 usage (or output that could not be written), 2 wrong answer or broken
//! invariant, 3 hang, 4 panic. Standard output holds results; progress and failures go to standard error.

mod args;
mod bugs;
mod chooser;
mod explain;
mod explore;
mod json;
mod libfuzzer;
mod merge;
mod replay;
mod run;
mod scenario;
mod shrink;
mod table;

#[cfg(test)]
mod tests;

use crate::bench::{self, Meter};
use args::{Arguments, Command};
use clap::Parser;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

pub(crate) use table::grouped;

/// Exit code of a command that was not understood, or whose files could not be used.
const USAGE: u8 = 1;

/// The whole program.
#[must_use]
pub fn main(meter: &Meter) -> ExitCode {
    let mut out = io::stdout().lock();
    ExitCode::from(execute(std::env::args_os(), meter, &mut out))
}

/// Carries out a command line (the first argument is the program). Returns its exit code.
pub fn execute(
    arguments: impl IntoIterator<Item = OsString>,
    meter: &Meter,
    out: &mut dyn Write,
) -> u8 {
    let command = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(error) => return say_why(&error, out),
    };
    let done = match command.unwrap_or_default() {
        Command::Run(arguments) => run::run(&arguments, out),
        Command::Merge { folders, json } => merge::merge(&folders, json, out),
        Command::Replay(arguments) => replay::replay(&arguments, out),
        Command::Shrink(arguments) => shrink::shrink(&arguments, out),
        Command::Explain(arguments) => explain::explain(&arguments, out),
        Command::Explore(arguments) => explore::run(&arguments, out),
        Command::Scenario(arguments) => scenario::play(&arguments, out),
        Command::Bugs(arguments) => bugs::run(&arguments, out),
        Command::Bench { json, seconds } => bench::run(meter, seconds, json, out),
    };
    done.and_then(|code| out.flush().map(|()| code))
        .unwrap_or_else(|error| {
            // Whoever read our output has had enough: no message for that.
            if error.kind() != io::ErrorKind::BrokenPipe {
                eprintln!("sim: {error}");
            }
            USAGE
        })
}

/// Help goes to standard output with 0, errors to standard error with 1.
fn say_why(error: &clap::Error, out: &mut dyn Write) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let written = write!(out, "{}", error.render());
            if written.is_ok() { 0 } else { USAGE }
        }
        _ => {
            eprint!("{}", error.render());
            USAGE
        }
    }
}
