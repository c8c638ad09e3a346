//! All traces.

use super::{Verdict, complaint};
use sim::explorer::{Effort, explore};

pub(super) fn run(name: &str) -> Verdict {
    let effort = Effort {
        crashes: false,
        ..Effort::default()
    };
    let Some(explored) = explore(name, &effort) else {
        panic!("no configuration {name}");
    };
    let failure = explored.receipt.failure.as_ref();
    if let Some(failure) = failure {
        println!("{name}: {failure:?}\n{}", failure.story);
    }
    Verdict {
        complaint: failure.map(|failure| complaint(&failure.message)),
        states: explored.states,
        executions: explored.receipt.executions,
        complete: explored.receipt.complete,
    }
}
