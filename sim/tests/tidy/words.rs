//! Words that must not stand in the code, where, and what stands there instead.

use crate::source::Source;

/// A banned word.
struct Ban {
    word: &'static str,
    /// Whether this file is bound by it.
    applies: fn(&Source) -> bool,
    /// Whether tests are bound by it, too.
    in_tests: bool,
    instead: &'static str,
}

const fn everywhere(
    word: &'static str,
    applies: fn(&Source) -> bool,
    instead: &'static str,
) -> Ban {
    Ban {
        word,
        applies,
        in_tests: true,
        instead,
    }
}

const fn shipped(word: &'static str, applies: fn(&Source) -> bool, instead: &'static str) -> Ban {
    Ban {
        word,
        applies,
        in_tests: false,
        instead,
    }
}

fn any(_: &Source) -> bool {
    true
}

/// An allocator that counts cannot be written without `unsafe`. The crates that have one count in cells that all threads
/// share, or look each allocation up twice: both slow down what is measured.
const ALLOCATORS: [&str; 2] = ["sim/src/counting.rs", "model/tests/no_allocation.rs"];

/// A coroutine suspends itself from any depth of calls, where no reference to it can be had.
const COROUTINES: &str = "sim/engines/explore-sync/src/coroutine.rs";

fn safe(source: &Source) -> bool {
    matches!(source.house(), "core" | "model" | "sim")
        && !ALLOCATORS.contains(&source.path.as_str())
        && source.path != COROUTINES
}

/// Engine adapters of `sim` are one file compiled for several engines, which only `#[path]` can say.
fn core_or_model(source: &Source) -> bool {
    matches!(source.house(), "core" | "model")
}

fn core(source: &Source) -> bool {
    source.path.starts_with("core/src/")
}

/// Everything in the core but the facade.
fn core_but_sync(source: &Source) -> bool {
    core(source) && source.path != "core/src/sync.rs"
}

/// The marks count for the whole process and are no state of a device: an explorer must not see them.
fn core_but_sync_and_marks(source: &Source) -> bool {
    core_but_sync(source) && source.path != "core/src/verify.rs"
}

const SYNC: &str =
    "loom and shuttle do not see it: use what crate::sync offers, or let crate::sync offer more";
const ENGINE: &str = "only core/src/sync.rs knows which engine it is compiled for";
const CLOCK: &str = "the core has no clock: time comes in through Device::tick";
const ORDERED: &str = "its order is random: use BTreeMap, BTreeSet or a sorted Vec";
const OUTSIDE: &str = "the core touches nothing outside: bytes are reached through DeltaFile, the rest through Options";
const SILENT: &str = "the core does not print: return an error, or note a mark";
const TOTAL: &str = "no input may end the process: return an error; for the core's own state use verify! or unreachable!";

const BANS: &[Ban] = &[
    everywhere("#![feature", any, "stable Rust only"),
    everywhere(
        "#[ignore",
        any,
        "make it fast, or give it a command of its own that .ci/run calls",
    ),
    everywhere(
        "todo!",
        any,
        "write it, or leave it out and say so in the README",
    ),
    everywhere(
        "unimplemented!",
        any,
        "write it, or make the case impossible to express",
    ),
    everywhere("dbg!", any, "take it out"),
    shipped(
        "unsafe",
        safe,
        "use a well-kept crate that does it, or put it into the frontend",
    ),
    everywhere(
        "#[path",
        core_or_model,
        "put the file where its module says it is",
    ),
    shipped("HashMap", core, ORDERED),
    shipped("HashSet", core, ORDERED),
    shipped("RandomState", core, ORDERED),
    shipped("std::sync", core_but_sync_and_marks, SYNC),
    shipped("core::sync", core_but_sync_and_marks, SYNC),
    shipped(
        "std::thread",
        core_but_sync,
        "the core has no thread: whoever calls it has",
    ),
    shipped("thread_local!", core_but_sync, "no state outside Device"),
    shipped("loom", core_but_sync, ENGINE),
    shipped("loom_engine", core_but_sync, ENGINE),
    shipped("explore_engine", core_but_sync, ENGINE),
    shipped("shuttle", core_but_sync, ENGINE),
    shipped("shuttle_engine", core_but_sync, ENGINE),
    shipped("cfg(feature", core_but_sync, ENGINE),
    shipped("std::time", core, CLOCK),
    shipped("Instant", core, CLOCK),
    shipped("SystemTime", core, CLOCK),
    shipped("std::fs", core, OUTSIDE),
    shipped("std::env", core, OUTSIDE),
    shipped("std::net", core, OUTSIDE),
    shipped("std::process", core, OUTSIDE),
    shipped("println!", core, SILENT),
    shipped("eprintln!", core, SILENT),
    shipped("print!", core, SILENT),
    shipped(".unwrap()", core, TOTAL),
    shipped("panic!", core, TOTAL),
    shipped(
        "#[allow(",
        core,
        "use #[expect(..., reason = \"...\")]: it goes when its reason goes",
    ),
];

