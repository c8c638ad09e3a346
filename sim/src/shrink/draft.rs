//! A tape that is being cut down: choices and the stretches they belong to, edited by stretch.

use crate::tape::{Choice, Event, Kind, Label, Span, Tape};
use std::ops::Range;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    pub(super) choices: Vec<Choice>,
    pub(super) spans: Vec<Span>,
}

impl Draft {
    /// What a run has made of its tape.
    pub(super) fn of(tape: &Tape) -> Draft {
        Draft {
            choices: tape.choices().to_vec(),
            spans: tape.spans().to_vec(),
        }
    }

    /// Becomes another draft, keeping its memory.
    pub(super) fn become_like(&mut self, other: &Draft) {
        self.choices.clone_from(&other.choices);
        self.spans.clone_from(&other.spans);
    }

    pub(super) fn label(&self, span: usize) -> Label {
        self.spans[span].label
    }

    /// The choices of a stretch.
    pub(super) fn range(&self, span: usize) -> Range<usize> {
        let end = self.spans.get(span + 1);
        self.spans[span].at..end.map_or(self.choices.len(), |next| next.at)
    }

    /// Stretches that may be left out, or come in another order.
    pub(super) fn ordinary(&self) -> Vec<usize> {
        (0..self.spans.len())
            .filter(|&span| self.label(span).event.is_ordinary())
            .collect()
    }

    /// Takes stretches out.
    pub(super) fn remove(&mut self, spans: Range<usize>) {
        if spans.is_empty() {
            return;
        }
        let choices = self.spans[spans.start].at..self.range(spans.end - 1).end;
        self.choices.drain(choices.clone());
        self.spans.drain(spans.clone());
        for span in &mut self.spans[spans.start..] {
            span.at -= choices.len();
        }
    }

    /// Puts a stop before a stretch.
    pub(super) fn stop_before(&mut self, span: usize) {
        let at = self.spans.get(span).map_or(self.choices.len(), |s| s.at);
        let label = Event::Stop.into();
        self.spans.insert(span, Span { at, label });
    }

    /// Moves a stretch forward to where an earlier one begins.
    pub(super) fn advance(&mut self, from: usize, to: usize) {
        let range = self.range(from);
        let (len, place) = (range.len(), self.spans[to].at);
        self.choices[place..range.end].rotate_right(len);
        self.spans[to..=from].rotate_right(1);
        self.spans[to].at = place;
        for span in &mut self.spans[to + 1..=from] {
            span.at += len;
        }
    }

    /// Gives a question another answer. A name that told the old one has no say any more; the run names the event anew.
    pub(super) fn answer(&mut self, at: usize, k: u32) {
        self.choices[at].k = k;
        let behind = self.spans.partition_point(|span| span.at <= at);
        if let Some(span) = self.spans[..behind].last_mut() {
            span.label.forget(self.choices[at].kind);
        }
    }

    /// The plan of the power cycle that a stretch belongs to: the choice that says after how many events it ends.
    pub(super) fn countdown(&self, span: usize) -> Option<usize> {
        let plan = (0..span)
            .rev()
            .find(|&at| self.label(at).event == Event::Plan)?;
        let range = self.range(plan);
        (range.len() >= 2).then(|| range.end - 1)
    }

    /// Answers to one kind of question in a stretch.
    pub(super) fn of_kind(&self, span: usize, kind: Kind) -> impl Iterator<Item = usize> + '_ {
        self.range(span)
            .filter(move |&at| self.choices[at].kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stretches of 1, 2, 3, ... choices whose answers are their stretch.
    fn draft(spans: u32) -> Draft {
        let mut draft = Draft::default();
        for span in 0..spans {
            let at = draft.choices.len();
            let label = Event::Any.into();
            draft.spans.push(Span { at, label });
            for _ in 0..=span {
                let (kind, n, k) = (Kind::Arg, 100, span);
                draft.choices.push(Choice { kind, n, k });
            }
        }
        draft
    }

    /// The stretches as lists of answers.
    fn shown(draft: &Draft) -> Vec<Vec<u32>> {
        (0..draft.spans.len())
            .map(|span| draft.range(span).map(|at| draft.choices[at].k).collect())
            .collect()
    }

    #[test]
    fn stretches_are_edited_whole() {
        let mut cut = draft(4);
        cut.remove(1..3);
        assert_eq!(shown(&cut), [vec![0], vec![3; 4]]);
        let mut moved = draft(4);
        moved.advance(3, 1);
        assert_eq!(shown(&moved), [vec![0], vec![3; 4], vec![1; 2], vec![2; 3]]);
        let mut stopped = draft(2);
        stopped.stop_before(1);
        assert_eq!(shown(&stopped), [vec![0], vec![], vec![1; 2]]);
        stopped.stop_before(3);
        assert_eq!(stopped.spans[3].at, 3);
        assert_eq!(stopped.label(3).event, Event::Stop);
    }
}
