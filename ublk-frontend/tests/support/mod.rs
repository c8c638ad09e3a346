//! What the tests of the tool share: running it, building images by hand, running QEMU's tools.

pub(crate) mod image;
pub(crate) mod qemu;

use std::path::Path;
use std::process::{Command, Output};

/// How a run of the tool ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        Ended {
            code: output
                .status
                .code()
                .expect("ended by itself, not by a signal"),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// It worked and said nothing on standard error.
    #[track_caller]
    pub(crate) fn fine(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }

    /// It failed with exactly one line on standard error that holds all of `words`, and printed no result.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) {
        assert_eq!((self.code, self.out.as_str()), (1, ""), "{self:?}");
        assert_eq!(self.err.matches('\n').count(), 1, "one line: {self:?}");
        assert!(self.err.ends_with('\n'), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "{word:?} is missing in {self:?}");
        }
    }

    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// `ploop-ublk` with arguments separated by blanks, in the folder `dir`.
pub(crate) fn tool(dir: &Path, arguments: &str) -> Ended {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    tool_words(dir, &words)
}

/// `ploop-ublk` with these arguments, in the folder `dir`.
pub(crate) fn tool_words(dir: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ploop-ublk"));
    command
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("the tool starts")
        .into()
}

/// Contents, length and time of change of every file of a folder: what a command must leave alone.
pub(crate) fn snapshot(dir: &Path) -> Vec<(std::ffi::OsString, std::time::SystemTime, Vec<u8>)> {
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("entry");
        let changed = entry
            .metadata()
            .and_then(|m| m.modified())
            .expect("metadata");
        (
            entry.file_name(),
            changed,
            std::fs::read(entry.path()).unwrap_or_default(),
        )
    };
    let mut all: Vec<_> = std::fs::read_dir(dir).expect("folder").map(read).collect();
    all.sort();
    all
}

/// Bytes that differ everywhere and hold no 512 zeros in a row.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8 | 1
    };
    (0..len).map(|_| next()).collect()
}
