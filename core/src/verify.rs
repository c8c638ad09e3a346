//! Assertions that stay on in production, and coverage marks.
//!
//! `verify!` is an assertion about the core's own state; it never depends on input. `mark!` says "this really
//! happened", `maybe!` "this was true (or false) here": a campaign of the harness is red when it did not see every mark,
//! and every `maybe!` both ways. A mark costs one relaxed load once it was seen; none stands on the mapped path.

#![expect(
    clippy::disallowed_types,
    reason = "marks are counters of the process, not state that an engine explores"
)]

use std::sync::atomic::{AtomicU8, Ordering};

/// Asserts something about the core's own state, in every build.
macro_rules! verify {
    ($cond:expr, $($why:tt)+) => {
        assert!($cond, $($why)+)
    };
}
pub(crate) use verify;

macro_rules! marks {
    ($($(#[doc = $doc:expr])* $name:ident),* $(,)?) => {
        /// The places a campaign must have been to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Mark { $($(#[doc = $doc])* $name),* }

        impl Mark {
            /// All of them.
            pub const ALL: &'static [Mark] = &[$(Mark::$name),*];
        }
    };
}

marks! {
    /// A request arrived at a cluster that another one holds.
    ParkedOnCluster,
    /// A discard or unmapping write of zeros waited for I/O on its cluster.
    DiscardDrains,
    /// A write to an unmapped cluster waited for an extension of the file that another one had started.
    JoinedExtension,
    /// The file was extended.
    Extended,
    /// An extension failed for lack of space and was tried again with the least that helps.
    ExtensionReduced,
    /// A fresh cluster known to be zero was mapped without writing zeros first (true: known durably).
    FreshZeroDurable,
    /// A re-used cluster of unknown content was zeroed before it was mapped.
    PreparedUnknown,
    /// A whole-cluster write was its own base.
    WholeClusterBase,
    /// A lower cluster was copied.
    CopyOnWrite,
    /// That was for a promotion (true) or for a write (false).
    Promoted,
    /// A hole was filled again (true) rather than the file's end (false).
    HoleReused,
    /// A round left a slot behind at its old disk-safe value, since the new one was not yet safe.
    SlotNotEligible,
    /// A page waited for a sync before its round could start.
    RoundAwaitsSync,
    /// A slot changed while its page was being written.
    ChangedDuringRound,
    /// A round was written with more than one rider.
    SharedRound,
    /// A round failed with an I/O error.
    RoundFailed,
    /// An index page was parked for lack of space.
    RoundParked,
    /// A delayed page became due.
    DelayExpired,
    /// A flush found dirty pages (true) or none (false).
    FlushPages,
    /// A flush needed one more sync after its pages were durable.
    FlushExtraSync,
    /// A FUA write met a slot that was published but not durable.
    FuaWaitsForSlot,
    /// A FUA write went to a durable slot: one write, nothing else.
    FuaDirect,
    /// An acknowledgement waited for its index page (immediate mode).
    ImmediateWaits,
    /// A given-up cluster was released after its un-map was durable.
    CondemnedReleased,
    /// A cluster was given up while an image that maps it was being written.
    CondemnedDuringRound,
    /// A punch failed and the cluster's content is unknown.
    PunchFailed,
    /// A discard kept the mapping and zeroed, since a lower delta would show through.
    DiscardZeroes,
    /// Zeros were written over lower data.
    ZeroesOverLower,
    /// A sync failed and poisoned the file.
    Poisoned,
    /// A slot of a killed device was not what the file says.
    RecoveredSlot,
    /// A request waited for the in-use mark.
    WaitedForMark,
    /// Marking the image in use failed.
    MarkFailed,
    /// An I/O was resumed after a short completion.
    ShortResumed,
    /// An I/O made no progress and was failed.
    NoProgress,
    /// An I/O waits for space.
    Starved,
    /// The wait for space was cancelled.
    StarvedCancelled,
    /// The base of a new mapping failed and the cluster went back.
    BaseFailed,
    /// A request was held back by a suspended device.
    HeldBySuspend,
}

static SEEN: [AtomicU8; Mark::ALL.len()] = [const { AtomicU8::new(0) }; Mark::ALL.len()];

/// Notes that `cond` was seen at `mark`. Returns `cond`.
pub(crate) fn note(mark: Mark, cond: bool) -> bool {
    let bit = if cond { 1 } else { 2 };
    let cell = &SEEN[mark as usize];
    if cell.load(Ordering::Relaxed) & bit == 0 {
        cell.fetch_or(bit, Ordering::Relaxed);
    }
    cond
}

/// "This really happened."
macro_rules! mark {
    ($name:ident) => {
        $crate::verify::note($crate::verify::Mark::$name, true)
    };
}
pub(crate) use mark;

/// "This was true, or false, here": both must be seen. Yields the condition.
macro_rules! maybe {
    ($name:ident, $cond:expr) => {
        $crate::verify::note($crate::verify::Mark::$name, $cond)
    };
}
pub(crate) use maybe;

/// Marks that are noted both ways; the others only when they happen.
const BOTH_WAYS: &[Mark] = &[
    Mark::FreshZeroDurable,
    Mark::HoleReused,
    Mark::FlushPages,
    Mark::Promoted,
];

/// Forgets what was seen until now.
pub fn forget() {
    for cell in &SEEN {
        cell.store(0, Ordering::Relaxed);
    }
}

/// The marks that this process has not seen yet (for a `maybe!`: not both ways), by name.
#[must_use]
pub fn unseen() -> Vec<String> {
    let mut out = Vec::new();
    for &mark in Mark::ALL {
        let seen = SEEN[mark as usize].load(Ordering::Relaxed);
        if seen & 1 == 0 {
            out.push(format!("{mark:?}"));
        }
        if BOTH_WAYS.contains(&mark) && seen & 2 == 0 {
            out.push(format!("{mark:?} (false)"));
        }
    }
    out
}
