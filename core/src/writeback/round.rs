//! A round of one page: image out, write, sync, settle.
//!
//! ```text
//!   ready ──start──▶ Await(n): a wanted slot is safe only after sync n ──sync n──▶ ready
//!           └──────▶ Write(image) ──written──▶ sync gate ──ok──▶ settle(Ok): riders durable, waiters go on
//!                         │ └─no space──▶ parked ──retry──▶ ready     └─failed─▶ settle(Err): waiters fail, still dirty
//!                         └─error──▶ settle(Err)
//! ```
//! * W1 A round starts only when every change that somebody wants is safe; what nobody wants rides if it is safe and
//!   stays behind, at its old value, if it is not.
//! * W2 Waiters of change `c` are released when no record has an outstanding change `<= c`.
//! * W3 Publication is irrevocable: a failed round fails its waiters and leaves map and records as they are.

use crate::bat::page::{Context, MdPage, Page};
use crate::cluster::lock::OWES;
use crate::format::geometry::HEADER_BYTES;
use crate::request::work::Waiter;
use crate::units::{Millis, Slot};
use crate::verify::{mark, verify};
use crate::writeback::state::{Event, State};

/// Short writes in a row after which a round fails.
const MAX_SHORTS: u8 = 3;

/// What became of an attempt to start a round.
#[derive(Debug)]
pub(crate) enum Start {
    /// Nothing to do (any more).
    Nothing,
    /// Sync number `.0` is needed first; the page waits for it as [`Waiter::Eligible`].
    Await(u64),
    /// Write this image.
    Write(Box<[u8]>),
    /// No round can ever succeed: the file is poisoned. These fail.
    Poisoned(Vec<Waiter>),
}

/// A settled round.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Released with the round's result.
    pub(crate) waiters: Vec<Waiter>,
    /// Raw entries of host clusters that no slot on disk names any more; each is to be punched.
    pub(crate) released: Vec<u32>,
}

impl Page {
    /// Lets `waiter` wait until the page's changes up to `change` are durable. Gives it back if they are.
    pub(crate) fn wait(&self, change: u64, waiter: Waiter, cx: Context<'_>) -> Option<Waiter> {
        let mut md = self.lock();
        if !md.owes(change) {
            return Some(waiter);
        }
        md.waiters.push((change, waiter));
        md.want(change, cx);
        None
    }

    /// Captures what a flush has to wait for: the number of the latest change, if any is not durable.
    pub(crate) fn capture(&self) -> Option<u64> {
        let md = self.lock();
        md.owes(md.changes).then_some(md.changes)
    }

    /// Wants all that is there now, without a waiter.
    pub(crate) fn push_out(&self, cx: Context<'_>) {
        let mut md = self.lock();
        if md.owes(md.changes) {
            let all = md.changes;
            md.want(all, cx);
        }
    }

    /// Wants a round if the page's date has come. Returns its date otherwise.
    pub(crate) fn tick(&self, cx: Context<'_>) -> Option<Millis> {
        let mut md = self.lock();
        let State::Delayed { due } = md.state else {
            return None;
        };
        if due > cx.now {
            return Some(due);
        }
        // Suspended: what has a date now has failed, and is not tried again beside whoever has the drained device (I35).
        if cx.dirty.is_pushing() {
            return None;
        }
        mark!(DelayExpired);
        md.want = md.changes;
        md.step(Event::Due);
        md.queue(cx.dirty);
        None
    }

    /// The page came off the ready list.
    pub(crate) fn start(
        &self,
        image_len: usize,
        synced: u64,
        poisoned: bool,
        cx: Context<'_>,
    ) -> Start {
        let mut md = self.lock();
        md.queued = false;
        if md.state != State::Dirty {
            return Start::Nothing;
        }
        if poisoned {
            md.step(Event::Failed {
                due: Millis(u64::MAX),
            });
            md.failing = true;
            return Start::Poisoned(md.take_waiters(u64::MAX));
        }
        if let Some(need) = md.blocked(synced) {
            mark!(RoundAwaitsSync);
            md.awaiting = true;
            return Start::Await(need);
        }
        let image = md.image(image_len, synced, cx);
        md.step(Event::Start);
        cx.dirty.round_started();
        Start::Write(image)
    }

    /// The sync that a round waited for has ended, either way: look again.
    pub(crate) fn awaited(&self, cx: Context<'_>) {
        let mut md = self.lock();
        md.awaiting = false;
        md.queue(cx.dirty);
    }

    /// The round found no space.
    pub(crate) fn park(&self, cx: Context<'_>) {
        mark!(RoundParked);
        let mut md = self.lock();
        md.failed_image();
        md.step(Event::NoSpace);
        cx.dirty.round_ended();
    }

    /// The image was written in part: another round, of what is there now, unless that happened too often in a row.
    pub(crate) fn again(&self, cx: Context<'_>) -> bool {
        let mut md = self.lock();
        if md.shorts >= MAX_SHORTS {
            return false;
        }
        md.shorts += 1;
        md.failed_image();
        md.step(Event::NoSpace);
        md.step(Event::Retry);
        md.queue(cx.dirty);
        cx.dirty.round_ended();
        true
    }

    /// Space may have returned.
    pub(crate) fn unpark(&self, cx: Context<'_>) {
        let mut md = self.lock();
        if md.state == State::Parked {
            md.step(Event::Retry);
            md.queue(cx.dirty);
        }
    }

