//! The search: the path of decisions that is being explored, the order of its events, and what is left to be tried.
//!
//! ```text
//!   frame 0 ─▶ frame 1 ─▶ ... ─▶ frame n        one a decision: who goes, who sleeps, which branches wait
//!   event 0    event 1           event n        what he did, and what happened before it
//! ```
//! * An execution repeats the frames that are there, then goes on with any task that is awake. When it ended, each *race*
//!   (two events that conflict, of different tasks, with nothing in between that orders them) whose later event is new is
//!   reversed: what does not depend on the earlier event, then the later one, becomes a branch in front of the earlier
//!   one, unless a task that sleeps there begins an equivalent sequence.
//! * A task *sleeps* in a state if what it would do there has been explored; something that conflicts with it wakes it.
//! * The next execution takes the deepest branch that waits. None: the search is complete.

use crate::clock::{Clock, MAX_TASKS};
use crate::op::{Access, Op};
use crate::runtime::{self, NEVER};
use crate::wakeup::{Forest, NONE, Step, is_independent, is_initial};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Which executions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// One for each trace.
    #[default]
    Optimal,
    /// Sleep sets alone: each trace once, and executions that find out midway that they repeat one.
    Sleep,
    /// Every interleaving. For comparison.
    All,
}

/// Tasks, a bit each.
pub(crate) type Set = u8;

/// More events than any execution that ends has.
const ENDLESS: usize = 50_000;

#[derive(Clone, Copy, Debug)]
struct Frame {
    task: u8,
    /// What the task does.
    op: Op,
    asleep: Set,
    /// The list of branches that wait.
    branches: u32,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    task: u8,
    op: Op,
    /// What happened before it, and itself.
    clock: Clock,
    /// The task's event before this one, or [`NEVER`].
    previous: u32,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Search {
    mode: Mode,
    frames: Vec<Frame>,
    events: Vec<Event>,
    /// By task, its last event.
    last: [u32; MAX_TASKS],
    /// By maker and number of an object, its events.
    histories: Vec<Vec<Vec<u32>>>,
    /// Of new events: the earlier and the later one.
    races: Vec<(u32, u32)>,
    forest: Forest,
    /// Branches of the frame that comes behind the last one.
    below: u32,
    sequence: Vec<Step>,
    /// Neighbours of different tasks that do not depend on each other.
    pub(crate) independent: u64,
    /// The first event at which that schedule could not be followed, or was over.
    pub(crate) strayed: Option<usize>,
    /// A schedule that is repeated instead.
    pub(crate) follow: Option<Vec<u8>>,
}

impl Search {
    pub(crate) fn new(mode: Mode) -> Search {
        Search {
            mode,
            frames: Vec::new(),
            events: Vec::new(),
            last: [NEVER; MAX_TASKS],
            histories: vec![Vec::new(); MAX_TASKS + 1],
            races: Vec::new(),
            forest: Forest::default(),
            below: NONE,
            sequence: Vec::new(),
            independent: 0,
            strayed: None,
            follow: None,
        }
    }

    /// Who goes in the state after `depth` events, where the tasks of `able` can. `None`: all of them sleep.
    pub(crate) fn choose(&mut self, depth: usize, able: Set) -> Option<usize> {
        assert!(depth < ENDLESS, "{depth} events and no end");
        if depth == self.frames.len() {
            let frame = self.new_frame(depth, able)?;
            self.frames.push(frame);
        }
        let Frame { task, op, .. } = self.frames[depth];
        let task = usize::from(task);
        let announced = runtime::pending(task);
        assert!(
            able & 1 << task != 0 && announced == op,
            "the program does not do the same again: event {depth} was {op} of task {task}, is {announced}"
        );
        if depth == self.events.len() {
            self.add_event(task, op);
        }
        Some(task)
    }

    fn new_frame(&mut self, depth: usize, able: Set) -> Option<Frame> {
        if let Some(follow) = &self.follow {
            let wanted = follow.get(depth).copied().map(usize::from);
            let possible = wanted.filter(|&task| task < MAX_TASKS && able & 1 << task != 0);
            if possible.is_none() {
                self.strayed.get_or_insert(depth);
            }
            let task = possible.unwrap_or(able.trailing_zeros() as usize);
            return Some(Frame {
                task: task as u8,
                op: runtime::pending(task),
                asleep: 0,
                branches: NONE,
            });
        }
        let asleep = self.asleep(depth);
        let mut branches = std::mem::replace(&mut self.below, NONE);
        if let Some(branch) = self.forest.take(&mut branches) {
            self.below = branch.below;
            return Some(Frame {
                task: branch.task as u8,
                op: branch.op,
                asleep,
                branches,
            });
        }
        let mut awake = able & !asleep;
        if awake == 0 {
            return None;
        }
        let task = awake.trailing_zeros();
        awake &= awake - 1;
        if self.mode != Mode::Optimal {
            for other in (0..MAX_TASKS)
                .rev()
                .filter(|&other| awake & 1 << other != 0)
            {
                self.forest
                    .push(&mut branches, other, runtime::pending(other));
            }
        }
        Some(Frame {
            task: task as u8,
            op: runtime::pending(task as usize),
            asleep,
            branches,
        })
    }

    /// Who sleeps behind the last event: who did before it, and was not woken by it.
    fn asleep(&self, depth: usize) -> Set {
        let Some(before) = depth.checked_sub(1) else {
            return 0;
        };
        let mut asleep = self.frames[before].asleep;
        let op = self.events[before].op;
        for task in members(asleep) {
            if runtime::pending(task).conflicts(&op) {
                asleep &= !(1 << task);
            }
        }
        asleep
    }

