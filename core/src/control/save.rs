//! Saving dirty bitmaps at a clean close (I32): they are durable before the header points to them.
//!
//! ```text
//!   everything else durable ──▶ clusters of the bitmaps, the extension's own ─▶ file cut behind it ─sync─▶
//!        header: m_FormatExtensionOffset ─sync─▶ header: "v2.1" ─sync─▶ closed
//!        └─ no space: without bitmaps, pointer 0, "closed, nobody vouches"
//! ```
//! * Until that header is written the image is in use, and nobody believes what stands in an extension: so the run may
//!   be written over the old one, in any order. Pointer and mark are not changed in one write, though they share a sector:
//!   so nothing hangs on how small a piece of a write may survive.
//! * The run begins behind the last cluster that a guest has. What it does not cover of the old extension, before it, is given
//!   back: free space.

use crate::control::close::ControlIo;
use crate::device::Device;
use crate::format::InUse;
use crate::format::extension::Plan;
use crate::request::action::Failure;
use crate::units::{Sector, Sectors};

/// What the header is going to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    pub(crate) in_use: InUse,
    /// Where the extension is, if the header is to say something new.
    pub(crate) extension: Option<Sector>,
}

impl Device {
    /// True if [`Device::write_bitmaps`] changes what is behind the last data.
    pub(crate) fn changes_tail(&self) -> bool {
        self.cbt.is_on() || self.alloc.keep().is_some()
    }

    /// Writes the bitmaps, if there are any, and sets the length of the file. Not yet durable.
    ///
    /// # Errors
    /// The file failed. Bitmaps that do not fit, into their format or on the file system, are left out.
    pub(crate) fn write_bitmaps(&self, io: &mut dyn ControlIo) -> Result<Last, Failure> {
        let closed = Last {
            in_use: InUse::Closed0,
            extension: None,
        };
        let bitmaps = self.cbt.bitmaps();
        if bitmaps.is_empty() {
            if let Some(len) = self.alloc.keep() {
                io.set_len(len)?;
            }
            // One that was given up goes from the header first, as a new one comes: a header that is torn must not name it
            // without the mark.
            return Ok(Last {
                extension: self.forgets_extension.then_some(Sector(0)),
                ..closed
            });
        }
        let saved = match Plan::new(&bitmaps, self.table.cluster().bytes()) {
            Some(plan) => self.write_run(&plan, io),
            None => Err(Failure::NoSpace),
        };
        Ok(match saved {
            Ok(at) => Last {
                in_use: InUse::ClosedV21,
                extension: Some(at),
            },
            Err(Failure::NoSpace) => {
                io.set_len(self.alloc.len_without(&self.cbt.found))?;
                Last {
                    extension: Some(Sector(0)),
                    ..closed
                }
            }
            Err(failure) => return Err(failure),
        })
    }

    fn write_run(&self, plan: &Plan<'_>, io: &mut dyn ControlIo) -> Result<Sector, Failure> {
        let first = self.alloc.extension_place(&self.cbt.found);
        let start = self.alloc.sector(first);
        let at = plan.write(start, |at, piece| io.write(at.bytes(), piece))?;
        for &old in self.cbt.found.iter().filter(|old| **old < first) {
            io.punch(self.alloc.sector(old), self.table.cluster())?;
        }
        // What was preallocated; or the old extension, which was longer.
        let end = Sectors(at.after(self.table.cluster()).0);
        if self.alloc.may_reach_beyond(end) {
            io.set_len(end)?;
        }
        Ok(at)
    }
}
