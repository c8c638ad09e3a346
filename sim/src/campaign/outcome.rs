//! What came of one shard, as a file; and of all of them together.
//!
//! * A file is there whole or not at all: it is written beside its place and renamed.
//! * Nothing gets lost or counted twice: shards of another campaign, of another program, and two different reports of one
//!   shard are refused; the same report twice is one; a shard without a report is named.
//! * Failures are one if class, checker and message are the same but for the numbers in it.

use super::totals::Totals;
use super::{Canary, Found, Saturation, Seeds, Shard, Summary, found};
use crate::profile::Profile;
use crate::report::{Class, RunStats};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

/// Of the file's form.
const VERSION: u32 = 4;

/// What all shards of a campaign have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Campaign {
    version: u32,
    /// Hash of the program that ran.
    program: String,
    /// As `--seed` or `--seeds` takes them.
    seeds: String,
    /// `None`: a mix.
    profile: Option<String>,
    /// How runs are chosen.
    engine: String,
    /// Of each shard, in milliseconds.
    time_ms: Option<u64>,
    /// The disk lies.
    lies: bool,
    /// A shard stops when it has found so many sorts of failures.
    failures: u64,
    /// A shard stops when it expects so little, in parts of a million.
    until_unseen_ppm: Option<u64>,
    /// Shards.
    shards: u64,
}

/// A shard's failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What kind.
    pub class: Class,
    /// Who found it.
    pub checker: String,
    /// What is wrong.
    pub message: String,
    /// Profile of the run.
    pub profile: String,
    /// Seed of the run.
    pub seed: u64,
    /// How the run was chosen.
    pub engine: String,
    /// Its tape, in the folder of the report.
    pub tape: Option<String>,
}

/// What came of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    campaign: Campaign,
    shard: Shard,
    totals: Vec<(String, u64, RunStats)>,
    saturation: Saturation,
    seconds: f64,
    cpu_seconds: f64,
    /// Who flagged a canary; `None`: nobody.
    canary: Option<String>,
    canaries: u64,
    /// Marks of the core that were not seen.
    unseen: Vec<String>,
    /// One of each sort.
    failures: Vec<Failed>,
    /// Runs that failed.
    failing: u64,
    /// Runs of its share that it did not do, since it had found enough, or the time was up.
    undone: u64,
}

/// Why reports cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What.
        source: io::Error,
    },
    /// Not a report of ours.
    #[error("{}: not a report of a shard: {source}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What.
        source: serde_json::Error,
    },
    /// A field says what no shard writes.
    #[error("{}: {field} = {value:?}: {rule}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it should.
        rule: &'static str,
    },
    /// No report at all.
    #[error("no report in {0}")]
    Nothing(String),
    /// Two campaigns.
    #[error("{}: of another campaign than {}: {what} differs", path.display(), first.display())]
    Other {
        /// Which file.
        path: PathBuf,
        /// The one that it was compared with.
        first: PathBuf,
        /// What is different.
        what: &'static str,
    },
    /// Two reports of a shard that say different things.
    #[error("{}: shard {shard} is reported by {}, too, and differently", path.display(), first.display())]
    Twice {
        /// Which file.
        path: PathBuf,
        /// The other one.
        first: PathBuf,
        /// Which shard.
        shard: Shard,
    },
}

/// All failures of one sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The one with the shortest tape.
    pub first: Failed,
    /// Where its tape is.
    pub tape: Option<PathBuf>,
    /// In how many shards.
    pub shards: u64,
}

/// A campaign put together.
#[derive(Clone, Debug)]
pub struct Merged {
    /// What all runs add up to.
    pub totals: Totals,
    /// How much there is left to see.
    pub saturation: Saturation,
    /// Of the slowest shard.
    pub elapsed: Duration,
    /// Of all together.
    pub cpu: Duration,
    /// Marks that no shard has seen.
    pub unseen: Vec<String>,
    /// Shards whose canaries were not flagged.
    pub blind: Vec<u64>,
    /// Time of a shard, if it was limited.
    pub time: Option<Duration>,
    /// Shards.
    pub shards: u64,
    /// Shards without a report.
    pub missing: Vec<u64>,
    /// What failed.
    pub sorts: Vec<Sort>,
    /// Runs that failed.
    pub failing: u64,
    /// Shards that did not do all runs of their share, and how many they left.
    pub undone: Vec<(u64, u64)>,
}

