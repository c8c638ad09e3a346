//! The model, shared by all clients of one block device, and what becomes of it when the server is killed.
//!
//! * An operation is submitted to the model before the kernel sees it and ended after the kernel has answered: the model's
//!   intervals contain the real ones, so it can be too lenient by that much, never too strict.
//! * **A killed server.** What it had acknowledged is judged like after a power cut: `kill` freezes a copy of the model. What
//!   it had not is issued again by the kernel, and ends under the new server; such *late* operations do not go to the
//!   model. When all of them have ended the whole disk is read: each sector must be legal for the frozen copy, and where
//!   late writes are, it must hold one of them.
//! * While the gate is shut, clients wait before they submit.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::disk::{Model, OpId};
use model::op::{End, Kind, Op, Value};
use rustix::io::Errno;
use sim::disk::sector::{fill_pattern, recognise};

use super::buffer::Buffer;
use super::target::{SECTOR, Target};
use super::trouble::{During, Trouble, demand};

/// What no write of ours has written.
const UNKNOWN: Value = Value(u64::MAX);

/// What happened, in order; kept if asked for.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Operation, number of the write.
    Submit(Op, u32),
    /// Position of its `Submit`, how it ended, what it read.
    End(usize, End, Vec<Value>),
    /// Something that the judge does not know; see `power`.
    Mark(u32),
}

struct State {
    model: Model,
    writes: u32,
    /// Ops in flight.
    running: u32,
    /// Goes up at each kill.
    server: u32,
    frozen: Option<Frozen>,
    shut: bool,
    events: Option<Vec<Event>>,
    ops: u64,
    sectors: u64,
    failed: u64,
    slowest: Duration,
}

/// What is known of a server that was killed.
struct Frozen {
    model: Model,
    late: Vec<(Op, u32)>,
}

/// See the module.
pub(crate) struct Judge {
    state: Mutex<State>,
    changed: Condvar,
}

/// Operations judged, sectors compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    /// Operations that ended.
    pub(crate) ops: u64,
    /// Sectors read and compared.
    pub(crate) sectors: u64,
}

/// The values in bytes that were read.
pub(crate) fn values(bytes: &[u8]) -> Vec<Value> {
    let (sectors, _) = bytes.as_chunks::<{ SECTOR as usize }>();
    sectors
        .iter()
        .map(|sector| match sector {
            // Most sectors of a thin disk.
            sector if *sector == [0; SECTOR as usize] => Value::ZERO,
            sector => recognise(sector).unwrap_or(UNKNOWN),
        })
        .collect()
}

/// Puts the values of a write into its bytes.
pub(crate) fn stamp(write: u32, op: Op, bytes: &mut [u8]) {
    for (sector, chunk) in (op.start..).zip(bytes.chunks_mut(SECTOR as usize)) {
        fill_pattern(Value::of(write, sector), 0, chunk);
    }
}

impl Judge {
    /// A judge of a disk with this content, durably.
    pub(crate) fn new(content: &[Value]) -> Judge {
        let mut model = Model::new(0);
        model.reset(content);
        Judge {
            state: Mutex::new(State {
                model,
                writes: 0,
                running: 0,
                server: 0,
                frozen: None,
                shut: false,
                events: None,
                ops: 0,
                sectors: 0,
                failed: 0,
                slowest: Duration::ZERO,
            }),
            changed: Condvar::new(),
        }
    }

    /// A judge of zeros.
    pub(crate) fn zeros(sectors: u64) -> Judge {
        Judge::new(&vec![Value::ZERO; sectors as usize])
    }

    /// Keeps what happens from now on.
    pub(crate) fn record(&self) {
        self.state().events = Some(Vec::new());
    }

    /// What has happened.
    pub(crate) fn recorded(&self) -> Vec<Event> {
        self.state().events.take().unwrap_or_default()
    }

    /// Notes a mark.
    pub(crate) fn mark(&self, mark: u32) {
        if let Some(events) = &mut self.state().events {
            events.push(Event::Mark(mark));
        }
    }

    /// What was judged so far.
    pub(crate) fn judged(&self) -> Judged {
        let state = self.state();
        Judged {
            ops: state.ops,
            sectors: state.sectors,
        }
    }

    /// The operation that took longest.
    pub(crate) fn slowest(&self) -> Duration {
        self.state().slowest
    }

    /// Operations that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.state().failed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, wait: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.state();
        self.changed
            .wait_while(state, |state| wait(state))
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Does an operation on the target, and judges the answer. How the kernel answered.
    ///
    /// # Errors
    /// The model does not allow the answer.
    pub(crate) fn perform(
        &self,
        target: &Target,
        op: Op,
        buffer: &mut Buffer,
    ) -> Result<Result<(), Errno>, Trouble> {
        let bytes = match op.kind {
            Kind::Read | Kind::Write { .. } => buffer.part((op.len * SECTOR) as usize),
            _ => &mut [],
        };
        let (submitted, write) = self.submit(op);
        if matches!(op.kind, Kind::Write { .. }) {
            stamp(write, op, bytes);
        }
        let began = Instant::now();
        let answer = target.perform(op, bytes);
        let took = began.elapsed();
        let read = match (op.kind, answer) {
            (Kind::Read, Ok(())) => values(bytes),
            _ => Vec::new(),
        };
        let mut state = self.state();
        state.slowest = state.slowest.max(took);
        drop(state);
        self.end(submitted, op, write, answer, &read)?;
        Ok(answer)
    }

