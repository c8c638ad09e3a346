//! The shape of a file: its head, its length; of the core's locks: a rank and a label of their own.

use crate::source::Source;
use std::collections::BTreeMap;

/// Most lines of a file.
pub(crate) const MOST_LINES: usize = 500;

/// Files that are longer, and how long they may be. This list only shrinks.
pub(crate) const LONGER: &[(&str, usize)] = &[];

/// Files are short; those of the list do not grow, and leave it when they are.
pub(crate) fn length(source: &Source, longer: &[(&str, usize)]) -> Vec<String> {
    let lines = source.raw.lines().count();
    let listed = longer.iter().find(|(path, _)| *path == source.path);
    let what = match listed {
        Some((_, most)) if lines > *most => {
            format!(
                "{lines} lines, and {most} is already too much: split it by what it owns, do not let it grow"
            )
        }
        Some(_) if lines <= MOST_LINES => {
            "short enough now: take it out of LONGER in sim/tests/tidy/shape.rs".to_owned()
        }
        None if lines > MOST_LINES => format!(
            "{lines} lines, {MOST_LINES} at most: one concept a file; give each part a file and a type of its own"
        ),
        _ => return Vec::new(),
    };
    vec![source.complain(0, what)]
}

/// A file begins with what it promises. Tests are named by what they test.
pub(crate) fn head(source: &Source) -> Vec<String> {
    if source.raw.starts_with("//!") || source.is_test(0) || source.raw.trim().is_empty() {
        return Vec::new();
    }
    vec![source.complain(
        0,
        "no head: begin with `//!`: what the file is, its invariants, its states",
    )]
}

/// A library without unsafe code says so, so that the compiler holds it to it.
pub(crate) fn forbids_unsafe(source: &Source) -> Vec<String> {
    let bound = matches!(
        source.path.as_str(),
        "core/src/lib.rs" | "model/src/lib.rs" | "sim/src/lib.rs"
    );
    if !bound || source.code.contains("#![forbid(unsafe_code)]") {
        return Vec::new();
    }
    vec![source.complain(0, "write #![forbid(unsafe_code)] behind the head")]
}

/// Every lock of the core is `Mutex::new(Rank::X, "label", value)`, with a label of its own.
pub(crate) fn locks(sources: &[&Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    for source in sources {
        if !source.path.starts_with("core/src/") || source.path == "core/src/sync.rs" {
            continue;
        }
        for at in source.find("Mutex::new") {
            match label(source, at + "Mutex::new".len()) {
                _ if source.is_test(at) => {}
                None => wrong.push(source.complain(
                    at,
                    "a lock without rank or label: Mutex::new(Rank::X, \"what it guards\", value)",
                )),
                Some(label) => {
                    let place = source.complain(at, "");
                    if let Some(other) = labels.insert(label.clone(), place) {
                        wrong.push(source.complain(at, format!("the label {label:?} is taken by {other} name this lock by what it guards")));
                    }
                }
            }
        }
    }
    wrong
}

/// The label of the lock whose arguments begin here.
fn label(source: &Source, at: usize) -> Option<String> {
    let rest = source.code[at..].trim_start().strip_prefix('(')?;
    let (rank, rest) = rest.split_once(',')?;
    let rank = rank.trim().strip_prefix("Rank::")?;
    let rest = rest.trim_start();
    let start = source.code.len() - rest.len();
    let len = rest.strip_prefix('"')?.find('"')?;
    let label = source.raw[start + 1..start + 1 + len].trim();
    let is_name = rank.chars().all(|c| c.is_alphanumeric());
    (is_name && !label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, n: usize) -> Source {
        Source::new(path, &"//! x\n".repeat(n))
    }

    #[test]
    fn long_files_are_refused_and_listed_ones_only_shrink() {
        let longer = [("core/src/long.rs", 700)];
        assert!(length(&lines("core/src/a.rs", 500), &longer).is_empty());
        assert!(
            length(&lines("core/src/a.rs", 501), &longer)[0].contains("501 lines, 500 at most")
        );
        assert!(length(&lines("core/src/long.rs", 700), &longer).is_empty());
        assert!(length(&lines("core/src/long.rs", 701), &longer)[0].contains("do not let it grow"));
        assert!(length(&lines("core/src/long.rs", 500), &longer)[0].contains("take it out"));
    }

    #[test]
    fn heads() {
        assert_eq!(head(&Source::new("core/src/a.rs", "use x;\n")).len(), 1);
        assert!(head(&Source::new("core/src/a.rs", "//! A.\n")).is_empty());
        assert!(head(&Source::new("core/src/a/tests.rs", "use x;\n")).is_empty());
        let test_module = "fn f() {}\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(head(&Source::new("core/src/a.rs", test_module)).len(), 1);
    }

    #[test]
    fn libraries_forbid_unsafe_code() {
        assert_eq!(
            forbids_unsafe(&Source::new(
                "model/src/lib.rs",
                "//! #![forbid(unsafe_code)]\n"
            ))
            .len(),
            1
        );
        assert!(
            forbids_unsafe(&Source::new(
                "model/src/lib.rs",
                "#![forbid(unsafe_code)]\n"
            ))
            .is_empty()
        );
        assert!(forbids_unsafe(&Source::new("ublk-frontend/src/main.rs", "")).is_empty());
    }

    fn locks_of(text: &str) -> Vec<String> {
        locks(&[&Source::new("core/src/a.rs", text)])
    }

    #[test]
    fn locks_have_a_rank_and_a_label() {
        assert!(locks_of("Mutex::new(\n    Rank::Page,\n    \"page\",\n    1)").is_empty());
        for text in [
            "Mutex::new(1)",
            "Mutex::new(Rank::Page, label, 1)",
            "Mutex::new(Rank::Page, \" \", 1)",
            "Mutex::new(rank, \"page\", 1)",
            "map(Mutex::new)",
        ] {
            assert!(
                locks_of(text)[0].contains("without rank or label"),
                "{text}"
            );
        }
        assert!(locks_of("#[cfg(test)]\nmod tests { fn f() { Mutex::new(1) } }").is_empty());
    }

    #[test]
    fn two_locks_have_two_labels() {
        let wrong =
            locks_of("Mutex::new(Rank::Page, \"a\", 1);\nMutex::new(Rank::Table, \"a\", 1)");
        assert!(
            wrong.len() == 1
                && wrong[0].contains("a.rs:2: the label \"a\" is taken by core/src/a.rs:1"),
            "{wrong:?}"
        );
    }
}
