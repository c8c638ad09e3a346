//! For engines that see locks and atomics only: events of the adapter are not announced.

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Events;

impl Events {
    pub(crate) fn guest(&self, _from: u64, _to: u64) {}
    pub(crate) fn file(&self, _from: u64, _to: u64, _changes: bool) {}
    pub(crate) fn slots(&self, _from: u64, _to: u64, _changes: bool) {}
}
