//! The same small configurations under three engines: loom and the explorer, which both execute every interleaving that
//! matters, each with a reduction of its own, must end in the same set of states; random schedules of shuttle must end
//! inside of it. None may fail. A difference is a mistake of the harness, whatever the core does.
//!
//! loom does not see the events of the adapter (see `engine::seen`); where a final state would depend on their order alone,
//! the explorer would know more states.

#![allow(
    clippy::duplicate_mod,
    reason = "one adapter, compiled for each engine's build of the core"
)]

mod by_explorer;
mod by_loom;
mod by_shuttle;

use std::collections::BTreeSet;

/// Hashes of the closed images that executions end in.
type States = BTreeSet<u64>;

/// What an engine says about a configuration.
#[derive(Debug)]
struct Verdict {
    states: States,
    executions: u64,
    complete: bool,
}

#[test]
fn engines_agree() {
    let names: Vec<&str> = sim::explorer::configurations()
        .map(|known| known.name)
        .collect();
    assert!(!names.is_empty());
    let mut compared = 0;
    for name in names {
        let explorer = by_explorer::run(name);
        assert!(explorer.complete, "{name}: {explorer:?}");
        let shuttle = by_shuttle::run(name);
        assert!(
            shuttle.states.is_subset(&explorer.states),
            "{name}: shuttle {shuttle:?}, explorer {explorer:?}"
        );
        let loom = by_loom::run(name);
        println!(
            "{name}: explorer {}, loom {}{}, shuttle {} executions; {}, {}, {} states",
            explorer.executions,
            loom.executions,
            if loom.complete { "" } else { " (cut)" },
            shuttle.executions,
            explorer.states.len(),
            loom.states.len(),
            shuttle.states.len(),
        );
        if loom.complete {
            compared += 1;
            assert_eq!(loom.states, explorer.states, "{name}");
        } else {
            assert!(loom.states.is_subset(&explorer.states), "{name}");
        }
    }
    assert!(compared >= 20, "loom completes {compared} of them only");
}
