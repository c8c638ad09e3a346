//! Checker `bitmaps`: a dirty bitmap that an image vouches for has every sector marked that has changed (I32).
//!
//! Every image that is judged, after a crash or a close, is asked: if its header says "v2.1" and names an extension, then the
//! core must find it sound, what was dirty when the image was opened must be dirty, and so must each sector that reads
//! differently from then. An image of which nobody knew the changes must vouch for nothing.
//! Not checked: how much more than that is marked.

use model::bitmap::{self, Bitmap};
use model::image::{ImageBytes, InUse};
use model::op::Value;
use ploop_core::control::files::Change;
use ploop_core::delta::{ExtensionState, LoadedDelta};

use crate::check::failure;
use crate::report::Failure;

/// Who knows what has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Knows {
    /// Nobody: there was no bitmap, or it was lost.
    #[default]
    Nobody,
    /// The device, since it was opened.
    Device,
    /// The device was killed: the next one may or may not.
    Perhaps,
}

/// What the bitmaps of an image are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Who knows.
    pub knows: Knows,
    /// What was dirty when the image was opened.
    bitmaps: Vec<Bitmap>,
    /// What each sector read as then.
    content: Vec<Value>,
    /// What each sector reads as in the image that is going to be opened.
    next: Vec<Value>,
}

impl Since {
    /// An image is built that reads so.
    pub fn begin(&mut self, content: &[Value], bitmaps: bool) {
        self.knows = Knows::Nobody;
        if bitmaps {
            self.knows = Knows::Device;
            self.next(content);
        }
    }

    /// An image is left that reads so.
    pub fn next(&mut self, content: &[Value]) {
        if self.knows != Knows::Nobody {
            self.next.clear();
            self.next.extend_from_slice(content);
        }
    }

    /// An image is opened after a close or a power cut.
    pub fn open(&mut self, bytes: &dyn ImageBytes, loaded: &LoadedDelta) {
        let valid = loaded
            .expanded()
            .is_some_and(|image| image.extension == ExtensionState::Valid);
        if self.knows == Knows::Nobody || !valid {
            self.knows = Knows::Nobody;
            return;
        }
        self.knows = Knows::Device;
        self.bitmaps = bitmap::read(bytes).unwrap_or_default();
        std::mem::swap(&mut self.content, &mut self.next);
    }

    /// The device is killed.
    pub fn killed(&mut self) {
        if self.knows == Knows::Device {
            self.knows = Knows::Perhaps;
        }
    }

    /// Bitmaps were started, cleared or stopped, and the power was cut in it: what counts now is judged by [`changed`].
    pub fn relearn(&mut self) {
        self.knows = Knows::Device;
        self.bitmaps.clear();
    }

    /// Judges an image that reads as `seen`.
    ///
    /// # Errors
    /// It vouches for a bitmap that misses a change.
    pub fn check(
        &self,
        bytes: &dyn ImageBytes,
        in_use: Option<InUse>,
        loaded: &LoadedDelta,
        seen: &[Value],
    ) -> Result<(), Failure> {
        let Some(image) = loaded.expanded() else {
            return Ok(());
        };
        if in_use != Some(InUse::Closed21) || image.header.ext_off.0 == 0 {
            return Ok(());
        }
        let wrong = |message: String| Err(failure("bitmaps", message));
        if self.knows == Knows::Nobody {
            return wrong("an extension is vouched for, and nobody knew the changes".to_owned());
        }
        if image.extension != ExtensionState::Valid {
            return wrong(format!("vouched for, and {:?}", image.extension));
        }
        let now = match bitmap::read(bytes) {
            Ok(now) => now,
            Err(why) => return wrong(format!("vouched for, but {why}")),
        };
        for old in &self.bitmaps {
            let Some(new) = now.iter().find(|new| new.id == old.id) else {
                return wrong("a dirty bitmap is lost".to_owned());
            };
            for (sector, (was, is)) in (0..).zip(self.content.iter().zip(seen)) {
                if (old.has(sector) || was != is) && !new.has(sector) {
                    return wrong(format!(
                        "sector {sector} was {was:?} (dirty: {}), is {is:?}, and is not marked",
                        old.has(sector)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Judges the dirty bitmaps that count (`now`) after a change of those that did (`before`); `done`: it has ended.
///
/// # Errors
/// One of them has lost a change, or is not what it was made; or the change has ended, and it is not there.
pub fn changed(
    change: Option<Change>,
    before: &[Bitmap],
    now: &[Bitmap],
    done: bool,
) -> Result<(), Failure> {
    let wrong = |what: String| Err(failure("bitmaps", format!("{change:?} ({done}): {what}")));
    let old = |id| before.iter().find(|bitmap| bitmap.id == id);
    for bitmap in now {
        let clean = !bitmap.dirty.contains(&true);
        let kept = old(bitmap.id) == Some(bitmap);
        let right = match change {
            Some(Change::Start { id, .. }) if bitmap.id == id => clean,
            Some(Change::Clear { id }) if bitmap.id == id => clean || !done && kept,
            Some(Change::Stop { id }) if bitmap.id == id => !done && kept,
            _ => kept,
        };
        if !right {
            return wrong(format!("{bitmap:?}"));
        }
    }
    let there = |wanted: [u8; 16]| now.iter().any(|bitmap| bitmap.id == wanted);
    match change {
        Some(Change::Start { id, .. }) if done && !there(id) => {
            wrong("started, and not there".to_owned())
        }
        _ => Ok(()),
    }
}
