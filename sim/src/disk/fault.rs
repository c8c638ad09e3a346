//! The faults of a run: drawn before it begins, so that an I/O without a fault costs no choice.
//!
//! Each fault is a *point*: the first fitting I/O at or after the nth one (of all, or of one kind) has it. No space
//! lasts: from the nth I/O that takes space on all of them are refused, until [`FaultPlan::release_space`] is called or
//! a drawn number of refusals is reached. Unsupported (zero range, punch) lasts for the whole run.

mod kind;
#[cfg(test)]
mod tests;

use crate::tape::{Kind, Tape};
pub use kind::{FAULT_KINDS, FaultCounts, FaultKind, IO_KINDS, IoKind};

/// What befalls one I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an I/O error.
    Io,
    /// Only so many bytes are done; fewer than asked for, may be 0.
    Short(u64),
    /// It fails: no space.
    NoSpace,
    /// It fails: the file cannot do this.
    Unsupported,
}

/// How often in `1000` runs each fault is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// One or two I/O errors.
    pub io: u32,
    /// One or two short I/Os.
    pub short: u32,
    /// A zero-length I/O.
    pub nothing: u32,
    /// Space runs out once.
    pub no_space: u32,
    /// Zero range and punch are not supported.
    pub unsupported: u32,
    /// Faults are planned within so many I/Os.
    pub horizon: u32,
}

/// A fault that waits for its I/O.
#[derive(Clone, Copy, Debug)]
struct Point {
    fault: FaultKind,
    /// Which I/Os are counted; all if none is named.
    io: Option<IoKind>,
    /// From 1.
    nth: u32,
}

/// Space running out.
#[derive(Clone, Copy, Debug)]
struct Shortage {
    /// Nth I/O that takes space, from 1.
    nth: u32,
    /// Refusals left until space returns by itself.
    refusals: u32,
}

/// The faults of one run.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    points: Vec<Point>,
    shortage: Option<Shortage>,
    unsupported: bool,
    seen: u32,
    seen_by_kind: [u32; IO_KINDS],
    seen_taking_space: u32,
    injected: FaultCounts,
}

impl FaultPlan {
    /// No faults.
    #[must_use]
    pub fn none() -> FaultPlan {
        FaultPlan::default()
    }

    /// An I/O error on the `nth` I/O (from 1), of one kind or of all. For exhaustive runs: n = 1, 2, ... until
    /// [`FaultPlan::untouched`].
    #[must_use]
    pub fn io_error_at(nth: u32, io: Option<IoKind>) -> FaultPlan {
        FaultPlan {
            points: vec![Point {
                fault: FaultKind::Io,
                io,
                nth,
            }],
            ..FaultPlan::default()
        }
    }

    /// One fault on the `nth` I/O (from 1) that it can befall, or on the first after it. Lack of space lasts for
    /// `refusals` I/Os, at least one; for the other kinds `refusals` means nothing, and unsupported is for ever.
    #[must_use]
    pub fn at(fault: FaultKind, nth: u32, refusals: u32) -> FaultPlan {
        let mut plan = FaultPlan::default();
        match fault {
            FaultKind::Io | FaultKind::Short | FaultKind::Nothing => {
                plan.points.push(Point {
                    fault,
                    io: None,
                    nth,
                });
            }
            FaultKind::NoSpace => {
                let refusals = refusals.max(1);
                plan.shortage = Some(Shortage { nth, refusals });
            }
            FaultKind::Unsupported => plan.unsupported = true,
        }
        plan
    }

    /// Notes a fault that a scenario makes by hand.
    pub fn note(&mut self, io: IoKind, fault: FaultKind) {
        self.injected.count(io, fault);
    }

    /// Becomes a plan of no faults, keeping its memory.
    pub fn clear(&mut self) {
        self.points.clear();
        *self = FaultPlan {
            points: std::mem::take(&mut self.points),
            ..FaultPlan::default()
        };
    }

