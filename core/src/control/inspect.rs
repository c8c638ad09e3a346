//! What can be asked of a device: where a sector is, all structural invariants, the whole state as text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::alloc::life::Life;
use crate::bat::level::{NO_LEVEL, Place};
use crate::bat::page::MdPage;
use crate::cluster::lock::{COUNT, HELD, Hold, OWES};
use crate::device::Device;
use crate::units::{PageId, Sector, Sectors, Slot};
use crate::verify::verify;
use crate::writeback::state::State;

/// Where a guest sector's data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nowhere: reads as zeros.
    Unmapped,
    /// In this delta, at this sector of its file.
    Mapped {
        /// Level, 0 = oldest.
        level: u8,
        /// Sector of that file.
        at: Sector,
    },
}

/// Counts for `info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Guest clusters mapped in the top.
    pub mapped: u64,
    /// Free host clusters.
    pub free: u64,
    /// Metadata pages that are not clean.
    pub dirty_pages: u64,
    /// A sync has failed: nothing is durable any more.
    pub poisoned: bool,
    /// Heap bytes of pages and bitmaps.
    pub bytes: u64,
}

/// The whole state, ordered and printable; equal states print equally.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateDump(String);

impl fmt::Display for StateDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Device {
    /// Looks a guest sector up, as a request would.
    #[inline]
    #[must_use]
    pub fn locate(&self, sector: Sector) -> Mapping {
        let (clu, within) = self.table.clu(sector);
        let (page, slot) = self.table.slot(clu);
        let within = Sectors(u64::from(within));
        match self.page(page).held_place(slot, self.context()) {
            Place::Unmapped => Mapping::Unmapped,
            Place::Top(at) => Mapping::Mapped {
                level: self.levels.top().0,
                at: at.after(within),
            },
            Place::Lower(level, at) => Mapping::Mapped {
                level: level.0,
                at: at.after(within),
            },
        }
    }

    /// Counts.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            free: self.alloc.free(),
            dirty_pages: self.dirty.count() as u64,
            poisoned: self.gate.is_poisoned(),
            bytes: self.alloc.bytes() as u64,
            ..Stats::default()
        };
        for page in &self.pages {
            let md = page.lock();
            stats.mapped += md
                .level
                .iter()
                .filter(|&&level| level == self.levels.top().0)
                .count() as u64;
            stats.bytes += md.bytes() as u64;
        }
        stats
    }

    /// Checks all structural invariants: I1, I3 (no host cluster has two owners, none is lost), I4, I7 and those of the module heads. O(clusters). Panics if one is
    /// broken. Meant for a device whose other threads are at rest.
    pub fn verify(&self) {
        let top = self.levels.top();
        let (hosts, life) = self.alloc.inspect(self.gate.synced());
        let life: BTreeMap<u32, Life> = life.into_iter().collect();
        let mut owner: BTreeMap<u32, PageId> = BTreeMap::new();
        let (mut condemned, mut making) = (0, 0);
        let dirty = self.dirty.snapshot();
        for page in &self.pages {
            let md = page.lock();
            md.verify(dirty.contains(&md.id));
            let makers = md.locks.iter().map(|lock| &lock.hold);
            making += makers.filter(|hold| matches!(hold, Hold::Making)).count();
            for slot in 0..md.map.len() {
                verify!(
                    md.level[slot] == NO_LEVEL || md.level[slot] <= top.0,
                    "{:?} slot {slot}: no such level",
                    md.id
                );
                let entry = md.top_entry(Slot(slot as u16), &self.levels);
                if entry != 0 && self.options.write {
                    let host = self.alloc.host(entry).0;
                    let other = owner.insert(host, md.id);
                    verify!(
                        other.is_none(),
                        "host cluster {host} has two owners: {other:?} and {:?}",
                        md.id
                    );
                    verify!(
                        !life.contains_key(&host),
                        "mapped host cluster {host} is {:?}",
                        life.get(&host)
                    );
                }
            }
            for entry in md.records.iter().flat_map(|record| &record.condemned) {
                let host = self.alloc.host(*entry).0;
                verify!(
                    life.get(&host) == Some(&Life::Condemned),
                    "given-up host {host} is {:?}",
                    life.get(&host)
                );
                verify!(!owner.contains_key(&host), "given-up host {host} is mapped");
                condemned += 1;
            }
        }
        let count = |what| life.values().filter(|life| **life == what).count();
        let all = count(Life::Condemned);
        verify!(
            all == condemned,
            "{all} condemned host clusters, but records name {condemned} of {hosts}"
        );
        let reserved = count(Life::Reserved);
        verify!(
            reserved <= making,
            "{reserved} host clusters are reserved, and {making} mappings are being made"
        );
        if self.options.write {
            // Lost: neither free, nor named by a slot, nor anywhere else in its life.
            let hosts = hosts.saturating_sub(self.alloc.first_host().0);
            let taken = u64::from(hosts) - life.len() as u64;
            let named = owner.len() as u64 + u64::from(self.alloc.extension);
            verify!(
                taken == named,
                "{taken} host clusters are taken for good, but {named} are named"
            );
        }
    }

    /// The whole state.
    #[must_use]
    pub fn dump(&self) -> StateDump {
        let mut text = String::new();
        for page in &self.pages {
            page.lock().dump(&mut text);
        }
        let synced = self.gate.synced();
        let (hosts, life) = self.alloc.inspect(synced);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "sync {synced} poisoned {} hosts {hosts}",
            self.gate.is_poisoned()
        );
        for (host, life) in life {
            let _ = writeln!(text, "host {host} {life:?}");
        }
        StateDump(text)
    }
}

