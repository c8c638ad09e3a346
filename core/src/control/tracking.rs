//! Live copy: a disk that is written while somebody copies it (dm-ploop's `tracking_start`, `tracking_get_next`,
//! `tracking_clear`, `tracking_stop`). The marks stand in `request::track`.
//!
//! ```text
//!   start ──▶ next ──▶ read the cluster as a client, write it to the copy ──▶ next ──▶ ... ──▶ nothing marked
//!              ▲                                                                                  │
//!              └── more was written meanwhile ◀───────────────────────────────────────────────────┤
//!                                            suspended and drained, nothing marked: the copy is the disk
//! ```

use crate::bat::level::NO_LEVEL;
use crate::device::Device;
use crate::units::Clu;

/// Tracking was not started on this device, or was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes are not tracked: start tracking, and copy everything")]
pub struct NotTracking;

impl Device {
    /// Starts tracking, or starts over: every cluster that some delta maps is marked. A copy that has zeros everywhere else
    /// needs no other cluster. Returns how many are marked.
    pub fn start_tracking(&self) -> u64 {
        let clusters = self.geometry().entries;
        // First on, then the look around: a cluster that is mapped in between is seen by one or the other.
        self.tracking.start(clusters);
        for page in &self.pages {
            let mapped: Vec<Clu> = {
                let md = page.lock();
                let levels = md.level.iter().enumerate();
                let mapped = levels.filter(|(_, level)| **level != NO_LEVEL);
                mapped
                    .map(|(slot, _)| Clu(md.first.0 + slot as u32))
                    .collect()
            };
            mapped.into_iter().for_each(|clu| self.tracking.mark(clu));
        }
        self.tracking.count()
    }

    /// A cluster that may have changed; its mark is taken away, so read it after this call. `None`: there is none now.
    pub fn next_tracked(&self) -> Result<Option<Clu>, NotTracking> {
        self.tracking.take().map_err(|()| NotTracking)
    }

    /// How many clusters are marked.
    #[must_use]
    pub fn tracked(&self) -> u64 {
        self.tracking.count()
    }

    /// Takes all marks away and goes on tracking.
    pub fn clear_tracking(&self) {
        self.tracking.clear();
    }

    /// Stops tracking.
    pub fn stop_tracking(&self) {
        self.tracking.stop();
    }
}
