//! What is known so far, one line of JSON a result, appended as it is found: a run that is cut off loses nothing.

use crate::ladder::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A result.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Known {
    /// The mutant's key.
    pub(crate) key: String,
    /// caught, timeout, missed, unviable, or alone: not tried yet, for it must be built alone.
    pub(crate) outcome: String,
    /// The rung that caught it.
    pub(crate) by: String,
    pub(crate) seconds: f64,
    /// It cannot stand beside others, and was built alone.
    #[serde(default)]
    pub(crate) alone: bool,
}

impl Known {
    pub(crate) fn new(key: &str, outcome: &Outcome, seconds: f64) -> Known {
        let (outcome, by) = match outcome {
            Outcome::Caught(by) => ("caught", by.as_str()),
            Outcome::Timeout(by) => ("timeout", by.as_str()),
            Outcome::Missed => ("missed", ""),
        };
        Known {
            key: key.to_owned(),
            outcome: outcome.to_owned(),
            by: by.to_owned(),
            seconds,
            alone: false,
        }
    }

    pub(crate) fn untried(key: &str, outcome: &str) -> Known {
        Known {
            key: key.to_owned(),
            outcome: outcome.to_owned(),
            by: String::new(),
            seconds: 0.0,
            alone: outcome == "alone",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    file: File,
    known: BTreeMap<String, Known>,
}

impl Store {
    pub(crate) fn open(state: &Path) -> io::Result<Store> {
        std::fs::create_dir_all(state)?;
        let path = state.join("results.jsonl");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // The last line may have been cut off.
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Known>(line).ok());
        let known = lines.map(|known| (known.key.clone(), known)).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            writeln!(file)?;
        }
        Ok(Store { file, known })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Known> {
        self.known.get(key)
    }

    pub(crate) fn add(&mut self, known: Known) -> io::Result<()> {
        writeln!(self.file, "{}", serde_json::to_string(&known)?)?;
        self.known.insert(known.key.clone(), known);
        Ok(())
    }
}
