//! What happened in a run, event by event, for people: noted only if somebody reads ([`World::set_logging`]).
//!
//! An [`Entry`] is one line of the story. It carries the names of what it touches, so that a picture can be drawn of it:
//! which client, which I/O, which page and slot, which sectors of the file. `Display` is the line of `sim replay --trace`.
//!
//! [`World::set_logging`]: super::World::set_logging

use std::collections::BTreeMap;
use std::fmt;

use model::op::{End, Op, Value};
use ploop_core::{IoOp, Origin, Outcome};

use crate::check::in_use;
use crate::disk::CrashReport;
use crate::world::shape::Shape;

/// One line of the story.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which event of the tape it belongs to, from 1; 0 before the first one or if the tape has no events.
    pub step: usize,
    /// What happened.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// The run begins.
    Begun(Box<Shape>),
    /// A device was opened on the chain: what its pages hold.
    Opened(State),
    /// A client submits an operation; `again` after the server was killed.
    Submit {
        /// Who.
        origin: Origin,
        /// What.
        op: Op,
        /// The number of the write, if it is one.
        write: u32,
        /// It was submitted before, and the server was killed.
        again: bool,
    },
    /// An operation has ended.
    Finish {
        /// Whose.
        origin: Origin,
        /// What.
        op: Op,
        /// How.
        end: End,
        /// What was read.
        read: Vec<Value>,
    },
    /// The core wants an I/O done.
    Begin {
        /// Number of the I/O.
        io: u32,
        /// The queue that carries it out.
        queue: u16,
        /// What.
        op: IoOp,
    },
    /// Its completion is delivered.
    Deliver {
        /// Number of the I/O.
        io: u32,
        /// The queue that carried it out.
        queue: u16,
        /// What it was.
        op: IoOp,
        /// How it ended.
        outcome: Outcome,
    },
    /// Pages and slots that changed since the last entry.
    Pages(Vec<Change>),
    /// The end of a batch.
    Turn(u16),
    /// Time, in milliseconds.
    Tick(u64),
    /// The device is suspended, or goes on.
    Suspend(bool),
    /// The power is cut.
    Cut {
        /// Changes that were not durable.
        pending: usize,
        /// I/Os in flight.
        in_flight: Vec<u32>,
    },
    /// What became of the pending changes.
    Survived(CrashReport),
    /// The server is killed.
    Kill {
        /// I/Os in flight.
        in_flight: usize,
    },
    /// What became of an I/O of a killed server.
    Orphan {
        /// Number of the I/O.
        io: u32,
        /// What it was.
        op: IoOp,
        /// It was done, not cut short.
        whole: bool,
    },
    /// Anything else.
    Note(String),
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Begun(shape) => write!(f, "{shape:?}"),
            Happening::Opened(state) => write!(f, "opened   {} slots mapped", state.slots.len()),
            Happening::Submit {
                origin,
                op,
                write,
                again,
            } => {
                let (queue, tag) = (origin.queue.0, origin.tag.0);
                if *again {
                    return write!(f, "again    q{queue} t{tag} {op:?}");
                }
                let (kind, start, len) = (op.kind, op.start, op.len);
                write!(
                    f,
                    "submit   q{queue} t{tag} {kind:?} {start}+{len} (write {write})"
                )
            }
            Happening::Finish {
                origin,
                op,
                end,
                read,
            } => {
                let (queue, tag) = (origin.queue.0, origin.tag.0);
                write!(f, "finish   q{queue} t{tag} {:?} {end:?}", op.kind)?;
                read.iter()
                    .try_for_each(|value| write!(f, " {}", value_name(*value)))
            }
            Happening::Begin { op, .. } => write!(f, "  begin  {}", describe(op)),
            Happening::Deliver { op, outcome, .. } => {
                write!(f, "deliver  {} {outcome:?}", describe(op))
            }
            Happening::Pages(changes) => {
                f.write_str("  pages ")?;
                for (index, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if index == 0 { " " } else { "; " })?;
                }
                Ok(())
            }
            Happening::Turn(queue) => write!(f, "turn     q{queue}"),
            Happening::Tick(now) => write!(f, "tick     {now}"),
            Happening::Suspend(true) => f.write_str("suspend"),
            Happening::Suspend(false) => f.write_str("resume"),
            Happening::Cut { pending, in_flight } => write!(
                f,
                "power cut, {pending} changes pending; {} in flight",
                in_flight.len()
            ),
            Happening::Survived(report) => write!(f, "  survived: {report:?}"),
            Happening::Kill { in_flight } => write!(f, "server killed, {in_flight} in flight"),
            Happening::Orphan { op, whole, .. } => {
                let end = if *whole { "done" } else { "cut short" };
                write!(f, "  {end}: {}", describe(op))
            }
            Happening::Note(text) => f.write_str(text),
        }
    }
}

