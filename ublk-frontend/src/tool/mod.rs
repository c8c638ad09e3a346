//! The image tool: commands on files that nobody has open. Those that change them lock them, and come through a crash at any
//! moment; the others change nothing. And the list of all commands.

pub mod cbt;
pub mod change;
pub mod check;
pub mod compact;
pub mod convert;
pub mod copy;
pub mod create;
pub mod grow;
pub mod info;
pub mod init;
pub mod load;
pub mod map;
pub mod output;
pub mod progress;
pub mod sink;
pub mod snapshot;
pub mod stack;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ploop_core::control::files::ControlError;
use ploop_core::error::LoadError;

use crate::bundle::BundleError;
use crate::cli::Command;
use crate::commands::{
    add, bench, del, device_number, features, list, manual, recover, resize, set, show, tell,
};
use crate::files::{NewFileError, OpenError};
use output::Output;

/// Why a command failed. Prints as one sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A file could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file could not be created.
    #[error(transparent)]
    New(#[from] NewFileError),
    /// A file is not an image that can be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The descriptor of a bundle is not one that can be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// An operation on the files of a disk did not happen, or not to its end.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Reading or writing failed.
    #[error("{}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted: `read`, `write`.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// Somebody else has told why.
    #[error("the server has told why")]
    Told,
    /// No failure: a server has stepped aside, and asks to be started again.
    #[error("the server has stepped aside")]
    SteppedAside,
    /// What was asked for cannot be done; the text says what and why.
    #[error("{0}")]
    Refused(String),
    /// The result could not be printed.
    #[error("cannot write the result: {0}")]
    Output(io::Error),
}

impl ToolError {
    /// An [`ToolError::Io`], for `map_err`.
    pub fn io(path: &Path, doing: &'static str) -> impl Fn(io::Error) -> ToolError {
        move |source| ToolError::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    }
}

/// How a command ended that could be carried out; the value is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Done; for `check`: clean.
    Fine = 0,
    /// `check`: the image is damaged or was not closed.
    Corrupt = 2,
    /// `check`: space that nothing refers to, and nothing worse.
    Leaks = 3,
}

/// A device, if the name is one's and no file has it.
fn device(name: &Path) -> Option<u32> {
    let is_node = name.starts_with("/dev");
    device_number(name).filter(|_| is_node || !name.exists())
}

/// Carries out a command and prints its result on `out`.
pub fn run(command: &Command, out: impl Write) -> Result<Verdict, ToolError> {
    let mut out = Output::new(out);
    let verdict = match command {
        Command::Create(asked) => create::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Info(asked) => match device(&asked.image) {
            Some(id) => show::run(id, asked.json, &mut out),
            None => info::run(asked, &mut out),
        }
        .map(|()| Verdict::Fine),
        Command::Map(asked) => map::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Check(asked) => check::run(asked, &mut out),
        Command::Init(asked) => init::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Snapshot(asked) => snapshot::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Grow(asked) => grow::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Compact(asked) => compact::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Cbt(asked) => cbt::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Copy(asked) => copy::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Convert(asked) => convert::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Add(asked) => add::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Del(asked) => del::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::List(asked) => list::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Recover(asked) => recover::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Quiesce(asked) => tell::quiesce(asked, &mut out).map(|()| Verdict::Fine),
        Command::Resize(asked) => resize::resize(asked, &mut out).map(|()| Verdict::Fine),
        Command::Set(asked) => set::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Bench(asked) => bench::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Features(asked) => features::run(asked, &mut out).map(|()| Verdict::Fine),
        Command::Completions(asked) => manual::completions(asked, &mut out).map(|()| Verdict::Fine),
        Command::Man => manual::man(&mut out).map(|()| Verdict::Fine),
    }?;
    out.flush()?;
    Ok(verdict)
}
