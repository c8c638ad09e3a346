//! Panics of a run are caught, quietly, with their message and place: they are failures like others.

use crate::report::{Class, Failure};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

thread_local! {
    /// True while this thread's panics belong to a run.
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<Panicked>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// What the hook noted.
#[derive(Debug)]
struct Panicked {
    message: String,
    file: String,
    line: u32,
    /// Empty unless RUST_BACKTRACE asks for one.
    backtrace: String,
}

/// Runs `work`; a panic in it becomes the error. State that `work` changed is left as the panic left it.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if ARMED.get() {
                note(info);
            } else {
                others(info);
            }
        }));
    });
    CAUGHT.with(|caught| caught.borrow_mut().take());
    let before = ARMED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    ARMED.set(before);
    result.map_err(|_| {
        let caught = CAUGHT.with(|caught| caught.borrow_mut().take());
        caught.map_or_else(
            // A hook of somebody else was set later: the message went there.
            || failure("panic", Class::Panic, "a panic without a note".into()),
            Panicked::into_failure,
        )
    })
}

fn note(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let panicked = Panicked {
        message: info
            .payload_as_str()
            .unwrap_or("a panic without a message")
            .to_owned(),
        file: info
            .location()
            .map_or_else(String::new, |at| at.file().to_owned()),
        line: info.location().map_or(0, panic::Location::line),
        backtrace: if backtrace.status() == BacktraceStatus::Captured {
            backtrace.to_string()
        } else {
            String::new()
        },
    };
    // The first panic is the cause; one more while it unwinds is not.
    CAUGHT.with(|caught| {
        caught.borrow_mut().get_or_insert(panicked);
    });
}

impl Panicked {
    fn into_failure(self) -> Failure {
        let (checker, class) = if self.message.starts_with("lock order:") {
            ("lock order", Class::Wrong)
        } else if is_core(&self.file) {
            ("core assertion", Class::Panic)
        } else {
            ("panic", Class::Panic)
        };
        let mut message = format!("{}, at {}:{}", self.message, self.file, self.line);
        if !self.backtrace.is_empty() {
            message = format!("{message}\n{}", self.backtrace);
        }
        failure(checker, class, message)
    }
}

fn failure(checker: &'static str, class: Class, message: String) -> Failure {
    Failure {
        class,
        checker,
        message,
        trace: 0,
    }
}

/// True for a source file of the mapping core; the standard library has a `core/src` as well.
fn is_core(file: &str) -> bool {
    let ours = file.starts_with("core/src/") || file.contains("/core/src/");
    ours && !file.contains("library/core/src/") && !file.starts_with("/rustc/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_with_its_message_and_place() {
        let line = line!() + 1;
        let failure = catch(|| panic!("number {}", 7)).expect_err("it panics");
        assert_eq!(
            (failure.class, failure.checker, failure.trace),
            (Class::Panic, "panic", 0)
        );
        let begin = failure.message.lines().next().unwrap_or("");
        assert_eq!(begin, format!("number 7, at {}:{line}", file!()));
        assert_eq!(catch(|| 3), Ok(3));
    }

    #[test]
    fn the_first_of_two_panics_counts_and_the_next_run_starts_anew() {
        struct Second;
        impl Drop for Second {
            fn drop(&mut self) {
                assert!(panic::catch_unwind(|| panic!("second")).is_err());
            }
        }
        let first = catch(|| {
            let _second = Second;
            panic!("first")
        });
        let message = first.expect_err("it panics").message;
        assert!(message.starts_with("first"), "{message}");
        let third = catch(|| panic!("third")).expect_err("it panics");
        assert!(third.message.starts_with("third"), "{third}");
    }

    #[test]
    fn the_checker_tells_core_from_the_rest() {
        let of = |message: &str, file: &str| {
            let panicked = Panicked {
                message: message.into(),
                file: file.into(),
                line: 1,
                backtrace: String::new(),
            };
            panicked.into_failure()
        };
        assert_eq!(of("x", "core/src/bat/page.rs").checker, "core assertion");
        assert_eq!(of("x", "/a/b/core/src/sync.rs").checker, "core assertion");
        assert_eq!(
            of("x", "/rustc/abc/library/core/src/slice.rs").checker,
            "panic"
        );
        assert_eq!(of("x", "sim/src/world/mod.rs").checker, "panic");
        assert_eq!(
            of("lock order: taking a", "core/src/sync.rs").class,
            Class::Wrong
        );
    }
}
