//! One execution, and all of them.

use crate::clock::MAX_TASKS;
use crate::coroutine::Fiber;
use crate::runtime;
use crate::search::{Mode, Search, Set, members};
use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// What is explored, and for how long.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which executions.
    pub mode: Mode,
    /// So many executions at most.
    pub limit: u64,
    /// Keep the identity of each trace, to count them and to compare.
    pub keep_traces: bool,
    /// Only this schedule: the number of a task for each event. Where it cannot go, or behind its end, the first that can.
    pub schedule: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mode: Mode::Optimal,
            limit: u64::MAX,
            keep_traces: false,
            schedule: None,
        }
    }
}

/// What an exploration amounts to.
#[derive(Debug, Default)]
pub struct Receipt {
    /// Every inequivalent interleaving was executed.
    pub complete: bool,
    /// Executions begun.
    pub executions: u64,
    /// Executions that found out midway that they repeat an earlier one, since all tasks that could go slept.
    pub sleep_blocked: u64,
    /// Events of all executions together, those repeated included.
    pub events: u64,
    /// Events of the longest execution.
    pub longest: usize,
    /// Neighbouring events of different tasks that do not depend on each other, each pair counted where it first came about:
    /// so often another order was left out because nothing could tell it from the one that was executed.
    pub independent: u64,
    /// The traces, if they are kept.
    pub traces: BTreeSet<u64>,
    /// Why the exploration ended early.
    pub failure: Option<Failure>,
    /// Of [`Options::schedule`]: the first event at which it could not be followed, or was over before the program.
    pub strayed: Option<usize>,
}

/// An execution that failed.
pub struct Failure {
    /// What it said.
    pub message: String,
    /// Which one, from 1.
    pub execution: u64,
    /// How to see it again: see [`Options::schedule`].
    pub schedule: Vec<u8>,
    /// The events until then, a line each.
    pub story: String,
    /// The panic.
    pub payload: Box<dyn Any + Send>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "execution {}: {} (schedule {:?})",
            self.execution, self.message, self.schedule
        )
    }
}

impl Receipt {
    /// Traces executed to their end, each once (in [`Mode::All`]: interleavings).
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.executions - self.sleep_blocked
    }
}

/// One line: whether it is complete, and what it took.
impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Some(failure) => write!(f, "failed in execution {}", failure.execution)?,
            None if self.complete => f.write_str("complete")?,
            None => write!(f, "cut at {}", self.executions)?,
        }
        write!(
            f,
            ", {} traces, {} executions, {} sleep-blocked, {} independent, longest {}",
            self.distinct(),
            self.executions,
            self.sleep_blocked,
            self.independent,
            self.longest
        )
    }
}

/// A task of a race.
pub type Task<R> = Box<dyn FnOnce() -> R>;

/// The exploration that is going on.
struct Going {
    search: Search,
    /// The race of this execution was run.
    raced: bool,
    blocked: bool,
    events: usize,
}

std::thread_local! {
    static GOING: RefCell<Option<Box<Going>>> = const { RefCell::new(None) };
}

/// Runs `program` once for each trace of the [`race`] in it.
///
/// # Panics
/// If called from a program that is being explored.
pub fn explore(options: &Options, mut program: impl FnMut()) -> Receipt {
    let mut receipt = Receipt::default();
    let mut search = Search::new(options.mode);
    search.follow.clone_from(&options.schedule);
    let mut going = Box::new(Going {
        search,
        raced: false,
        blocked: false,
        events: 0,
    });
    while receipt.executions < options.limit {
        runtime::restart();
        (going.raced, going.blocked, going.events) = (false, false, 0);
        let before = GOING.replace(Some(going));
        assert!(before.is_none(), "an exploration in an exploration");
        let ended = catch_unwind(AssertUnwindSafe(&mut program));
        going = match GOING.take() {
            Some(going) => going,
            None => unreachable!("the race puts it back"),
        };
        receipt.executions += 1;
        receipt.events += going.events as u64;
        receipt.longest = receipt.longest.max(going.events);
        receipt.sleep_blocked += u64::from(going.blocked);
        if let Err(payload) = ended {
            receipt.failure = Some(Failure {
                message: message(&*payload),
                execution: receipt.executions,
                schedule: going.search.schedule(),
                story: going.search.story(),
                payload,
            });
            break;
        }
        if options.keep_traces && !going.blocked {
            receipt.traces.insert(going.search.trace());
        }
        going.search.ended();
        if !going.search.next() {
            receipt.complete = options.schedule.is_none();
            break;
        }
    }
    runtime::restart();
    receipt.independent = going.search.independent;
    receipt.strayed = going.search.strayed;
    if let (None, Some(schedule)) = (receipt.strayed, &options.schedule) {
        // It goes on behind the end of the program.
        let left = schedule.len() > receipt.longest;
        receipt.strayed = left.then_some(receipt.longest);
    }
    receipt
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic".to_owned())
}