    /// Whoever waits for a parked page gets an error; the page stays dirty and is tried again when due.
    pub(crate) fn cancel(&self, due: Millis) -> Vec<Waiter> {
        let mut md = self.lock();
        if md.state != State::Parked {
            return Vec::new();
        }
        md.step(Event::Retry);
        md.step(Event::Failed { due });
        md.failing = true;
        md.take_waiters(u64::MAX)
    }

    /// The round is durable, or failed.
    pub(crate) fn settle(&self, ok: bool, retry: Millis, cx: Context<'_>) -> Settled {
        let mut md = self.lock();
        let mut settled = Settled::default();
        md.shorts = 0;
        if ok {
            md.durable_image(&mut settled.released);
            // Before the round counts as ended, so that the barrier always sees one or the other.
            for &entry in &settled.released {
                cx.alloc.punching(cx.alloc.host(entry));
            }
            md.failing = false;
            let owed = md.oldest();
            settled.waiters = md.take_waiters(owed.map_or(u64::MAX, |owed| owed - 1));
            md.settle_state(owed, cx);
        } else {
            mark!(RoundFailed);
            md.failed_image();
            md.failing = true;
            settled.waiters = md.take_waiters(u64::MAX);
            md.step(Event::Failed { due: retry });
        }
        cx.dirty.round_ended();
        settled
    }
}

impl MdPage {
    /// The oldest change that is not durable.
    fn oldest(&self) -> Option<u64> {
        let header = self.header.as_ref().map_or(0, |header| header.first);
        let slots = self.records.iter().map(|record| record.first);
        slots.chain((header != 0).then_some(header)).min()
    }

    /// True if a change up to this one is not durable.
    fn owes(&self, change: u64) -> bool {
        self.oldest().is_some_and(|oldest| oldest <= change)
    }

    /// Somebody wants all changes up to this one.
    pub(crate) fn want(&mut self, change: u64, cx: Context<'_>) {
        self.want = self.want.max(change);
        self.step(Event::Wanted);
        self.queue(cx.dirty);
    }

    /// The sync that must succeed before a wanted change may be written.
    fn blocked(&self, synced: u64) -> Option<u64> {
        let wanted = self
            .records
            .iter()
            .filter(|record| record.latest <= self.want);
        wanted
            .map(|record| record.need)
            .filter(|&need| need > synced)
            .max()
    }

    /// The page as it may be written now: safe values only.
    pub(crate) fn image(&mut self, len: usize, synced: u64, cx: Context<'_>) -> Box<[u8]> {
        let mut image = Vec::with_capacity(len);
        if let Some(header) = &mut self.header {
            image.extend_from_slice(&header.bytes);
            header.riding = (header.first != 0).then_some(header.latest);
        }
        let first_slot = image.len();
        debug_assert!(first_slot == 0 || first_slot as u64 == HEADER_BYTES);
        for slot in 0..self.map.len() {
            let entry = self.top_entry(Slot(slot as u16), cx.levels);
            image.extend_from_slice(&entry.to_le_bytes());
        }
        let mut riders = 0;
        let (map, level) = (&self.map, &self.level);
        for record in &mut self.records {
            let slot = record.slot.index();
            let visible = if level[slot] == cx.levels.top().0 {
                map[slot]
            } else {
                0
            };
            record.promote(visible, synced);
            if record.need != 0 {
                mark!(SlotNotEligible);
            }
            let at = first_slot + 4 * slot;
            image[at..at + 4].copy_from_slice(&record.ride().to_le_bytes());
            riders += 1;
        }
        if riders > 1 {
            mark!(SharedRound);
        }
        image.extend_from_slice(&self.slack);
        verify!(
            image.len() == len,
            "page image of {} bytes instead of {len}",
            image.len()
        );
        image.into_boxed_slice()
    }

    fn durable_image(&mut self, released: &mut Vec<u32>) {
        if let Some(header) = &mut self.header
            && let Some(riding) = header.riding.take()
        {
            header.first = if header.latest == riding {
                0
            } else {
                riding + 1
            };
        }
        let flight = &mut self.flight;
        self.records.retain_mut(|record| {
            let settled = record.durable(released);
            if settled {
                flight[record.slot.index()] &= !OWES;
            }
            !settled
        });
    }

    fn failed_image(&mut self) {
        if let Some(header) = &mut self.header {
            header.riding = None;
        }
        for record in &mut self.records {
            record.failed();
        }
    }

    fn take_waiters(&mut self, up_to: u64) -> Vec<Waiter> {
        self.waiters
            .extract_if(.., |(change, _)| *change <= up_to)
            .map(|(_, waiter)| waiter)
            .collect()
    }

    fn settle_state(&mut self, owed: Option<u64>, cx: Context<'_>) {
        match owed {
            None => {
                self.step(Event::DoneClean);
                cx.dirty.leave(self.id);
            }
            Some(owed) if owed <= self.want => {
                self.step(Event::DoneWanted);
                self.queue(cx.dirty);
            }
            Some(_) => match cx.dirty.enter(self.id, cx.now) {
                Some(due) => self.step(Event::DoneLater { due }),
                None => {
                    self.want = self.changes;
                    self.step(Event::DoneWanted);
                    self.queue(cx.dirty);
                }
            },
        }
    }
}