/// Every banned word of a file.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    for ban in BANS.iter().filter(|ban| (ban.applies)(source)) {
        for at in source.find(ban.word) {
            if ban.in_tests || !source.is_test(at) {
                wrong.push(source.complain(at, format!("`{}`: {}", ban.word, ban.instead)));
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::new(path, text)).len()
    }

    #[test]
    fn every_ban_can_fail_and_says_what_to_do() {
        let paths = [
            "core/src/alloc/mod.rs",
            "model/src/op.rs",
            "ublk-frontend/src/main.rs",
        ];
        for ban in BANS {
            let text = format!("fn f() {{\n  {} x\n}}\n", ban.word);
            let bound = paths
                .iter()
                .find(|path| (ban.applies)(&Source::new(path, "")));
            let source = Source::new(
                bound.unwrap_or_else(|| panic!("{} binds no file", ban.word)),
                &text,
            );
            let wrong = check(&source);
            let expected = format!("{}:2: `{}`: {}", source.path, ban.word, ban.instead);
            assert!(wrong.contains(&expected), "{expected} not in {wrong:?}");
            assert!(ban.instead.len() > 10);
        }
    }

    #[test]
    fn words_in_comments_and_strings_are_free() {
        assert_eq!(
            count(
                "core/src/a.rs",
                "// todo!() unsafe\nconst A: &str = \"HashMap dbg!\";"
            ),
            0
        );
        assert_eq!(count("core/src/lib.rs", "#![forbid(unsafe_code)]"), 0);
    }

    #[test]
    fn tests_of_the_core_may_use_the_standard_library() {
        let text = "use std::collections::HashMap; fn f() { x.unwrap(); std::thread::spawn(g); }";
        assert_eq!(count("core/src/load/tests/mod.rs", text), 0);
        assert_eq!(
            count(
                "core/src/a.rs",
                &format!("#[cfg(test)]\nmod tests {{ {text} }}")
            ),
            0
        );
        assert_eq!(count("core/src/a.rs", text), 3);
        assert_eq!(
            count("core/src/load/tests/mod.rs", "#[ignore] fn f() {}"),
            1
        );
    }

    #[test]
    fn other_houses_have_clocks_and_threads() {
        assert_eq!(
            count(
                "sim/src/main.rs",
                "use std::time::Instant; use std::thread;"
            ),
            0
        );
        assert_eq!(count("ublk-frontend/src/main.rs", "unsafe { f() }"), 0);
    }

    #[test]
    fn the_facade_names_the_engines_and_nobody_else_does() {
        let text = "#[cfg(feature = \"loom\")] use loom_engine::sync::Mutex; use std::sync::Mutex;";
        assert_eq!(count("core/src/sync.rs", text), 0);
        assert_eq!(
            count("core/src/verify.rs", "use std::sync::atomic::AtomicU8;"),
            0
        );
        assert_eq!(count("core/src/alloc/mod.rs", text), 3);
    }
}
