//! A tape as a text file: a header that says what it is, then the choices, grouped by what was asked.
//!
//! ```text
//! ploop-sim tape 1
//! profile: tiny
//! seed: 42
//! trace: 00f3a1b2c3d4e5f6
//! disk: lies
//! failure: durable
//! choices: 9
//! event 3: 0 2 1*4
//! survive 2: 1 0 1
//! ```
//! A line `kind n: k k k*times` holds consecutive choices of one kind and range. Empty lines and lines that start
//! with `#` are skipped. Unknown header keys are refused: they belong to a version this reader does not know.
//!
//! Version 2 has the run's events as well: a line `[name]` stands before the choices of each (see [`Label`]). A replay
//! finds them again after the code has changed, and a person sees what the choices are about.

use super::{Choice, Kind, Label, Span};
use std::fmt;
use std::io::{self, BufRead, Write};

/// First line of a file without events.
const MAGIC: &str = "ploop-sim tape 1";
/// First line of a file with events.
const MAGIC_SPANS: &str = "ploop-sim tape 2";
/// Most choices a file may hold: a run-length bomb must not eat the memory.
const MOST_CHOICES: usize = 1 << 26;
/// Where a line of choices is broken, in characters.
const WIDTH: usize = 100;

/// A recorded run, ready to be stored or replayed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapeFile {
    /// The profile the run was made with. One line.
    pub profile: String,
    /// The seed it came from, if it came from a seed.
    pub seed: Option<u64>,
    /// Trace hash of the run.
    pub trace: Option<u64>,
    /// It ran on a disk that lies about its syncs.
    pub lies: bool,
    /// Class of the failure; empty if it did not fail. One line.
    pub failure: String,
    /// The choices.
    pub choices: Vec<Choice>,
    /// Where events begin in them; none in a file of version 1.
    pub spans: Vec<Span>,
}

/// Why a tape file could not be read.
#[derive(Debug)]
pub enum TapeError {
    /// The file could not be read.
    Io(io::Error),
    /// The file is not a tape of this version.
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Which field of the format.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Display for TapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TapeError::Io(error) => write!(f, "cannot read the tape: {error}"),
            TapeError::Malformed {
                line,
                field,
                problem,
            } => write!(f, "tape line {line}, {field}: {problem}"),
        }
    }
}

impl std::error::Error for TapeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TapeError::Io(error) => Some(error),
            TapeError::Malformed { .. } => None,
        }
    }
}

impl From<io::Error> for TapeError {
    fn from(error: io::Error) -> TapeError {
        TapeError::Io(error)
    }
}

impl TapeFile {
    /// Writes the file.
    pub fn save(&self, out: &mut impl Write) -> io::Result<()> {
        let magic = if self.spans.is_empty() {
            MAGIC
        } else {
            MAGIC_SPANS
        };
        writeln!(out, "{magic}")?;
        writeln!(out, "profile: {}", one_line(&self.profile))?;
        if let Some(seed) = self.seed {
            writeln!(out, "seed: {seed}")?;
        }
        if let Some(trace) = self.trace {
            writeln!(out, "trace: {trace:016x}")?;
        }
        if self.lies {
            writeln!(out, "disk: lies")?;
        }
        writeln!(out, "failure: {}", one_line(&self.failure))?;
        writeln!(out, "choices: {}", self.choices.len())?;
        let mut from = 0;
        for span in &self.spans {
            let at = span.at.clamp(from, self.choices.len());
            save_choices(&self.choices[from..at], out)?;
            writeln!(out, "[{}]", span.label)?;
            from = at;
        }
        save_choices(&self.choices[from..], out)
    }

    /// Reads a file.
    pub fn load(input: impl BufRead) -> Result<TapeFile, TapeError> {
        let mut tape = TapeFile::default();
        let mut announced = None;
        let mut begun = false;
        let mut named = false;
        let mut last = 0;
        for (index, line) in input.lines().enumerate() {
            let line = line?;
            let text = line.trim();
            let at = At(index + 1);
            last = at.0;
            if !begun {
                if text != MAGIC && text != MAGIC_SPANS {
                    return Err(at.bad(
                        "version",
                        format!("expected \"{MAGIC_SPANS}\" or \"{MAGIC}\", found {text:?}"),
                    ));
                }
                named = text == MAGIC_SPANS;
                begun = true;
            } else if text.is_empty() || text.starts_with('#') {
            } else if announced.is_some() {
                match text.strip_prefix('[').filter(|_| named) {
                    Some(name) => tape.read_span(at, name)?,
                    None => tape.read_choices(at, text)?,
                }
            } else {
                announced = tape.read_header(at, text)?;
            }
        }
        let end = At(last + 1);
        match announced {
            None if !begun => Err(end.bad("version", "the file is empty".into())),
            None => Err(end.bad("choices", "the header has no \"choices:\" line".into())),
            Some(number) if number != tape.choices.len() => Err(end.bad(
                "choices",
                format!("{number} announced, {} found", tape.choices.len()),
            )),
            Some(_) => Ok(tape),
        }
    }

