//! What was found when the catalogue was last recorded: `corpus/bugs/expected.json`, made by `sim bugs --record`.
//!
//! A bug that an engine found then, at fixed seeds, and finds only after ten times as many schedules now, is red: something
//! that the harness could do it can no longer do.

use super::{Engine, Other, Small, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// So many times as many schedules are too many.
const GROWN: u64 = 10;
/// Fewer schedules than this are noise, where an engine draws them.
const NOISE: u64 = 200;

/// What one engine found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The named checker fired within the budget; any, if none is named.
    pub(super) found: bool,
    /// Which, if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<String>,
    /// Median of the schedules until then, if the engine counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) schedules: Option<u64>,
    /// Processor time until then.
    pub(super) cpu_seconds: f64,
    /// Of the unpatched core: what it survived, if the engine counts that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) survived: Option<u64>,
    /// The shrunk tape, if the engine has tapes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shrunk: Option<Shrunk>,
}

/// Figures of a tape after shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shrunk {
    /// Operations that are left.
    pub(super) operations: u32,
    /// Power cuts that are left.
    pub(super) crashes: u32,
    /// Changes of the queue that goes on.
    pub(super) switches: u32,
    /// Time that it took.
    pub(super) seconds: f64,
}

impl Shrunk {
    fn of(small: &Small) -> Shrunk {
        Shrunk {
            operations: small.after.operations,
            crashes: small.after.crashes,
            switches: small.after.switches,
            seconds: (small.seconds * 100.0).round() / 100.0,
        }
    }
}

impl Record {
    /// A checker fired that the patch names.
    pub(super) fn is_by_name(&self) -> bool {
        self.found && self.by.is_none()
    }

    fn of(verdict: &Verdict) -> Record {
        Record {
            found: verdict.found.is_some(),
            by: verdict.by.clone(),
            schedules: verdict.median(),
            cpu_seconds: (verdict.cpu_seconds * 100.0).round() / 100.0,
            survived: None,
            shrunk: verdict.small.as_ref().map(Shrunk::of),
        }
    }
}

/// By number and engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Recorded {
    file: PathBuf,
    pub(super) bugs: BTreeMap<String, BTreeMap<Engine, Record>>,
}

impl Recorded {
    /// Reads the file; none is an empty one.
    pub(super) fn read(folder: &Path) -> io::Result<Recorded> {
        let file = folder.join("expected.json");
        let bugs = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Recorded { file, bugs })
    }

    /// Takes a verdict in.
    pub(super) fn put(&mut self, number: &str, engine: Engine, verdict: &Verdict) {
        let bug = self.bugs.entry(number.to_owned()).or_default();
        bug.insert(engine, Record::of(verdict));
    }

    /// Takes in what the unpatched core survived; what fired in it is a finding.
    pub(super) fn put_control(&mut self, number: &str, engine: Engine, verdict: &Verdict) {
        let record = Record {
            found: verdict.found.is_some() || !verdict.others.is_empty(),
            survived: verdict.runs,
            ..Record::of(verdict)
        };
        let row = self.bugs.entry(number.to_owned()).or_default();
        row.insert(engine, record);
    }

    /// Forgets what is not in the catalogue any more.
    pub(super) fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.bugs.retain(|number, _| is_there(number));
    }

    /// Writes the file.
    pub(super) fn write(&self) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(&self.bugs)?;
        text.push('\n');
        fs::write(&self.file, text)
    }

    /// What fires now on an engine of which the patch names no checker, if that is not what fired when the catalogue was
    /// recorded, on an engine that gives the same verdict each time.
    pub(super) fn newly_by(
        &self,
        number: &str,
        engine: Engine,
        verdict: &Verdict,
    ) -> Option<Other> {
        let record = self.bugs.get(number)?.get(&engine)?;
        let now = verdict.by.as_ref().filter(|_| engine.is_fixed())?;
        (record.by.as_ref() != Some(now)).then(|| Other {
            name: now.clone(),
            count: 1,
            message: format!(
                "recorded: {}",
                record.by.as_deref().unwrap_or("nothing fires")
            ),
        })
    }

    /// The schedules that were enough when the catalogue was recorded, if it took more than ten times as many now.
    pub(super) fn outgrown(&self, number: &str, engine: Engine, verdict: &Verdict) -> Option<u64> {
        let record = self.bugs.get(number)?.get(&engine)?;
        let then = record.schedules?;
        let Some(now) = verdict.median() else {
            // Endless, unless it was given less time than it once took.
            let enough = verdict.found.is_none() && verdict.budget > 10.0 * record.cpu_seconds;
            return enough.then_some(then);
        };
        let least = if engine.draws() { NOISE / GROWN } else { 1 };
        (now > GROWN * then.max(least)).then_some(then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(schedules: &[u64]) -> Verdict {
        Verdict {
            found: Some("x".to_owned()),
            schedules: schedules.to_vec(),
            ..Verdict::default()
        }
    }

    #[test]
    fn tenfold_is_too_many() {
        let mut recorded = Recorded::default();
        recorded.put("001", Engine::Sim, &verdict(&[900, 100, 5000]));
        let grown = |now: &[u64]| recorded.outgrown("001", Engine::Sim, &verdict(now));
        assert_eq!(grown(&[9000]), None);
        assert_eq!(grown(&[9001]), Some(900));
        assert_eq!(grown(&[1, 9001, 1_000_000]), Some(900));
        let lost = |seconds| Verdict {
            budget: seconds,
            ..Verdict::default()
        };
        let outgrown = |verdict: Verdict| recorded.outgrown("001", Engine::Sim, &verdict);
        assert_eq!(outgrown(lost(20.0)), Some(900), "found no more");
        assert_eq!(outgrown(lost(0.0)), None, "it had no time");
        assert_eq!(
            recorded.outgrown("001", Engine::Loom, &verdict(&[9001])),
            None
        );
        recorded.put("001", Engine::Sim, &verdict(&[1]));
        assert_eq!(
            recorded.outgrown("001", Engine::Sim, &verdict(&[199])),
            None
        );
        assert_eq!(
            recorded.outgrown("001", Engine::Sim, &verdict(&[201])),
            Some(1)
        );
        // Where no checker is named, what fires is what was recorded.
        let by = |name: &str| Verdict {
            by: Some(name.to_owned()),
            ..verdict(&[])
        };
        recorded.put("001", Engine::Rules, &by("open::one"));
        let newly = |name| recorded.newly_by("001", Engine::Rules, &by(name)).is_some();
        assert_eq!((newly("open::one"), newly("open::two")), (false, true));
        // What is not drawn has no noise.
        recorded.put("001", Engine::Explore, &verdict(&[2]));
        let grown = |now: u64| recorded.outgrown("001", Engine::Explore, &verdict(&[now]));
        assert_eq!((grown(20), grown(21)), (None, Some(2)));
        recorded.keep(|number| number != "001");
        assert!(recorded.bugs.is_empty());
    }
}
