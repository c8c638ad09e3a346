//! `corpus/mutants.md`: figures by part of the core, and every survivor with its reason from `corpus/mutants.txt`.
//!
//! A line of that file is `LABEL ==> REASON`; the label is the survivor's without line and column, as the report shows it.
//! A reason that begins with `equivalent` says that no test could ever tell the mutant from the core.

use crate::list::Mutant;
use crate::store::Store;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What stands between a label and its reason.
const ARROW: &str = " ==> ";

/// The reasons in this text.
pub(crate) fn reasons(text: &str) -> BTreeMap<&str, &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(ARROW))
        .map(|(label, why)| (label.trim(), why.trim()))
        .collect()
}

/// Numbers of a part.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    listed: u32,
    unviable: u32,
    caught: u32,
    timeout: u32,
    missed: u32,
    equivalent: u32,
    untried: u32,
}

impl Figures {
    fn add(&mut self, other: &Figures) {
        self.listed += other.listed;
        self.unviable += other.unviable;
        self.caught += other.caught;
        self.timeout += other.timeout;
        self.missed += other.missed;
        self.equivalent += other.equivalent;
        self.untried += other.untried;
    }

    /// Of all that were tried and are programs; a mutant that hangs is caught.
    pub(crate) fn percent(&self) -> f64 {
        let caught = f64::from(self.caught + self.timeout);
        let tried = caught + f64::from(self.missed);
        if tried > 0.0 {
            100.0 * caught / tried
        } else {
            0.0
        }
    }

    fn row(&self, name: &str) -> String {
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {:.1} % |\n",
            self.listed,
            self.unviable,
            self.caught,
            self.timeout,
            self.missed,
            self.equivalent,
            self.untried,
            self.percent()
        )
    }
}

/// The whole page. `chosen`: the mutants that were to be tried, with the name of their row.
pub(crate) fn page(
    chosen: &[(String, &Mutant)],
    store: &Store,
    reasons: &BTreeMap<&str, &str>,
    seed: u64,
) -> (String, Figures) {
    let mut parts: Vec<(String, Figures)> = Vec::new();
    let mut survivors = String::new();
    let mut by: BTreeMap<&str, u32> = BTreeMap::new();
    for (part, mutant) in chosen {
        if !parts.iter().any(|(name, _)| name == part) {
            parts.push((part.clone(), Figures::default()));
        }
        let Some((_, figures)) = parts.iter_mut().find(|(name, _)| name == part) else {
            continue;
        };
        figures.listed += 1;
        let known = store.get(&mutant.key);
        match known.map(|known| known.outcome.as_str()) {
            Some("unviable") => figures.unviable += 1,
            Some("caught") => figures.caught += 1,
            Some("timeout") => figures.timeout += 1,
            Some("missed") => {
                figures.missed += 1;
                let why = reasons
                    .get(mutant.label.as_str())
                    .copied()
                    .unwrap_or("**no reason yet**");
                figures.equivalent += u32::from(why.starts_with("equivalent"));
                let label = mutant.label.replace('|', "\\|");
                // A reason is one cell, whatever it says.
                let _ = writeln!(survivors, "| {label} | {} |", why.replace('|', "\\|"));
            }
            _ => figures.untried += 1,
        }
        if let Some(known) = known.filter(|known| !known.by.is_empty()) {
            *by.entry(&known.by).or_default() += 1;
        }
    }
    let mut all = Figures::default();
    let mut rows = String::new();
    for (name, figures) in &parts {
        all.add(figures);
        rows.push_str(&figures.row(name));
    }
    rows.push_str(&all.row("**all**"));
    let mut rungs = String::new();
    for (name, count) in by {
        let _ = writeln!(rungs, "| {name} | {count} |");
    }
    let page = format!(
        "# Mutants of the core\n\n\
         Made by `cargo run --manifest-path sim/mutants/Cargo.toml`; `sim/mutants/README.md` says how. Do not edit: reasons stand in\n\
         `corpus/mutants.txt`. Seed of the sample: {seed}. \"Caught\" in percent is of those that are programs and were tried;\n\
         one that hangs counts as caught, an equivalent one as missed.\n\n\
         | part | listed | no program | caught | hang | missed | of these equivalent | not tried | caught |\n\
         |---|---|---|---|---|---|---|---|---|\n{rows}\n\
         ## By what\n\nThe first rung of the ladder that failed.\n\n| rung | mutants |\n|---|---|\n{rungs}\n\
         ## Survivors\n\n| mutant | reason |\n|---|---|\n{survivors}"
    );
    (page, all)
}
