//! Clean close: the in-use mark goes last, after everything else is durable (I31).
//!
//! ```text
//!   quiesced, nothing dirty ──▶ sync ──▶ cut the preallocated tail ──▶ sync ──▶ header with in-use 0 ──▶ sync ──▶ closed
//!                                      └ dirty bitmaps: written, then cut ─┘  └ pointer to them ─ sync ─ header with "v2.1"
//! ```
//! The first sync is for what this device has not written: a server that was killed may have left an un-map in the page
//! cache alone, and the medium still names a cluster of the tail.
//!
//! Refused while a page is dirty, the file is poisoned, or a cluster's un-map is not known durable: then the mark stays.

use crate::bat::page::MdPage;
use crate::control::save::Last;
use crate::control::suspend::Quiesced;
use crate::device::Device;
use crate::request::action::Failure;
use crate::request::table::Queue;
use crate::units::{PageId, Sector, Sectors};

/// Blocking I/O on the top file, for the control plane. The simulator's answers with a power cut at any call.
pub trait ControlIo {
    /// Writes all of `bytes` at byte `at`.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure>;
    /// Gives the space of sectors back, which lie inside the file; does nothing where the file cannot do that.
    fn punch(&mut self, at: Sector, len: Sectors) -> Result<(), Failure>;
    /// Sets the length of the file in sectors.
    fn set_len(&mut self, len: Sectors) -> Result<(), Failure>;
    /// Makes everything durable.
    fn sync(&mut self) -> Result<(), Failure>;
}

/// Why the image could not be closed cleanly. It keeps its in-use mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Not everything is durable.
    #[error(
        "not closed cleanly: {dirty} dirty metadata pages, {quarantined} clusters in quarantine, sync failed: {poisoned}"
    )]
    NotDurable {
        /// Pages that are not clean.
        dirty: usize,
        /// Clusters given up whose un-map is not durable.
        quarantined: usize,
        /// A sync has failed since the image was opened.
        poisoned: bool,
    },
    /// The file failed during the close itself.
    #[error("not closed cleanly: {step} failed: {failure:?}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// How it failed.
        failure: Failure,
    },
}

impl Quiesced<'_> {
    /// Closes the image cleanly. After [`CloseError::NotDurable`] the device is suspended as before and may be resumed;
    /// otherwise it is over, and [`Quiesced::shut`] fails what was held back.
    pub fn close(&self, io: &mut dyn ControlIo) -> Result<(), CloseError> {
        let device = self.device;
        let was_left = || device.options.write && device.page(PageId(0)).lock().is_in_use();
        if !device.mark.was_tried() && !was_left() {
            // Nothing was ever changed, the mark included. An image that was left open by somebody else, and found sound,
            // is closed for him.
            device.queues.iter().for_each(Queue::shut);
            return Ok(());
        }
        let (dirty, quarantined) = (device.dirty.count(), device.alloc.quarantined());
        let poisoned = device.gate.is_poisoned();
        if dirty > 0 || quarantined > 0 || poisoned {
            return Err(CloseError::NotDurable {
                dirty,
                quarantined,
                poisoned,
            });
        }
        // From here on the header in memory says "closed": no request may follow, whatever becomes of the close.
        device.queues.iter().for_each(Queue::shut);
        let failed = |step| move |failure| CloseError::Failed { step, failure };
        if device.changes_tail() {
            io.sync()
                .map_err(failed("the sync before the tail is cut"))?;
        }
        let Last { in_use, extension } = device
            .write_bitmaps(io)
            .map_err(failed("saving bitmaps and cutting the preallocated tail"))?;
        io.sync()
            .map_err(failed("the sync before the mark is cleared"))?;
        if let Some(at) = extension {
            write_header(device, io, |page| page.set_extension(at))
                .map_err(failed("pointing to the extension"))?;
            io.sync()
                .map_err(failed("the sync of the pointer to the extension"))?;
        }
        write_header(device, io, |page| page.set_in_use(in_use))
            .map_err(failed("clearing the in-use mark"))?;
        io.sync()
            .map_err(failed("the sync after the mark is cleared"))
    }
}

/// Changes the header, and writes page 0 as it is.
fn write_header(
    device: &Device,
    io: &mut dyn ControlIo,
    change: impl FnOnce(&mut MdPage),
) -> Result<(), Failure> {
    let (at, len) = device.table.bytes_of(PageId(0));
    let image = {
        let mut page = device.page(PageId(0)).lock();
        change(&mut page);
        page.image(len, 0, device.context())
    };
    io.write(at, &image)
}
