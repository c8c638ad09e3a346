//! Tells a run's log entry by entry: rows, and the lives of operations, I/Os and pages.
//!
//! What becomes durable when is derived: a sync that succeeds covers what was completed before it was submitted; a FUA
//! write covers itself. A power cut ends all lives.

use super::guilt::cluster_of;
use super::locks::{Locks, Seen};
use super::names;
use super::story::{IoLife, Lane, OpLife, PageLife, Row, in_words};
use crate::world::log::{Change, Happening, Slot, State};
use crate::world::shape::Shape;
use ploop_core::{IoOp, Origin, Outcome};
use std::collections::BTreeMap;
use std::ops::Range;

/// Tells the entries one by one.
#[derive(Default)]
pub(super) struct Teller {
    pub(super) rows: Vec<Row>,
    pub(super) ops: Vec<OpLife>,
    pub(super) ios: Vec<IoLife>,
    pub(super) pages: Vec<PageLife>,
    pub(super) cuts: Vec<usize>,
    seen_pages: Vec<u32>,
    seen_queues: Vec<u16>,
    active: BTreeMap<Origin, usize>,
    by_io: BTreeMap<u32, usize>,
    pub(super) locks: Locks,
    /// Page states and locks that last, by page and lock, with their first row.
    open: BTreeMap<(u32, Option<u32>), (String, usize)>,
}

impl Teller {
    pub(super) fn row(
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

    pub(super) fn tell(&mut self, step: usize, what: &Happening, guilty: bool, shape: &Shape) {
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
                self.locks.submitted(step, client, *op);
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
                self.locks.finished(client);
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
                    "POWER CUT: {} not durable, {} in flight",
                    names::counted(*pending as u32, "changes"),
                    names::counted(in_flight.len() as u32, "I/Os")
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
        if let (IoOp::Write { at, .. }, Some(client)) = (op, client) {
            self.locks.writes(step, client, at.0);
        }
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
                    let start = u64::from(cluster) * shape.cluster;
                    let (lock, mistake) = self.locks.changed(&Seen {
                        step,
                        row: at,
                        cluster,
                        sectors: start..start + shape.cluster,
                        host: host(to, shape),
                        from,
                        to,
                    });
                    if let Some(mistake) = mistake {
                        let text = &mut self.rows[mistake.row].text;
                        *text = text.replacen(&mistake.said, &mistake.right, 1);
                    }
                    if !lock.is_empty() {
                        let held = to.held.then(|| "held".to_owned());
                        self.lasts((*page, Some(cluster)), at, held);
                        told.extend(lock);
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
            let holder = key.1.and_then(|cluster| self.locks.holder(cluster, from));
            self.pages.push(PageLife {
                page: key.0,
                state,
                cluster: key.1,
                holder,
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
        self.locks.forget();
    }

    pub(super) fn end(&mut self) {
        let last = self.rows.len().saturating_sub(1);
        self.close_pages(last);
    }

    pub(super) fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = self.ops.iter().map(|op| op.client).collect();
        lanes.extend(self.seen_queues.iter().map(|&queue| Lane::Queue(queue)));
        lanes.extend(self.seen_pages.iter().map(|&page| Lane::Page(page)));
        lanes.extend([Lane::Cache, Lane::Media]);
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }
}

/// Where the top has a cluster, in sectors of the file.
fn host(slot: &Slot, shape: &Shape) -> Option<Range<u64>> {
    let (level, entry) = slot.place?;
    let layout = shape.layout();
    let host = layout
        .host_of(entry)
        .filter(|_| level + 1 == u32::from(shape.levels))?;
    let start = layout.host_sector(host).0;
    Some(start..start + shape.cluster)
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
