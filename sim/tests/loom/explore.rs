//! Runs one model through all its interleavings, and says whether it really were all.
//!
//! loom returns silently when a limit stopped it. So the limit is set here, the executions are counted here, and a model
//! that reached it is *cut*, which is a failure. Nothing in the environment changes what is explored.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::engine::rig::{Io, Rig};
use super::engine::trace;

/// More executions than any model here needs.
const LIMIT: usize = 300_000;
/// More scheduling points than any execution here has.
const MAX_BRANCHES: usize = 20_000;

/// What an exploration amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receipt {
    /// Every interleaving, in so many executions.
    Complete(usize),
    /// Every interleaving with at most so many preemptions.
    Bounded(usize, usize),
    /// Stopped after so many executions: says nothing.
    Cut(usize),
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Receipt::Complete(runs) => write!(f, "complete, {runs} executions"),
            Receipt::Bounded(bound, runs) => {
                write!(f, "complete(preemptions <= {bound}), {runs} executions")
            }
            Receipt::Cut(runs) => write!(f, "cut at {runs} executions"),
        }
    }
}

/// Explores `model`, with at most `bound` preemptions if there is one, in less than `limit` executions.
pub(crate) fn explore(
    bound: Option<usize>,
    limit: usize,
    model: impl Fn() + Send + Sync + 'static,
) -> Receipt {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.max_permutations = Some(limit);
    builder.checkpoint_interval = 1;
    builder.checkpoint_file = None;
    builder.max_duration = None;
    builder.max_branches = MAX_BRANCHES;
    builder.expect_explicit_explore = true;
    let explored = catch_unwind(AssertUnwindSafe(|| {
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
    }));
    let runs = runs.load(Ordering::Relaxed);
    if let Err(panic) = explored {
        eprintln!("execution {runs} failed");
        trace::print();
        resume_unwind(panic);
    }
    match bound {
        _ if runs + 1 >= limit => Receipt::Cut(runs),
        Some(bound) => Receipt::Bounded(bound, runs),
        None => Receipt::Complete(runs),
    }
}

/// Explores a model without bound, or with one, and holds the receipt in a snapshot, so that a state space that vanished
/// is seen. (A change of the core that changes a count: `INSTA_UPDATE=always cargo test -p sim --test loom`, and look at the
/// difference.) What the race left is carried out in both orders (the model's argument: newest first).
pub(crate) fn check(
    name: &str,
    bound: Option<usize>,
    model: impl Fn(bool) + Send + Sync + 'static,
) {
    let model = Arc::new(model);
    let [receipt, other] = [false, true].map(|last| {
        let model = Arc::clone(&model);
        explore(bound, LIMIT, move || model(last))
    });
    println!("{name}: {receipt}");
    assert!(!matches!(receipt, Receipt::Cut(_)), "{name}: {receipt}");
    assert_eq!(
        receipt, other,
        "{name}: the race does not depend on what follows it"
    );
    insta::assert_snapshot!(name, receipt.to_string());
}

/// One thread of a race.
pub(crate) type Thread = Box<dyn FnOnce(&Rig) -> Vec<Io> + Send>;

/// A thread of a race.
pub(crate) fn thread(f: impl FnOnce(&Rig) -> Vec<Io> + Send + 'static) -> Thread {
    Box::new(f)
}

/// Lets the threads race; only this part of a model is explored. Returns the I/O that they left.
pub(crate) fn race<const N: usize>(rig: &Arc<Rig>, threads: [Thread; N]) -> Vec<Io> {
    let mut threads = Vec::from(threads);
    let own = threads.pop();
    loom::explore();
    let others: Vec<_> = threads
        .into_iter()
        .map(|thread| {
            let rig = Arc::clone(rig);
            loom::thread::spawn(move || thread(&rig))
        })
        .collect();
    let mut left = Vec::new();
    let own = own.map(|thread| thread(rig));
    for other in others {
        left.extend(other.join().expect("a thread of the race"));
    }
    left.extend(own.into_iter().flatten());
    loom::stop_exploring();
    left
}

/// A model that needs more executions than it is given is called cut, not complete.
#[test]
fn a_cut_is_seen() {
    use crate::engine::image::Image;
    use crate::engine::rig::options;
    use crate::ops::write;
    let image = Image::new(crate::stage::PLAIN);
    let two_writers = move || {
        let rig = Rig::new(&image, options());
        let threads = [
            thread(|rig| rig.submit((0, 0), write(1, 1))),
            thread(|rig| rig.submit((1, 0), write(2, 1))),
        ];
        drop(race(&rig, threads));
    };
    assert_eq!(explore(None, 3, two_writers), Receipt::Cut(2));
}