    /// Draws the plan of a run, keeping its memory.
    pub fn draw(&mut self, rates: &FaultRates, tape: &mut Tape) {
        self.clear();
        for (fault, rate, most) in [
            (FaultKind::Io, rates.io, 2),
            (FaultKind::Short, rates.short, 2),
            (FaultKind::Nothing, rates.nothing, 1),
        ] {
            if tape.chance(Kind::Fault, rate, 1000) {
                for _ in 0..=tape.choose(Kind::Fault, most) {
                    self.draw_point(fault, rates.horizon, tape);
                }
            }
        }
        if tape.chance(Kind::Fault, rates.no_space, 1000) {
            let nth = 1 + tape.choose(Kind::Fault, rates.horizon);
            self.shortage = Some(Shortage {
                nth,
                refusals: 1 + tape.choose(Kind::Fault, 16),
            });
        }
        self.unsupported = tape.chance(Kind::Fault, rates.unsupported, 1000);
    }

    fn draw_point(&mut self, fault: FaultKind, horizon: u32, tape: &mut Tape) {
        let io = match tape.index(Kind::Fault, 1 + IO_KINDS) {
            0 => None,
            index => Some(IoKind::ALL[index - 1]).filter(|&io| fault.can_hit(io)),
        };
        // I/Os of one kind are fewer.
        let horizon = if io.is_some() {
            horizon.div_ceil(4)
        } else {
            horizon
        };
        self.points.push(Point {
            fault,
            io,
            nth: 1 + tape.choose(Kind::Fault, horizon),
        });
    }

    /// What befalls the next I/O of `bytes` bytes; a short one ends at a multiple of `step` bytes.
    pub fn next(&mut self, io: IoKind, bytes: u64, step: u64, tape: &mut Tape) -> Option<Fault> {
        self.seen += 1;
        self.seen_by_kind[io as usize] += 1;
        self.seen_taking_space += u32::from(io.takes_space());
        if self.unsupported && io.may_be_unsupported() {
            return Some(self.inject(io, FaultKind::Unsupported, Fault::Unsupported));
        }
        if let Some(shortage) = &mut self.shortage
            && io.takes_space()
            && self.seen_taking_space >= shortage.nth
        {
            shortage.refusals -= 1;
            if shortage.refusals == 0 {
                self.shortage = None;
            }
            return Some(self.inject(io, FaultKind::NoSpace, Fault::NoSpace));
        }
        let steps = u32::try_from(bytes / step.max(1)).unwrap_or(u32::MAX);
        let at = self
            .points
            .iter()
            .position(|point| self.is_due(point, io, steps))?;
        let point = self.points.swap_remove(at);
        let fault = match point.fault {
            FaultKind::Short => {
                Fault::Short(step * u64::from(1 + tape.choose(Kind::Fault, steps - 1)))
            }
            FaultKind::Nothing => Fault::Short(0),
            FaultKind::Io | FaultKind::NoSpace | FaultKind::Unsupported => Fault::Io,
        };
        Some(self.inject(io, point.fault, fault))
    }

    fn is_due(&self, point: &Point, io: IoKind, steps: u32) -> bool {
        let seen = point
            .io
            .map_or(self.seen, |counted| self.seen_by_kind[counted as usize]);
        let fits = point.fault.can_hit(io) && (point.fault != FaultKind::Short || steps >= 2);
        fits && point.io.is_none_or(|counted| counted == io) && seen >= point.nth
    }

    fn inject(&mut self, io: IoKind, kind: FaultKind, fault: Fault) -> Fault {
        self.injected.count(io, kind);
        fault
    }

    /// Space has returned.
    pub fn release_space(&mut self) {
        if self.is_out_of_space() {
            self.shortage = None;
        }
    }

    /// True if the next I/O that takes space may be refused since space ran out already.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.shortage
            .is_some_and(|shortage| self.seen_taking_space >= shortage.nth)
    }

    /// No further fault happens: the run is being brought to its end.
    pub fn cease(&mut self) {
        self.points.clear();
        self.shortage = None;
        self.unsupported = false;
    }

    /// True if some I/O may be done in part, or refused for lack of space: whoever issued it may issue it again.
    #[must_use]
    pub fn causes_retries(&self) -> bool {
        let partial = |point: &Point| matches!(point.fault, FaultKind::Short | FaultKind::Nothing);
        self.shortage.is_some() || self.points.iter().any(partial)
    }

    /// The faults that happened.
    #[must_use]
    pub fn injected(&self) -> &FaultCounts {
        &self.injected
    }

    /// True if no fault happened.
    #[must_use]
    pub fn untouched(&self) -> bool {
        self.injected.total() == 0
    }

    /// I/Os seen so far.
    #[must_use]
    pub fn seen(&self) -> u32 {
        self.seen
    }
}