/// A value in a few characters: who wrote it.
#[must_use]
pub fn value_name(value: Value) -> String {
    if value == Value::ZERO {
        "0".to_owned()
    } else {
        format!("w{}", value.write())
    }
}

/// An I/O on one line.
pub(super) fn describe(op: &IoOp) -> String {
    match op {
        IoOp::WriteIndex {
            page, at, image, ..
        } => {
            let slots = image
                .chunks_exact(4)
                .map(|slot| u32::from_le_bytes([slot[0], slot[1], slot[2], slot[3]]));
            let skip = if *at == 0 { 16 } else { 0 };
            let slots: Vec<u32> = slots.skip(skip).take(40).collect();
            format!(
                "WriteIndex page {} in-use {} {slots:?}",
                page.0,
                in_use::carries_mark(op)
            )
        }
        op => format!("{op:?}"),
    }
}

/// What a slot of a page says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Where the cluster is: a level and the raw entry; `None` if nowhere.
    pub place: Option<(u32, u32)>,
    /// A request holds the cluster's lock.
    pub held: bool,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            None => f.write_str("-")?,
            Some((level, entry)) => write!(f, "{level}:{entry}")?,
        }
        if self.held {
            f.write_str(" held")
        } else {
            Ok(())
        }
    }
}

/// Pages and slots of a device, as far as they are not in their first state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Write-back states by page.
    pub pages: BTreeMap<u32, String>,
    /// Slots by page and slot.
    pub slots: BTreeMap<(u32, u32), Slot>,
}

/// What changed in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its write-back state.
    Page {
        /// Which page.
        page: u32,
        /// Before.
        from: String,
        /// Now.
        to: String,
    },
    /// One of its slots.
    Slot {
        /// Which page.
        page: u32,
        /// Which slot.
        slot: u32,
        /// Before.
        from: Slot,
        /// Now.
        to: Slot,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Page { page, from, to } => write!(f, "p{page} {from} > {to}"),
            Change::Slot {
                page,
                slot,
                from,
                to,
            } => write!(f, "p{page} slot {slot}: {from} > {to}"),
        }
    }
}

impl State {
    /// Reads what a device says of itself (`Device::dump`). Lines of another form are passed by.
    #[must_use]
    pub fn of(dump: &str) -> State {
        let mut state = State::default();
        let mut page = 0;
        for line in dump.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok());
            match words.first() {
                Some(&"page") => {
                    page = number(1).unwrap_or(0);
                    let name = words.get(2).copied().unwrap_or("").to_owned();
                    state.pages.insert(page, name);
                }
                Some(&"slot") => {
                    let (Some(slot), Some(level), Some(entry)) = (number(1), number(3), number(5))
                    else {
                        continue;
                    };
                    // A level that no chain has: nothing is mapped.
                    let place = (level < 255).then_some((level, entry));
                    let held = words.last() == Some(&"held");
                    if place.is_some() || held {
                        state.slots.insert((page, slot), Slot { place, held });
                    }
                }
                _ => {}
            }
        }
        state
    }

    /// What differs in `now`.
    fn changes(&self, now: &State) -> Vec<Change> {
        let mut changes = Vec::new();
        for (page, to) in &now.pages {
            let from = self.pages.get(page).cloned().unwrap_or_default();
            if from != *to {
                let (page, to) = (*page, to.clone());
                changes.push(Change::Page { page, from, to });
            }
        }
        let mut slots: Vec<_> = self.slots.keys().chain(now.slots.keys()).collect();
        slots.sort_unstable();
        slots.dedup();
        for &(page, slot) in slots {
            let of = |state: &State| state.slots.get(&(page, slot)).cloned().unwrap_or_default();
            let (from, to) = (of(self), of(now));
            if from != to {
                changes.push(Change::Slot {
                    page,
                    slot,
                    from,
                    to,
                });
            }
        }
        changes
    }
}

/// What was noted so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    state: State,
}

impl Log {
    pub(super) fn push(&mut self, step: usize, what: Happening) {
        self.entries.push(Entry { step, what });
    }

    /// A device was opened.
    pub(super) fn opened(&mut self, step: usize, dump: &str) {
        self.state = State::of(dump);
        self.push(step, Happening::Opened(self.state.clone()));
    }

    /// A device may have changed.
    pub(super) fn watch(&mut self, step: usize, dump: &str) {
        let now = State::of(dump);
        let changes = self.state.changes(&now);
        if !changes.is_empty() {
            self.push(step, Happening::Pages(changes));
        }
        self.state = now;
    }
}
