//! The I/O of one queue that is under way: a table of tickets, and who waits for memory.
//!
//! * A place of the table is in use from `start` to the `Ended` that gives the ticket back: exactly once.
//! * The table grows only when more is under way than ever before; a mapped request finds its place ready.
//! * Whoever needs a piece of memory waits in order of arrival, per kind.

use std::collections::VecDeque;

use ploop_core::{IoOp, Outcome, Ticket};

use crate::ring::memory::Kind;
use crate::ring::step::{Next, Step, Tools};

#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    step: Step,
}

/// See the module.
#[derive(Debug)]
pub struct Flights {
    table: Vec<Option<Flight>>,
    free: Vec<u32>,
    waiting: [VecDeque<u32>; 2],
}

fn index(kind: Kind) -> usize {
    match kind {
        Kind::Copy => 0,
        Kind::Index => 1,
    }
}

impl Flights {
    /// Room for `depth` requests and what the core does beside them.
    #[must_use]
    pub fn new(depth: u16) -> Flights {
        let places = 2 * u32::from(depth) + 64;
        Flights {
            table: (0..places).map(|_| None).collect(),
            free: (0..places).rev().collect(),
            waiting: Default::default(),
        }
    }

    /// True if nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.table.len()
    }

    /// Starts an I/O. `Some`: it has ended already.
    pub fn start(
        &mut self,
        ticket: Ticket,
        op: IoOp,
        tools: &mut Tools<'_>,
    ) -> Option<(Ticket, Outcome)> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() as u32 - 1
        });
        let mut step = Step::new(op, place);
        let next = step.start(tools);
        self.table[place as usize] = Some(Flight { ticket, step });
        self.go_on(place, next, tools)
    }

    /// The kernel has answered. `Some`: the I/O has ended.
    pub fn answered(
        &mut self,
        place: u32,
        result: i32,
        tools: &mut Tools<'_>,
    ) -> Option<(Ticket, Outcome)> {
        let flight = self.table.get_mut(place as usize)?.as_mut()?;
        let next = flight.step.answered(result, tools);
        self.go_on(place, next, tools)
    }

    fn go_on(
        &mut self,
        place: u32,
        next: Next,
        tools: &mut Tools<'_>,
    ) -> Option<(Ticket, Outcome)> {
        match next {
            Next::Asked => None,
            Next::NeedsPiece(kind) => {
                self.waiting[index(kind)].push_back(place);
                None
            }
            Next::Ended(outcome) => {
                let Flight { ticket, mut step } = self.table[place as usize].take()?;
                self.free.push(place);
                if let Some(kind) = step.end(tools.memory) {
                    self.wake(kind, tools);
                }
                Some((ticket, outcome))
            }
        }
    }

    /// A piece came back. Whoever gets it asks the kernel: a piece is only needed for that, so it does not end here.
    fn wake(&mut self, kind: Kind, tools: &mut Tools<'_>) {
        let Some(place) = self.waiting[index(kind)].pop_front() else {
            return;
        };
        if let Some(flight) = &mut self.table[place as usize] {
            let next = flight.step.start(tools);
            debug_assert_eq!(next, Next::Asked);
        }
    }
}
