//! The catalogue's runner: does the harness find the bugs that others had?
//!
//! ```text
//!   corpus/bugs/NNN-name.patch ──▶ scratch copy of the workspace, patched ──▶ built ──▶ engines, each with a budget
//!        no patch (control)     ──▶ scratch copy of the workspace           ──▶ built ──▶ the same: must find nothing
//! ```
//! * A bug counts as found by an engine only if the checker fired that the patch names for this engine. What else fires
//!   on the way counts for nothing, and is red unless the patch names it as a consequence. An engine of which the patch names
//!   no checker is asked, too, with all it has: what fires is told with its name, and counts for nothing.
//! * A patch that does not apply, or whose tree does not compile, is red, and so is a bug that no engine found.
//! * The workspace itself is only read, unless what is found is to be recorded (`expected`, `matrix`). Scratch copy, builds and results stand in `target/bugs`.
//! * A result is kept under (source, patch, engine), so that a run that was stopped goes on where it was, and a second run
//!   is quick. "Not found" is kept with its budget.

mod cache;
mod compare;
mod engine;
mod expected;
mod explore;
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
mod verdict;

pub use engine::Engine;
pub use verdict::{Other, Small, Verdict};

use cache::Cache;
use expected::Recorded;
use patch::{Expected, Patch};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;
use tree::Tree;
use verdict::Trouble;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only the bugs with these numbers or catalogue ids; none: all.
    pub only: Vec<String>,
    /// Only the fixed dozen (see [`SMOKE`]), each before one engine.
    pub smoke: bool,
    /// Write what is found into `corpus/bugs`, as what is to be expected from now on, and the matrix.
    pub record: bool,
    /// Compare the search engines of the simulator instead.
    pub compare: bool,
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

/// The dozen that CI looks for, and the engine that finds each in a moment: all corners of the core; the simulator, and five
/// engines beside it.
pub const SMOKE: [(&str, Engine); 12] = [
    ("002", Engine::Loom),
    ("007", Engine::Sim),
    ("006", Engine::Shuttle),
    ("009", Engine::Explore),
    ("011", Engine::Sim),
    ("014", Engine::Sim),
    ("021", Engine::Control),
    ("041", Engine::Sim),
    ("050", Engine::Rules),
    ("054", Engine::Sim),
    ("073", Engine::Sim),
    ("077", Engine::Sim),
];

/// Once an engine has found a bug, the others get no more than this.
const AFTER_FOUND: Duration = Duration::from_secs(10);

/// The unpatched core has to survive so many times the budget.
const CONTROL_TIMES: u32 = 10;

/// One bug before one engine.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    engine: Engine,
    /// The patch names a checker of it.
    named: bool,
    expected: Option<Expected>,
    result: Result<Verdict, Trouble>,
    cached: bool,
    /// It took more than ten times as many schedules as these, which were enough when the catalogue was recorded.
    outgrown: Option<u64>,
    /// What fired that the patch names neither as a checker nor as a consequence, though it names a checker here.
    strangers: Vec<Other>,
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
        let fired = verdicts().any(|verdict| verdict.found.is_some() && verdict.by.is_none());
        let others = verdicts().any(|verdict| !verdict.others.is_empty());
        let outgrown = self.cells.iter().any(|cell| cell.outgrown.is_some());
        let strange = self.cells.iter().any(|cell| !cell.strangers.is_empty());
        !trouble
            && !outgrown
            && !strange
            && if self.is_control() {
                !fired && !others
            } else {
                fired
            }
    }

    fn is_control(&self) -> bool {
        self.id.is_empty()
    }

    /// None of the engines that the patch names was asked, and none of the others was in trouble.
    fn is_left_out(&self) -> bool {
        let counts = |cell: &Cell| cell.named || cell.result.is_err();
        !self.is_control() && !self.cells.iter().any(counts)
    }
}

/// Runs the catalogue. True: every bug was found, the unpatched core is clean.
///
/// # Errors
/// If the workspace cannot be found, copied or read, or nothing is called `only`.
pub fn run(options: &Options, out: &mut dyn Write) -> io::Result<bool> {
    let root = tree::root()?;
    if let Some(page) = &options.html {
        // Now, not when all is done.
        let parent = page
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), fs::create_dir_all)?;
        fs::write(page, "")
            .map_err(|error| io::Error::other(format!("{}: {error}", page.display())))?;
    }
    let folder = root.join("corpus/bugs");
    let patches = patch::read_all(&folder)?;
    let chosen = options.choose(&patches)?;
    let tree = Tree::new(&root, options.jobs)?;
    if options.compare {
        return compare::run(options, tree, &chosen, &folder, out);
    }
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
    let unpatched = Patch::none();
    let is_control_asked = match options.only.as_slice() {
        [] => !options.smoke,
        only => only.iter().any(|name| unpatched.has_name(name)),
    };
    let control = is_control_asked.then_some(&unpatched);
    for patch in control.into_iter().chain(chosen) {
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
    if rows.iter().all(|row| {
        row.cells
            .iter()
            .all(|cell| !cell.named && !row.is_control())
    }) {
        return Err(io::Error::other(
            "nothing was asked: these engines have no checker named for these bugs",
        ));
    }
    Ok(rows.iter().all(|row| row.is_well() || row.is_left_out()))
}

