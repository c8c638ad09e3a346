//! How large a run is: what a person has to follow, and what the tape has to say.

use crate::tape::{Choice, Event, Span};
use serde::{Deserialize, Serialize};

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Operations that clients submit. The read of the whole disk before a close is none of them.
    pub operations: u32,
    /// Power cuts.
    pub crashes: u32,
    /// Servers killed.
    pub kills: u32,
    /// I/Os that meet a fault.
    pub faults: u32,
    /// Changes of the queue between events that have one, one after the other.
    pub switches: u32,
    /// Events.
    pub events: u32,
    /// Choices.
    pub choices: u32,
}

impl Counts {
    /// Counts a tape that has stretches.
    #[must_use]
    pub fn of(choices: &[Choice], spans: &[Span]) -> Counts {
        let mut counts = Counts {
            choices: choices.len() as u32,
            ..Counts::default()
        };
        let mut queue = None;
        for Span { label, .. } in spans {
            counts.operations += u32::from(label.event == Event::Submit);
            counts.crashes += u32::from(label.event == Event::Cut);
            counts.kills += u32::from(label.event == Event::Kill);
            counts.faults += u32::from(label.fault);
            counts.events += u32::from(label.event.is_ordinary());
            if label.queue.is_some() {
                counts.switches += u32::from(queue.is_some() && queue != label.queue);
                queue = label.queue;
            }
        }
        counts
    }

    /// Names and figures, in the order of a table.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, u32); 7] {
        [
            ("operations", self.operations),
            ("crashes", self.crashes),
            ("kills", self.kills),
            ("faults", self.faults),
            ("switches", self.switches),
            ("events", self.events),
            ("choices", self.choices),
        ]
    }
}

/// What is made smaller: first what a person has to follow, then the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size {
    /// Operations, crashes, kills, faults and switches, weighed.
    pub(super) weight: u32,
    events: u32,
    choices: u32,
    /// Sum of the answers' bits: small answers are simple ones.
    answers: u64,
}

impl Size {
    pub(super) fn of(choices: &[Choice], spans: &[Span]) -> Size {
        let counts = Counts::of(choices, spans);
        Size {
            weight: 4 * (counts.operations + counts.faults)
                + 6 * (counts.crashes + counts.kills)
                + 2 * counts.switches,
            events: counts.events,
            choices: counts.choices,
            answers: choices.iter().map(|choice| u64::from(choice.k)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Label;

    #[test]
    fn a_switch_is_a_change_of_the_queue() {
        let span = |text: &str| Span {
            at: 0,
            label: text.parse::<Label>().expect("a name"),
        };
        let spans = [
            "shape",
            "submit q1 write c3",
            "deliver q1 data 1.0 fault",
            "tick",
            "turn q1",
            "turn q0",
            "cut",
            "submit q1 flush",
            "kill",
            "close",
        ]
        .map(span);
        let counts = Counts::of(&[], &spans);
        let figures: Vec<u32> = counts.rows().iter().map(|row| row.1).collect();
        assert_eq!(figures, [2, 1, 1, 1, 2, 6, 0]);
    }
}
