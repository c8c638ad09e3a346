//! The harness's own scenarios (`corpus/scenarios`) on a block device, judged by the same model.
//!
//! A scenario's sector is [`SCALE`] sectors of the device, so that a cluster is at least a page, as block devices want it.
//! Its clients are threads on the processor of their queue. What a line becomes:
//!
//! | line | on a device |
//! |---|---|
//! | operations | done, at once; a client does one after the other |
//! | `settle` | waits until all have ended |
//! | `tick` | time passes |
//! | `close` | `del`, both checkers, `add` |
//! | `cut`, `close cut` | everything in flight ends, `kill -9` of the server, `recover`, all is read: nothing acknowledged may be lost |
//! | `ended`, `expect` | demanded as long as the lines before it all happened as they say (see below) |
//! | changes of the chain | the commands that do the same: see `change` |
//! | `deliver`, `turn`, `waits`, `mapped`, `suspend`, `resume` | not on a device: who completes what, and when, is the kernel's affair |
//!
//! What came of each is told to the host, which holds it against the table of all players (`corpus/scenarios.md`).
//!
//! After a fault that cannot be made here, a suspend, or a cut (after which the scenario knows what of it was lost: a killed server
//! loses nothing), what the author expects may not be what happens: from there on the model
//! alone judges. It always judges everything that is read.

mod build;
mod change;
mod clients;
mod play;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use sim::scenario::Scenario;

use super::trouble::{During, Outcome, demand};
use crate::line::Line;

/// Sectors of the device in one of a scenario.
const SCALE: u64 = 8;
const FOLDER: &str = "/scenarios";

/// What became of a scenario's lines.
#[derive(Clone, Debug, Default)]
struct Tally {
    operations: u32,
    demands: u32,
    kills: u32,
    closes: u32,
    /// Clusters leaked in the end, which only a kill may do.
    leaks: u64,
    left_out: BTreeMap<&'static str, u32>,
}

/// Plays all of them.
pub(crate) fn all() -> Outcome {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(FOLDER).during(FOLDER)? {
        paths.push(entry?.path());
    }
    paths.sort();
    demand(paths.len() >= 15, || format!("{} scenarios", paths.len()))?;
    let (mut sum, mut wrong) = (Tally::default(), Vec::new());
    for path in &paths {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        match one(path) {
            Ok(tally) => {
                println!("{}", Line::Row(name, cell(&tally)));
                sum.operations += tally.operations;
                sum.demands += tally.demands;
                sum.kills += tally.kills;
                sum.closes += tally.closes;
                sum.leaks += tally.leaks;
            }
            Err(trouble) => {
                println!("{name:28} FAILED: {trouble}");
                wrong.push(format!("{name}: {trouble}"));
                super::server::clean_up();
            }
        }
    }
    demand(wrong.is_empty(), || {
        format!("{} of {}: {}", wrong.len(), paths.len(), wrong.join("; "))
    })?;
    Ok(format!(
        "{} scenarios, {} operations, {} demands, {} kills, {} closes; clusters leaked by kills: {}",
        paths.len(),
        sum.operations,
        sum.demands,
        sum.kills,
        sum.closes,
        sum.leaks
    ))
}

/// The scenario's cell in the table of who ran what.
fn cell(tally: &Tally) -> String {
    let mut cell = "passed".to_owned();
    if tally.kills > 0 {
        let _ = write!(cell, ", {} kills", tally.kills);
    }
    let words = tally.left_out.iter();
    let words: Vec<String> = words
        .map(|(word, times)| format!("{word} {times}"))
        .collect();
    if !words.is_empty() {
        let _ = write!(cell, "; left out: {}", words.join(", "));
    }
    cell
}

fn one(path: &Path) -> Result<Tally, super::trouble::Trouble> {
    let text = std::fs::read_to_string(path)?;
    let scenario = Scenario::parse(&text).map_err(|error| error.to_string())?;
    play::Play::new(&scenario)?.run()
}
