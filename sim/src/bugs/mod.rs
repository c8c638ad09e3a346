//! The catalogue's runner: does the harness find the bugs that others had?
//!
//! ```text
//!   corpus/bugs/NNN-name.patch ──▶ scratch copy of the workspace, patched ──▶ built ──▶ engines, each with a budget
//!        no patch (control)     ──▶ scratch copy of the workspace           ──▶ built ──▶ the same: must find nothing
//! ```
//! * A bug counts as found by an engine only if the checker fired that the patch names for this engine. What else fired
//!   on the way is told, and counts for nothing.
//! * A patch that does not apply, or whose tree does not compile, is red, and so is a bug that no engine found.
//! * The workspace itself is only read. Scratch copy, builds and results stand in `target/bugs`.
//! * A result is kept under (source, patch, engine), so that a run that was stopped goes on where it was, and a second run
//!   is quick. "Not found" is kept with its budget.

mod cache;
mod expected;
mod explorer;
mod fuzzer;
mod matrix;
mod patch;
mod process;
mod simulator;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use crate::shrink::Counts;
use cache::Cache;
use expected::Recorded;
use patch::{Expected, Patch};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use tree::Tree;

/// Who looks for a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The deterministic simulator: `sim run`.
    Sim,
    /// Every interleaving of small models: `cargo test -p sim --test loom`.
    Loom,
    /// Random interleavings of whole devices: `cargo test -p sim --test shuttle`.
    Shuttle,
    /// The control plane's operations under power cuts and faults: `cargo test -p sim --test control`.
    Control,
    /// Fixed cases that no drawn world comes to: `cargo test -p sim --test rules`.
    Rules,
    /// The core's own tests: `cargo test -p ploop-core --lib`.
    Core,
    /// Bundles of snapshots, stopped and crashed at each step: `cargo test -p ploop-ublk --lib`.
    Bundle,
    /// `cargo fuzz run bat_ops`.
    BatOps,
    /// `cargo fuzz run open_image`.
    OpenImage,
}

impl Engine {
    /// All of them, in the order of the table.
    pub const ALL: &'static [Engine] = &[
        Engine::Sim,
        Engine::Loom,
        Engine::Shuttle,
        Engine::Control,
        Engine::Rules,
        Engine::Core,
        Engine::Bundle,
        Engine::BatOps,
        Engine::OpenImage,
    ];

    /// The name on the command line, in a patch's header and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Engine::Sim => "sim",
            Engine::Loom => "loom",
            Engine::Shuttle => "shuttle",
            Engine::Control => "control",
            Engine::Rules => "rules",
            Engine::Core => "core",
            Engine::Bundle => "bundle",
            Engine::BatOps => "bat_ops",
            Engine::OpenImage => "open_image",
        }
    }

    /// Engines by name; `fuzz` is both fuzz targets.
    ///
    /// # Errors
    /// What is wrong with the name.
    pub fn list(name: &str) -> Result<Vec<Engine>, String> {
        match name {
            "fuzz" => Ok(vec![Engine::BatOps, Engine::OpenImage]),
            name => name.parse().map(|engine| vec![engine]),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Engine, String> {
        let found = Engine::ALL.iter().find(|engine| engine.name() == name);
        found.copied().ok_or_else(|| {
            format!(
                "engine {name:?}: must be sim, loom, shuttle, control, rules, core, bundle, bat_ops, open_image or fuzz"
            )
        })
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the bugs with these numbers or catalogue ids; none: all.
    pub only: Vec<String>,
    /// Only the fixed dozen (see [`SMOKE`]), each before one engine.
    pub smoke: bool,
    /// Write what is found into `corpus/bugs`, as what is to be expected from now on, and the matrix.
    pub record: bool,
    /// A page with the matrix.
    pub html: Option<PathBuf>,
    /// Time for each bug and engine, builds not counted.
    pub budget: Duration,
    /// Engines to ask.
    pub engines: Vec<Engine>,
    /// Threads of the simulator, and of builds.
    pub jobs: usize,
    /// One line of JSON a bug instead of a table.
    pub json: bool,
    /// Forget what earlier runs found.
    pub fresh: bool,
}

/// The dozen that CI looks for, and the engine that finds each in a moment: all corners of the core, all kinds of checker.
pub const SMOKE: [(&str, Engine); 12] = [
    ("005", Engine::Sim),
    ("007", Engine::Sim),
    ("009", Engine::Sim),
    ("011", Engine::Sim),
    ("014", Engine::Sim),
    ("033", Engine::Sim),
    ("041", Engine::Sim),
    ("051", Engine::Sim),
    ("054", Engine::Sim),
    ("073", Engine::Sim),
    ("077", Engine::Sim),
    ("101", Engine::Sim),
];

/// Once an engine has found a bug, the others get no more than this.
const AFTER_FOUND: Duration = Duration::from_secs(10);

/// What an engine found in a patched tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The named checker fired; its message.
    pub found: Option<String>,
    /// What fired, but is not the named checker: counts for nothing.
    pub others: Vec<Other>,
    /// Runs, executions or schedules in all, as far as the engine tells.
    pub runs: Option<u64>,
    /// Runs, executions or schedules until it was found, once for each base of seeds that found it.
    #[serde(default)]
    pub schedules: Vec<u64>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The budget that was not enough, in seconds.
    pub budget: f64,
    /// The shrunk tape of what was found, if the engine has tapes.
    #[serde(default)]
    pub small: Option<Small>,
}

/// A shrunk tape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Small {
    /// Figures of the tape that was found.
    pub before: Counts,
    /// Figures of the small one.
    pub after: Counts,
    /// Runs that it took.
    pub runs: u64,
    /// Time that it took, in seconds.
    pub seconds: f64,
    /// The file.
    pub output: String,
}

