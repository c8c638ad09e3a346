//! The events of a run on its tape: where they begin, what they are called, how a replay finds them again by name; and what
//! of them is told to a watch or asked of a guide.

use super::guide::Candidate;
use super::label::{Event, Label, Object, Span};
use super::watch::Watch;
use super::{Choice, Kind, Source, Tape};

impl Tape {
    /// From now on notes where events begin; see [`Tape::spans`].
    pub fn note_spans(&mut self) {
        self.spanned = true;
    }

    /// An event begins.
    #[inline]
    pub fn begin(&mut self, event: Event) {
        if self.spanned {
            self.begin_noted(event);
        }
        if self.watching && !event.is_ordinary() {
            self.see(event.into());
        }
    }

    #[inline(never)]
    fn see(&mut self, label: Label) {
        if let Some(watch) = &mut self.watch {
            watch.see(&label);
        }
    }

    #[inline(never)]
    fn begin_noted(&mut self, event: Event) {
        if let Source::Replay(reader) = &mut self.source {
            reader.begin(event);
        }
        self.spans.push(Span {
            at: self.log.len(),
            label: Label {
                event,
                ..Label::default()
            },
        });
        self.reflect();
    }

    /// Names the event that has begun, unless it has a name.
    #[inline]
    pub fn name(&mut self, label: impl FnOnce() -> Label) {
        if self.spanned || self.watching {
            self.name_noted(label());
        }
    }

    #[inline(never)]
    fn name_noted(&mut self, label: Label) {
        if let (Some(watch), true) = (&mut self.watch, self.watching) {
            watch.see(&label);
        }
        if self.spanned
            && let Some(span) = self.spans.last_mut()
            && span.label.event == Event::Any
        {
            span.label = Label {
                asked: span.label.asked,
                nth: span.label.nth,
                fault: span.label.fault,
                ..label
            };
        }
        self.reflect();
    }

    /// Notes that the event at hand brings a fault.
    #[inline]
    pub fn name_fault(&mut self) {
        if let (Some(watch), true) = (&mut self.watch, self.watching) {
            watch.note_fault();
        }
        if self.spanned
            && let Some(span) = self.spans.last_mut()
        {
            span.label.fault = true;
        }
    }

    /// True if nothing more is to be submitted in this power cycle: a tape with stretches says so, or is at its end.
    #[inline]
    pub fn stops(&mut self) -> bool {
        let Source::Replay(reader) = &mut self.source else {
            return false;
        };
        let stops = reader.stops();
        if stops {
            self.spans.push(Span {
                at: self.log.len(),
                label: Label {
                    event: Event::Stop,
                    ..Label::default()
                },
            });
        }
        stops
    }

    /// As [`Tape::weighted`]: the answers are events. A replay with stretches looks for the event, not for the number.
    #[inline]
    pub fn weighted_event(&mut self, kind: Kind, weights: &[u32], events: &[Event]) -> usize {
        if !self.spanned {
            return self.weighted(kind, weights);
        }
        let picked = self.weighted_named(kind, weights, events);
        if let Some(span) = self.spans.last_mut() {
            span.label.asked = events[picked];
        }
        picked
    }

    #[inline(never)]
    fn weighted_named(&mut self, kind: Kind, weights: &[u32], events: &[Event]) -> usize {
        let total: u32 = weights.iter().sum();
        if let Source::Replay(reader) = &mut self.source
            && total > 1
            && let Some(index) = reader.asked(weights, events)
        {
            let first: u32 = weights[..index].iter().sum();
            let range = first..first + weights[index];
            let k = match reader.peek(kind, total) {
                Some(k) if range.contains(&k) => k,
                _ => first,
            };
            reader.pass(kind, total);
            self.log.push(Choice { kind, n: total, k });
            return index;
        }
        self.weighted(kind, weights)
    }

    /// As [`Tape::index`]: the answers are I/Os with names. A replay with stretches looks for the name, not for the
    /// number.
    #[inline]
    pub fn index_named(&mut self, kind: Kind, n: usize, object: impl Fn(usize) -> Object) -> usize {
        if !self.spanned || n == 0 {
            return self.index(kind, n);
        }
        let picked = self.find_named(kind, n, &object);
        let like = |&other: &usize| object(other) == object(picked);
        let nth = (0..picked).filter(like).count() as u16;
        if let Some(span) = self.spans.last_mut() {
            span.label.nth = nth;
        }
        picked
    }

