//! A server in the background: the same program once more, which says its result and then lets go of the terminal.
//!
//! ```text
//!   command ──starts──▶ server (VARIABLE set)
//!      │ waits for the end of its output ◀── device path, then standard output and error go to the log
//!      └ prints it, exit 0                 ◀── or an error, and exit 1
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use super::refused;
use crate::tool::ToolError;
use crate::ublk::state::Folder;

/// Set for the server in the background.
const VARIABLE: &str = "PLOOP_UBLK_BACKGROUND";

/// True in the server.
#[must_use]
pub fn is_background() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Starts this program with these arguments as a server, and returns what it says when it is ready.
pub fn start(arguments: &[std::ffi::OsString]) -> Result<String, ToolError> {
    let failed = |error: io::Error| refused(format!("the server cannot be started: {error}"));
    let mut server = Command::new("/proc/self/exe")
        .args(arguments)
        .env(VARIABLE, "1")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = String::new();
    if let Some(mut out) = server.stdout.take() {
        out.read_to_string(&mut said).map_err(failed)?;
    }
    if !said.is_empty() {
        return Ok(said.trim_end().to_owned());
    }
    // It has told why on standard error, which is ours.
    let status = server.wait().map_err(failed)?;
    Err(match status.code() {
        Some(_) => ToolError::Told,
        None => refused(format!("the server died: {status}")),
    })
}

/// In the server, before it says that it is ready: leaves the folder it was started in, and opens what it will say its
/// words to.
pub fn log(folder: &Folder, id: u32) -> Result<File, ToolError> {
    let log = folder.log(id)?;
    let root = Path::new("/");
    std::env::set_current_dir(root).map_err(ToolError::io(root, "enter"))?;
    Ok(log)
}

/// In the server, when it has said so: leaves the terminal.
pub fn let_go(log: &File) {
    // Fails only for a descriptor that is not open.
    let _ = rustix::stdio::dup2_stderr(log);
    let _ = rustix::stdio::dup2_stdout(log);
}

/// In the server, at its start: a session of its own, so that the terminal's signals do not reach it.
pub fn new_session() {
    // Fails only for the leader of a group, which a child is not.
    let _ = rustix::process::setsid();
}
