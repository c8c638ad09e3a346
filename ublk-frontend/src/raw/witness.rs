//! What a ring tells a journal of the files of the chain.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FileIndex;
use crate::files::trace::{Told, Trace, What};

/// See the module.
#[derive(Debug)]
pub(super) struct Witness {
    trace: Arc<Trace>,
    /// Place of the oldest file of the chain in the ring's table.
    first: u32,
    /// By the word of the request, of which there is one at a time.
    under_way: BTreeMap<u64, Told>,
}

impl Witness {
    pub(super) fn new(trace: Arc<Trace>, first: FileIndex) -> Witness {
        Witness {
            trace,
            first: first.0,
            under_way: BTreeMap::new(),
        }
    }

    /// A request is about to be handed over.
    pub(super) fn begin(&mut self, file: FileIndex, what: What<'_>, data: u64) {
        let Some(level) = file.0.checked_sub(self.first) else {
            return;
        };
        let told = self.trace.begin(level as usize, what);
        let before = self.under_way.insert(data, told);
        debug_assert_eq!(before, None, "two requests with the word {data:#x}");
    }

    /// A request has come back.
    pub(super) fn ended(&mut self, data: u64, result: i32) {
        if let Some(told) = self.under_way.remove(&data) {
            self.trace.end(told, i64::from(result));
        }
    }
}