impl MdPage {
    fn verify(&self, listed: bool) {
        let id = self.id;
        let header = self.header.as_ref().is_some_and(|header| header.first != 0);
        let owes = !self.records.is_empty() || header;
        verify!(
            owes == (self.state != State::Clean),
            "{id:?} is {:?} but owes {owes}",
            self.state
        );
        verify!(
            listed == (self.state != State::Clean),
            "{id:?} is {:?}, in the dirty set {listed}",
            self.state
        );
        verify!(
            self.state != State::Clean || self.waiters.is_empty(),
            "{id:?} is clean but waited for"
        );
        verify!(
            self.state == State::Dirty || (!self.queued && !self.awaiting),
            "{id:?} {:?} is queued",
            self.state
        );
        verify!(
            self.state != State::Dirty || self.queued || self.awaiting,
            "{id:?} is dirty and nobody will see it"
        );
        verify!(
            self.records.is_sorted_by_key(|record| record.slot),
            "{id:?}: records out of order"
        );
        for (slot, word) in self.flight.iter().enumerate() {
            let slot = Slot(slot as u16);
            let held = self.locks.iter().any(|lock| lock.slot == slot);
            verify!(
                (word & HELD != 0) == held,
                "{id:?} {slot:?}: held {held}, word {word:#x}"
            );
            let recorded = self.records.iter().any(|record| record.slot == slot);
            verify!(
                (word & OWES != 0) == recorded,
                "{id:?} {slot:?}: record {recorded}, word {word:#x}"
            );
        }
        for record in &self.records {
            verify!(
                record.first <= record.latest,
                "{id:?} {:?}: first after latest",
                record.slot
            );
            verify!(
                record.latest <= self.changes,
                "{id:?} {:?}: change from the future",
                record.slot
            );
            verify!(
                (record.need == 0) == (record.safe_gen == record.latest),
                "{id:?} {:?}: need",
                record.slot
            );
        }
    }

    fn dump(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "page {} {:?} changes {} want {}",
            self.id.0, self.state, self.changes, self.want
        );
        for slot in 0..self.map.len() {
            let (level, entry, word) = (self.level[slot], self.map[slot], self.flight[slot]);
            if level != NO_LEVEL || word != 0 {
                let held = if word & HELD != 0 { " held" } else { "" };
                let _ = writeln!(
                    text,
                    "  slot {slot} level {level} entry {entry} flight {}{held}",
                    word & COUNT
                );
            }
        }
        for record in &self.records {
            let _ = writeln!(
                text,
                "  owes slot {} changes {}..={} safe {} need {} condemned {:?}",
                record.slot.0,
                record.first,
                record.latest,
                record.safe,
                record.need,
                record.condemned
            );
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.map.len() * (4 + 1 + 4)
            + self.slack.len()
            + self.records.capacity() * 96
    }
}
