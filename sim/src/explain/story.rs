//! The story of a run as a picture needs it: rows (one an event), the lives of operations and I/Os, lanes.
//!
//! What becomes durable when is derived: a sync that succeeds covers what was completed before it was submitted; a FUA
//! write covers itself. A power cut ends all lives.

use super::fate::Fates;
use super::guilt::{Suspect, cluster_of, wrong_sector};
use super::{Noted, names};
use crate::shrink::Counts;
use crate::world::log::{Change, Happening, Slot, State};
use crate::world::shape::Shape;
use ploop_core::{IoOp, Origin, Outcome, WriteBack};
use serde::Serialize;
use std::collections::BTreeMap;

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
        teller.end(shape.as_ref());
        Story {
            verdict,
            checker: checker.to_owned(),
            details,
            profile: noted.tape.profile.clone(),
            seed: noted.tape.seed,
            trace: format!("{trace:016x}"),
            shape: shape.as_ref().map(in_words).unwrap_or_default(),
            counts: Counts::of(&noted.tape.choices, &noted.tape.spans),
            suspect: suspect.map(|suspect| suspect.sentence()),
            lanes: teller.lanes(),
            rows: teller.rows,
            ops: teller.ops,
            ios: teller.ios,
            pages: teller.pages,
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

fn in_words(shape: &Shape) -> String {
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

/// Tells the entries one by one.
#[derive(Default)]
struct Teller {
    rows: Vec<Row>,
    ops: Vec<OpLife>,
    ios: Vec<IoLife>,
    pages: Vec<PageLife>,
    cuts: Vec<usize>,
    seen_pages: Vec<u32>,
    seen_queues: Vec<u16>,
    active: BTreeMap<Origin, usize>,
    by_io: BTreeMap<u32, usize>,
    /// Page states and locks that last, by page and lock, with their first row.
    open: BTreeMap<(u32, Option<u32>), (String, usize)>,
}

impl Teller {
    fn row(
        &mut self,
        step: usize,
        sort: &'static str,
        lane: Option<Lane>,
        text: String,
        guilty: bool,
    ) {
        self.rows.push(Row {
            step,
            sort,
            lane,
            text,
            guilty,
            io: None,
        });
    }

    fn tell(&mut self, step: usize, what: &Happening, guilty: bool, shape: &Shape) {
        let at = self.rows.len();
        match what {
            Happening::Begun(shape) => {
                self.row(
                    step,
                    "note",
                    None,
                    format!("a world: {}", in_words(shape)),
                    false,
                );
            }
            Happening::Opened(state) => self.opened(step, state, shape),
            Happening::Submit {
                origin,
                op,
                write,
                again,
            } => {
                let client = Lane::Client(origin.queue.0, origin.tag.0);
                let name = names::op(*op, shape);
                let value = if *write > 0 {
                    format!(" = w{write}")
                } else {
                    String::new()
                };
                let verb = if *again { "submits again" } else { "submits" };
                self.queue(origin.queue.0);
                self.row(
                    step,
                    "submit",
                    Some(client),
                    format!("{} {verb} {name}{value}", client.name()),
                    guilty,
                );
                if !again {
                    self.active.insert(*origin, self.ops.len());
                    let name = format!("{name}{value}");
                    self.ops.push(OpLife {
                        client,
                        name,
                        submitted: at,
                        finished: None,
                        guilty,
                    });
                }
            }
            Happening::Finish {
                origin,
                op,
                end,
                read,
            } => {
                let client = Lane::Client(origin.queue.0, origin.tag.0);
                if let Some(life) = self.active.remove(origin) {
                    self.ops[life].finished = Some(at);
                }
                let read = if read.is_empty() {
                    String::new()
                } else {
                    format!(", read {}", names::values(read))
                };
                let text = format!(
                    "{} has its answer: {}, {}{read}",
                    client.name(),
                    names::op(*op, shape),
                    names::end(*end)
                );
                self.row(step, "finish", Some(client), text, guilty);
            }
            Happening::Begin { io, queue, op } => self.begin(step, *io, *queue, op, guilty),
            Happening::Deliver {
                io,
                queue,
                op,
                outcome,
            } => self.deliver(step, *io, *queue, op, *outcome, guilty),
            Happening::Orphan { io, op, whole } => {
                if let Some(&life) = self.by_io.get(io) {
                    self.ios[life].completed = Some(at);
                    self.ios[life].failed = !whole;
                }
                let how = if *whole {
                    "was done all the same"
                } else {
                    "was cut short"
                };
                self.row(
                    step,
                    "deliver",
                    Some(Lane::Cache),
                    format!("#{io} {how}: {}", names::io(op)),
                    guilty,
                );
                self.rows[at].io = Some(*io);
            }
            Happening::Pages(changes) => self.changed(step, changes, guilty, shape),
            Happening::Turn(queue) => {
                self.queue(*queue);
                self.row(
                    step,
                    "turn",
                    Some(Lane::Queue(*queue)),
                    format!("queue {queue}: end of a batch"),
                    false,
                );
            }
            Happening::Tick(now) => {
                self.row(step, "tick", None, format!("time passes: {now} ms"), false)
            }
            Happening::Suspend(on) => {
                let text = if *on {
                    "the device is suspended"
                } else {
                    "the device goes on"
                };
                self.row(step, "note", None, text.to_owned(), false);
            }
            Happening::Cut { pending, in_flight } => {
                self.cuts.push(at);
                let text = format!(
                    "POWER CUT: {pending} changes not durable, {} I/Os in flight",
                    in_flight.len()
                );
                self.row(step, "cut", None, text, false);
                for life in &mut self.ios {
                    let ended = life.durable.is_some() || life.cut.is_some();
                    if !ended && (life.changes || life.completed.is_none()) {
                        life.cut = Some(at);
                    }
                }
                self.close_pages(at);
            }
            Happening::Survived(report) => {
                let text = format!(
                    "of the changes that were not durable {} survive, {} are lost, {} are torn{}",
                    report.survived,
                    report.lost,
                    report.torn,
                    if report.length_lost {
                        "; the length is another one"
                    } else {
                        ""
                    }
                );
                self.row(step, "survive", Some(Lane::Media), text, false);
            }
            Happening::Kill { in_flight } => {
                self.cuts.push(at);
                self.row(
                    step,
                    "cut",
                    None,
                    format!("SERVER KILLED: {in_flight} I/Os in flight"),
                    false,
                );
                self.close_pages(at);
            }
            Happening::Note(text) => self.row(step, "note", None, text.clone(), false),
        }
    }

    fn queue(&mut self, queue: u16) {
        if !self.seen_queues.contains(&queue) {
            self.seen_queues.push(queue);
        }
    }

    fn page(&mut self, page: u32) {
        if !self.seen_pages.contains(&page) {
            self.seen_pages.push(page);
        }
    }

    fn opened(&mut self, step: usize, state: &State, shape: &Shape) {
        let at = self.rows.len();
        for (page, name) in &state.pages {
            if name != "Clean" {
                self.page(*page);
                self.open.insert((*page, None), (name.clone(), at));
            }
        }
        let mapped = state.slots.iter().filter_map(|((page, slot), there)| {
            let (level, entry) = there.place?;
            let cluster = cluster_of(*page, *slot, shape);
            Some(format!("{cluster} > {}", place(level, entry, shape)))
        });
        let mapped: Vec<String> = mapped.collect();
        let text = match mapped.len() {
            0 => "the device is opened: nothing is mapped".to_owned(),
            many if many > 16 => format!("the device is opened: {many} clusters are mapped"),
            _ => format!("the device is opened; mapped: {}", mapped.join(", ")),
        };
        self.row(step, "note", None, text, false);
    }

    fn begin(&mut self, step: usize, io: u32, queue: u16, op: &IoOp, guilty: bool) {
        self.queue(queue);
        let client = match op {
            IoOp::Read { buf, .. } | IoOp::ReadHole { buf, .. } | IoOp::Write { buf, .. } => {
                Some(Lane::Client(buf.origin.queue.0, buf.origin.tag.0))
            }
            _ => None,
        };
        let page = match op {
            IoOp::WriteIndex { page, .. } => Some(page.0),
            _ => None,
        };
        if let Some(page) = page {
            self.page(page);
        }
        let changes = !matches!(
            op,
            IoOp::Read { .. } | IoOp::ReadHole { .. } | IoOp::Sync { .. }
        );
        let name = names::io(op);
        self.by_io.insert(io, self.ios.len());
        let begun = self.rows.len();
        self.row(
            step,
            "begin",
            Some(Lane::Cache),
            format!("#{io} begins: {name}"),
            guilty,
        );
        self.rows[begun].io = Some(io);
        self.ios.push(IoLife {
            io,
            name,
            queue,
            client,
            page,
            changes,
            begun,
            completed: None,
            failed: false,
            durable: None,
            cut: None,
            guilty,
        });
    }

    fn deliver(
        &mut self,
        step: usize,
        io: u32,
        queue: u16,
        op: &IoOp,
        outcome: Outcome,
        guilty: bool,
    ) {
        self.queue(queue);
        let at = self.rows.len();
        let failed = outcome != Outcome::Done;
        let mut begun = at;
        if let Some(&life) = self.by_io.get(&io) {
            let life = &mut self.ios[life];
            (life.completed, life.failed, begun) = (Some(at), failed, life.begun);
            if let (IoOp::Write { fua: true, .. }, false) = (op, failed) {
                life.durable = Some(at);
            }
        }
        let sort = if failed { "fault" } else { "deliver" };
        let mut text = format!("#{io} {}: {}", names::outcome(outcome), names::io(op));
        if let (IoOp::Sync { .. }, false) = (op, failed) {
            let covered = self.ios.iter_mut().filter(|life| {
                let open = life.durable.is_none() && life.cut.is_none();
                open && life.changes && life.completed.is_some_and(|row| row < begun)
            });
            let mut durable = Vec::new();
            for life in covered {
                life.durable = Some(at);
                durable.push(format!("#{}", life.io));
            }
            text += &match durable.len() {
                0 => ", nothing new is durable".to_owned(),
                _ => format!(", durable now: {}", durable.join(" ")),
            };
        }
        self.row(step, sort, Some(Lane::Queue(queue)), text, guilty);
        self.rows[at].io = Some(io);
    }

    fn changed(&mut self, step: usize, changes: &[Change], guilty: bool, shape: &Shape) {
        let at = self.rows.len();
        let mut told = Vec::new();
        for change in changes {
            match change {
                Change::Page { page, from, to } => {
                    self.page(*page);
                    self.lasts((*page, None), at, (to != "Clean").then(|| to.clone()));
                    let from = if from.is_empty() { "Clean" } else { from };
                    told.push(format!("page {page}: {from} > {to}"));
                }
                Change::Slot {
                    page,
                    slot,
                    from,
                    to,
                } => {
                    self.page(*page);
                    let cluster = cluster_of(*page, *slot, shape);
                    if from.held != to.held {
                        let held = to.held.then(|| "held".to_owned());
                        self.lasts((*page, Some(cluster)), at, held);
                        let how = if to.held { "locked" } else { "unlocked" };
                        told.push(format!("cluster {cluster} {how}"));
                    }
                    if from.place != to.place {
                        told.push(format!(
                            "cluster {cluster}: {} > {}",
                            shown(from, shape),
                            shown(to, shape)
                        ));
                    }
                }
            }
        }
        let lane = match changes.first() {
            Some(Change::Page { page, .. } | Change::Slot { page, .. }) => Some(Lane::Page(*page)),
            None => None,
        };
        self.row(step, "pages", lane, told.join("; "), guilty);
    }

    /// A state begins, or ends.
    fn lasts(&mut self, key: (u32, Option<u32>), at: usize, state: Option<String>) {
        if let Some((state, from)) = self.open.remove(&key) {
            self.pages.push(PageLife {
                page: key.0,
                state,
                cluster: key.1,
                from,
                to: at,
            });
        }
        if let Some(state) = state {
            self.open.insert(key, (state, at));
        }
    }

    fn close_pages(&mut self, at: usize) {
        let keys: Vec<_> = self.open.keys().copied().collect();
        for key in keys {
            self.lasts(key, at, None);
        }
    }

    fn end(&mut self, _: Option<&Shape>) {
        let last = self.rows.len().saturating_sub(1);
        self.close_pages(last);
    }

    fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = self.ops.iter().map(|op| op.client).collect();
        lanes.extend(self.seen_queues.iter().map(|&queue| Lane::Queue(queue)));
        lanes.extend(self.seen_pages.iter().map(|&page| Lane::Page(page)));
        lanes.extend([Lane::Cache, Lane::Media]);
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }
}

fn shown(slot: &Slot, shape: &Shape) -> String {
    match slot.place {
        None => "unmapped".to_owned(),
        Some((level, entry)) => place(level, entry, shape),
    }
}

/// A place in the chain.
fn place(level: u32, entry: u32, shape: &Shape) -> String {
    if level + 1 == u32::from(shape.levels) {
        match shape.layout().host_of(entry) {
            Some(host) => format!("host {}", host.0),
            None => format!("entry {entry}"),
        }
    } else {
        format!("file {level}")
    }
}
