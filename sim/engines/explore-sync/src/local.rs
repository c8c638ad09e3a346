//! `thread_local!` by task: each has its own, and so has the code outside of the tasks.

use crate::clock::MAX_TASKS;
use crate::runtime;
use std::thread::LocalKey;

/// One for each task, and one for the code around them.
pub const COPIES: usize = MAX_TASKS + 1;

/// A variable of each task. What a task leaves in it, the next execution finds: leave what was there at first.
pub struct Local<T: 'static>(&'static LocalKey<[T; COPIES]>);

impl<T: 'static> Local<T> {
    /// For [`thread_local!`](crate::thread_local).
    #[must_use]
    pub const fn new(copies: &'static LocalKey<[T; COPIES]>) -> Local<T> {
        Local(copies)
    }

    /// Calls `f` with the copy of the task that runs.
    pub fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.0.with(|copies| f(&copies[runtime::current()]))
    }
}

/// Declares variables of which each task has its own.
#[macro_export]
macro_rules! thread_local {
    ($(static $name:ident: $type:ty = $init:expr;)*) => { $(
        static $name: $crate::local::Local<$type> = {
            ::std::thread_local! {
                static COPIES: [$type; $crate::local::COPIES] = ::std::array::from_fn(|_| $init);
            }
            $crate::local::Local::new(&COPIES)
        };
    )* };
}