impl Options {
    /// The bugs to look for.
    fn choose<'p>(&self, patches: &'p [Patch]) -> io::Result<Vec<&'p Patch>> {
        let is_smoke = |patch: &Patch| SMOKE.iter().any(|(number, _)| *number == patch.number);
        for name in &self.only {
            let unpatched = Patch::none();
            if !patches.iter().any(|patch| patch.is_called(name)) && !unpatched.has_name(name) {
                return Err(io::Error::other(format!("no bug {name} in corpus/bugs")));
            }
        }
        let wanted = |patch: &&Patch| {
            let only = self.only.iter().any(|name| patch.is_called(name));
            (self.only.is_empty() || only) && (!self.smoke || is_smoke(patch))
        };
        let chosen: Vec<&Patch> = patches.iter().filter(wanted).collect();
        if chosen.is_empty() && self.only.is_empty() {
            return Err(io::Error::other("no such bug in corpus/bugs"));
        }
        Ok(chosen)
    }

    /// Whether this engine is to look for this bug.
    fn asks(&self, patch: &Patch, engine: Engine) -> bool {
        let smoke = SMOKE.contains(&(patch.number.as_str(), engine));
        self.engines.contains(&engine) && (!self.smoke || smoke)
    }
}

impl Row {
    /// Puts its verdicts among what is recorded.
    fn tell(&self, recorded: &mut Recorded) {
        for cell in &self.cells {
            match &cell.result {
                Ok(verdict) if self.is_control() => {
                    recorded.put_control(&self.number, cell.engine, verdict);
                }
                Ok(verdict) => recorded.put(&self.number, cell.engine, verdict),
                Err(_) => {}
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
        let unpatched = Patch::none();
        self.recorded.keep(|number| {
            let mut all = patches.iter().chain([&unpatched]);
            all.any(|patch| patch.number == number)
        });
        self.recorded.write()
    }

    /// A bug, or the unpatched core, before each engine that is asked for it.
    fn row(&mut self, patch: &Patch) -> Row {
        let mut cells = Vec::new();
        let mut engines = self.options.engines.clone();
        engines.retain(|engine| self.options.asks(patch, *engine));
        // The others only have to look when it is known whether it can be found.
        engines.sort_by_key(|engine| !patch.names(*engine));
        for engine in engines {
            let expected = patch.checker(engine);
            let mut options = self.options.clone();
            if patch.is_control() && !options.smoke {
                options.budget *= CONTROL_TIMES;
            }
            let is_found =
                |cell: &Cell| matches!(&cell.result, Ok(verdict) if verdict.found.is_some());
            let is_known = cells.iter().any(is_found) || !patch.names(engine);
            if is_known && !patch.is_control() {
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
                .filter(|_| patch.names(engine))
                .and_then(|verdict| self.recorded.outgrown(&patch.number, engine, verdict));
            if let (Ok(verdict), false) = (&result, cached) {
                self.cache.put(&key, verdict);
            }
            let others = result.as_ref().map_or(&[][..], |verdict| &verdict.others);
            let stranger = |other: &&Other| {
                patch.names(engine) && !patch.is_consequence(engine, &other.name, &other.message)
            };
            let mut strangers: Vec<Other> = others.iter().filter(stranger).cloned().collect();
            strangers.extend(result.as_ref().ok().and_then(|verdict| {
                let new = self.recorded.newly_by(&patch.number, engine, verdict)?;
                (!self.options.record).then_some(new)
            }));
            cells.push(Cell {
                engine,
                named: patch.names(engine),
                strangers,
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
                    named: true,
                    expected: None,
                    result: Err(trouble),
                    cached: false,
                    outgrown: None,
                    strangers: Vec::new(),
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
            Engine::Sim => simulator::run(&self.tree, &patch.number, expected, options),
            Engine::Loom
            | Engine::Shuttle
            | Engine::Control
            | Engine::Rules
            | Engine::Core
            | Engine::Bundle => {
                explorer::run(&self.tree, engine, &patch.tests(engine), expected, options)
            }
            Engine::Explore => explore::run(&self.tree, &patch.tests(engine), expected, options),
            Engine::BatOps | Engine::OpenImage => {
                fuzzer::run(&self.tree, engine, expected, options)
            }
        }?;
        verdict.budget = options.budget.as_secs_f64();
        Ok(verdict)
    }
}
