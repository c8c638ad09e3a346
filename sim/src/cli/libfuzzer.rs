//! `sim run --engine libfuzzer`: `cargo fuzz run bat_ops`, from the stored inputs on, and what it finds as a tape.
//!
//! Its features are edges of code, and happens-before patterns and states of the world (see `fuzz_targets/bat_ops.rs`).

use super::USAGE;
use crate::campaign::quoted;
use crate::fuzzing::bat_ops_tape;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What libFuzzer is asked for.
#[derive(Clone, Debug)]
pub(super) struct Hunt {
    /// When to stop.
    pub(super) time: Duration,
    /// Of its draws.
    pub(super) seed: u64,
    /// Processes.
    pub(super) jobs: usize,
    /// Where tapes go.
    pub(super) folder: PathBuf,
}

/// The target, and where its stored inputs are.
const TARGET: &str = "bat_ops";
const STORED: &str = "corpus/fuzz/bat_ops";

/// Runs it. The exit code is that of what it found.
pub(super) fn run(hunt: &Hunt, out: &mut dyn Write) -> io::Result<u8> {
    let Some(root) = root()? else {
        eprintln!("sim: --engine libfuzzer builds the fuzz target: run it inside the workspace");
        return Ok(USAGE);
    };
    // Its own: new inputs, and what crashes.
    let scratch = std::env::temp_dir().join(format!("sim-libfuzzer-{}", std::process::id()));
    let (inputs, crashes) = (scratch.join("inputs"), scratch.join("crashes"));
    fs::create_dir_all(&inputs)?;
    fs::create_dir_all(&crashes)?;
    let status = Command::new("cargo")
        .args(["fuzz", "run", TARGET])
        .arg(&inputs)
        .arg(STORED)
        .arg("--")
        .arg(format!("-max_total_time={}", hunt.time.as_secs().max(1)))
        .arg(format!("-seed={}", hunt.seed as u32 | 1))
        .arg(format!("-fork={}", hunt.jobs))
        .arg(format!("-artifact_prefix={}/", crashes.display()))
        .args([
            "-max_len=4096",
            "-len_control=0",
            "-timeout=20",
            "-print_final_stats=1",
        ])
        // cargo-fuzz alone needs unstable flags.
        .env("RUSTC_BOOTSTRAP", "1")
        .current_dir(&root)
        .stdin(Stdio::null())
        .status();
    let done = status.map_err(|error| {
        io::Error::other(format!(
            "cargo fuzz (cargo install --locked cargo-fuzz): {error}"
        ))
    });
    let code = done.and_then(|status| {
        let found = tell(&crashes, &hunt.folder, out)?;
        // Nothing was found, and yet it did not end well: it could not be built, say.
        Ok(if found == 0 && !status.success() {
            USAGE
        } else {
            found
        })
    });
    let _ = fs::remove_dir_all(&scratch);
    code
}

/// Turns what crashed into tapes. The exit code.
fn tell(crashes: &Path, folder: &Path, out: &mut dyn Write) -> io::Result<u8> {
    let mut code = 0;
    let mut files: Vec<PathBuf> = fs::read_dir(crashes)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        let tape = bat_ops_tape(&fs::read(&file)?);
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("libfuzzer-{name}.tape"));
        let mut bytes = Vec::new();
        tape.save(&mut bytes)?;
        fs::write(&path, bytes)?;
        let what = if tape.failure.is_empty() {
            "passes here"
        } else {
            &tape.failure
        };
        writeln!(out, "{name}: {what}\ntape:   {}", path.display())?;
        writeln!(
            out,
            "replay: cargo run --release -p sim -- replay {}",
            quoted(&path)
        )?;
        code = 2;
    }
    Ok(code)
}

/// The workspace that the current folder is in.
fn root() -> io::Result<Option<PathBuf>> {
    let here = std::env::current_dir()?;
    let is_root =
        |folder: &&Path| folder.join(STORED).is_dir() && folder.join("fuzz/Cargo.toml").is_file();
    Ok(here.ancestors().find(is_root).map(Path::to_path_buf))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::bat_ops_watched;
    use crate::tape::TapeFile;

    #[test]
    fn what_crashed_becomes_a_tape() {
        let folder = std::env::temp_dir().join(format!("sim-crashed-{}", std::process::id()));
        let (crashes, tapes) = (folder.join("crashes"), folder.join("tapes"));
        fs::create_dir_all(&crashes).expect("a folder");
        let mut out = Vec::new();
        assert_eq!(tell(&crashes, &tapes, &mut out).expect("told"), 0);
        assert!(!tapes.exists(), "nothing was found");
        let bytes: Vec<u8> = (0..=255).cycle().take(900).collect();
        fs::write(crashes.join("crash-1"), &bytes).expect("written");
        assert_eq!(tell(&crashes, &tapes, &mut out).expect("told"), 2);
        let file = fs::File::open(tapes.join("libfuzzer-crash-1.tape")).expect("a tape");
        let tape = TapeFile::load(io::BufReader::new(file)).expect("reads back");
        assert_eq!(tape, bat_ops_tape(&bytes));
        assert!(!tape.spans.is_empty() && tape.choices.len() > 20);
        let again =
            crate::replay::replay(&tape, crate::profile::Profile::Tiny, crate::campaign::world);
        assert_eq!(again.agreement, crate::replay::Agreement::Same);
        let said = String::from_utf8(out).expect("text");
        assert!(said.contains("crash-1: passes here"), "{said}");
        fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn the_fuzzer_is_told_what_runs_looked_like() {
        let features = |bytes: &[u8]| {
            let mut all = Vec::new();
            bat_ops_watched(bytes, |feature| all.push(feature));
            all
        };
        let bytes: Vec<u8> = (0..=255).rev().cycle().take(900).collect();
        let (long, none) = (features(&bytes), features(&[]));
        assert!(long.len() > 20, "{}", long.len());
        assert_eq!(long, features(&bytes), "the same bytes");
        assert_ne!(long, none);
    }
}
