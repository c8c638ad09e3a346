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
mod explorer;
mod fuzzer;
mod patch;
mod process;
mod simulator;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use cache::Cache;
use patch::{Expected, Patch};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, Write};
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
                "engine {name:?}: must be sim, loom, shuttle, control, bat_ops, open_image or fuzz"
            )
        })
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the bug with this number or catalogue id.
    pub only: Option<String>,
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

/// What an engine found in a patched tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The named checker fired; its message.
    pub found: Option<String>,
    /// What fired, but is not the named checker: counts for nothing.
    pub others: Vec<Other>,
    /// Runs, executions or schedules until then, as far as the engine tells.
    pub runs: Option<u64>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// The budget that was not enough, in seconds.
    pub budget: f64,
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
        !trouble
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
    let patches = patch::read_all(&root.join("corpus/bugs"))?;
    let chosen: Vec<&Patch> = patches
        .iter()
        .filter(|patch| {
            options
                .only
                .as_ref()
                .is_none_or(|only| patch.is_called(only))
        })
        .collect();
    if chosen.is_empty() {
        let name = options.only.as_deref().unwrap_or("*");
        return Err(io::Error::other(format!("no bug {name} in corpus/bugs")));
    }
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
    };
    let mut rows = Vec::new();
    if options.only.is_none() {
        rows.push(judge.control(&patches));
        table::progress(&rows, options, out)?;
    }
    for patch in chosen {
        rows.push(judge.bug(patch));
        table::progress(&rows, options, out)?;
    }
    table::write(&rows, options, out)?;
    Ok(rows.iter().all(|row| row.is_well() || row.is_left_out()))
}

struct Judge<'a> {
    options: &'a Options,
    tree: Tree,
    cache: Cache,
}

impl Judge<'_> {
    /// The unpatched core, before each engine that is asked for any bug.
    fn control(&mut self, patches: &[Patch]) -> Row {
        let none = Patch::none(patches);
        self.row(&none)
    }

    fn bug(&mut self, patch: &Patch) -> Row {
        self.row(patch)
    }

    fn row(&mut self, patch: &Patch) -> Row {
        let mut cells = Vec::new();
        for &engine in &self.options.engines {
            let expected = patch.checker(engine);
            if expected.is_none() && !patch.is_control() {
                continue;
            }
            if patch.is_control() && !patch.asks(engine) {
                continue;
            }
            let key = self.cache.key(patch, engine);
            let known = self.cache.get(&key, self.options.budget);
            let cached = known.is_some();
            let result = match known {
                Some(verdict) => Ok(verdict),
                None => self.ask(patch, engine, expected.as_ref()),
            };
            if let (Ok(verdict), false) = (&result, cached) {
                self.cache.put(&key, verdict);
            }
            cells.push(Cell {
                engine,
                expected,
                result,
                cached,
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
    ) -> Result<Verdict, Trouble> {
        eprintln!("{} {}: {engine}", patch.number, patch.name);
        self.tree.patch(patch)?;
        let mut verdict = match engine {
            Engine::Sim => simulator::run(&self.tree, expected, self.options),
            Engine::Loom | Engine::Shuttle | Engine::Control => explorer::run(
                &self.tree,
                engine,
                &patch.tests(engine),
                expected,
                self.options,
            ),
            Engine::BatOps | Engine::OpenImage => {
                fuzzer::run(&self.tree, engine, expected, self.options)
            }
        }?;
        verdict.budget = self.options.budget.as_secs_f64();
        Ok(verdict)
    }
}