    fn submit(&self, op: Op) -> (Submitted, u32) {
        let mut state = self.wait_while(|state| state.shut);
        let state = &mut *state;
        let mut write = 0;
        if matches!(op.kind, Kind::Write { .. }) {
            state.writes += 1;
            write = state.writes;
        }
        state.running += 1;
        let event = state.events.as_mut().map_or(0, |events| {
            events.push(Event::Submit(op, write));
            events.len() - 1
        });
        let id = state.model.submit(op, write);
        (
            Submitted {
                id,
                event,
                server: state.server,
            },
            write,
        )
    }

    fn end(
        &self,
        submitted: Submitted,
        op: Op,
        write: u32,
        answer: Result<(), Errno>,
        read: &[Value],
    ) -> Result<(), Trouble> {
        let end = match answer {
            Ok(()) => End::Ok,
            Err(Errno::NOSPC) => End::NoSpace,
            Err(_) => End::Io,
        };
        let mut state = self.state();
        let state = &mut *state;
        state.running -= 1;
        state.ops += 1;
        state.failed += u64::from(answer.is_err());
        state.sectors += read.len() as u64;
        self.changed.notify_all();
        if let Some(events) = &mut state.events {
            events.push(Event::End(submitted.event, end, read.to_vec()));
        }
        if submitted.server == state.server {
            return state
                .model
                .complete(submitted.id, end, read)
                .map_err(|violation| format!("{op:?}: {violation}").into());
        }
        let frozen = state
            .frozen
            .as_mut()
            .ok_or("an operation outlived the judgement of its server")?;
        if end == End::Ok {
            frozen.late.push((op, write));
        }
        for (sector, &value) in (op.start..).zip(read) {
            frozen
                .model
                .check_after_crash(sector, value)
                .map_err(|violation| format!("late {op:?}: {violation}"))?;
        }
        Ok(())
    }

    /// The server is dead, and clients submit nothing (see [`Judge::shut`]): what is in flight is late.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        let mut model = state.model.clone();
        model.crash();
        state.server += 1;
        state.frozen = Some(Frozen {
            model,
            late: Vec::new(),
        });
    }

    /// Clients wait before their next operation.
    pub(crate) fn shut(&self, shut: bool) {
        self.state().shut = shut;
        self.changed.notify_all();
    }

    /// Waits until nothing is in flight.
    pub(crate) fn wait_idle(&self) {
        drop(self.wait_while(|state| state.running > 0));
    }

    /// Judges what the disk holds under the new server, and goes on from there. Nothing may be in flight. Number of late
    /// operations.
    pub(crate) fn restart(&self, target: &Target) -> Result<usize, Trouble> {
        let flush = Op {
            kind: Kind::Flush,
            start: 0,
            len: 0,
        };
        target
            .perform(flush, &mut [])
            .during("flush after the recovery")?;
        let seen = read_all(target)?;
        let mut state = self.state();
        let state = &mut *state;
        let frozen = state.frozen.take().ok_or("no server was killed")?;
        frozen
            .model
            .check_all_after_crash(&seen)
            .map_err(|violation| format!("after the recovery: {violation}"))?;
        for (sector, &value) in seen.iter().enumerate() {
            late_value(&frozen.late, sector as u64, value)?;
        }
        state.model.reset(&seen);
        Ok(frozen.late.len())
    }

    /// Reads the whole disk as one more client.
    pub(crate) fn read_everything(&self, target: &Target, sectors: u64) -> Result<(), Trouble> {
        let mut buffer = Buffer::new((CHUNK * SECTOR) as usize);
        for start in (0..sectors).step_by(CHUNK as usize) {
            let op = Op {
                kind: Kind::Read,
                start,
                len: CHUNK.min(sectors - start),
            };
            self.perform(target, op, &mut buffer)?
                .during(format!("{op:?}"))?;
        }
        Ok(())
    }
}

/// A sector that late writes cover holds one of them.
fn late_value(late: &[(Op, u32)], sector: u64, seen: Value) -> Result<(), Trouble> {
    let covers = |op: &Op| (op.start..op.start + op.len).contains(&sector);
    let mut wanted = Vec::new();
    for (op, write) in late.iter().filter(|(op, _)| covers(op)) {
        match op.kind {
            Kind::Write { .. } => wanted.push(Value::of(*write, sector)),
            Kind::WriteZeroes { .. } => wanted.push(Value::ZERO),
            // Old or zeros: nothing is known.
            Kind::Discard | Kind::Read | Kind::Flush => {}
        }
    }
    let discarded = late
        .iter()
        .any(|(op, _)| op.kind == Kind::Discard && covers(op));
    let good = wanted.is_empty() || wanted.contains(&seen) || (discarded && seen == Value::ZERO);
    demand(good, || {
        format!("sector {sector} was written under the new server ({wanted:?}) and holds {seen:?}")
    })
}

struct Submitted {
    id: OpId,
    event: usize,
    server: u32,
}

/// Sectors that are read at once.
const CHUNK: u64 = 1024;

/// What the whole disk holds.
pub(crate) fn read_all(target: &Target) -> Result<Vec<Value>, Trouble> {
    let sectors = target.sectors()?;
    let mut buffer = Buffer::new((CHUNK * SECTOR) as usize);
    let mut all = Vec::with_capacity(sectors as usize);
    for start in (0..sectors).step_by(CHUNK as usize) {
        let len = CHUNK.min(sectors - start);
        let bytes = buffer.part((len * SECTOR) as usize);
        target
            .perform(
                Op {
                    kind: Kind::Read,
                    start,
                    len,
                },
                bytes,
            )
            .during(format!("read of {start}+{len}"))?;
        all.extend(values(bytes));
    }
    Ok(all)
}
