//! Which search engine needs how many schedules: some bugs before each engine of the simulator, at fixed seeds.
//!
//! * All engines get the same worlds (profile `tiny`) and the same bases of seeds; what they do differently is on the tape.
//! * A search ends with the named checker's failure, or with the budget. A failure of another checker is passed over, and
//!   the search goes on behind it (with an engine that hunts: from nothing).
//! * Builds are those of the catalogue, with assertions: schedules are what is compared, seconds are told beside them.

use super::patch::{Expected, Patch};
use super::simulator::campaign;
use super::tree::Tree;
use super::{Options, Trouble};
use crate::bugs;
use crate::search::Engine;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bugs that are looked for if none is named: those that need hundreds of schedules of chance, or thousands.
const SOME: [&str; 6] = ["008", "009", "013", "041", "045", "071"];
/// Searches of one bug by one engine.
const BASES: u64 = 5;

/// Searches of one bug by one engine: schedules and seconds, of each that found it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Cell {
    found: Vec<(u64, f64)>,
}

impl Cell {
    /// Those that did not find it count as endless.
    fn shown(&self) -> String {
        let mut found = self.found.clone();
        found.sort_by_key(|(schedules, _)| *schedules);
        let times = found.len() as u64;
        match found.get(BASES as usize / 2) {
            None if times == 0 => "not in budget".to_owned(),
            None => format!("{times} of {BASES}"),
            Some((schedules, seconds)) if times == BASES => format!("{schedules} · {seconds:.2} s"),
            Some((schedules, seconds)) => {
                format!("{schedules} · {seconds:.2} s ({times} of {BASES})")
            }
        }
    }

    fn median(&self) -> Option<u64> {
        let mut schedules: Vec<u64> = self.found.iter().map(|(schedules, _)| *schedules).collect();
        schedules.sort_unstable();
        schedules.get(BASES as usize / 2).copied()
    }
}

/// Compares. True: every bug was found by some engine.
pub(super) fn run(
    options: &Options,
    mut tree: Tree,
    chosen: &[&Patch],
    folder: &Path,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let wanted = |patch: &&&Patch| {
        let some = SOME.contains(&patch.number.as_str()) || !options.only.is_empty();
        some && patch.names(bugs::Engine::Sim)
    };
    let mut rows = Vec::new();
    for patch in chosen.iter().filter(wanted) {
        let row = row(patch, &mut tree, options);
        let row =
            row.map_err(|trouble| io::Error::other(format!("{}: {trouble}", patch.number)))?;
        let cells: Vec<String> = row.iter().map(Cell::shown).collect();
        writeln!(
            out,
            "{} {}: {}",
            patch.number,
            patch.name,
            cells.join(" | ")
        )?;
        out.flush()?;
        rows.push((*patch, row));
    }
    let text = page(&rows, options.budget);
    out.write_all(text.as_bytes())?;
    if options.record {
        std::fs::write(folder.join("SEARCH.md"), &text)?;
    }
    let found = |(_, row): &(&Patch, Vec<Cell>)| row.iter().any(|cell| !cell.found.is_empty());
    Ok(!rows.is_empty() && rows.iter().all(found))
}

/// One bug before all engines.
fn row(patch: &Patch, tree: &mut Tree, options: &Options) -> Result<Vec<Cell>, Trouble> {
    tree.patch(patch)?;
    let simulator = tree.build_simulator()?;
    let expected = patch.checker(bugs::Engine::Sim);
    let mut cells = Vec::new();
    for engine in Engine::ALL {
        eprintln!("{} {}: {engine}", patch.number, patch.name);
        let mut cell = Cell::default();
        for base in 1..=BASES {
            let base = base << 40;
            let expected = expected.as_ref();
            let found = search(tree, &simulator, engine, base, expected, options.budget)?;
            cell.found.extend(found);
        }
        cells.push(cell);
    }
    Ok(cells)
}

/// Schedules and seconds from this seed on, if it is found in time.
fn search(
    tree: &Tree,
    simulator: &Path,
    engine: Engine,
    base: u64,
    expected: Option<&Expected>,
    budget: Duration,
) -> Result<Option<(u64, f64)>, Trouble> {
    let until = Instant::now() + budget;
    let (mut next, mut seconds) = (base, 0.0);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let seeds = next..base + (1 << 39);
        let line = campaign(tree, simulator, "tiny", engine, seeds, left)?;
        seconds += line.cpu_seconds;
        let Some(failed) = line.failure else {
            return Ok(None);
        };
        next = failed.seed + 1;
        if expected.is_some_and(|named| named.is(&failed.checker, &failed.message)) {
            return Ok(Some((next - base, seconds)));
        }
    }
}

/// The table.
fn page(rows: &[(&Patch, Vec<Cell>)], budget: Duration) -> String {
    let mut text = format!(
        "# Search engines compared\n\nMade by `cargo run --release -p sim -- bugs --compare --record --budget {}s`; do not \
         edit.\n\nA cell: schedules until detection · CPU seconds, medians of {BASES} searches at fixed seeds, profile \
         `tiny`; `k of {BASES}`: so many searches found it in their budget. **Bold**: fewest schedules.\n\n| | id | mistake |",
        budget.as_secs()
    );
    for engine in Engine::ALL {
        let _ = write!(text, " {engine} |");
    }
    text.push_str("\n|---|---|---|");
    text.push_str(&"---|".repeat(Engine::ALL.len()));
    text.push('\n');
    for (patch, cells) in rows {
        let name = patch.name.replace('-', " ");
        let _ = write!(text, "| {} | {} | {name} |", patch.number, patch.id);
        let best = cells.iter().filter_map(Cell::median).min();
        for cell in cells {
            let bold = if best.is_some() && cell.median() == best {
                "**"
            } else {
                ""
            };
            let _ = write!(text, " {bold}{}{bold} |", cell.shown());
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_that_found_nothing_count() {
        let cell = |found: &[u64]| Cell {
            found: found.iter().map(|schedules| (*schedules, 0.5)).collect(),
        };
        assert_eq!(cell(&[]).shown(), "not in budget");
        assert_eq!(cell(&[4, 5]).shown(), "2 of 5");
        assert_eq!(cell(&[9, 4, 5]).shown(), "9 · 0.50 s (3 of 5)");
        assert_eq!(cell(&[9, 4, 5, 1, 2]).shown(), "4 · 0.50 s");
        assert_eq!(
            (cell(&[4, 5]).median(), cell(&[9, 4, 5]).median()),
            (None, Some(9))
        );
    }

    #[test]
    fn the_fewest_schedules_stand_out() {
        let header =
            "Id: S1\nOrigin: o\nMistake: m\nSteps: s\nViolates: I1\nChecker: sim durable\n";
        let text = format!("{header}\ndiff --git a/x b/x\n");
        let patch = Patch::parse("001-a-name.patch", &text).expect("a patch");
        let cell = |schedules: u64| Cell {
            found: vec![(schedules, 0.25); BASES as usize],
        };
        let cells = vec![cell(30), cell(20), cell(20), Cell::default(), cell(40)];
        let text = page(&[(&patch, cells)], Duration::from_secs(10));
        let line = text.lines().last().expect("a row");
        assert_eq!(
            line,
            "| 001 | S1 | a name | 30 · 0.25 s | **20 · 0.25 s** | **20 · 0.25 s** | not in budget | 40 · 0.25 s |"
        );
    }
}
