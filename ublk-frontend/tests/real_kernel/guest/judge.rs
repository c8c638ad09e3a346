//! The model, shared by all clients of one block device.
//!
//! * An operation is submitted to the model before the kernel sees it and ended after the kernel has answered: the model's
//!   intervals contain the real ones, so it can be too lenient by that much, never too strict.
//! * **A killed server** is no event here: clients see no error and are told of nothing, so the disk that they see is one
//!   disk. What the dead server had acknowledged stays, what it had not is issued again by the kernel and ends under the
//!   next server, in one order that the model finds, or does not.
//! * **A sector that is read while it is written may be half**: the guest's disk is a file in its host's page cache, whose reads
//!   and writes do not exclude each other. Such a sector has words of two values, and both must be legal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::disk::{Model, OpId};
use model::op::{End, Kind, Op, Value};
use rustix::io::Errno;
use sim::disk::sector::{fill_pattern, recognise};

use super::buffer::Buffer;
use super::target::{SECTOR, Target};
use super::trouble::{During, Trouble};

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
    events: Option<Vec<Event>>,
    ops: u64,
    sectors: u64,
    failed: u64,
    durables: usize,
    slowest: Duration,
}

/// See the module.
pub(crate) struct Judge {
    state: Mutex<State>,
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

/// Sectors whose words are of two values: the older one is put into `read`, the newer one returned with its index. After the
/// newer one nobody may read the older any more, and another read may still be half: the older one is what counts as read.
fn untear(bytes: &[u8], read: &mut [Value]) -> Vec<(usize, Value)> {
    let (sectors, _) = bytes.as_chunks::<{ SECTOR as usize }>();
    let mut torn = Vec::new();
    for (index, (sector, value)) in sectors.iter().zip(read).enumerate() {
        if *value != UNKNOWN {
            continue;
        }
        let words = sector.as_chunks::<8>().0.iter().enumerate();
        let mut found: Vec<Value> = words.map(|(at, word)| word_of(at, *word)).collect();
        found.sort_unstable();
        found.dedup();
        if let [older, newer] = found[..] {
            *value = older;
            torn.push((index, newer));
        }
    }
    torn
}

/// The value whose pattern has this word there. A later write has the larger value.
fn word_of(at: usize, word: [u8; 8]) -> Value {
    if word == [0; 8] {
        return Value::ZERO;
    }
    let mut spread = [0; 8];
    fill_pattern(Value(1), 8 * at, &mut spread);
    let spread = u64::from_le_bytes(spread).wrapping_sub(1);
    Value(u64::from_le_bytes(word).wrapping_sub(spread))
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
                events: None,
                ops: 0,
                sectors: 0,
                failed: 0,
                durables: 0,
                slowest: Duration::ZERO,
            }),
        }
    }

    /// A judge of zeros.
    pub(crate) fn zeros(sectors: u64) -> Judge {
        Judge::new(&vec![Value::ZERO; sectors as usize])
    }

    /// The disk became so many sectors larger.
    pub(crate) fn grow(&self, sectors: u64) {
        self.state().model.grow(sectors);
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

    /// Flushes and FUA writes that were answered.
    pub(crate) fn durables(&self) -> usize {
        self.state().durables
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (mut read, mut halves) = (Vec::new(), Vec::new());
        if (op.kind, answer) == (Kind::Read, Ok(())) {
            read = values(bytes);
            halves = untear(bytes, &mut read);
        }
        let mut state = self.state();
        state.slowest = state.slowest.max(took);
        drop(state);
        self.end(submitted, op, answer, &read, &halves)?;
        Ok(answer)
    }

    fn submit(&self, op: Op) -> (Submitted, u32) {
        let mut state = self.state();
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
        (Submitted { id, event }, write)
    }

    fn end(
        &self,
        submitted: Submitted,
        op: Op,
        answer: Result<(), Errno>,
        read: &[Value],
        halves: &[(usize, Value)],
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
        let durable = matches!(op.kind, Kind::Flush | Kind::Write { fua: true, .. });
        state.durables += usize::from(durable && answer.is_ok());
        state.sectors += read.len() as u64;
        if let Some(events) = &mut state.events {
            events.push(Event::End(submitted.event, end, read.to_vec()));
        }
        if !halves.is_empty() {
            println!("{op:?}: half written: {halves:?}");
            let mut other = read.to_vec();
            for &(index, newer) in halves {
                other[index] = newer;
            }
            let judged = state.model.clone().complete(submitted.id, end, &other);
            judged.map_err(|violation| format!("{op:?}, half: {violation}"))?;
        }
        let judged = state.model.complete(submitted.id, end, read);
        judged.map_err(|violation| format!("{op:?}: {violation}").into())
    }

    /// Operations in flight.
    pub(crate) fn running(&self) -> u32 {
        self.state().running
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

struct Submitted {
    id: OpId,
    event: usize,
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
