//! The same small configurations under three engines: loom and the explorer, which both execute every interleaving that
//! matters, each with a reduction of its own, and shuttle's random schedules must end in the same set of states, and none
//! may fail; where a mistake was made on purpose that some interleavings show, each must fail with the same complaint. A
//! difference is a mistake of the harness, whatever the core does.
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

use std::any::Any;
use std::collections::BTreeSet;

/// Hashes of the closed images that executions end in.
type States = BTreeSet<u64>;

/// What an engine says about a configuration.
#[derive(Debug)]
struct Verdict {
    states: States,
    executions: u64,
    complete: bool,
    /// What the first execution that failed complained about, without places and values.
    complaint: Option<String>,
}

/// Configurations of which loom cannot do all interleavings within its limit.
const CUT: [&str; 3] = [
    "immediate_writers",
    "discard_during_a_round",
    "failed_round",
];

#[test]
fn engines_agree_on_what_is_left() {
    let mut cut = Vec::new();
    for known in sim::explorer::configurations() {
        let name = known.name;
        let explorer = by_explorer::run(name);
        let (loom, shuttle) = (by_loom::run(name), by_shuttle::run(name));
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
        for verdict in [&explorer, &loom, &shuttle] {
            assert_eq!(verdict.complaint, None, "{name}");
        }
        assert!(explorer.complete, "{name}: {explorer:?}");
        // The same set, of random schedules and of those that loom came to as well.
        assert_eq!(loom.states, explorer.states, "{name}: loom");
        assert_eq!(shuttle.states, explorer.states, "{name}: shuttle");
        if !loom.complete {
            cut.push(name);
        }
    }
    assert_eq!(cut, CUT, "which ones loom did not complete");
}

#[test]
fn engines_agree_on_what_is_wrong() {
    for name in sim::explorer::sick().map(|known| known.name) {
        let explorer = by_explorer::run(name);
        let (loom, shuttle) = (by_loom::run(name), by_shuttle::run(name));
        println!(
            "{name}: {:?} in execution {} of the explorer, {} of loom, {} of shuttle",
            explorer.complaint, explorer.executions, loom.executions, shuttle.executions
        );
        assert!(explorer.complaint.is_some(), "{name}: {explorer:?}");
        assert_eq!(loom.complaint, explorer.complaint, "{name}: loom");
        assert_eq!(shuttle.complaint, explorer.complaint, "{name}: shuttle");
    }
}

/// "(0, 1) Op { .. }: sector 3: stale data: saw write 1" and "...: saw zeros" are one complaint: "stale data".
fn complaint(message: &str) -> String {
    let line = message.lines().next().unwrap_or("");
    let before = line.split_once(": saw ").map_or(line, |(before, _)| before);
    before.rsplit(": ").next().unwrap_or(before).to_owned()
}

/// The complaint of a panic.
fn said(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| payload.downcast_ref::<&str>().copied());
    complaint(message.expect("panics say something"))
}
