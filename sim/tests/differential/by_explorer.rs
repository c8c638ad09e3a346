//! All traces.

use super::Verdict;
use sim::explorer::{Effort, explore};

pub(super) fn run(name: &str) -> Verdict {
    let effort = Effort {
        crashes: false,
        ..Effort::default()
    };
    let Some(explored) = explore(name, &effort) else {
        panic!("no configuration {name}");
    };
    if let Some(failure) = &explored.receipt.failure {
        panic!("{name}: {failure:?}\n{}", failure.story);
    }
    Verdict {
        states: explored.states,
        executions: explored.receipt.executions,
        complete: explored.receipt.complete,
    }
}
