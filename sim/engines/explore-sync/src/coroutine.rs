//! Tasks on stacks of their own, and a pool of these stacks. The only unsafe code of the engine.
//!
//! A coroutine is resumed by the scheduler and suspends itself from any depth of calls. It never leaves its thread.

use crate::clock::MAX_TASKS;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use std::cell::{Cell, RefCell};
use std::ptr;

/// Bytes of a stack. Only the pages touched cost memory.
const STACK: usize = 1 << 20;

std::thread_local! {
    static POOL: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    /// By task: how the coroutine that runs it suspends itself. Null: there is none.
    static YIELDERS: [Cell<*const Yielder<(), ()>>; MAX_TASKS] =
        const { [const { Cell::new(ptr::null()) }; MAX_TASKS] };
}

/// A task on its stack.
pub(crate) struct Fiber<R> {
    task: usize,
    coroutine: Coroutine<(), (), R, DefaultStack>,
}

impl<R: 'static> Fiber<R> {
    /// Nothing of it runs before it is resumed.
    pub(crate) fn new(task: usize, f: Box<dyn FnOnce() -> R>) -> Fiber<R> {
        let pooled = POOL.with(|pool| pool.borrow_mut().pop());
        let stack = pooled.unwrap_or_else(|| match DefaultStack::new(STACK) {
            Ok(stack) => stack,
            Err(error) => panic!("no memory for a stack: {error}"),
        });
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            YIELDERS.with(|yielders| yielders[task].set(ptr::from_ref(yielder)));
            f()
        });
        Fiber { task, coroutine }
    }

    /// Runs it until it suspends itself (`None`) or ends. A panic of the task comes out of here.
    #[inline]
    pub(crate) fn resume(&mut self) -> Option<R> {
        match self.coroutine.resume(()) {
            CoroutineResult::Yield(()) => None,
            CoroutineResult::Return(result) => {
                YIELDERS.with(|yielders| yielders[self.task].set(ptr::null()));
                Some(result)
            }
        }
    }

    /// Gives the stack of a task that ended back.
    pub(crate) fn recycle(self) {
        if self.coroutine.done() {
            let stack = self.coroutine.into_stack();
            POOL.with(|pool| pool.borrow_mut().push(stack));
        }
    }
}

/// Suspends the task that runs.
#[inline]
pub(crate) fn suspend(task: usize) {
    let yielder = YIELDERS.with(|yielders| yielders[task].get());
    assert!(!yielder.is_null(), "task {task} does not run");
    // SAFETY: the pointer was made from the reference that the coroutine's function was given, which corosensei keeps
    // alive until that function returns; it is taken back when it has returned. `task` is the task that runs now, so that
    // function is below us on this very stack, and has not returned.
    let yielder = unsafe { &*yielder };
    yielder.suspend(());
}
