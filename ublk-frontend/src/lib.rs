//! `ploop-ublk`: thin ploop disks as files and as block devices. The binary is `main.rs`; everything it does is here, so that tests can
//! use it.

pub mod bundle;
pub mod cli;
pub mod commands;
pub mod files;
pub mod raw;
pub mod ring;
pub mod size;
pub mod tool;
pub mod ublk;

use std::ffi::OsString;
use std::io::{BufWriter, stdout};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::Cli;
use tool::ToolError;
use tool::output::complain;

/// Exit status of everything that did not work.
const FAILED: u8 = 1;
/// Exit status of a server under systemd that has stepped aside: it is to be started again.
const AGAIN: u8 = 75;

/// A panic in any thread ends the process at once, as an error that the kernel and systemd see: nothing that a broken thread
/// has left half done is written by another one.
///
/// `panic = "abort"` for this program alone, before any command: cargo knows profiles of the whole workspace only, and the
/// simulator catches panics.
pub fn end_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        std::process::abort();
    }));
}

/// The whole program: reads the command line, does what it says, reports a failure in one line.
pub fn program(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return not_a_command(&error),
    };
    match tool::run(&cli.command, BufWriter::new(stdout().lock())) {
        Ok(verdict) => ExitCode::from(verdict as u8),
        Err(ToolError::SteppedAside) => ExitCode::from(AGAIN),
        Err(ToolError::Told) => ExitCode::from(FAILED),
        Err(error) => {
            complain("error", error);
            ExitCode::from(FAILED)
        }
    }
}

/// Help and version go to standard output; a mistake on the command line is one line and exit status 1, as `check`
/// needs 2 for a damaged image.
fn not_a_command(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // Fails only if nobody listens.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        complain("error", "no command given (`ploop-ublk --help` lists them)");
        return ExitCode::from(FAILED);
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first
        .trim_start_matches("error:")
        .split_whitespace()
        .collect();
    complain(
        "error",
        format!("{} (see `ploop-ublk --help`)", words.join(" ")),
    );
    ExitCode::from(FAILED)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    use std::time::Duration;

    /// Set in the process that is to panic.
    const PANICS: &str = "PLOOP_TEST_PANICS";

    #[test]
    fn a_panic_in_any_thread_ends_the_process_by_abort() {
        if std::env::var_os(PANICS).is_some() {
            super::end_on_panic();
            // As a queue: nobody waits for it.
            let _queue = std::thread::spawn(|| panic!("on purpose"));
            std::thread::sleep(Duration::from_secs(30));
            return;
        }
        let name = "tests::a_panic_in_any_thread_ends_the_process_by_abort";
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture"])
            .env(PANICS, "1")
            .output()
            .expect("started");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{said}");
        assert!(said.contains("on purpose"), "{said}");
    }
}
