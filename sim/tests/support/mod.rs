//! A folder of its own for a test of the program.

use std::path::PathBuf;
use std::process::{Command, Output};

/// An empty folder to run in; removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    /// Runs the program in the folder, with the words of `line`.
    pub(crate) fn sim(&self, line: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sim"))
            .args(line.split_whitespace())
            .current_dir(&self.0)
            .output()
            .expect("it starts")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
