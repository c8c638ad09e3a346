//! The passes: each tries a kind of reduction everywhere and says whether anything became smaller.
//!
//! ```text
//!   stop early ─▶ events out, chunk by chunk ─▶ cycles out ─▶ answers to zero, by stretch, one by one, by halves
//!        ▲                                                        │
//!        └── while anything helps ◀── pairs of events out ◀── queues, order ◀──┘      then: chance, while runs are left
//! ```

use super::draft::Draft;
use super::trial::Trials;
use crate::tape::{Choice, Event, Kind, Tape};

/// Pairs are tried in tapes of so many events at most.
const FEW: usize = 48;
/// Chance gives up after so many runs that brought nothing.
const PATIENCE: u64 = 20_000;

impl Trials {
    /// All passes, until none helps, or the limits are reached.
    pub(super) fn shrink(&mut self) {
        let mut seed = 1;
        loop {
            self.reduce();
            if self.over() || !self.stir(&mut seed) {
                return;
            }
        }
    }

    fn reduce(&mut self) {
        loop {
            let before = self.size;
            self.stop_early();
            self.leave_out();
            self.skip_cycles();
            self.spare_servers();
            self.zero_spans();
            self.lower();
            self.one_queue();
            self.reorder();
            if self.size < before && !self.over() {
                continue;
            }
            self.leave_out_pairs();
            if self.size == before || self.over() {
                return;
            }
        }
    }

    /// Tries an edit of the best draft.
    fn tries(&mut self, edit: impl FnOnce(&mut Draft)) -> bool {
        let mut draft = self.best.clone();
        edit(&mut draft);
        self.keeps(&draft)
    }

    /// Nothing is submitted from some event on.
    fn stop_early(&mut self) {
        // The earliest stop that does, by halves, then event by event.
        let (mut low, mut high) = (0, self.best.spans.len());
        while low < high && !self.over() {
            let middle = usize::midpoint(low, high);
            if self.tries(|draft| draft.stop_before(middle)) {
                high = middle.min(self.best.spans.len());
            } else {
                low = middle + 1;
            }
        }
        for span in self.best.ordinary() {
            if span < self.best.spans.len() && self.best.label(span).event == Event::Submit {
                self.tries(|draft| draft.stop_before(span));
            }
        }
    }

    /// Leaves out events: half of them, a quarter, ... one by one.
    fn leave_out(&mut self) {
        let mut chunk = self.best.ordinary().len() / 2;
        while chunk > 0 {
            let mut end = self.best.ordinary().len();
            while end > 0 && !self.over() {
                let ordinary = self.best.ordinary();
                end = end.min(ordinary.len());
                let from = end.saturating_sub(chunk);
                let out = &ordinary[from..end];
                if !out.is_empty() {
                    self.without(out);
                }
                end = from;
            }
            chunk /= 2;
        }
    }

    fn leave_out_pairs(&mut self) {
        let mut first = 0;
        while first < self.best.ordinary().len() && !self.over() {
            let mut second = first + 1;
            loop {
                let ordinary = self.best.ordinary();
                if second >= ordinary.len() || ordinary.len() > FEW {
                    break;
                }
                if !self.without(&[ordinary[first], ordinary[second]]) {
                    second += 1;
                }
            }
            first += 1;
        }
    }

    /// Leaves out these events (rising), with the countdown of their power cycle lowered, or as it is.
    fn without(&mut self, spans: &[usize]) -> bool {
        let lowered = self.tries(|draft| {
            for &span in spans {
                if let Some(at) = draft.countdown(span) {
                    draft.choices[at].k = draft.choices[at].k.saturating_sub(1);
                }
            }
            remove_all(draft, spans);
        });
        lowered || self.tries(|draft| remove_all(draft, spans))
    }

    /// Leaves out whole power cycles, from one plan to the next.
    fn skip_cycles(&mut self) {
        let mut index = 0;
        loop {
            let plans: Vec<usize> = self.named(Event::Plan);
            let (Some(&from), Some(&to)) = (plans.get(index), plans.get(index + 1)) else {
                return;
            };
            if !self.tries(|draft| draft.remove(from..to)) {
                index += 1;
            }
        }
    }

    /// A server is not killed, and lives on to what its successor would have met.
    fn spare_servers(&mut self) {
        let mut index = 0;
        loop {
            let Some(&kill) = self.named(Event::Kill).get(index) else {
                return;
            };
            let plans = self.named(Event::Plan);
            let first = plans.iter().rfind(|&&plan| plan < kill);
            let next = plans.iter().find(|&&plan| plan > kill);
            let (Some(&first), Some(&next)) = (first, next) else {
                return;
            };
            if !self.tries(|draft| spare(draft, first, kill, next)) {
                index += 1;
            }
        }
    }

    fn named(&self, event: Event) -> Vec<usize> {
        (0..self.best.spans.len())
            .filter(|&span| self.best.label(span).event == event)
            .collect()
    }

    /// All answers of a stretch are zero: no faults, an empty image, nothing survives.
    fn zero_spans(&mut self) {
        for span in 0..self.best.spans.len() {
            if span < self.best.spans.len() && !self.best.range(span).is_empty() {
                self.tries(|draft| {
                    let range = draft.range(span);
                    range.for_each(|at| draft.answer(at, 0));
                });
            }
        }
    }