/// Hash of the program that runs.
pub fn program() -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(std::env::current_exe()?)?);
    Ok(format!("{:016x}", hasher.finish()))
}

impl Campaign {
    /// The campaign that a plan is a shard of.
    #[must_use]
    pub fn of(plan: &super::Plan, program: String) -> Campaign {
        Campaign {
            version: VERSION,
            program,
            seeds: match plan.seeds {
                Seeds::Base(base) => base.to_string(),
                Seeds::Range { first, last } => format!("{first}..={last}"),
            },
            profile: match plan.mix {
                super::Mix::Only(profile) => Some(profile.to_string()),
                super::Mix::All => None,
            },
            engine: plan.engine.to_string(),
            lies: plan.lies,
            failures: plan.failures as u64,
            time_ms: plan.time.map(|time| time.as_millis() as u64),
            until_unseen_ppm: plan.until_unseen.map(|unseen| (unseen * 1e6) as u64),
            shards: plan.shard.count,
        }
    }

    fn differs(&self, other: &Campaign) -> Option<&'static str> {
        let Campaign {
            version,
            program,
            seeds,
            profile,
            engine,
            time_ms,
            lies,
            failures,
            until_unseen_ppm,
            shards,
        } = self;
        [
            ("version", *version == other.version),
            ("program", *program == other.program),
            ("seeds", *seeds == other.seeds),
            ("profile", *profile == other.profile),
            ("engine", *engine == other.engine),
            ("time", *time_ms == other.time_ms),
            ("disk", *lies == other.lies),
            ("sorts of failures", *failures == other.failures),
            ("unseen mass", *until_unseen_ppm == other.until_unseen_ppm),
            ("number of shards", *shards == other.shards),
        ]
        .into_iter()
        .find(|(_, same)| !same)
        .map(|(what, _)| what)
    }
}

impl Outcome {
    /// What came of a shard. The failures' `tapes` are in the folder of the report.
    #[must_use]
    pub fn of(
        campaign: Campaign,
        shard: Shard,
        summary: &Summary,
        unseen: Vec<String>,
        tapes: &[Option<PathBuf>],
    ) -> Outcome {
        let failed = |(number, found): (usize, &Found)| Failed {
            class: found.failure.class,
            checker: found.failure.checker.to_owned(),
            message: found.failure.message.clone(),
            profile: found.profile.to_string(),
            seed: found.seed,
            engine: found.engine.to_string(),
            tape: tapes
                .get(number)
                .and_then(|tape| tape.as_deref()?.file_name())
                .map(|name| name.to_string_lossy().into_owned()),
        };
        let (canary, canaries) = match summary.canary {
            Canary::Flagged { runs, checker } => (Some(checker.to_owned()), runs),
            Canary::Alive { runs } => (None, runs),
        };
        let totals = summary.totals.iter();
        Outcome {
            campaign,
            shard,
            totals: totals
                .map(|(profile, runs, stats)| (profile.to_string(), runs, *stats))
                .collect(),
            saturation: summary.saturation.clone(),
            seconds: summary.elapsed.as_secs_f64(),
            cpu_seconds: summary.cpu.as_secs_f64(),
            canary,
            canaries,
            unseen,
            failures: summary.found.iter().enumerate().map(failed).collect(),
            failing: summary.failing,
            undone: summary.undone,
        }
    }

    /// Writes the report into a folder, which is made if need be. Returns the file.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let Shard { index, count } = self.shard;
        let path = folder.join(format!("shard-{index}-of-{count}.json"));
        let new = folder.join(format!(".shard-{index}-of-{count}.{}", std::process::id()));
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        fs::write(&new, text)?;
        fs::rename(&new, &path)?;
        Ok(path)
    }

    fn load(path: &Path) -> Result<Outcome, MergeError> {
        let io = |source| MergeError::Io {
            path: path.to_owned(),
            source,
        };
        let text = fs::read(path).map_err(io)?;
        let outcome: Outcome =
            serde_json::from_slice(&text).map_err(|source| MergeError::Form {
                path: path.to_owned(),
                source,
            })?;
        let wrong = |field, value: String, rule| {
            Err(MergeError::Value {
                path: path.to_owned(),
                field,
                value,
                rule,
            })
        };
        let Outcome {
            campaign, shard, ..
        } = &outcome;
        if campaign.version != VERSION {
            return wrong("version", campaign.version.to_string(), "must be 4");
        }
        if shard.count != campaign.shards || shard.index >= shard.count {
            let rule = "must be one of the campaign's shards";
            return wrong("shard", shard.to_string(), rule);
        }
        for (profile, ..) in &outcome.totals {
            if profile.parse::<Profile>().is_err() {
                return wrong("totals", profile.clone(), "must be a profile");
            }
        }
        Ok(outcome)
    }
}

