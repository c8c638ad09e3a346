//! The in-use mark: durable before the first change (I31).
//!
//! ```text
//!   unmarked ──first modifying request──▶ header of page 0 changed, page wanted ──durable──▶ marked; whoever waited goes on
//!       ▲                                                                  └─failed─┐
//!       └────────────────────────── whoever waited fails ◀──────────────────────────┘
//! ```
//! The mark is a rider of page 0, never a write of its own. It says "in use" until the device is closed cleanly. The image
//! then closes with "v2.1" if the dirty bitmaps were kept and saved (`control::save`), else with 0: nobody vouches for the
//! format extension.

use crate::bat::page::{Context, MdPage, Page};
use crate::device::Device;
use crate::format::InUse;
use crate::request::action::{Actions, Failure, Origin, Request};
use crate::request::work::{Resume, Waiter};
use crate::sync::{Latch, Mutex, Rank};
use crate::units::{PageId, Sector};
use crate::verify::mark;

/// Byte positions of the header's fields that a first write changes.
const IN_USE_AT: usize = 44;
const FLAGS_AT: usize = 52;
const EXTENSION_AT: usize = 56;
/// `m_Flags` bit 0: "never written".
const FLAG_EMPTY: u8 = 1;

#[derive(Debug, Default)]
struct State {
    under_way: bool,
    /// It was tried at least once: the file may carry it.
    tried: bool,
    waiting: Vec<(Origin, Request)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Mark {
    marked: Latch,
    state: Mutex<State>,
}

impl Mark {
    /// `tried`: a killed device has marked the file, or tried to.
    pub(crate) fn new(tried: bool) -> Mark {
        let state = State {
            tried,
            ..State::default()
        };
        Mark {
            marked: Latch::new(),
            state: Mutex::new(Rank::Table, "in-use mark", state),
        }
    }

    /// True once the mark is durable.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.marked.is_set()
    }

    /// True if the mark was ever tried, so that the file may carry it.
    pub(crate) fn was_tried(&self) -> bool {
        self.state.lock().tried
    }

    /// Lets a request wait. `Err`: it need not. `Ok(true)`: the caller has to start the marking.
    fn wait(&self, origin: Origin, request: Request) -> Result<bool, (Origin, Request)> {
        let mut state = self.state.lock();
        if self.marked.is_set() {
            return Err((origin, request));
        }
        state.waiting.push((origin, request));
        state.tried = true;
        Ok(!std::mem::replace(&mut state.under_way, true))
    }

    fn ended(&self, ok: bool) -> Vec<(Origin, Request)> {
        let mut state = self.state.lock();
        state.under_way = false;
        if ok {
            self.marked.set();
        }
        std::mem::take(&mut state.waiting)
    }
}

impl Device {
    /// A modifying request on an image that is not marked yet.
    pub(crate) fn wait_for_mark(&self, origin: Origin, request: Request, out: &mut Actions) {
        match self.mark.wait(origin, request) {
            Err((origin, request)) => out.backlog.push_back(Resume::Request(origin, request)),
            Ok(false) => {}
            Ok(true) => {
                mark!(WaitedForMark);
                self.page(PageId(0))
                    .mark_in_use(Waiter::Mark, self.context());
            }
        }
    }

    /// The mark is durable, or was not made.
    pub(crate) fn mark_ended(&self, result: Result<(), Failure>, out: &mut Actions) {
        if result.is_err() {
            mark!(MarkFailed);
        }
        for (origin, request) in self.mark.ended(result.is_ok()) {
            out.backlog.push_back(match result {
                Ok(()) => Resume::Request(origin, request),
                Err(failure) => Resume::Fail(origin, failure),
            });
        }
    }
}

impl Page {
    fn mark_in_use(&self, waiter: Waiter, cx: Context<'_>) {
        let mut md = self.lock();
        md.set_in_use(InUse::InUse);
        md.changes += 1;
        let change = md.changes;
        if let Some(header) = &mut md.header {
            header.latest = change;
            if header.first == 0 {
                header.first = change;
            }
        }
        md.waiters.push((change, waiter));
        md.touched(change, cx);
        md.want(change, cx);
    }
}

impl MdPage {
    /// Changes the header's mark (and takes "never written" off).
    pub(crate) fn set_in_use(&mut self, in_use: InUse) {
        if let Some(header) = &mut self.header {
            header.bytes[IN_USE_AT..IN_USE_AT + 4].copy_from_slice(&in_use.raw().to_le_bytes());
            header.bytes[FLAGS_AT] &= !FLAG_EMPTY;
        }
    }

    /// Changes where the header says that the format extension is; 0: there is none.
    pub(crate) fn set_extension(&mut self, at: Sector) {
        if let Some(header) = &mut self.header {
            header.bytes[EXTENSION_AT..EXTENSION_AT + 8].copy_from_slice(&at.0.to_le_bytes());
        }
    }

    /// True if the header says "in use": this process has marked it, or the last one never closed it.
    pub(crate) fn is_in_use(&self) -> bool {
        let mark = InUse::InUse.raw().to_le_bytes();
        let header = self.header.as_ref();
        header.is_some_and(|header| header.bytes[IN_USE_AT..IN_USE_AT + 4] == mark)
    }
}
