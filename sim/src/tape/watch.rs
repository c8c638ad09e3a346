//! What a run looked like, as its tape's events go by: the happens-before hash of the whole, and patterns of a few events.
//!
//! * Each event stands on a lane: the object that it is about (a page, a request, a guest cluster, a place of the file), or
//!   a queue. Which one does not matter, so runs that differ in addresses alone look alike.
//! * Hash of an event: what happened, and the hash of the event before it on its lane. What concerns all (a sync, a
//!   new length, time, a cut) comes after everything before it and before everything after it. Hash of the run: the sum of
//!   its events' hashes. So runs that differ in the order of events of different lanes alone have the same hash.
//! * Patterns: the last three events of a lane, and the last three of all with the lanes that they have in common. They are
//!   few: a campaign comes to an end of them, as it does not of whole runs.
//!
//! Hashes of 64 bits are taken for what they stand for.

use super::label::{Event, Label, Object};

/// Lanes that are told apart; later ones share the last.
const LANES: usize = 64;
/// Entries of the table of patterns that need not be told again.
const KNOWN: usize = 16_384;

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Identity; 0 is none.
    key: u64,
    /// Of its last event.
    hash: u64,
    /// Number of barriers when that was.
    barrier: u32,
    /// What its last two events were.
    past: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Watch {
    lanes: Vec<Lane>,
    sum: u64,
    /// Hash and number of the events that concern all.
    barrier: u64,
    barriers: u32,
    /// The last two events of all, and their lanes.
    past: u32,
    past_lanes: [usize; 2],
    fault: bool,
    /// Of the world, where it tells: see [`Watch::note_state`].
    state: u64,
    patterns: Vec<u64>,
    /// With the event that came in them.
    states: Vec<u64>,
    known: Vec<u64>,
}

impl Default for Watch {
    fn default() -> Watch {
        Watch {
            lanes: Vec::with_capacity(LANES),
            sum: 0,
            barrier: 0,
            barriers: 0,
            past: 0,
            past_lanes: [usize::MAX; 2],
            fault: false,
            state: 0,
            patterns: Vec::new(),
            states: Vec::new(),
            known: vec![0; KNOWN],
        }
    }
}

/// Spreads the bits of a word (the finalizer of SplitMix64).
pub(crate) fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Watch {
    /// A run begins.
    pub fn restart(&mut self) {
        self.lanes.clear();
        self.patterns.clear();
        self.states.clear();
        (self.sum, self.barrier, self.barriers) = (0, 0, 0);
        (self.past, self.past_lanes) = (0, [usize::MAX; 2]);
        (self.fault, self.state) = (false, 0);
    }

    /// The event at hand brings a fault.
    pub fn note_fault(&mut self) {
        self.fault = true;
    }

    /// The world is in this state when the next event comes.
    pub fn note_state(&mut self, state: u64) {
        self.state = state | 1 << 63;
    }

    /// An event came to pass.
    #[inline]
    pub fn see(&mut self, label: &Label) {
        let what = what(label) << 1 | u32::from(std::mem::take(&mut self.fault));
        match lane(label) {
            None => self.see_barrier(what),
            Some(key) => self.see_on(key, what),
        }
    }

    fn see_on(&mut self, key: u64, what: u32) {
        let index = self.lane(key);
        let lane = &mut self.lanes[index];
        if lane.barrier != self.barriers {
            lane.hash ^= self.barrier;
            lane.barrier = self.barriers;
        }
        lane.hash = mix(lane.hash ^ u64::from(what) << 8);
        self.sum = self.sum.wrapping_add(lane.hash);
        let of_lane = 1 << 62 | u64::from(lane.past) << 16 | u64::from(what);
        lane.past = lane.past << 16 | what;
        self.pattern(of_lane);
        self.see_any(index, what);
    }

    fn see_barrier(&mut self, what: u32) {
        self.barrier = mix(self.sum ^ u64::from(what) << 8 ^ 0xff);
        self.barriers += 1;
        self.sum = self.sum.wrapping_add(self.barrier);
        self.see_any(usize::MAX, what);
    }

    fn see_any(&mut self, lane: usize, what: u32) {
        let [before, first] = self.past_lanes;
        let common = u64::from(lane == before) | u64::from(lane == first) << 1;
        let of_all = 2 << 62 | common << 52 | u64::from(self.past) << 16 | u64::from(what);
        self.past = self.past << 16 | what;
        self.past_lanes = [lane, before];
        self.pattern(of_all);
        if self.state != 0 {
            let state = std::mem::take(&mut self.state);
            self.states.push(mix(mix(state) ^ u64::from(what)));
        }
    }

    /// Index of the lane of this key.
    fn lane(&mut self, key: u64) -> usize {
        // The latest are asked for most.
        if let Some(index) = self.lanes.iter().rposition(|lane| lane.key == key) {
            return index;
        }
        if self.lanes.len() < LANES {
            self.lanes.push(Lane {
                key,
                hash: self.barrier,
                barrier: self.barriers,
                past: 0,
            });
        }
        self.lanes.len() - 1
    }

    fn pattern(&mut self, raw: u64) {
        let pattern = mix(raw);
        if self.known[pattern as usize % KNOWN] != pattern {
            self.patterns.push(pattern);
        }
    }

    /// The happens-before hash of the run so far.
    #[must_use]
    pub fn trace(&self) -> u64 {
        mix(self.sum)
    }

    /// The patterns of the run, without those that are known; one may stand there several times.
    #[must_use]
    pub fn patterns(&self) -> &[u64] {
        &self.patterns
    }

    /// States that were told, each with the event that came in it.
    #[must_use]
    pub fn states(&self) -> &[u64] {
        &self.states
    }

    /// This pattern need not be told again. Some are, all the same.
    pub fn know(&mut self, pattern: u64) {
        self.known[pattern as usize % KNOWN] = pattern;
    }
}

