//! What happened in the run that is going on, for the message of a failure. One list a test: each test, and all the
//! threads of its engine, have one OS thread of their own.

use std::cell::RefCell;

use super::core::{IoOp, Outcome};
use model::op::Op;

/// One event between the test and the device.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A request goes in (queue, tag).
    Submit((u16, u16), Op),
    /// A request ended.
    Finish((u16, u16), Result<(), super::core::Failure>),
    /// An I/O came out.
    Begin(usize, IoOp),
    /// An I/O's end goes in.
    End(usize, Outcome),
    /// Another call of the device.
    Call(&'static str),
}

std::thread_local! {
    static STEPS: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
}

/// A new run begins.
pub(crate) fn restart() {
    STEPS.with(|steps| steps.borrow_mut().clear());
}

/// Steps printed.
const SHOWN: usize = 300;
/// More steps than any run here needs.
const ENDLESS: usize = 5_000;

/// Notes a step.
pub(crate) fn note(step: Step) {
    let count = STEPS.with(|steps| {
        let mut steps = steps.borrow_mut();
        steps.push(step);
        steps.len()
    });
    assert!(count < ENDLESS, "{count} steps and no end (I36)");
}

/// Prints the run.
pub(crate) fn print() {
    STEPS.with(|steps| {
        eprintln!("the run that failed:");
        for step in steps.borrow().iter().take(SHOWN) {
            match step {
                Step::Submit(who, op) => eprintln!("  {who:?} submits {op:?}"),
                Step::Finish(who, outcome) => eprintln!("  {who:?} ended {outcome:?}"),
                Step::Begin(id, op) => eprintln!("      I/O {id} out: {op:?}"),
                Step::End(id, outcome) => eprintln!("      I/O {id} in:  {outcome:?}"),
                Step::Call(name) => eprintln!("  {name}"),
            }
        }
    });
}