    /// Reads one header line. `Some(number of choices)` ends the header.
    fn read_header(&mut self, at: At, text: &str) -> Result<Option<usize>, TapeError> {
        let (key, value) = text
            .split_once(':')
            .ok_or_else(|| at.bad("header", format!("expected \"key: value\", found {text:?}")))?;
        let value = value.trim();
        match key {
            "profile" => self.profile = value.to_owned(),
            "failure" => self.failure = value.to_owned(),
            "disk" if value == "lies" => self.lies = true,
            "disk" => return Err(at.bad("disk", format!("{value:?}: must be \"lies\""))),
            "seed" => {
                self.seed = Some(
                    value
                        .parse()
                        .map_err(|error| at.bad("seed", format!("{value:?}: {error}")))?,
                )
            }
            "trace" => {
                let hash = u64::from_str_radix(value, 16);
                self.trace =
                    Some(hash.map_err(|error| at.bad("trace", format!("{value:?}: {error}")))?);
            }
            "choices" => {
                return value
                    .parse()
                    .map(Some)
                    .map_err(|error| at.bad("choices", format!("{value:?}: {error}")));
            }
            _ => return Err(at.bad("header", format!("unknown key {key:?}"))),
        }
        Ok(None)
    }

    /// Reads the name of an event, without the bracket before it.
    fn read_span(&mut self, at: At, text: &str) -> Result<(), TapeError> {
        let name = text
            .strip_suffix(']')
            .ok_or_else(|| at.bad("event", format!("expected \"[name]\", found \"[{text}\"")))?;
        let label: Label = name.parse().map_err(|problem| at.bad("event", problem))?;
        if self.spans.len() >= MOST_CHOICES {
            return Err(at.bad("event", format!("more than {MOST_CHOICES} events")));
        }
        self.spans.push(Span {
            at: self.choices.len(),
            label,
        });
        Ok(())
    }

    /// Reads one line of choices.
    fn read_choices(&mut self, at: At, text: &str) -> Result<(), TapeError> {
        let shape = || {
            at.bad(
                "choices",
                format!("expected \"kind n: k k*times ...\", found {text:?}"),
            )
        };
        let (asked, answers) = text.split_once(':').ok_or_else(shape)?;
        let (name, n) = asked.split_once(' ').ok_or_else(shape)?;
        let kind = Kind::from_name(name)
            .ok_or_else(|| at.bad("kind", format!("unknown kind {name:?}")))?;
        let n = at.number("n", n.trim())?;
        if n < 2 {
            return Err(at.bad("n", format!("{n}: a choice has at least 2 answers")));
        }
        for answer in answers.split_whitespace() {
            let (k, times) = match answer.split_once('*') {
                None => (at.number("k", answer)?, 1),
                Some((k, times)) => (at.number("k", k)?, at.number("times", times)? as usize),
            };
            if k >= n {
                return Err(at.bad("k", format!("{k} is not one of 0..{n}")));
            }
            if times > MOST_CHOICES - self.choices.len() {
                return Err(at.bad("times", format!("more than {MOST_CHOICES} choices")));
            }
            self.choices
                .extend(std::iter::repeat_n(Choice { kind, n, k }, times));
        }
        Ok(())
    }
}

/// Writes choices, consecutive ones of one kind and range on one line.
fn save_choices(choices: &[Choice], out: &mut impl Write) -> io::Result<()> {
    let mut line = String::new();
    for group in choices.chunk_by(|a, b| a.kind == b.kind && a.n == b.n) {
        for run in group.chunk_by(|a, b| a.k == b.k) {
            if line.len() > WIDTH {
                writeln!(out, "{line}")?;
                line.clear();
            }
            if line.is_empty() {
                line = format!("{} {}:", run[0].kind.name(), run[0].n);
            }
            line += &match run.len() {
                1 => format!(" {}", run[0].k),
                times => format!(" {}*{times}", run[0].k),
            };
        }
        writeln!(out, "{line}")?;
        line.clear();
    }
    Ok(())
}

/// A line number, for errors.
#[derive(Clone, Copy)]
struct At(usize);

impl At {
    fn bad(self, field: &'static str, problem: String) -> TapeError {
        TapeError::Malformed {
            line: self.0,
            field,
            problem,
        }
    }

    fn number(self, field: &'static str, text: &str) -> Result<u32, TapeError> {
        text.parse()
            .map_err(|error| self.bad(field, format!("{text:?}: {error}")))
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
