//! What one BAT slot owes to the disk.
//!
//! A slot that differs from the disk, or may differ, has a [`Record`]; a durable slot has none. A slot has a *visible*
//! value (in the page's map) and a *disk-safe* one (`safe`): a round writes safe values only, so a slot whose new value
//! is not yet safe goes out with its old one, never with 0 by default.
//!
//! ```text
//!   change(need = 0) ──────────────▶ safe = visible ──image──▶ riding ──durable──▶ no record
//!   change(need = sync n) ─▶ waits ──sync n done──┘              │
//!                                                     failed: as before the image
//! ```
//! * R1 `need != 0` means: visible becomes safe when sync number `need` has succeeded. At most the latest change of a
//!   slot is in that state: the only way from one mapping to another is an un-map, which is safe at once.
//! * R2 `first` is the oldest change that is not durable, `gen` the latest, `safe_gen` the one that `safe` belongs to:
//!   `first <= gen`, `safe_gen <= gen`.
//! * R3 `condemned` hosts were given up by this slot and may still be named on disk. They leave only when a round is
//!   durable in which the slot did not name them.

use crate::units::Slot;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) slot: Slot,
    /// Oldest change that is not durable.
    pub(crate) first: u64,
    /// Latest change: the visible value.
    pub(crate) latest: u64,
    /// What a round may write.
    pub(crate) safe: u32,
    /// The change that `safe` belongs to.
    pub(crate) safe_gen: u64,
    /// The sync that makes the visible value safe; 0 = it is.
    pub(crate) need: u64,
    /// Value and change of the image under way.
    riding: Option<(u32, u64)>,
    /// First change that is not in the image under way.
    after: Option<u64>,
    /// Raw entries of host clusters given up.
    pub(crate) condemned: Vec<u32>,
}

impl Record {
    /// A slot whose value on disk is `disk` until now.
    pub(crate) fn new(slot: Slot, disk: u32, change: u64) -> Record {
        Record {
            slot,
            first: change,
            latest: change,
            safe: disk,
            safe_gen: 0,
            need: 0,
            riding: None,
            after: None,
            condemned: Vec::new(),
        }
    }

    /// The slot's visible value became `visible` by change number `change`.
    pub(crate) fn change(&mut self, change: u64, visible: u32, need: u64) {
        self.latest = change;
        self.need = need;
        if need == 0 {
            self.safe = visible;
            self.safe_gen = change;
        }
        if self.riding.is_some() && self.after.is_none() {
            self.after = Some(change);
        }
    }

    /// Lets the visible value become safe if its sync has succeeded.
    pub(crate) fn promote(&mut self, visible: u32, synced: u64) {
        if self.need != 0 && self.need <= synced {
            self.need = 0;
            self.safe = visible;
            self.safe_gen = self.latest;
        }
    }

    /// Takes the safe value into an image. Returns it.
    pub(crate) fn ride(&mut self) -> u32 {
        self.riding = Some((self.safe, self.safe_gen));
        self.after = (self.latest > self.safe_gen).then_some(self.latest);
        self.safe
    }

    /// True while an image with this slot is under way.
    pub(crate) fn is_riding(&self) -> bool {
        self.riding.is_some()
    }

    /// The image is durable. Gives the released host entries to `released`. True: nothing is left to do.
    pub(crate) fn durable(&mut self, released: &mut Vec<u32>) -> bool {
        let Some((written, change)) = self.riding.take() else {
            return false;
        };
        self.condemned.retain(|&entry| {
            if entry != written {
                released.push(entry);
            }
            entry == written
        });
        match self.after.take() {
            Some(after) if self.latest > change => {
                self.first = after;
                false
            }
            _ => true,
        }
    }

    /// The image failed: the disk may have the old or the new value.
    pub(crate) fn failed(&mut self) {
        self.riding = None;
        self.after = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(3);

    fn released(record: &mut Record) -> (bool, Vec<u32>) {
        let mut released = Vec::new();
        let settled = record.durable(&mut released);
        (settled, released)
    }

    #[test]
    fn an_unsafe_value_stays_behind_until_its_sync() {
        let mut record = Record::new(SLOT, 0, 1);
        record.change(1, 77, 5);
        record.promote(77, 4);
        assert_eq!(record.ride(), 0, "sync 5 has not succeeded");
        assert_eq!(released(&mut record), (false, vec![]));
        record.promote(77, 5);
        assert_eq!(record.ride(), 77);
        assert_eq!(released(&mut record), (true, vec![]));
    }

    #[test]
    fn a_given_up_host_leaves_only_with_a_round_that_does_not_name_it() {
        let mut record = Record::new(SLOT, 0, 1);
        record.change(1, 77, 0);
        assert_eq!(record.ride(), 77);
        // Un-mapped while the image that names 77 is under way.
        record.change(2, 0, 0);
        record.condemned.push(77);
        assert_eq!(
            released(&mut record),
            (false, vec![]),
            "the disk names 77 now"
        );
        assert_eq!(record.ride(), 0);
        assert_eq!(released(&mut record), (true, vec![77]));
    }

    #[test]
    fn a_failed_round_releases_nothing_and_settles_nothing() {
        let mut record = Record::new(SLOT, 77, 1);
        record.change(1, 0, 0);
        record.condemned.push(77);
        record.ride();
        record.failed();
        assert_eq!(released(&mut record), (false, vec![]), "nothing was riding");
        assert_eq!(record.first, 1);
        record.ride();
        assert_eq!(released(&mut record), (true, vec![77]));
    }

    #[test]
    fn what_changes_during_a_round_is_owed_from_its_own_change_on() {
        let mut record = Record::new(SLOT, 0, 1);
        record.change(1, 77, 0);
        record.ride();
        record.change(4, 0, 0);
        record.change(9, 88, 2);
        assert_eq!(released(&mut record), (false, vec![]));
        assert_eq!((record.first, record.latest), (4, 9));
    }
}