    fn add_event(&mut self, task: usize, op: Op) {
        let number = self.events.len() as u32;
        let previous = self.last[task];
        let past = self.clock_of(previous);
        let mut clock = past;
        let (maker, object) = (usize::from(op.object.maker), usize::from(op.object.number));
        let histories = &mut self.histories[maker];
        if histories.len() <= object {
            histories.resize_with(object + 1, Vec::new);
        }
        let history = &mut histories[object];
        let race_with = |earlier: u32, known: &Clock, races: &mut Vec<(u32, u32)>| {
            let event = &self.events[earlier as usize];
            if !known.knows(usize::from(event.task), &event.clock) {
                races.push((earlier, number));
            }
        };
        if op.access == Access::Lock {
            // Only the last holder can have been later; that he gave it back comes before this for sure.
            if let Some(&holder) = history.last() {
                race_with(holder, &past, &mut self.races);
            }
            let released = runtime::released(op.object);
            if let Some(event) = self.events.get(released as usize) {
                clock.join(&event.clock);
            }
        } else {
            for &earlier in history.iter().rev() {
                let event = &self.events[earlier as usize];
                if event.op.conflicts(&op) {
                    race_with(earlier, &clock, &mut self.races);
                    clock.join(&event.clock);
                }
            }
        }
        if let Some(neighbour) = self.events.last() {
            // A task always knows its own events.
            let ordered = clock.knows(usize::from(neighbour.task), &neighbour.clock);
            self.independent += u64::from(!ordered);
        }
        clock.tick(task);
        history.push(number);
        self.last[task] = number;
        self.events.push(Event {
            task: task as u8,
            op,
            clock,
            previous,
        });
    }

    fn clock_of(&self, event: u32) -> Clock {
        let event = self.events.get(event as usize);
        event.map_or(Clock::default(), |event| event.clock)
    }

    /// The execution ended: its races are reversed.
    pub(crate) fn ended(&mut self) {
        let mut races = std::mem::take(&mut self.races);
        if self.mode == Mode::Optimal && self.follow.is_none() {
            for &(earlier, later) in &races {
                self.reverse(earlier as usize, later as usize);
            }
        }
        races.clear();
        self.races = races;
    }

    /// What must be explored so that `later` comes before `earlier`.
    fn reverse(&mut self, earlier: usize, later: usize) {
        let first = self.events[earlier];
        let step = |event: &Event, past: Clock| Step {
            task: event.task,
            op: event.op,
            clock: event.clock,
            past,
        };
        let mut v = std::mem::take(&mut self.sequence);
        v.clear();
        for event in &self.events[earlier + 1..] {
            if !event.clock.knows(usize::from(first.task), &first.clock) {
                v.push(step(event, event.clock));
            }
        }
        let event = &self.events[later];
        v.push(step(event, self.clock_of(event.previous)));
        if !self.sleeper_begins(earlier, &v) {
            let frame = &mut self.frames[earlier];
            self.forest.insert(&mut frame.branches, &mut v);
        }
        self.sequence = v;
    }

    /// True if a task that sleeps in front of event `at` could begin `v`, or something equivalent to it.
    fn sleeper_begins(&self, at: usize, v: &[Step]) -> bool {
        members(self.frames[at].asleep).any(|sleeper| {
            match v.iter().position(|step| usize::from(step.task) == sleeper) {
                Some(index) => is_initial(v, index),
                None => {
                    let events = self.events[at..].iter();
                    let op = events
                        .filter(|event| usize::from(event.task) == sleeper)
                        .map(|event| event.op)
                        .next();
                    is_independent(v, &op.unwrap_or_else(|| runtime::pending(sleeper)))
                }
            }
        })
    }

    /// Goes on to the next branch that waits. False: there is none.
    pub(crate) fn next(&mut self) -> bool {
        if self.follow.is_some() {
            return false;
        }
        while let Some(frame) = self.frames.last_mut() {
            if self.mode != Mode::All {
                frame.asleep |= 1 << frame.task;
            }
            let branch = self.forest.take(&mut frame.branches);
            if let Some(branch) = branch {
                frame.task = branch.task as u8;
                frame.op = branch.op;
                self.below = branch.below;
                self.truncate(self.frames.len() - 1);
                return true;
            }
            self.frames.pop();
        }
        false
    }

    fn truncate(&mut self, len: usize) {
        while self.events.len() > len {
            let Some(event) = self.events.pop() else {
                return;
            };
            self.last[usize::from(event.task)] = event.previous;
            let object = event.op.object;
            self.histories[usize::from(object.maker)][usize::from(object.number)].pop();
        }
    }

    /// Who went, event by event.
    pub(crate) fn schedule(&self) -> Vec<u8> {
        self.events.iter().map(|event| event.task).collect()
    }

    /// The last events, for a message.
    pub(crate) fn story(&self) -> String {
        let lines = self
            .events
            .iter()
            .enumerate()
            .map(|(number, event)| format!("  {number}: task {} {}\n", event.task, event.op));
        lines.collect()
    }

    /// The same for all equivalent executions, and for no others.
    pub(crate) fn trace(&self) -> u64 {
        let hashes = self.events.iter().map(|event| {
            let mut hasher = DefaultHasher::new();
            (event.task, event.op, event.clock).hash(&mut hasher);
            hasher.finish()
        });
        hashes.fold(0, u64::wrapping_add)
    }
}

/// The members of a set.
pub(crate) fn members(mut set: Set) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let rest = set & set.checked_sub(1)?;
        let task = set.trailing_zeros() as usize;
        set = rest;
        Some(task)
    })
}
