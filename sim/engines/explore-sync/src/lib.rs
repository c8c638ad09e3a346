//! Explores every inequivalent interleaving of a few tasks, and says whether it really were all.
//!
//! ```text
//!   explore(options, program)
//!     │ for each execution: program() ── set up, plain code ──▶ race([tasks]) ──▶ what is left, plain code
//!     │                                                           │
//!     │     scheduler ◀── announces its next operation, suspends ─┤ each task is a stackful coroutine
//!     │         └────────── carries it out, goes on ─────────────▶┘
//!     └ the next execution reverses one race of those before
//! ```
//!
//! **What is explored.** Every operation on a shared object is *announced before it happens* ([`Op`]): a lock is taken, an
//! atomic read or written, a range of something else touched ([`Object`]). Two operations *conflict* if they are on the
//! same object, their ranges overlap, and they are not both reads. Two interleavings are *equivalent* if one becomes the
//! other by swapping neighbours that do not conflict; equivalent ones end in the same state. One of each class (of each
//! Mazurkiewicz trace) is executed, and no more: optimal dynamic partial-order reduction (source sets, wakeup trees and
//! sleep sets; happens-before by vector clocks). [`Receipt`] tells.
//!
//! **Assumptions.** Tasks share nothing but what is announced. The program does the same whenever the same decisions are
//! taken (checked on the way: the operations announced must be the same again). Memory is sequentially consistent: what
//! weaker orderings of atomics allow is loom's business. A release of a lock is no event of its own: it commutes to the
//! left of whatever other tasks do, so it happens at once with what its task did before; there is no `try_lock` that
//! could see the difference.
//!
//! | file | what |
//! |---|---|
//! | `op` | operations and when they conflict |
//! | `sync`, `atomic`, `local` | what the tasks use |
//! | `runtime` | which task runs, what each has announced, who holds which lock |
//! | `coroutine` | the stacks (the only unsafe code) |
//! | `clock`, `search`, `wakeup` | the order of events, the tree of decisions, races and their reversal |
//! | `run` | one execution, and all of them |

pub mod atomic;
mod clock;
mod coroutine;
pub mod local;
mod op;
mod run;
mod runtime;
mod search;
mod sync;
#[cfg(test)]
mod tests;
mod wakeup;

pub use clock::MAX_TASKS;
pub use op::{Access, Op};
pub use run::{Failure, Options, Receipt, Task, explore, race};
pub use runtime::Object;
pub use search::Mode;
pub use sync::{Mutex, MutexGuard};
