//! A run that failed, and its tape as a file.

use crate::profile::Profile;
use crate::report::{Class, Failure};
use crate::search::Engine;
use crate::tape::{Choice, Span, TapeFile};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which run of the campaign.
    pub index: u64,
    /// Its profile.
    pub profile: Profile,
    /// Its seed.
    pub seed: u64,
    /// Who chose it.
    pub engine: Engine,
    /// The seed of the first run that it builds on: of consecutive seeds; its own, if it builds on none.
    pub first: u64,
    /// Its disk lied.
    pub lies: bool,
    /// What is wrong.
    pub failure: Failure,
    /// Its choices, of a run that hangs as far as it came; `None` if it was run once more and did not hang.
    pub choices: Option<Box<[Choice]>>,
    /// Its events, by name.
    pub spans: Box<[Span]>,
}

/// What failures have in common that are one: class, checker, and the complaint without its numbers.
pub(super) type Sort = (Class, String, String);

/// The sort of a failure.
pub(super) fn sort(class: Class, checker: &str, message: &str) -> Sort {
    (class, checker.to_owned(), complaint(message))
}

/// What a message complains about: its first line without what was seen instead; numbers do not count.
pub(super) fn complaint(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let line = line.split_once(": saw ").map_or(line, |(before, _)| before);
    line.chars().filter(|c| !c.is_ascii_digit()).collect()
}

impl Found {
    /// What it has in common with failures like it.
    pub(super) fn sort(&self) -> Sort {
        let Failure {
            class,
            checker,
            message,
            ..
        } = &self.failure;
        sort(*class, checker, message)
    }

    /// Adds it to a list that has one failure of each sort, the one of the lowest index.
    pub(super) fn join(self, list: &mut Vec<Found>) {
        match list.iter_mut().find(|other| other.sort() == self.sort()) {
            Some(other) if other.index <= self.index => {}
            Some(other) => *other = self,
            None => list.push(self),
        }
        list.sort_by_key(|found| found.index);
    }

    /// Saves the tape in a folder, which is made if need be. Returns the file's path; `None` if there is no tape.
    pub fn save(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        let Some(choices) = &self.choices else {
            return Ok(None);
        };
        let tape = TapeFile {
            profile: self.profile.to_string(),
            seed: Some(self.seed),
            trace: Some(self.failure.trace),
            lies: self.lies,
            failure: self.failure.checker.to_owned(),
            choices: choices.to_vec(),
            spans: self.spans.to_vec(),
        };
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("{}-{:016x}.tape", self.profile, self.seed));
        let mut file = BufWriter::new(fs::File::create(&path)?);
        tape.save(&mut file)?;
        file.flush()?;
        Ok(Some(path))
    }

    /// Arguments of the command line that run it again: the saved tape, or the seed. (Without its
    /// tape one that builds on others comes again with its hunt; of a campaign of one seed, only with all of it.)
    #[must_use]
    pub fn replay_arguments(&self, tape: Option<&Path>) -> String {
        match tape {
            Some(path) => format!("replay {}", quoted(path)),
            None => {
                let engine = match self.engine {
                    Engine::Swarm => String::new(),
                    engine => format!(" --engine {engine}"),
                };
                let (profile, first, seed) = (self.profile, self.first, self.seed);
                let disk = if self.lies { " --lying-disk" } else { "" };
                format!("run --profile {profile} --seeds {first}..={seed} --jobs 1{engine}{disk}")
            }
        }
    }
}

/// A path as a shell takes it.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
