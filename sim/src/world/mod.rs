//! One run: a device, its files, its clients, a crash, all driven by a tape.

use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::tape::Tape;

/// A world that is built anew for each run and keeps its memory.
#[derive(Debug)]
pub struct World {
    profile: Profile,
    canary: bool,
}

impl World {
    /// Worlds of this profile.
    #[must_use]
    pub fn new(profile: Profile) -> World {
        World {
            profile,
            canary: false,
        }
    }

    /// From now on the simulated disk lies about its syncs: the checkers must notice. A campaign whose canary lives is
    /// worth nothing.
    pub fn set_canary(&mut self, canary: bool) {
        self.canary = canary;
    }

    /// The profile.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// One run.
    pub fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        let _ = (tape, self.canary);
        Ok(RunStats::default())
    }
}
