//! Atomics. Each access is an event; all are sequentially consistent, whatever ordering is asked for.

use crate::op::Access;
use crate::runtime::Object;
use std::fmt;

pub use std::sync::atomic::Ordering;

macro_rules! atomic {
    ($(#[doc = $doc:expr])* $name:ident, $value:ty) => {
        $(#[doc = $doc])*
        pub struct $name {
            object: Object,
            inner: std::sync::atomic::$name,
        }

        impl $name {
            /// A new one.
            #[must_use]
            pub fn new(value: $value) -> $name {
                $name {
                    object: Object::new(),
                    inner: std::sync::atomic::$name::new(value),
                }
            }
            /// Reads it.
            pub fn load(&self, _: Ordering) -> $value {
                self.object.announce(Access::Read);
                self.inner.load(Ordering::SeqCst)
            }
            /// Writes it.
            pub fn store(&self, value: $value, _: Ordering) {
                self.object.announce(Access::Write);
                self.inner.store(value, Ordering::SeqCst);
            }
            /// Writes it, and returns what was there.
            pub fn swap(&self, value: $value, _: Ordering) -> $value {
                self.object.announce(Access::Write);
                self.inner.swap(value, Ordering::SeqCst)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.inner.fmt(f)
            }
        }
    };
}

atomic!(
    /// A boolean.
    AtomicBool,
    bool
);
atomic!(
    /// A number of 64 bits.
    AtomicU64,
    u64
);
atomic!(
    /// A number of the machine's size.
    AtomicUsize,
    usize
);

impl AtomicUsize {
    /// Adds, and returns what was there.
    pub fn fetch_add(&self, value: usize, _: Ordering) -> usize {
        self.object.announce(Access::Write);
        self.inner.fetch_add(value, Ordering::SeqCst)
    }
}
