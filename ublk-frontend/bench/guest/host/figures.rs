//! What the guests have found.

use std::collections::{BTreeMap, BTreeSet};

use crate::kernel::Kernel;
use crate::line::{Line, Verdict};
use crate::rows::{Quantity, Row, figure_name};

/// See the module.
#[derive(Debug)]
pub(super) struct Figures {
    /// The guests' kernel.
    pub(super) kernel: Kernel,
    /// Rounds wanted.
    pub(super) rounds: u64,
    values: BTreeMap<(Quantity, String), Vec<f64>>,
    /// What was wrong, by row; or with a guest.
    wrong: BTreeMap<String, String>,
    /// Rows that the kernel does not offer.
    not_offered: BTreeSet<String>,
    /// What the meters found of themselves.
    pub(super) meters: Vec<String>,
}

impl Figures {
    /// None yet.
    pub(super) fn new(kernel: Kernel, rounds: u64) -> Figures {
        Figures {
            kernel,
            rounds,
            values: BTreeMap::new(),
            wrong: BTreeMap::new(),
            not_offered: BTreeSet::new(),
            meters: Vec::new(),
        }
    }

    /// A line of a guest.
    pub(super) fn line(&mut self, quantity: Quantity, line: Line) {
        let Line::End(name, verdict, _, found) = line else {
            return;
        };
        match verdict {
            Verdict::Ok if name == "meter" => self.meters.push(found),
            Verdict::Ok => {
                if let Ok(value) = found.parse() {
                    self.values.entry((quantity, name)).or_default().push(value);
                }
            }
            Verdict::NotOffered => {
                self.not_offered.insert(name.clone());
                self.wrong(&name, found);
            }
            Verdict::Failed => self.wrong(&name, found),
        }
    }

    /// Something is wrong with a row, or with a guest.
    pub(super) fn wrong(&mut self, name: &str, why: String) {
        self.wrong.entry(name.to_owned()).or_insert(why);
    }

    /// Why a row has no figures, or not all.
    pub(super) fn why(&self, row: Row) -> Option<&str> {
        self.wrong.get(row.name()).map(String::as_str)
    }

    /// What was wrong with the guests.
    pub(super) fn of_guests(&self) -> impl Iterator<Item = String> {
        let of_row = |name: &&String| Row::ALL.iter().all(|row| row.name() != *name);
        let names = self.wrong.keys().filter(of_row);
        names.map(|name| format!("{name}: {}", self.wrong[name]))
    }

    /// True if nothing was wrong with our own rows and with the guests. What this kernel does not offer is not wrong.
    pub(super) fn is_whole(&self) -> bool {
        let fine = |row: &Row| self.why(*row).is_none() || self.not_offered.contains(row.name());
        let ours = [Row::Ploop, Row::PloopZeroCopy];
        self.of_guests().next().is_none() && ours.iter().all(fine)
    }

    /// The median of all rounds.
    pub(super) fn median(
        &self,
        quantity: Quantity,
        row: Row,
        load: &str,
        depth: u64,
    ) -> Option<f64> {
        let name = figure_name(row, load, depth);
        let mut values = self.values.get(&(quantity, name))?.clone();
        values.sort_by(f64::total_cmp);
        let (low, high) = (
            values.get((values.len() - 1) / 2)?,
            values[values.len() / 2],
        );
        Some((low + high) / 2.0)
    }
}
