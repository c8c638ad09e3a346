//! `sim explain`.

use super::USAGE;
use super::args::ExplainArguments;
use super::replay::load;
use crate::campaign::hang::WATCHDOG;
use crate::campaign::{quoted, world_on};
use crate::explain::{explain as tell, page, write_text};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// The command. The exit code is that of a command that worked, whatever the story is.
pub(super) fn explain(arguments: &ExplainArguments, out: &mut dyn Write) -> io::Result<u8> {
    let (tape, profile) = match load(&arguments.tape) {
        Ok(loaded) => loaded,
        Err(problem) => {
            eprintln!("sim: {}: {problem}", arguments.tape.display());
            return Ok(USAGE);
        }
    };
    if tape.failure == WATCHDOG {
        eprintln!(
            "sim: {}: the run of this tape does not end: `sim replay` tells so, there is no story",
            arguments.tape.display()
        );
        return Ok(USAGE);
    }
    let story = tell(
        &tape,
        profile,
        world_on(tape.lies),
        tape.lies,
        arguments.samples,
    );
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&story)?)?;
    } else if arguments.html.is_none() {
        write_text(&story, out)?;
    }
    if let Some(path) = &arguments.html {
        let command = format!(
            "cargo run --release -p sim -- replay {}",
            quoted(&arguments.tape)
        );
        if let Err(error) = save(path, &page(&story, &command)) {
            eprintln!("sim: {}: {error}", path.display());
            return Ok(USAGE);
        }
        if !arguments.json {
            writeln!(out, "page: {}", path.display())?;
        }
    }
    Ok(0)
}

fn save(path: &Path, page: &str) -> io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, page)
}
