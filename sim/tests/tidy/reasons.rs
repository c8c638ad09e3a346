//! Reasons for branches that are not reached: `FILE: WORDS OF THE LINE [(two)|(three)] ==> KIND: WHY`.

use crate::source::Source;

/// What a reason may be: see the head of `corpus/coverage.txt`.
const KINDS: [&str; 3] = ["itself", "race", "blind"];

/// Complaints about the lines of `text`.
pub(crate) fn stale(path: &str, text: &str, sources: &[Source]) -> Vec<String> {
    let lines = (1..).zip(text.lines());
    let reasons = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let wrong = reasons.filter_map(|(number, line)| {
        let why = wrong(line, sources)?;
        Some(format!("{path}:{number}: {why}"))
    });
    wrong.collect()
}

fn wrong(line: &str, sources: &[Source]) -> Option<String> {
    let Some((place, reason)) = line.split_once(" ==> ") else {
        return Some("no \" ==> REASON\"".to_owned());
    };
    let kind = reason.split(':').next().unwrap_or("");
    if !KINDS.contains(&kind) {
        return Some(format!("{kind:?} must be one of {KINDS:?}"));
    }
    let Some((file, words)) = place.split_once(": ") else {
        return Some("no \"FILE: WORDS\"".to_owned());
    };
    let words = words
        .trim_end_matches(" (two)")
        .trim_end_matches(" (three)");
    let path = format!("core/src/{file}");
    match sources.iter().find(|source| source.path == path) {
        None => Some(format!("there is no {path}")),
        Some(source) if !source.code.contains(words) => {
            Some(format!("{path} has no {words:?}: take the reason out"))
        }
        Some(_) => None,
    }
}

#[test]
fn a_reason_for_nothing_is_seen() {
    let sources = [Source::new("core/src/a.rs", "if x { y() }")];
    let stale = |line: &str| stale("f", line, &sources).len();
    assert_eq!(stale("# a.rs: z\n\na.rs: if x ==> race: two threads"), 0);
    assert_eq!(stale("a.rs: if x (two) ==> itself: an assertion"), 0);
    assert_eq!(stale("a.rs: if z ==> itself: gone"), 1);
    assert_eq!(stale("b.rs: if x ==> itself: gone"), 1);
    assert_eq!(stale("a.rs: if x ==> lazy: no kind\na.rs: if x"), 2);
}