/// Puts the reports of all shards together, which lie in these folders.
pub fn merge(folders: &[PathBuf]) -> Result<Merged, MergeError> {
    let mut shards: BTreeMap<u64, (PathBuf, Outcome)> = BTreeMap::new();
    for path in reports(folders)? {
        let outcome = Outcome::load(&path)?;
        if let Some((first, other)) = shards.values().next()
            && let Some(what) = other.campaign.differs(&outcome.campaign)
        {
            let first = first.clone();
            return Err(MergeError::Other { path, first, what });
        }
        match shards.get(&outcome.shard.index) {
            Some((first, other)) if *other != outcome => {
                return Err(MergeError::Twice {
                    path,
                    first: first.clone(),
                    shard: outcome.shard,
                });
            }
            Some(_) => {}
            None => {
                shards.insert(outcome.shard.index, (path, outcome));
            }
        }
    }
    let Some((_, first)) = shards.values().next() else {
        let names: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        return Err(MergeError::Nothing(names.join(", ")));
    };
    let campaign = first.campaign.clone();
    let mut merged = Merged {
        totals: Totals::default(),
        saturation: Saturation::default(),
        elapsed: Duration::ZERO,
        cpu: Duration::ZERO,
        unseen: first.unseen.clone(),
        blind: Vec::new(),
        time: campaign.time_ms.map(Duration::from_millis),
        shards: campaign.shards,
        missing: (0..campaign.shards)
            .filter(|index| !shards.contains_key(index))
            .collect(),
        sorts: sorts(shards.values()),
        failing: 0,
        undone: Vec::new(),
    };
    for (index, (_, outcome)) in &shards {
        for (profile, runs, stats) in &outcome.totals {
            if let Ok(profile) = profile.parse() {
                merged.totals.add_runs(profile, *runs, stats);
            }
        }
        merged.saturation.merge(&outcome.saturation);
        let seconds = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        merged.elapsed = merged.elapsed.max(seconds(outcome.seconds));
        merged.cpu += seconds(outcome.cpu_seconds);
        merged.unseen.retain(|mark| outcome.unseen.contains(mark));
        merged.failing += outcome.failing;
        if outcome.undone > 0 {
            merged.undone.push((*index, outcome.undone));
        }
        if outcome.canary.is_none() {
            merged.blind.push(*index);
        }
    }
    Ok(merged)
}

/// The reports in these folders.
fn reports(folders: &[PathBuf]) -> Result<Vec<PathBuf>, MergeError> {
    let mut all = Vec::new();
    for folder in folders {
        let io = |source| MergeError::Io {
            path: folder.clone(),
            source,
        };
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("shard-") && name.ends_with(".json") {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

/// The failures, each sort once.
fn sorts<'a>(shards: impl Iterator<Item = &'a (PathBuf, Outcome)>) -> Vec<Sort> {
    let mut sorts: BTreeMap<found::Sort, (u64, Sort)> = BTreeMap::new();
    for (path, outcome) in shards {
        let folder = path.parent().unwrap_or(Path::new("."));
        for failed in &outcome.failures {
            // A tape that is gone is none.
            let tape = failed.tape.as_ref().map(|tape| folder.join(tape));
            let tape = tape.filter(|tape| tape.is_file());
            let length = tape.as_ref().and_then(|tape| fs::metadata(tape).ok());
            let length = length.map_or(u64::MAX, |meta| meta.len());
            let key = found::sort(failed.class, &failed.checker, &failed.message);
            let new = Sort {
                first: failed.clone(),
                tape,
                shards: 1,
            };
            match sorts.get_mut(&key) {
                None => drop(sorts.insert(key, (length, new))),
                Some((shortest, sort)) => {
                    let shards = sort.shards + 1;
                    if length < *shortest {
                        (*shortest, *sort) = (length, new);
                    }
                    sort.shards = shards;
                }
            }
        }
    }
    sorts.into_values().map(|(_, sort)| sort).collect()
}

#[cfg(test)]
mod tests;
