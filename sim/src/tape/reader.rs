//! A recorded log, read again: exactly, as long as the questions are those that were recorded; else as near as can be.
//!
//! 1. Same questions, same answers: nothing below applies then.
//! 2. With stretches ([`Span`]): each event of the run begins with a stretch of the log, whatever was left of the last
//!    one. Events that cannot happen any more are left out; what only the run decides (a plan, a cut) is looked for by name.
//! 3. A question that does not fit: recorded answers are skipped if one that fits stands shortly behind them; else an
//!    answer of the same kind serves, clamped to the range; else the answer is 0 and nothing is taken.
//! 4. After the end: zeros, or chance, as the caller wants.

use super::label::{Event, Label, Span};
use super::{Choice, Kind};

/// How far an answer that fits is looked for, where no stretch ends before.
const WINDOW: usize = 16;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    choices: Vec<Choice>,
    spans: Vec<Span>,
    /// The next choice, and the end of the stretch that is read.
    next: usize,
    end: usize,
    /// The next stretch.
    span: usize,
    /// The stretch that is read; none if the log has none for this event.
    label: Option<Label>,
    /// Chance follows, not zeros.
    chance: bool,
    /// Recorded choices that answered the question they were recorded for, as far as kind and range tell.
    pub(super) aligned: u64,
    /// Questions that found no such answer, and answers that found no question.
    pub(super) misaligned: u64,
}

/// What the log says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This.
    Known(u32),
    /// Nothing fits: the simplest answer.
    Simplest,
    /// The log is at its end, and chance follows.
    Chance,
}

impl Reader {
    /// Becomes a log, keeping its memory.
    pub(super) fn load(&mut self, choices: &[Choice], spans: &[Span], chance: bool) {
        self.choices.clear();
        self.choices.extend_from_slice(choices);
        self.spans.clear();
        self.spans.extend_from_slice(spans);
        *self = Reader {
            choices: std::mem::take(&mut self.choices),
            spans: std::mem::take(&mut self.spans),
            chance,
            ..Reader::default()
        };
        // Before the first stretch, or without any: all of it.
        self.end = match self.spans.first() {
            Some(first) => first.at,
            None => self.choices.len(),
        };
    }

    pub(super) fn len(&self) -> usize {
        self.choices.len()
    }

    pub(super) fn has_spans(&self) -> bool {
        !self.spans.is_empty()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.next >= self.choices.len() || (self.has_spans() && self.span > self.spans.len())
    }

    /// An event begins.
    pub(super) fn begin(&mut self, event: Event) {
        if !self.has_spans() {
            return;
        }
        self.misaligned += (self.end - self.next.min(self.end)) as u64;
        let found = if event.is_ordinary() {
            // A stop that nobody asked for is over; nothing else is passed by.
            while self.upcoming() == Some(Event::Stop) {
                self.span += 1;
            }
            self.upcoming()
                .is_some_and(Event::is_ordinary)
                .then_some(self.span)
        } else {
            let rest = self.spans.get(self.span..).unwrap_or(&[]);
            let ahead = rest.iter().position(|span| span.label.event == event);
            ahead.map(|ahead| self.span + ahead)
        };
        match found {
            Some(span) => {
                let skipped = self.spans[span].at - self.end.min(self.spans[span].at);
                self.misaligned += skipped as u64;
                self.open(span);
            }
            None if self.span >= self.spans.len() => {
                // Nothing is left of the log.
                self.span = self.spans.len() + 1;
                self.next = self.choices.len();
                self.end = self.next;
                self.label = None;
            }
            None => {
                self.next = self.end;
                self.label = None;
            }
        }
    }

    /// True if the log says that nothing more is to be submitted, or is at its end.
    pub(super) fn stops(&mut self) -> bool {
        if !self.has_spans() {
            return false;
        }
        match self.upcoming() {
            Some(Event::Stop) => {
                self.span += 1;
                true
            }
            Some(_) => false,
            None => !self.chance,
        }
    }

    fn upcoming(&self) -> Option<Event> {
        self.spans.get(self.span).map(|span| span.label.event)
    }

    fn open(&mut self, span: usize) {
        self.span = span + 1;
        self.label = Some(self.spans[span].label);
        self.next = self.spans[span].at;
        self.end = match self.spans.get(span + 1) {
            Some(after) => after.at,
            None => self.choices.len(),
        };
    }

    /// Which of `events` (those with a weight of zero cannot be) the tape asked for. Events that cannot be are left out.
    pub(super) fn asked(&mut self, weights: &[u32], events: &[Event]) -> Option<usize> {
        loop {
            let asked = self.label?.asked;
            let index = events.iter().position(|&event| event == asked)?;
            if weights[index] > 0 {
                return Some(index);
            }
            self.misaligned += (self.end - self.next) as u64;
            if self.upcoming().is_some_and(Event::is_ordinary) {
                self.open(self.span);
            } else {
                self.next = self.end;
                self.label = None;
            }
        }
    }

    /// The name of the stretch that is read.
    pub(super) fn label(&self) -> Option<Label> {
        self.label
    }

    /// Answers a question.
    pub(super) fn read(&mut self, kind: Kind, n: u32) -> Answer {
        let fits = |choice: &Choice| choice.kind == kind && choice.n == n;
        let end = if self.has_spans() {
            self.end
        } else {
            self.end.min(self.next + WINDOW)
        };
        let ahead = self.choices.get(self.next..end).unwrap_or(&[]);
        if let Some(skipped) = ahead.iter().position(fits) {
            let k = ahead[skipped].k;
            self.misaligned += skipped as u64;
            self.aligned += 1;
            self.next += skipped + 1;
            return Answer::Known(k);
        }
        match ahead.first() {
            Some(&choice) if choice.kind == kind => {
                self.misaligned += 1;
                self.next += 1;
                Answer::Known(choice.k % n)
            }
            Some(_) => {
                self.misaligned += 1;
                Answer::Simplest
            }
            None if self.is_exhausted() && self.chance => Answer::Chance,
            None => {
                self.misaligned += u64::from(!self.is_exhausted());
                Answer::Simplest
            }
        }
    }

    /// Takes the next answer if it is of this kind: its value was found by name.
    pub(super) fn pass(&mut self, kind: Kind, n: u32) {
        let in_span = self.next < self.end;
        match self.choices.get(self.next) {
            Some(choice) if in_span && choice.kind == kind => {
                self.next += 1;
                if choice.n == n {
                    self.aligned += 1;
                } else {
                    self.misaligned += 1;
                }
            }
            _ => self.misaligned += 1,
        }
    }

    /// The next answer as it stands, if it is one to this question.
    pub(super) fn peek(&self, kind: Kind, n: u32) -> Option<u32> {
        let next = self
            .choices
            .get(self.next)
            .filter(|_| self.next < self.end)?;
        (next.kind == kind && next.n == n).then_some(next.k)
    }
}
