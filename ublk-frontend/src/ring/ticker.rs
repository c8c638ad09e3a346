//! Time for the core: who calls `tick`, and when.
//!
//! ```text
//!   no timer ──a page waits for its date, or something for space──▶ armed by whichever queue saw it first
//!      ◀──nothing waits any more── expired: tick, then armed again by the same queue
//! ```
//! At most one timer runs in the whole server. It never carries out a request's work: that goes by mail.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ploop_core::Device;
use ploop_core::units::Millis;

/// Longest time of a timer: what begins to wait for space while one runs must not wait for a late one.
const LONGEST: Duration = Duration::from_millis(200);

/// So long after something was last seen to wait for space, there was some.
const RELIEF: Millis = Millis(1000);

/// The clock, and whether a timer runs.
#[derive(Debug)]
pub struct Ticker {
    epoch: Instant,
    running: AtomicBool,
    /// First time of a new timer.
    first: Duration,
    /// When something began to wait for space, in milliseconds.
    starving_since: AtomicU64,
    /// When something was last seen to wait for space, in milliseconds plus one; 0: never.
    starving_last: AtomicU64,
    /// How long something may wait for space, in milliseconds; `u64::MAX`: for ever.
    patience: AtomicU64,
    /// Nothing may wait for space any longer.
    gave_up: AtomicBool,
}

impl Ticker {
    /// `delay`: that of write-back. `patience`: how long a request may wait for space; `None`: for ever.
    #[must_use]
    pub fn new(delay: Duration, patience: Option<Duration>) -> Ticker {
        Ticker {
            epoch: Instant::now(),
            running: AtomicBool::new(false),
            first: match delay {
                Duration::ZERO => LONGEST,
                delay => delay.min(LONGEST),
            },
            starving_since: AtomicU64::new(0),
            starving_last: AtomicU64::new(0),
            patience: AtomicU64::new(millis(patience)),
            gave_up: AtomicBool::new(false),
        }
    }

    /// From now on nothing waits for space for longer than until the next tick.
    pub fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// From now on something may wait so long for space; `None`: for ever. What waits already has waited since it began.
    pub fn set_patience(&self, patience: Option<Duration>) {
        self.patience.store(millis(patience), Ordering::Relaxed);
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The time to set a timer to, if one is needed and none runs. The caller must set it.
    #[must_use]
    pub fn to_arm(&self, device: &Device) -> Option<Duration> {
        if self.running.load(Ordering::Relaxed) || !device.has_deadline() {
            return None;
        }
        let ours = !self.running.swap(true, Ordering::AcqRel);
        ours.then_some(self.first)
    }

    /// After a tick: the time to set the timer to again; `None`: it stays off, and a next one may be set.
    #[must_use]
    pub fn again(&self, device: &Device, next: Option<Millis>) -> Option<Duration> {
        if let Some(next) = next {
            let wait = next.0.saturating_sub(self.now().0).max(1);
            return Some(Duration::from_millis(wait).min(LONGEST));
        }
        self.running.store(false, Ordering::Release);
        // A page may have become dirty between the tick and the store, and its queue seen the timer running.
        self.to_arm(device)
    }

    /// True if what waits for space has waited long enough: it is to fail. To be asked before each tick.
    #[must_use]
    pub fn is_out_of_patience(&self, device: &Device) -> bool {
        if !device.is_starving() {
            return false;
        }
        let waited = self.waited(self.now());
        let patience = Duration::from_millis(self.patience.load(Ordering::Relaxed));
        self.gave_up.load(Ordering::Relaxed) || waited >= patience
    }

    /// How long something waits for space, now that something does. While an attempt to go on is under way nothing seems to
    /// wait: only after [`RELIEF`] without a failure there was space.
    fn waited(&self, now: Millis) -> Duration {
        let last = self.starving_last.swap(now.0 + 1, Ordering::Relaxed);
        if last == 0 || now.0 + 1 - last.min(now.0 + 1) >= RELIEF.0 {
            self.starving_since.store(now.0, Ordering::Relaxed);
        }
        let since = self.starving_since.load(Ordering::Relaxed);
        Duration::from_millis(now.0.saturating_sub(since))
    }
}

fn millis(patience: Option<Duration>) -> u64 {
    let millis = patience.map(|patience| patience.as_millis());
    millis.map_or(u64::MAX, |millis| u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_to_go_on_are_no_relief_and_a_while_without_failure_is() {
        let ticker = Ticker::new(Duration::ZERO, Some(Duration::from_secs(2)));
        let waited = |now| ticker.waited(Millis(now)).as_millis();
        // Seen every other tick only: in between an attempt was under way.
        assert_eq!([0, 400, 900, 1300].map(waited), [0, 400, 900, 1300]);
        assert_eq!(waited(1300 + RELIEF.0 - 1), 1300 + u128::from(RELIEF.0) - 1);
        assert_eq!(waited(10_000), 0, "there was space in between");
        assert_eq!(waited(10_200), 200);
    }
}
