//! Result lines: what the guest says to the host, on a console of their own, among lines that only people read.
//!
//! ```text
//! @@BEGIN ext4
//! @@END ext4 ok 12.3 s: 40 files ...
//! @@ROW close-cut passed, 4 kills
//! @@DONE
//! ```
//! `@@GAVE-UP` instead of the last: a step hangs. A step that began and never ended is a failure; a guest that did not say `@@DONE` too.

use std::fmt;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it must.
    Ok,
    /// Not as it must.
    Failed,
    /// This kernel or this server does not offer it.
    NotOffered,
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    /// A step begins.
    Begin(String),
    /// A step ended: name, verdict, seconds, what was found.
    End(String, Verdict, f64, String),
    /// What came of a scenario: name, and a cell of the table.
    Row(String, String),
    /// All steps are through.
    Done,
    /// A step hangs, and maybe the guest with it: it need not be waited for.
    GaveUp,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Begin(name) => write!(f, "@@BEGIN {name}"),
            Line::End(name, verdict, seconds, found) => {
                let word = match verdict {
                    Verdict::Ok => "ok",
                    Verdict::Failed => "FAILED",
                    Verdict::NotOffered => "not-offered",
                };
                let found = found.replace(['\n', '\r'], " | ");
                write!(f, "@@END {name} {word} {seconds:.1} s: {found}")
            }
            Line::Row(name, cell) => write!(f, "@@ROW {name} {cell}"),
            Line::Done => write!(f, "@@DONE"),
            Line::GaveUp => write!(f, "@@GAVE-UP"),
        }
    }
}

impl Line {
    /// The line that `text` is, if it is one.
    pub(crate) fn parse(text: &str) -> Option<Line> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "@@BEGIN" => Some(Line::Begin(rest.to_owned())),
            "@@ROW" => {
                let (name, cell) = rest.split_once(' ')?;
                Some(Line::Row(name.to_owned(), cell.to_owned()))
            }
            "@@DONE" => Some(Line::Done),
            "@@GAVE-UP" => Some(Line::GaveUp),
            "@@END" => {
                let (head, found) = rest.split_once(" s: ")?;
                let mut words = head.split(' ');
                let name = words.next()?.to_owned();
                let verdict = match words.next()? {
                    "ok" => Verdict::Ok,
                    "FAILED" => Verdict::Failed,
                    "not-offered" => Verdict::NotOffered,
                    _ => return None,
                };
                let seconds = words.next()?.parse().ok()?;
                Some(Line::End(name, verdict, seconds, found.to_owned()))
            }
            _ => None,
        }
    }
}
