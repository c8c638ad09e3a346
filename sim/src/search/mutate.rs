//! Changes of a tape, by event: an answer is another one, events go, come twice, change places, or come from another tape;
//! or the tape ends early, and chance goes on.
//!
//! The result need not be a tape that any run makes: a replay takes what fits, and chance follows where it ends.

use super::corpus::Kept;
use crate::tape::{Choice, Event, Kind, Span, mix};
use std::ops::Range;

/// Most events that one change is about.
const MOST_EVENTS: u64 = 6;

/// Numbers of a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * n as u128) >> 64) as usize
    }
}

/// `tape`, changed in one to four ways; `other` is where new events come from. Same arguments, same result.
#[must_use]
pub fn mutate(tape: &Kept, other: &Kept, seed: u64) -> Kept {
    let mut dice = Dice(mix(seed));
    let mut tape = tape.clone();
    let changes = 1 + dice.below(4).min(dice.below(4));
    for _ in 0..changes {
        match dice.below(12) {
            0..=3 => answer(&mut tape, &mut dice, |_| true),
            4 | 5 => answer(&mut tape, &mut dice, |kind| {
                matches!(kind, Kind::Event | Kind::Thread | Kind::Order | Kind::Land)
            }),
            6 => answer(&mut tape, &mut dice, |kind| {
                matches!(kind, Kind::Fault | Kind::Crash | Kind::Survive)
            }),
            7 => {
                if let Some(events) = some(&tape, &mut dice) {
                    remove(&mut tape, events);
                }
            }
            8 => {
                let again = tape.clone();
                insert(&mut tape, &again, &mut dice);
            }
            9 => insert(&mut tape, other, &mut dice),
            10 => swap(&mut tape, &mut dice),
            _ => cut(&mut tape, &mut dice),
        }
    }
    tape
}

/// Another answer to some question of a kind that is wanted.
fn answer(tape: &mut Kept, dice: &mut Dice, wanted: fn(Kind) -> bool) {
    // A few tries find a kind that is not rare; more would find nothing new.
    for _ in 0..16 {
        if tape.choices.is_empty() {
            return;
        }
        let at = dice.below(tape.choices.len());
        let Choice { kind, n, .. } = tape.choices[at];
        if wanted(kind) {
            tape.choices[at].k = dice.below(n as usize) as u32;
            let behind = tape.spans.partition_point(|span| span.at <= at);
            if let Some(span) = tape.spans[..behind].last_mut() {
                // The new answer counts, not the name of the old one.
                span.label.forget(kind);
            }
            return;
        }
    }
}

/// The choices of a stretch.
fn range(tape: &Kept, span: usize) -> Range<usize> {
    let end = tape.spans.get(span + 1);
    tape.spans[span].at..end.map_or(tape.choices.len(), |next| next.at)
}

/// Neighbouring events that may be left out or come twice.
fn some(tape: &Kept, dice: &mut Dice) -> Option<Range<usize>> {
    let ordinary = |span: &Span| span.label.event.is_ordinary();
    let all: Vec<usize> = (0..tape.spans.len())
        .filter(|&at| ordinary(&tape.spans[at]))
        .collect();
    if all.is_empty() {
        return None;
    }
    let first = all[dice.below(all.len())];
    let most = 1 + dice.below(MOST_EVENTS as usize);
    let rest = tape.spans[first..].iter().take(most);
    Some(first..first + rest.take_while(|span| ordinary(span)).count())
}

fn remove(tape: &mut Kept, events: Range<usize>) {
    let (Some(first), Some(last)) = (events.clone().next(), events.clone().next_back()) else {
        return;
    };
    let choices = range(tape, first).start..range(tape, last).end;
    tape.choices.drain(choices.clone());
    tape.spans.drain(events);
    for span in &mut tape.spans[first..] {
        span.at -= choices.len();
    }
}

/// Puts events of `from` before some event.
fn insert(tape: &mut Kept, from: &Kept, dice: &mut Dice) {
    let (Some(events), Some(place)) = (some(from, dice), some(tape, dice)) else {
        return;
    };
    let place = place.start;
    let first = range(from, events.start).start;
    let choices = first..range(from, events.end - 1).end;
    let at = tape.spans[place].at;
    for span in &mut tape.spans[place..] {
        span.at += choices.len();
    }
    let spans = from.spans[events].iter().map(|span| Span {
        at: at + span.at - first,
        ..*span
    });
    tape.spans.splice(place..place, spans);
    let own = from.choices[choices].iter().copied();
    tape.choices.splice(at..at, own);
}

/// Two events of a power cycle that stand near each other change places.
fn swap(tape: &mut Kept, dice: &mut Dice) {
    let Some(events) = some(tape, dice).filter(|events| events.len() > 1) else {
        return;
    };
    let (a, b) = (events.start, events.end - 1);
    let moved = Kept {
        choices: tape.choices[range(tape, a)].to_vec(),
        spans: vec![Span {
            at: 0,
            ..tape.spans[a]
        }],
    };
    remove(tape, a..a + 1);
    // Behind what stood last.
    let at = range(tape, b - 1).end;
    for span in &mut tape.spans[b..] {
        span.at += moved.choices.len();
    }
    tape.spans.insert(
        b,
        Span {
            at,
            ..moved.spans[0]
        },
    );
    tape.choices.splice(at..at, moved.choices);
}

/// The tape ends before some event: chance goes on.
fn cut(tape: &mut Kept, dice: &mut Dice) {
    if let Some(events) = some(tape, dice) {
        tape.choices.truncate(tape.spans[events.start].at);
        tape.spans.truncate(events.start);
        tape.spans.retain(|span| span.label.event != Event::Stop);
    }
}