/// Something that fired, but not as it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Other {
    /// Checker, or test.
    pub name: String,
    /// How often.
    pub count: u64,
    /// What it said first.
    pub message: String,
}

impl Verdict {
    /// The median of the schedules until it was found.
    #[must_use]
    pub fn median(&self) -> Option<u64> {
        let mut sorted = self.schedules.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Notes what fired, but does not count.
    fn other(&mut self, name: &str, message: String) {
        match self.others.iter_mut().find(|other| other.name == name) {
            Some(other) => other.count += 1,
            None => self.others.push(Other {
                name: name.to_owned(),
                count: 1,
                message,
            }),
        }
    }
}

/// Why a bug could not be judged.
#[derive(Clone, Debug, PartialEq)]
enum Trouble {
    /// The patch does not apply.
    Apply(String),
    /// Its tree does not compile.
    Build(String),
    /// An engine cannot be run here.
    Engine(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Apply(why) => write!(f, "does not apply: {why}"),
            Trouble::Build(why) => write!(f, "does not compile: {why}"),
            Trouble::Engine(why) => write!(f, "{why}"),
        }
    }
}

/// One bug before one engine.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    engine: Engine,
    expected: Option<Expected>,
    result: Result<Verdict, Trouble>,
    cached: bool,
    /// It took more than ten times as many schedules as these, which were enough when the catalogue was recorded.
    outgrown: Option<u64>,
}

/// One bug, or the control.
#[derive(Clone, Debug)]
struct Row {
    number: String,
    id: String,
    name: String,
    cells: Vec<Cell>,
}

impl Row {
    /// A bug is well if some engine's named checker found it and no engine was in trouble; the control, if nothing fired.
    fn is_well(&self) -> bool {
        let trouble = self.cells.iter().any(|cell| cell.result.is_err());
        let verdicts = || {
            self.cells
                .iter()
                .filter_map(|cell| cell.result.as_ref().ok())
        };
        let fired = verdicts().any(|verdict| verdict.found.is_some());
        let others = verdicts().any(|verdict| !verdict.others.is_empty());
        let outgrown = self.cells.iter().any(|cell| cell.outgrown.is_some());
        !trouble
            && !outgrown
            && if self.is_control() {
                !fired && !others
            } else {
                fired
            }
    }

    fn is_control(&self) -> bool {
        self.id.is_empty()
    }

    /// None of the engines that the patch names was asked.
    fn is_left_out(&self) -> bool {
        self.cells.is_empty()
    }
}

/// Runs the catalogue. True: every bug was found, the unpatched core is clean.
///
/// # Errors
/// If the workspace cannot be found, copied or read, or nothing is called `only`.
pub fn run(options: &Options, out: &mut dyn Write) -> io::Result<bool> {
    let root = tree::root()?;
    let folder = root.join("corpus/bugs");
    let patches = patch::read_all(&folder)?;
    let chosen = options.choose(&patches)?;
    let tree = Tree::new(&root, options.jobs)?;
    let cache = Cache::new(
        &root.join("target/bugs/cache"),
        tree.source(),
        options.fresh,
    );
    let mut judge = Judge {
        options,
        tree,
        cache,
        recorded: Recorded::read(&folder)?,
    };
    let mut rows = Vec::new();
    if options.only.is_empty() && !options.smoke {
        rows.push(judge.row(&Patch::none(&patches)));
        table::progress(&rows, options, out)?;
    }
    for patch in chosen {
        rows.push(judge.row(patch));
        table::progress(&rows, options, out)?;
        if options.record {
            judge.record(rows.last(), &patches)?;
            fs::write(
                folder.join("MATRIX.md"),
                matrix::markdown(&patches, &judge.recorded),
            )?;
        }
    }
    if let Some(page) = &options.html {
        let mut shown = judge.recorded.clone();
        rows.iter().for_each(|row| row.tell(&mut shown));
        fs::write(page, matrix::html(&patches, &shown))?;
    }
    table::write(&rows, options, out)?;
    Ok(rows.iter().all(|row| row.is_well() || row.is_left_out()))
}

