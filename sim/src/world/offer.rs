//! What a search engine hears of the world before each event: what could come next, whose it would be, and in which state
//! everything is. The default engine asks for none of it.

use super::Run;
use super::flight::object;
use crate::check::in_use::Mark;
use crate::tape::{Candidate, Kind, Object};

/// So many events one operation brings on average, until all that it started has ended.
const OF_AN_OPERATION: u32 = 4;
/// Lanes of the clients, by queue, and of the turns. Those of I/O begin with its sort, which is less than 9.
const CLIENTS: u64 = 16 << 32;
const TURNS: u64 = 17 << 32;

impl Run<'_> {
    /// Says it all. `weights`: of the events submit, deliver, turn, and others that are not the scheduler's.
    #[inline(never)]
    pub(super) fn tell(&mut self, weights: &[u32], budget: u32) {
        let state = self.state(budget);
        self.tape.tell_state(state);
        if !self.tape.is_guided() {
            return;
        }
        let mut candidates = Vec::with_capacity(self.world.flights.len() + 5);
        let queues = self.shape.options.queues;
        let depth = usize::from(self.shape.options.depth);
        for queue in (0..queues).filter(|_| weights[0] > 0) {
            let from = usize::from(queue) * depth;
            let mut tags = self.world.tags[from..from + depth].iter();
            if tags.any(|tag| tag.active.is_none()) {
                candidates.push(Candidate {
                    lane: CLIENTS | u64::from(queue),
                    event: 0,
                    then: Some((Kind::Thread, queues.into(), queue.into())),
                    left: (budget * OF_AN_OPERATION).div_ceil(queues.into()),
                });
            }
        }
        let flights = &self.world.flights;
        let range = flights.len() as u32;
        for (index, flight) in flights.iter().enumerate() {
            let object = object(flight);
            candidates.push(Candidate {
                lane: lane(object),
                event: 1,
                then: Some((Kind::Event, range, index as u32)),
                left: follows(object),
            });
        }
        if weights[2] > 0 {
            candidates.push(Candidate {
                lane: TURNS,
                event: 2,
                then: None,
                left: 1,
            });
        }
        let horizon = self.swarm.budget * OF_AN_OPERATION;
        self.tape.offer(weights, 3, &candidates, horizon);
    }

    /// The state, as far as it may matter for what comes: which sorts of I/O are in flight, whether all tags are busy, the
    /// in-use mark, what a checker knows.
    fn state(&self, budget: u32) -> u64 {
        let flights = self.world.flights.iter();
        let sorts = flights.fold(0, |sorts, flight| sorts | 1 << (lane(object(flight)) >> 32));
        let mark = match self.mark {
            Mark::Unmarked => 0_u64,
            Mark::Written => 1,
            Mark::Durable => 2,
        };
        let flags = [
            self.suspended,
            self.owes_turn,
            budget == 0,
            self.copy.is_some(),
            self.promoted.is_some(),
            self.world.tags.iter().all(|tag| tag.active.is_some()),
        ];
        let flags = flags
            .iter()
            .fold(0, |word, flag| word << 1 | u64::from(*flag));
        sorts | mark << 16 | flags << 18 | (self.world.content.since.knows as u64) << 24
    }
}

/// Whose events the ends of this I/O are: its request's, its page's, or of its place in the file.
fn lane(object: Object) -> u64 {
    let tag = |queue: u16, tag: u16| u64::from(queue) << 16 | u64::from(tag);
    match object {
        Object::Fetch(q, t) => tag(q, t),
        Object::Hole(q, t) => 1 << 32 | tag(q, t),
        Object::Data(q, t) => 2 << 32 | tag(q, t),
        Object::Zero(s) => 3 << 32 | u64::from(s),
        Object::Copy(s) => 4 << 32 | u64::from(s),
        Object::Length => 5 << 32,
        Object::Index(p) => 6 << 32 | u64::from(p),
        Object::Punch(s) => 7 << 32 | u64::from(s),
        _ => 8 << 32,
    }
}

/// Events that are still to come of an I/O, its own end among them.
fn follows(object: Object) -> u32 {
    match object {
        // The data of the request, then its slot.
        Object::Length | Object::Zero(_) | Object::Copy(_) => 3,
        Object::Sync => 2,
        _ => 1,
    }
}
