//! All mutants of a file in one text. Which of them it is, a program is told when it starts.
//!
//! ```text
//!   a + b     ──▶  (match crate::mutant::which() { 7 => {a - b}  8 => {a * b}  _ => {a + b} })
//!   { body    ──▶  { match crate::mutant::which() { 9 => {return 0;}  _ => {} } body
//!   P => arm  ──▶  P if crate::mutant::which() != 10 => arm
//! ```
//! Only one mutant lives at a time: where one is, what stands for it has no other in it. Comments mark what is whose, so
//! that an error of the compiler is put down to the mutant that makes it.

use crate::sites::{Form, Site};
use std::collections::BTreeMap;
use std::ops::Range;

/// What the woven core is asked.
pub(crate) const WHICH: &str =
    "//! Which mutant this is: the number in PLOOP_MUTANT. 0: the core as it is.

use std::sync::OnceLock;

static WHICH: OnceLock<u32> = OnceLock::new();

pub(crate) fn which() -> u32 {
    *WHICH.get_or_init(|| {
        let text = std::env::var(\"PLOOP_MUTANT\").unwrap_or_default();
        text.parse().unwrap_or(0)
    })
}
";

/// A place of the text and the mutants there.
#[derive(Debug, Default)]
struct Place {
    /// Statements before.
    before: Vec<(u32, String)>,
    /// Expressions instead.
    instead: Vec<(u32, String)>,
    /// An arm that is not taken, and whether it has a guard.
    not_taken: Option<(u32, bool)>,
}

/// The woven text.
pub(crate) fn weave(text: &str, sites: &[Site]) -> String {
    let mut places: BTreeMap<(usize, std::cmp::Reverse<usize>), Place> = BTreeMap::new();
    for site in sites {
        let place = places
            .entry((site.at.start, std::cmp::Reverse(site.at.end)))
            .or_default();
        match &site.form {
            Form::Before(statement) => place.before.push((site.id, statement.clone())),
            Form::Instead(expression) => place.instead.push((site.id, expression.clone())),
            Form::NotTaken { guarded } => place.not_taken = Some((site.id, *guarded)),
        }
    }
    // Statements come first of all that begins at the same byte.
    let mut sorted: Vec<(Range<usize>, Place)> = places
        .into_iter()
        .map(|((start, end), place)| (start..end.0, place))
        .collect();
    sorted.sort_by_key(|(at, _)| (at.start, !at.is_empty(), std::cmp::Reverse(at.end)));
    let mut out = String::with_capacity(text.len() * 4);
    render(text, 0..text.len(), &sorted, &mut out);
    out
}

/// Writes this part of the text. The places are those within it, the outer ones before the inner ones.
fn render(text: &str, part: Range<usize>, places: &[(Range<usize>, Place)], out: &mut String) {
    let mut from = part.start;
    let mut next = 0;
    while let Some((at, place)) = places.get(next) {
        let inner = next + 1;
        next = inner;
        while places
            .get(next)
            .is_some_and(|(other, _)| other.start < at.end)
        {
            next += 1;
        }
        out.push_str(&text[from..at.start]);
        from = at.end;
        write(text, at, place, &places[inner..next], out);
    }
    out.push_str(&text[from..part.end]);
}

fn write(
    text: &str,
    at: &Range<usize>,
    place: &Place,
    within: &[(Range<usize>, Place)],
    out: &mut String,
) {
    if at.is_empty() {
        if !place.before.is_empty() {
            choice(&place.before, |out| out.push(' '), out);
        }
        if let Some((id, _)) = place.not_taken {
            out.push_str(&format!(
                " if /*@<{id}*/crate::mutant::which() != {id}/*@>*/"
            ));
        }
        return;
    }
    if let Some((id, true)) = place.not_taken {
        out.push_str(&format!(
            "/*@<{id}*/crate::mutant::which() != {id}/*@>*/ && "
        ));
    }
    if place.instead.is_empty() {
        out.push('(');
        render(text, at.clone(), within, out);
        out.push(')');
    } else {
        out.push('(');
        choice(
            &place.instead,
            |out| render(text, at.clone(), within, out),
            out,
        );
        out.push(')');
    }
}

/// One of these, or what `otherwise` writes.
fn choice(arms: &[(u32, String)], otherwise: impl FnOnce(&mut String), out: &mut String) {
    let ids: Vec<String> = arms.iter().map(|(id, _)| id.to_string()).collect();
    out.push_str(&format!(
        "/*@[{}*/match crate::mutant::which() {{ ",
        ids.join(",")
    ));
    for (id, arm) in arms {
        out.push_str(&format!("{id} => {{/*@<{id}*/{arm}/*@>*/}} "));
    }
    out.push_str("_ => {");
    otherwise(out);
    out.push_str("} }/*@]*/");
}

/// Whose the text at a byte is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This mutant's own.
    One(u32),
    /// What stands around the mutants of a place.
    Place(Vec<u32>),
}

/// Of all owners the innermost.
pub(crate) fn owner(woven: &str, byte: usize) -> Option<Owner> {
    let mut open: Vec<Owner> = Vec::new();
    let mut at = 0;
    while let Some(found) = woven.get(at..).and_then(|rest| rest.find("/*@")) {
        let start = at + found;
        if start >= byte {
            break;
        }
        let end = woven[start..]
            .find("*/")
            .map_or(woven.len(), |end| start + end);
        let inner = &woven[start + 3..end];
        at = (end + 2).min(woven.len());
        let numbers = |text: &str| {
            text.split(',')
                .map(str::parse)
                .collect::<Result<Vec<u32>, _>>()
        };
        match inner.split_at_checked(1) {
            Some(("<", id)) if id.parse::<u32>().is_ok() => open.extend(id.parse().map(Owner::One)),
            Some(("[", ids)) if numbers(ids).is_ok() => open.extend(numbers(ids).map(Owner::Place)),
            Some((">" | "]", "")) => drop(open.pop()),
            _ => {}
        }
    }
    open.pop()
}