impl Options {
    /// The bugs to look for.
    fn choose<'p>(&self, patches: &'p [Patch]) -> io::Result<Vec<&'p Patch>> {
        let is_smoke = |patch: &Patch| SMOKE.iter().any(|(number, _)| *number == patch.number);
        for name in &self.only {
            if !patches.iter().any(|patch| patch.is_called(name)) {
                return Err(io::Error::other(format!("no bug {name} in corpus/bugs")));
            }
        }
        let wanted = |patch: &&Patch| {
            let only = self.only.iter().any(|name| patch.is_called(name));
            (self.only.is_empty() || only) && (!self.smoke || is_smoke(patch))
        };
        let chosen: Vec<&Patch> = patches.iter().filter(wanted).collect();
        if chosen.is_empty() {
            return Err(io::Error::other("no such bug in corpus/bugs"));
        }
        Ok(chosen)
    }

    /// Whether this engine is to look for this bug.
    fn asks(&self, patch: &Patch, engine: Engine) -> bool {
        let smoke = SMOKE.contains(&(patch.number.as_str(), engine));
        patch.asks(engine) && self.engines.contains(&engine) && (!self.smoke || smoke)
    }
}

impl Row {
    /// Puts its verdicts among what is recorded.
    fn tell(&self, recorded: &mut Recorded) {
        let verdicts = self.cells.iter().filter(|_| !self.is_control());
        for cell in verdicts {
            if let Ok(verdict) = &cell.result {
                recorded.put(&self.number, cell.engine, verdict);
            }
        }
    }
}

struct Judge<'a> {
    options: &'a Options,
    tree: Tree,
    cache: Cache,
    recorded: Recorded,
}

impl Judge<'_> {
    /// Notes a row as what is to be expected.
    fn record(&mut self, row: Option<&Row>, patches: &[Patch]) -> io::Result<()> {
        if let Some(row) = row {
            row.tell(&mut self.recorded);
        }
        self.recorded.keep(|number, engine| {
            let mut patches = patches.iter();
            patches.any(|patch| patch.number == number && patch.asks(engine))
        });
        self.recorded.write()
    }

    /// A bug, or the unpatched core, before each engine that is asked for it.

    fn row(&mut self, patch: &Patch) -> Row {
        let mut cells = Vec::new();
        for &engine in &self.options.engines {
            if !self.options.asks(patch, engine) {
                continue;
            }
            let expected = patch.checker(engine);
            let mut options = self.options.clone();
            let is_found =
                |cell: &Cell| matches!(&cell.result, Ok(verdict) if verdict.found.is_some());
            if cells.iter().any(is_found) {
                options.budget = options.budget.min(AFTER_FOUND);
            }
            let key = self.cache.key(patch, engine);
            let known = self.cache.get(&key, options.budget);
            let cached = known.is_some();
            let result = match known {
                Some(verdict) => Ok(verdict),
                None => self.ask(patch, engine, expected.as_ref(), &options),
            };
            let outgrown = result
                .as_ref()
                .ok()
                .and_then(|verdict| self.recorded.outgrown(&patch.number, engine, verdict));
            if let (Ok(verdict), false) = (&result, cached) {
                self.cache.put(&key, verdict);
            }
            cells.push(Cell {
                engine,
                expected,
                result,
                cached,
                outgrown: outgrown.filter(|_| !self.options.record),
            });
        }
        if cells.is_empty() && !patch.is_control() {
            // Not asked, but it must still be a patch of this core.
            if let Err(trouble) = self
                .tree
                .patch(patch)
                .and_then(|()| self.tree.build_simulator())
            {
                cells.push(Cell {
                    engine: Engine::Sim,
                    expected: None,
                    result: Err(trouble),
                    cached: false,
                    outgrown: None,
                });
            }
        }
        Row {
            number: patch.number.clone(),
            id: patch.id.clone(),
            name: patch.name.clone(),
            cells,
        }
    }

    fn ask(
        &mut self,
        patch: &Patch,
        engine: Engine,
        expected: Option<&Expected>,
        options: &Options,
    ) -> Result<Verdict, Trouble> {
        eprintln!("{} {}: {engine}", patch.number, patch.name);
        self.tree.patch(patch)?;
        let mut verdict = match engine {
            Engine::Sim => simulator::run(&self.tree, expected, options),
            Engine::Loom
            | Engine::Shuttle
            | Engine::Control
            | Engine::Rules
            | Engine::Core
            | Engine::Bundle => {
                explorer::run(&self.tree, engine, &patch.tests(engine), expected, options)
            }
            Engine::BatOps | Engine::OpenImage => {
                fuzzer::run(&self.tree, engine, expected, options)
            }
        }?;
        verdict.budget = options.budget.as_secs_f64();
        Ok(verdict)
    }
}