/// What happened: less than 2^15.
fn what(label: &Label) -> u32 {
    (label.event as u32) << 5 | object(label.object).0
}

/// The lane of an event; none if it concerns all.
fn lane(label: &Label) -> Option<u64> {
    let (sort, number) = object(label.object);
    match (label.event, label.object) {
        (Event::Submit, Object::Flush) => None,
        // Guest clusters: whatever the operation.
        (Event::Submit, _) => Some(1 << 32 | u64::from(number)),
        (Event::Deliver, Object::Sync | Object::Length) => None,
        (Event::Deliver, Object::Fetch(..) | Object::Hole(..) | Object::Data(..)) => {
            Some(2 << 32 | u64::from(number))
        }
        // Places of the file.
        (Event::Deliver, Object::Zero(_) | Object::Copy(_) | Object::Punch(_)) => {
            Some(3 << 32 | u64::from(number))
        }
        (Event::Deliver, _) => Some(u64::from(4 + sort) << 32 | u64::from(number)),
        (Event::Turn, _) => Some(1 << 40 | u64::from(label.queue.unwrap_or(0))),
        _ => None,
    }
}

/// Sort (less than 32) and number of an object.
fn object(object: Object) -> (u32, u32) {
    let tag = |queue: u16, tag: u16| u32::from(queue) << 16 | u32::from(tag);
    match object {
        Object::None => (0, 0),
        Object::Read(c) => (1, c),
        Object::Write(c) => (2, c),
        Object::Fua(c) => (3, c),
        Object::Preflush(c) => (4, c),
        Object::Zeroes(c) => (5, c),
        Object::Discard(c) => (6, c),
        Object::Promote(c) => (7, c),
        Object::Flush => (8, 0),
        Object::Fetch(q, t) => (9, tag(q, t)),
        Object::Hole(q, t) => (10, tag(q, t)),
        Object::Data(q, t) => (11, tag(q, t)),
        Object::Zero(s) => (12, s),
        Object::Copy(s) => (13, s),
        Object::Length => (14, 0),
        Object::Index(p) => (15, p),
        Object::Punch(s) => (16, s),
        Object::Sync => (17, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(events: &[(Event, Object)]) -> u64 {
        let mut watch = Watch::default();
        for &(event, object) in events {
            watch.see(&Label {
                event,
                object,
                ..Label::default()
            });
        }
        watch.trace()
    }

    use Event::{Deliver, Submit};
    use Object::{Data, Index, Sync, Write};

    #[test]
    fn only_the_order_of_what_depends_on_each_other_counts() {
        let (a, b) = ((Deliver, Data(0, 0)), (Deliver, Data(0, 1)));
        let begun = [(Submit, Write(0)), a, b, (Deliver, Index(0))];
        let swapped = [(Submit, Write(0)), a, (Deliver, Index(0)), b];
        assert_eq!(trace(&begun), trace(&swapped), "different objects commute");
        let around = [[a, (Deliver, Sync), b], [a, b, (Deliver, Sync)]];
        assert_ne!(trace(&around[0]), trace(&around[1]), "a sync does not");
        let on_page = [(Deliver, Index(0)), (Deliver, Index(0))];
        assert_ne!(trace(&on_page), trace(&on_page[..1]));
        let both = [(Submit, Write(3)), (Submit, Object::Discard(3))];
        let reverse = [both[1], both[0]];
        assert_ne!(trace(&both), trace(&reverse), "one cluster");
    }

    #[test]
    fn addresses_do_not_count_but_whether_they_are_the_same_does() {
        let here = [(Submit, Write(1)), (Submit, Write(2)), (Submit, Write(1))];
        let there = [(Submit, Write(7)), (Submit, Write(0)), (Submit, Write(7))];
        let others = [(Submit, Write(1)), (Submit, Write(2)), (Submit, Write(3))];
        assert_eq!(trace(&here), trace(&there));
        assert_ne!(trace(&here), trace(&others));
    }

    #[test]
    fn a_known_pattern_is_not_told_again() {
        let mut watch = Watch::default();
        let label = Label::from(Event::Tick);
        watch.see(&label);
        let told = watch.patterns().to_vec();
        assert_eq!(told.len(), 1);
        watch.know(told[0]);
        watch.restart();
        watch.see(&label);
        assert!(watch.patterns().is_empty());
        watch.note_fault();
        watch.see(&label);
        assert_eq!(watch.patterns().len(), 1, "a fault makes a difference");
        for state in [5, 6, 5] {
            watch.note_state(state);
            watch.see(&label);
        }
        let states = watch.states();
        assert!(states[0] != states[1] && states[0] == states[2]);
    }

    #[test]
    fn more_lanes_than_are_told_apart() {
        let events: Vec<(Event, Object)> = (0..200).map(|c| (Submit, Write(c))).collect();
        assert_eq!(trace(&events), trace(&events));
    }
}