    /// Each answer becomes zero, or as low as halving and counting down bring it.
    fn lower(&mut self) {
        let mut at = 0;
        while at < self.best.choices.len() && !self.over() {
            let k = self.best.choices[at].k;
            if k > 0 && !self.tries(|draft| draft.answer(at, 0)) {
                let mut step = k / 2;
                while step > 0 {
                    let Some(now) = self.best.choices.get(at).map(|choice| choice.k) else {
                        break;
                    };
                    if now <= step || !self.tries(|draft| draft.answer(at, now - step)) {
                        step /= 2;
                    }
                }
            }
            at += 1;
        }
    }

    /// Events go to the queue of the event before them, alone or all of one kind.
    fn one_queue(&mut self) {
        for queue in 0..4 {
            self.tries(|draft| {
                for at in 0..draft.choices.len() {
                    let Choice { kind, n, .. } = draft.choices[at];
                    if kind == Kind::Thread && queue < n {
                        draft.answer(at, queue);
                    }
                }
            });
        }
        for span in 0..self.best.spans.len() {
            if span >= self.best.spans.len() {
                return;
            }
            let threads: Vec<usize> = self.best.of_kind(span, Kind::Thread).collect();
            for at in threads {
                let n = self.best.choices.get(at).map_or(0, |choice| choice.n);
                for queue in 0..n {
                    let same = self.best.choices.get(at).is_none_or(|c| c.k == queue);
                    if !same && self.tries(|draft| draft.answer(at, queue)) {
                        break;
                    }
                }
            }
        }
    }

    /// Events come earlier, so that fewer change the queue.
    fn reorder(&mut self) {
        for later in 1..self.best.spans.len() {
            for earlier in (later.saturating_sub(6)..later).rev() {
                if later >= self.best.spans.len() || self.over() {
                    return;
                }
                let movable =
                    (earlier..=later).all(|span| self.best.label(span).event.is_ordinary());
                if !movable || self.tries(|draft| draft.advance(later, earlier)) {
                    break;
                }
            }
        }
    }

    /// Chance: some edits at once, or another continuation, until one makes the run lighter. False: none did.
    fn stir(&mut self, seed: &mut u64) -> bool {
        let before = self.size.weight;
        let last = self.runs + PATIENCE;
        let mut draft = Draft::default();
        while !self.over() && self.runs < last {
            *seed += 1;
            let mut chance = Tape::from_seed(*seed);
            draft.become_like(&self.best);
            let kept = if chance.chance(Kind::Other, 1, 2) {
                let spans = chance.index(Kind::Other, draft.spans.len() + 1);
                self.keeps_prefix(&draft, spans, *seed)
            } else {
                for _ in 0..=chance.choose(Kind::Other, 4) {
                    mutate(&mut draft, &mut chance);
                }
                self.keeps(&draft)
            };
            if kept && self.size.weight < before {
                return true;
            }
        }
        false
    }
}

/// The events up to the kill and those behind it become one life, planned as the second one was.
fn spare(draft: &mut Draft, first: usize, kill: usize, next: usize) {
    let ordinary = |span: &usize| draft.label(*span).event.is_ordinary();
    let events = (first..kill).filter(ordinary).count() as u32;
    let range = draft.range(next);
    if range.len() >= 2 {
        let last = &mut draft.choices[range.end - 1];
        last.k = (last.k + events).min(last.n - 1);
    }
    draft.advance(next, first);
    draft.remove(kill + 1..kill + 2);
    draft.remove(first + 1..first + 2);
    // The last thing drawn with the weights: how often servers are killed.
    let swarm = (0..draft.spans.len()).find(|&span| draft.label(span).event == Event::Swarm);
    if let Some(last) = swarm.and_then(|swarm| draft.range(swarm).next_back()) {
        draft.choices[last].k = 0;
    }
}

fn remove_all(draft: &mut Draft, spans: &[usize]) {
    for &span in spans.iter().rev() {
        draft.remove(span..span + 1);
    }
}

/// One small change.
fn mutate(draft: &mut Draft, chance: &mut Tape) {
    let ordinary = draft.ordinary();
    if ordinary.is_empty() {
        return;
    }
    let pick = chance.index(Kind::Other, ordinary.len());
    let span = ordinary[pick];
    match chance.choose(Kind::Other, 8) {
        0..=2 => {
            if let Some(at) = draft.countdown(span)
                && chance.choose(Kind::Other, 4) != 3
            {
                draft.choices[at].k = draft.choices[at].k.saturating_sub(1);
            }
            draft.remove(span..span + 1);
        }
        3 => draft.stop_before(span),
        4 if pick > 0 => {
            let earlier = ordinary[chance.index(Kind::Other, pick)];
            if (earlier..=span).all(|span| draft.label(span).event.is_ordinary()) {
                draft.advance(span, earlier);
            }
        }
        _ => {
            let at = chance.index(Kind::Other, draft.choices.len());
            let n = draft.choices[at].n;
            draft.answer(at, chance.choose(Kind::Other, n));
        }
    }
}
