//! The write-back state of one metadata page: one transition table.
//!
//! ```text
//!              Change                    Wanted / Due
//!   Clean ───────────────▶ Delayed{due} ─────────────▶ Dirty ◀────────────┐
//!     ▲  └─────────────────────────────────────────────▶ │ ▲              │ Retry
//!     │        ChangeNow                          Start  │ │ DoneWanted   │
//!     │                                                  ▼ │ NoSpace      │
//!     └───────────────────────────────────────────── Writeback ────────▶ Parked
//!        DoneClean    (DoneLater, Failed: back to Delayed{due})
//! ```
//! * `Dirty`: somebody wants a round now. `Delayed`: the timer does. `Writeback`: an image is on its way to the file,
//!   or written and waiting for its sync; it is never changed (I9), and there is at most one (I7).
//! * A change in `Writeback` or `Parked` stays in the page's records and is seen when the round ends.
//! * A round ends in exactly one of `DoneClean`, `DoneLater`, `DoneWanted`, `Failed`, `NoSpace`.

use crate::units::Millis;

/// Where a page stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// The file has what the page says, durably.
    Clean,
    /// Something differs; nobody waits; to be written when due.
    Delayed {
        /// When.
        due: Millis,
    },
    /// Something differs, and is to be written in the next turn.
    Dirty,
    /// A round is under way.
    Writeback,
    /// The file system has no space for the page; to be tried again.
    Parked,
}

/// What happens to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A slot changed; may wait until `due`.
    Change {
        /// When the write-back is due at the latest.
        due: Millis,
    },
    /// A slot changed and is to be written at once.
    ChangeNow,
    /// Somebody waits for the page.
    Wanted,
    /// Its time has come.
    Due,
    /// An image was built and handed out.
    Start,
    /// The round is durable and nothing is left.
    DoneClean,
    /// The round is durable; something else changed meanwhile.
    DoneLater {
        /// When that is due.
        due: Millis,
    },
    /// The round is durable; somebody wants another one.
    DoneWanted,
    /// The round failed; its waiters were told.
    Failed {
        /// When to try again.
        due: Millis,
    },
    /// The round found no space.
    NoSpace,
    /// Space may have returned.
    Retry,
}

impl State {
    /// The state after an event; `None`: the event cannot happen here.
    #[must_use]
    pub(crate) fn on(self, event: Event) -> Option<State> {
        use Event as E;
        use State as S;
        Some(match (self, event) {
            (S::Clean, E::Change { due }) => S::Delayed { due },
            (S::Clean | S::Delayed { .. }, E::ChangeNow) => S::Dirty,
            (S::Delayed { .. }, E::Wanted | E::Due) => S::Dirty,
            // A later change never moves the date of an earlier one.
            (S::Delayed { .. } | S::Dirty | S::Writeback | S::Parked, E::Change { .. }) => self,
            (S::Dirty | S::Writeback | S::Parked, E::ChangeNow | E::Wanted) => self,
            (S::Dirty, E::Start) => S::Writeback,
            // A page whose round cannot even start (the file is poisoned) fails like one under way.
            (S::Dirty | S::Writeback, E::Failed { due }) => S::Delayed { due },
            (S::Writeback, E::DoneClean) => S::Clean,
            (S::Writeback, E::DoneLater { due }) => S::Delayed { due },
            (S::Writeback, E::DoneWanted) => S::Dirty,
            (S::Writeback, E::NoSpace) => S::Parked,
            (S::Parked, E::Retry) => S::Dirty,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests;
