//! The story of a run as a picture needs it: rows (one an event), the lives of operations and I/Os, lanes.

use super::fate::Fates;
use super::guilt::{Suspect, wrong_sector};
use super::locks::HandOver;
use super::teller::Teller;
use super::{Noted, names};
use crate::shrink::Counts;
use crate::world::log::Happening;
use crate::world::shape::Shape;
use ploop_core::WriteBack;
use serde::Serialize;

/// A column of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "of")]
pub enum Lane {
    /// A client: queue and tag.
    Client(u16, u16),
    /// A queue of the device.
    Queue(u16),
    /// A metadata page.
    Page(u32),
    /// What is in flight, or done and volatile.
    Cache,
    /// What is durable.
    Media,
}

impl Lane {
    /// The name over the column.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Lane::Client(queue, tag) => format!("client {queue}.{tag}"),
            Lane::Queue(queue) => format!("queue {queue}"),
            Lane::Page(page) => format!("page {page}"),
            Lane::Cache => "disk cache".to_owned(),
            Lane::Media => "media".to_owned(),
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Which event of the tape it belongs to.
    pub step: usize,
    /// What sort of line: a word for colours and scripts.
    pub sort: &'static str,
    /// Where it stands.
    pub lane: Option<Lane>,
    /// For a person.
    pub text: String,
    /// It touched the sector that is wrong, or its slot.
    pub guilty: bool,
    /// The I/O that it is about.
    pub io: Option<u32>,
}

/// An operation of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpLife {
    /// Its lane.
    pub client: Lane,
    /// What it is.
    pub name: String,
    /// Row of its submission.
    pub submitted: usize,
    /// Row of its end, if it had one.
    pub finished: Option<usize>,
    /// It touched the sector that is wrong.
    pub guilty: bool,
}

/// An I/O.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IoLife {
    /// Its number.
    pub io: u32,
    /// What it is.
    pub name: String,
    /// Who carries it out.
    pub queue: u16,
    /// Whose operation it is, if it is one's.
    pub client: Option<Lane>,
    /// The page that it writes.
    pub page: Option<u32>,
    /// It changes the file, so that it can be durable.
    pub changes: bool,
    /// Row where it begins.
    pub begun: usize,
    /// Row of its completion.
    pub completed: Option<usize>,
    /// It failed, or was cut short.
    pub failed: bool,
    /// Row from which on it is durable.
    pub durable: Option<usize>,
    /// Row of the power cut that it was not durable at.
    pub cut: Option<usize>,
    /// It touched the sector that is wrong.
    pub guilty: bool,
}

/// A stretch of rows in which a page has a state, or a slot is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageLife {
    /// Which page.
    pub page: u32,
    /// "Dirty", "Writeback", or "held" for a cluster's lock.
    pub state: String,
    /// For a lock: the guest cluster.
    pub cluster: Option<u32>,
    /// For a lock: who holds it, as far as that is known.
    pub holder: Option<Lane>,
    /// First row.
    pub from: usize,
    /// Last row.
    pub to: usize,
}

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub struct Story {
    /// How it ended: checker and message, or that it passed.
    pub verdict: String,
    /// The checker that found it; empty if the run passed.
    pub checker: String,
    /// The rest of the message.
    pub details: String,
    /// The profile.
    pub profile: String,
    /// The seed, if it came from one.
    pub seed: Option<u64>,
    /// The trace hash.
    pub trace: String,
    /// The shape of image and device, in a few words.
    pub shape: String,
    /// Figures.
    pub counts: Counts,
    /// The sector that is wrong, and where it was.
    pub suspect: Option<String>,
    /// Columns, from left to right.
    pub lanes: Vec<Lane>,
    /// Lines.
    pub rows: Vec<Row>,
    /// Operations.
    pub ops: Vec<OpLife>,
    /// I/Os.
    pub ios: Vec<IoLife>,
    /// Pages.
    pub pages: Vec<PageLife>,
    /// Locks that go from one client to another.
    pub hand_overs: Vec<HandOver>,
    /// Rows of power cuts and killed servers.
    pub cuts: Vec<usize>,
    /// The fates of the tape.
    pub fates: Fates,
}

impl Story {
    /// The story of a run that was noted.
    #[must_use]
    pub fn of(noted: &Noted, fates: Fates) -> Story {
        let shape = noted.entries.iter().find_map(|entry| match &entry.what {
            Happening::Begun(shape) => Some((**shape).clone()),
            _ => None,
        });
        let (checker, message) = match &noted.result {
            Ok(_) => ("", "passed: nothing is wrong".to_owned()),
            Err(failure) => (failure.checker, failure.message.clone()),
        };
        let trace = match &noted.result {
            Ok(stats) => stats.trace,
            Err(failure) => failure.trace,
        };
        let message = names::plain(&message);
        let (verdict, details) = match message.split_once('\n') {
            Some((first, rest)) => (first.to_owned(), rest.to_owned()),
            None => (message, String::new()),
        };
        let mut teller = Teller::default();
        let mut suspect = match (&shape, checker) {
            (Some(shape), checker) if !checker.is_empty() => wrong_sector(&verdict, shape.cluster)
                .map(|sector| Suspect::new(sector, shape, &noted.entries)),
            _ => None,
        };
        if let Some(shape) = &shape {
            for entry in &noted.entries {
                let guilty = suspect.as_mut().is_some_and(|s| s.touches(&entry.what));
                teller.tell(entry.step, &entry.what, guilty, shape);
            }
        }
        let last = noted.tape.spans.len();
        let sort = if checker.is_empty() {
            "passed"
        } else {
            "failed"
        };
        teller.row(
            last,
            sort,
            None,
            verdict_line(checker, &verdict),
            suspect.is_some(),
        );
        teller.end();
        Story {
            verdict,
            checker: checker.to_owned(),
            details,
            profile: noted.tape.profile.clone(),
            seed: noted.tape.seed,
            trace: format!("{trace:016x}"),
            shape: {
                let words = shape.as_ref().map(in_words).unwrap_or_default();
                match noted.tape.lies {
                    true => format!("{words}; its disk LIES about its syncs"),
                    false => words,
                }
            },
            counts: Counts::of(&noted.tape.choices, &noted.tape.spans),
            suspect: suspect.map(|suspect| suspect.sentence()),
            lanes: teller.lanes(),
            rows: teller.rows,
            ops: teller.ops,
            ios: teller.ios,
            pages: teller.pages,
            hand_overs: teller.locks.hand_overs(),
            cuts: teller.cuts,
            fates,
        }
    }
}

fn verdict_line(checker: &str, verdict: &str) -> String {
    if checker.is_empty() {
        verdict.to_owned()
    } else {
        format!("checker {checker}: {verdict}")
    }
}

pub(super) fn in_words(shape: &Shape) -> String {
    let options = &shape.options;
    let count = |count: u64, name| names::counted(count as u32, name);
    let write_back = match options.write_back {
        WriteBack::Immediate => "immediate write-back".to_owned(),
        WriteBack::Delayed(delay) => format!("write-back delayed by {} ms", delay.0),
    };
    format!(
        "{} of {}, {} metadata slots a page, {} of depth {}, {}{}, {write_back}",
        count(shape.entries.into(), "clusters"),
        count(shape.cluster, "sectors"),
        options.page_bytes / 4,
        count(options.queues.into(), "queues"),
        options.depth,
        count(shape.levels.into(), "files"),
        if shape.raw_base {
            ", the lowest one raw"
        } else {
            ""
        },
    )
}
