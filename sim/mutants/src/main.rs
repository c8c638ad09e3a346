//! Grades the harness: every mutant that `cargo mutants` lists for the core is put before the fast engines.
//!
//! ```text
//!   cargo mutants --list ─▶ choose ─▶ weave all into a copy ─▶ one build ─▶ ladder of programs, once a mutant ─▶ results
//!                           (parts,    (what the compiler        │
//!                            sample)    refuses is taken out) ───┴─▶ those that must be built alone, one by one (--alone)
//! ```
//! cargo-mutants itself builds once a mutant; here the builds would take ten times as long as the tests.
//!
//! Results are kept from run to run by the text of the function that a mutant is in. A survivor is tried again with `--again`.

mod ladder;
mod list;
mod report;
mod sites;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod weave;

use clap::Parser;
use ladder::Ladder;
use list::Mutant;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use store::{Known, Store};
use tree::{Tree, Woven};

/// These are tried completely, in this order.
const WHOLE: &[&str] = &["writeback", "alloc", "cluster", "bat"];
/// Of all that are programs so many percent must be caught.
const WANTED: f64 = 90.0;

/// Puts the core's mutants before the harness and writes corpus/mutants.md. Run it inside the workspace.
#[derive(Debug, Parser)]
struct Arguments {
    /// So many of the other mutants of the core are tried, besides all of writeback, alloc, cluster and bat
    #[arg(long, default_value_t = 330)]
    sample: usize,
    /// Seed of the sample
    #[arg(long, default_value_t = 5)]
    seed: u64,
    /// Stops after so many seconds; the same command goes on from there
    #[arg(long)]
    seconds: Option<u64>,
    /// Tries survivors again: the harness has changed
    #[arg(long)]
    again: bool,
    /// Leaves the core's unit tests out, which take longer than all else; `--again` without this tries the survivors on them
    #[arg(long)]
    quick: bool,
    /// Tries those that cannot stand beside others, each in a build of its own, and nothing else
    #[arg(long)]
    alone: bool,
    /// Only mutants whose label contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where the copy, its builds and the results are [default: target/mutants]
    #[arg(long)]
    state: Option<PathBuf>,
    /// Writes the page from what is known, tries nothing
    #[arg(long)]
    report: bool,
}

fn main() -> ExitCode {
    match grade(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace that the current folder is in.
fn root() -> io::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here
        .ancestors()
        .find(|folder| folder.join("corpus/scenarios").is_dir());
    let missing = || io::Error::other("run this inside the workspace: no corpus here or above");
    found.map(Path::to_path_buf).ok_or_else(missing)
}

/// Chooses mutants: those of the parts that are tried wholly, then the sample. With the rows they are counted in.
fn choose<'a>(mutants: &'a [Mutant], arguments: &Arguments) -> Vec<(String, &'a Mutant)> {
    let mut chosen = Vec::new();
    for part in WHOLE {
        let of_part = mutants.iter().filter(|mutant| mutant.part() == *part);
        chosen.extend(of_part.map(|mutant| (format!("`{part}/`"), mutant)));
    }
    let others = mutants
        .iter()
        .filter(|mutant| !WHOLE.contains(&mutant.part()));
    let mut others: Vec<&Mutant> = others.collect();
    others.sort_by_key(|mutant| list::hash(&format!("{} {}", arguments.seed, mutant.label)));
    others.truncate(arguments.sample);
    chosen.extend(
        others
            .into_iter()
            .map(|mutant| ("elsewhere (sample)".to_owned(), mutant)),
    );
    chosen
}

/// True: enough were caught, and none is left.
fn grade(arguments: &Arguments) -> io::Result<bool> {
    let root = root()?;
    let state = arguments
        .state
        .clone()
        .unwrap_or_else(|| root.join("target/mutants"));
    let mut store = Store::open(&state)?;
    let mutants = list::mutants(&root)?;
    let chosen = choose(&mutants, arguments);
    if !arguments.report {
        attempt(arguments, &root, &state, &mutants, &chosen, &mut store)?;
    }
    let reasons = fs::read_to_string(root.join("corpus/mutants.txt")).unwrap_or_default();
    let (page, all) = report::page(&chosen, &store, &report::reasons(&reasons), arguments.seed);
    fs::write(root.join("corpus/mutants.md"), page)?;
    println!("{:.1} % caught, see corpus/mutants.md", all.percent());
    Ok(all.percent() >= WANTED)
}

