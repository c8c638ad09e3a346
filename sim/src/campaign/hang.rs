//! A run that does not end has its choices in a thread that cannot be asked: it is run once more, before a mirror.

use super::catch::catch;
use super::runner::Make;
use crate::profile::Profile;
use crate::report::{Class, Failure};
use crate::search::Kept;
use crate::tape::{Choice, Mirror, Policy, Span, Tape};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// The checker of runs that do not end.
pub(crate) const WATCHDOG: &str = "watchdog";

/// What it says.
pub(crate) fn failure(taken: Duration) -> Failure {
    Failure {
        class: Class::Hang,
        checker: WATCHDOG,
        message: format!("the run has not ended after {} s", taken.as_secs()),
        trace: 0,
    }
}

/// How the choices of a run begin.
#[derive(Clone, Debug)]
pub(super) enum Start {
    /// With nothing: all are drawn.
    Seed,
    /// A guide picks some.
    Guided(Policy),
    /// With a tape, after which they are drawn.
    Prefix(Kept),
}

/// So long a run stands still until its choices are taken.
const STILL: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(10);

/// The choices and events of a run that has not ended within `patience`, as far as it came. `None`: this time it ended.
/// The thread that runs it is left behind.
pub(super) fn choices(
    make: Make,
    profile: Profile,
    seed: u64,
    start: Start,
    patience: Duration,
) -> Option<(Vec<Choice>, Vec<Span>)> {
    let mirror = Mirror::default();
    let (send, ended) = mpsc::channel();
    let shown = mirror.clone();
    thread::spawn(move || {
        let mut tape = Tape::from_seed(seed);
        match start {
            Start::Seed => {}
            Start::Guided(policy) => tape.restart_guided(seed, policy),
            Start::Prefix(kept) => tape.restart_prefix(&kept.choices, &kept.spans, seed),
        }
        tape.note_spans();
        tape.show_in(shown);
        let result = catch(|| make(profile, false).run(&mut tape));
        // Nobody listens if it has hung.
        let _ = send.send(result.is_ok());
    });
    let still = patience.min(STILL);
    let (started, mut seen, mut since) = (Instant::now(), 0, Instant::now());
    loop {
        match ended.recv_timeout(LOOK) {
            // It ended; or it drew without end, and the tape stopped it.
            Ok(true) => return None,
            Ok(false) | Err(RecvTimeoutError::Disconnected) => return Some(mirror.taken()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let now = mirror.len();
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() >= still || started.elapsed() >= patience.saturating_mul(2) {
            return Some(mirror.taken());
        }
    }
}