    #[inline(never)]
    fn find_named(&mut self, kind: Kind, n: usize, object: &dyn Fn(usize) -> Object) -> usize {
        if let Source::Replay(reader) = &mut self.source
            && let Some(label) = reader.label()
            && label.event == Event::Deliver
            && let Some(k) = (0..n)
                .filter(|&index| object(index) == label.object)
                .nth(usize::from(label.nth))
        {
            let range = u32::try_from(n).unwrap_or(u32::MAX);
            if range > 1 {
                reader.pass(kind, range);
                let k = k as u32;
                self.log.push(Choice { kind, n: range, k });
            }
            return k;
        }
        self.index(kind, n)
    }

    /// As [`Tape::choose`]: the name of the event may tell the answer. A replay with stretches asks `told` what the recorded
    /// name wants (and shows it the recorded number, if that answered this very question); where it wants nothing that
    /// can be, the number decides.
    #[inline]
    pub fn choose_named(
        &mut self,
        kind: Kind,
        n: u32,
        told: impl Fn(&Label, Option<u32>) -> Option<u32>,
    ) -> u32 {
        if !self.spanned || n <= 1 {
            return self.choose(kind, n);
        }
        self.choose_told(kind, n, &told)
    }

    #[inline(never)]
    fn choose_told(
        &mut self,
        kind: Kind,
        n: u32,
        told: &dyn Fn(&Label, Option<u32>) -> Option<u32>,
    ) -> u32 {
        if let Source::Replay(reader) = &mut self.source
            && let Some(label) = reader.label()
            && let Some(k) = told(&label, reader.peek(kind, n))
            && k < n
        {
            reader.pass(kind, n);
            self.log.push(Choice { kind, n, k });
            return k;
        }
        self.choose(kind, n)
    }

    /// As [`Tape::weighted`]: the name of the event may tell the index, see [`Tape::choose_named`].
    #[inline]
    pub fn weighted_by_name(
        &mut self,
        kind: Kind,
        weights: &[u32],
        told: impl Fn(&Label) -> Option<usize>,
    ) -> usize {
        if !self.spanned {
            return self.weighted(kind, weights);
        }
        let total = weights.iter().sum();
        let first = |index: usize| weights[..index].iter().sum::<u32>();
        let k = self.choose_named(kind, total, |label, recorded| {
            let index = told(label).filter(|&index| weights[index] > 0)?;
            let range = first(index)..first(index) + weights[index];
            Some(
                recorded
                    .filter(|k| range.contains(k))
                    .unwrap_or(range.start),
            )
        });
        (0..weights.len())
            .find(|&index| k < first(index) + weights[index])
            .unwrap_or(0)
    }

    /// From the next run on: notes what runs look like, or no longer does. With `states`, the world's states belong to that.
    pub fn watch(&mut self, on: bool, states: bool) {
        if on {
            self.watch.get_or_insert_default();
        }
        self.watching = on;
        self.states = on && states;
    }

    /// What the run looks like so far, if anybody watches.
    #[must_use]
    pub fn watch_of_run(&self) -> Option<&Watch> {
        self.watch.as_deref().filter(|_| self.watching)
    }

    /// Who watches, or watched an earlier run: to be told what is known.
    pub fn watched(&mut self) -> Option<&mut Watch> {
        self.watch.as_deref_mut()
    }

    /// True if the world is to say, before each event, in which state it is, and what could come next.
    #[inline]
    #[must_use]
    pub fn is_curious(&self) -> bool {
        self.curious
    }

    /// The world's state, in a word.
    pub fn tell_state(&mut self, state: u64) {
        if let (Some(watch), true) = (&mut self.watch, self.states) {
            watch.note_state(state);
        }
    }

    /// True if [`Tape::offer`] is heard.
    #[must_use]
    pub fn is_guided(&self) -> bool {
        matches!(self.source, Source::Guided(_))
    }

    /// What could come next; see [`Guide::decide`].
    pub fn offer(
        &mut self,
        weights: &[u32],
        offered: usize,
        candidates: &[Candidate],
        horizon: u32,
    ) {
        if let Source::Guided(guide) = &mut self.source {
            guide.decide(weights, offered, candidates, horizon);
        }
    }
}