/// What is known of those that cannot be woven.
fn learnt(mutants: &[Mutant], store: &Store) -> Woven {
    let mut woven = Woven::default();
    for mutant in mutants {
        match store.get(&mutant.key) {
            Some(known) if known.alone || known.outcome == "alone" => woven.alone.insert(mutant.id),
            Some(known) if known.outcome == "unviable" => woven.unviable.insert(mutant.id),
            _ => continue,
        };
    }
    woven
}

fn attempt(
    arguments: &Arguments,
    root: &Path,
    state: &Path,
    mutants: &[Mutant],
    chosen: &[(String, &Mutant)],
    store: &mut Store,
) -> io::Result<()> {
    let until = arguments
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let out_of_time = || until.is_some_and(|until| Instant::now() >= until);
    let tree = Tree::copy(root, state)?;
    let woven = tree.weave(root, mutants, learnt(mutants, store))?;
    for mutant in mutants {
        let outcome = if woven.unviable.contains(&mutant.id) {
            "unviable"
        } else if woven.alone.contains(&mutant.id) {
            "alone"
        } else {
            continue;
        };
        if store.get(&mutant.key).is_none() {
            store.add(Known::untried(&mutant.key, outcome))?;
        }
    }
    let is_due = |mutant: &Mutant, store: &Store| {
        let known = store.get(&mutant.key).map(|known| known.outcome.as_str());
        let due = known.is_none() || (arguments.again && known == Some("missed"));
        let here = !arguments.alone && !woven.alone.contains(&mutant.id);
        due && here && mutant.label.contains(&arguments.only)
    };
    let due: Vec<&Mutant> = chosen
        .iter()
        .map(|(_, mutant)| *mutant)
        .filter(|mutant| is_due(mutant, store))
        .collect();
    eprintln!(
        "{} mutants to try; the programs are built, and run on the core as it is:",
        due.len()
    );
    let mut ladder = Ladder::build(&tree, !arguments.quick)?;
    ladder.baseline()?;
    for (at, mutant) in due.iter().enumerate() {
        if out_of_time() {
            eprintln!("the time is up, {} are left", due.len() - at);
            return Ok(());
        }
        let known = climb(&ladder, mutant, mutant.id)?;
        eprintln!(
            "{}/{} {} {}: {}",
            at + 1,
            due.len(),
            known.outcome,
            known.by,
            mutant.shown
        );
        store.add(known)?;
    }
    if !arguments.alone {
        return Ok(());
    }
    let left = chosen.iter().map(|(_, mutant)| *mutant).filter(|mutant| {
        let known = store.get(&mutant.key).map(|known| known.outcome.as_str());
        known == Some("alone")
            || (arguments.again && known == Some("missed") && woven.alone.contains(&mutant.id))
    });
    let left: Vec<&Mutant> = left
        .filter(|mutant| mutant.label.contains(&arguments.only))
        .collect();
    for mutant in left {
        if out_of_time() {
            return Ok(());
        }
        let known = if tree.alone(root, mutant)? {
            let mut alone = Ladder::build(&tree, !arguments.quick)?;
            alone.times_of(&ladder);
            climb(&alone, mutant, 0)?
        } else {
            Known::untried(&mutant.key, "unviable")
        };
        let known = Known {
            alone: true,
            ..known
        };
        eprintln!("alone, {} {}: {}", known.outcome, known.by, mutant.shown);
        store.add(known)?;
    }
    Ok(())
}

fn climb(ladder: &Ladder, mutant: &Mutant, id: u32) -> io::Result<Known> {
    let started = Instant::now();
    let outcome = ladder.climb(id)?;
    Ok(Known::new(
        &mutant.key,
        &outcome,
        started.elapsed().as_secs_f64(),
    ))
}