/// Lets the tasks race, and returns what they returned. Outside of [`explore`]: one after the other.
///
/// # Panics
/// If a task does, or if none can go on though one has not ended; if there are more than [`MAX_TASKS`] tasks, or this is
/// the second race of one program.
pub fn race<R: 'static>(tasks: Vec<Task<R>>) -> Vec<R> {
    let Some(mut going) = GOING.take() else {
        return tasks.into_iter().map(|task| task()).collect();
    };
    let mut fibers: Vec<Fiber<R>> = Vec::with_capacity(tasks.len());
    let mut results: Vec<Option<R>> = Vec::with_capacity(tasks.len());
    let ended = catch_unwind(AssertUnwindSafe(|| {
        assert!(tasks.len() <= MAX_TASKS, "{MAX_TASKS} tasks at most");
        assert!(!going.raced, "a second race");
        going.raced = true;
        for (number, task) in tasks.into_iter().enumerate() {
            fibers.push(Fiber::new(number, task));
            results.push(None);
        }
        run(&mut going, &mut fibers, &mut results);
    }));
    runtime::leave();
    if ended.is_err() {
        runtime::unwinding(true);
    }
    for (number, fiber) in fibers.drain(..).enumerate() {
        // Unwound, if it has not ended: as the task that it is, for the sake of its own variables.
        runtime::enter(number, runtime::NEVER);
        fiber.recycle();
    }
    runtime::leave();
    runtime::unwinding(false);
    GOING.set(Some(going));
    match ended {
        Ok(()) => results.into_iter().flatten().collect(),
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs the tasks until all have ended.
fn run<R: 'static>(going: &mut Going, fibers: &mut [Fiber<R>], results: &mut [Option<R>]) {
    let mut live: Set = 0;
    // Each up to what it announces first.
    for task in 0..fibers.len() {
        results[task] = go_on(&mut fibers[task], task, runtime::NEVER);
        live |= Set::from(results[task].is_none()) << task;
    }
    while live != 0 {
        let able = members(live)
            .filter(|&task| runtime::is_possible(&runtime::pending(task)))
            .fold(0, |able: Set, task| able | 1 << task);
        assert!(able != 0, "deadlock: {}", waiting(live));
        let chosen = if going.blocked {
            None
        } else {
            going.search.choose(going.events, able)
        };
        // Nothing new can come: the rest is only brought to its end.
        let task = chosen.unwrap_or_else(|| {
            going.blocked = true;
            able.trailing_zeros() as usize
        });
        results[task] = go_on(&mut fibers[task], task, going.events as u32);
        going.events += 1;
        if results[task].is_some() {
            live &= !(1 << task);
        }
    }
}

fn go_on<R: 'static>(fiber: &mut Fiber<R>, task: usize, event: u32) -> Option<R> {
    runtime::enter(task, event);
    let result = fiber.resume();
    runtime::leave();
    result
}

fn waiting(live: Set) -> String {
    let waits: Vec<String> = members(live)
        .map(|task| format!("task {task} waits for {}", runtime::pending(task)))
        .collect();
    waits.join(", ")
}
