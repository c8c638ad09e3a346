//! What the models need of an engine: the same face as `loom/explore.rs`, with the explorer behind it.

use std::panic::resume_unwind;
use std::sync::Arc;

use super::engine::rig::{Io, Rig};
use super::engine::trace;
use explore_sync::{Options, Receipt, Task};

/// More executions than any model here needs.
const LIMIT: u64 = 300_000;
/// Executions of a whole device.
const LIMIT_OF_DEVICES: u64 = 20_000;

fn explore(name: &str, limit: u64, model: impl FnMut()) -> Receipt {
    let options = Options {
        limit,
        ..Options::default()
    };
    let mut receipt = explore_sync::explore(&options, model);
    if let Some(failure) = receipt.failure.take() {
        eprintln!("execution {} failed, {name}:", failure.execution);
        eprintln!("{}", failure.story);
        trace::print();
        resume_unwind(failure.payload);
    }
    receipt
}

/// Explores a model completely and holds the receipt in a snapshot, so that a state space that vanished is seen. What the
/// race left is carried out in both orders (the model's argument: newest first).
///
/// A bound on preemptions is loom's, and left aside. A model that has one is a whole device: it may be too large to be
/// explored completely. Then it is cut, and its receipt says so.
pub(crate) fn check(name: &str, bound: Option<usize>, model: impl Fn(bool)) {
    if bound.is_some() {
        let receipt = explore(name, LIMIT_OF_DEVICES, || model(false));
        println!("{name}: {receipt}");
        insta::assert_snapshot!(name, receipt.to_string());
        return;
    }
    let [receipt, other] = [false, true].map(|last| explore(name, LIMIT, || model(last)));
    println!("{name}: {receipt}");
    assert!(receipt.complete, "{name}: {receipt}");
    assert_eq!(
        receipt.to_string(),
        other.to_string(),
        "{name}: the race does not depend on what follows it"
    );
    insta::assert_snapshot!(name, receipt.to_string());
}

/// One thread of a race.
pub(crate) type Thread = Box<dyn FnOnce(&Rig) -> Vec<Io>>;

/// A thread of a race.
pub(crate) fn thread(f: impl FnOnce(&Rig) -> Vec<Io> + 'static) -> Thread {
    Box::new(f)
}

/// Lets the threads race; only this part of a model is explored. Returns the I/O that they left.
pub(crate) fn race<const N: usize>(rig: &Arc<Rig>, threads: [Thread; N]) -> Vec<Io> {
    let tasks = threads.into_iter().map(|thread| -> Task<Vec<Io>> {
        let rig = Arc::clone(rig);
        Box::new(move || thread(&rig))
    });
    explore_sync::race(tasks.collect())
        .into_iter()
        .flatten()
        .collect()
}
