//! A seed's tape whose schedule is not left to chance alone: at each event the world offers what could come next, and a
//! policy picks. All else is drawn as without a guide.
//!
//! * The pick is recorded as the choices that lead to it, so the tape of such a run is a tape like any other: a replay needs
//!   no guide.
//! * What a policy draws, it draws from a stream of its own: same seed, same policy, same run.
//! * Time, suspensions and copies are not the scheduler's: they come by their weights.
//!
//! | policy | picks | finds |
//! |---|---|---|
//! | [`Policy::Uniform`] | a lane as likely as it has events left: all interleavings alike, as far as the estimate holds | what a walk that always tosses a fair coin comes to too seldom |
//! | [`Policy::Priorities`] | the lane of the highest priority; at `depth` - 1 moments the one that runs becomes the last | bugs of `depth` events in order with at least 1 / (n k^(depth - 1)), n lanes, k events |

use super::Kind;
use super::watch::mix;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Uniform random walk.
    Uniform,
    /// Probabilistic concurrency testing.
    Priorities {
        /// Of the bugs that it is to find, at least 1.
        depth: u32,
    },
}

/// Something that could come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Whose event it is: a client, an object, a queue. Events of a lane come one after the other.
    pub lane: u64,
    /// Which of the world's events.
    pub event: usize,
    /// The question behind that of the event, its range and the answer to it, if there is one.
    pub then: Option<(Kind, u32, u32)>,
    /// So many events of the lane are still to come, as far as can be told.
    pub left: u32,
}

/// Sets a guide's stream apart from that of the run.
const STREAM: u64 = 0x67_75_69_64_65;
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the module.
#[derive(Clone, Debug)]
pub struct Guide {
    policy: Policy,
    state: u64,
    step: u32,
    /// Lanes that came up, with their priorities; the highest goes first.
    priorities: Vec<(u64, u64)>,
    /// Steps at which a priority changes, once they are drawn.
    changes: Option<Vec<u32>>,
    /// To the questions that come next, the next one last.
    answers: Vec<(Kind, u32)>,
}

impl Guide {
    /// A guide through the run of a seed.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Guide {
        Guide {
            policy,
            state: mix(seed ^ STREAM),
            step: 0,
            priorities: Vec::new(),
            changes: None,
            answers: Vec::new(),
        }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// One of `0..n`; `n` is not 0.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// Picks one of several. `horizon`: so many steps the run may have.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick(&mut self, candidates: &[Candidate], horizon: u32) -> usize {
        let step = self.step;
        self.step += 1;
        match self.policy {
            Policy::Uniform => self.walk(candidates),
            Policy::Priorities { depth } => self.first(candidates, depth, step, horizon),
        }
    }

    fn walk(&mut self, candidates: &[Candidate]) -> usize {
        let total: u64 = candidates.iter().map(|c| u64::from(c.left.max(1))).sum();
        let mut left = self.below(total);
        for (index, candidate) in candidates.iter().enumerate() {
            let weight = u64::from(candidate.left.max(1));
            if left < weight {
                return index;
            }
            left -= weight;
        }
        unreachable!("less than the total")
    }

    fn first(&mut self, candidates: &[Candidate], depth: u32, step: u32, horizon: u32) -> usize {
        if self.changes.is_none() {
            let drawn = (1..depth).map(|_| self.below(horizon.max(1).into()) as u32);
            self.changes = Some(drawn.collect());
        }
        for candidate in candidates {
            self.priority(candidate.lane);
        }
        let highest = |guide: &mut Guide| {
            // Of one lane the first.
            let of = |index: &usize| (guide.of(candidates[*index].lane), std::cmp::Reverse(*index));
            (0..candidates.len())
                .max_by_key(of)
                .expect("one can be picked")
        };
        let changes = self.changes.as_deref().unwrap_or_default();
        if let Some(change) = changes.iter().position(|&at| at == step) {
            let running = candidates[highest(self)].lane;
            // Below all that were drawn, the later changes below the earlier ones.
            let low = u64::from(depth) - 1 - change as u64;
            if let Some((_, priority)) = self.priorities.iter_mut().find(|(l, _)| *l == running) {
                *priority = low;
            }
        }
        highest(self)
    }

    /// Draws the priority of a lane that comes up.
    fn priority(&mut self, lane: u64) {
        if !self.priorities.iter().any(|(known, _)| *known == lane) {
            let drawn = self.next() | 1 << 32;
            self.priorities.push((lane, drawn));
        }
    }

    fn of(&self, lane: u64) -> u64 {
        let found = self.priorities.iter().find(|(known, _)| *known == lane);
        found.map_or(0, |(_, priority)| *priority)
    }

    /// Decides what comes next: one of the candidates, or, as often as the weights say, an event that is none of theirs.
    /// `offered`: the first so many weights are those of events that candidates stand for.
    pub(super) fn decide(
        &mut self,
        weights: &[u32],
        offered: usize,
        candidates: &[Candidate],
        horizon: u32,
    ) {
        self.answers.clear();
        let total: u32 = weights.iter().sum();
        let theirs: u32 = weights[..offered].iter().sum();
        let drawn = self.below(u64::from(total.max(1))) as u32;
        if candidates.is_empty() || total <= 1 {
            return;
        }
        if drawn >= theirs {
            self.answers.push((Kind::Event, drawn));
            return;
        }
        let Candidate { event, then, .. } = candidates[self.pick(candidates, horizon)];
        if let Some((kind, range, k)) = then
            && range > 1
        {
            self.answers.push((kind, k));
        }
        let before: u32 = weights[..event].iter().sum();
        self.answers.push((Kind::Event, before));
    }

    /// The answer to a question of the run, if it is one that was decided.
    pub(super) fn answer(&mut self, kind: Kind, n: u32) -> Option<u32> {
        let (_, k) = self.answers.pop_if(|(expected, _)| *expected == kind)?;
        Some(k % n)
    }
}

#[cfg(test)]
mod tests;
