//! For engines that see locks and atomics only: events of the adapter are not announced.

use super::disk::Reach;

/// See the module.
#[derive(Debug)]
pub(crate) struct Events;

impl Events {
    pub(crate) fn new() -> Events {
        Events
    }
    pub(crate) fn submit(&self, _from: u64, _to: u64) {}
    pub(crate) fn finish(&self, _from: u64, _to: u64) {}
    pub(crate) fn file(&self, _reach: Reach) {}
    pub(crate) fn slots(&self, _from: u64, _to: u64, _changes: bool) {}
}
