//! Checker `extension`: the format extension's clusters are never handed out, never written, and the header never
//! forgets them (I31: their bytes and space are kept, trust is not).
//!
//! Every I/O that changes the top is judged when it is issued, and every image that a crash leaves is compared; not one that a
//! close leaves or a crash within it, if that saves dirty bitmaps: then `bitmaps` judges. Each open learns anew what is kept.
//! Not checked here: that a first write takes "v2.1" away; `image` and `bitmaps` see that.

use model::op::Value;
use ploop_core::IoOp;
use ploop_core::delta::LoadedDelta;

use crate::check::failure;
use crate::disk::View;
use crate::report::Failure;

/// What of the top must stay as it is, whatever happens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// `m_FormatExtensionOffset`.
    pub ext_off: u64,
    /// Sectors of the extension's clusters, and what they hold.
    pub sectors: Vec<(u64, Value)>,
    /// Nothing is kept there: a first write may take the pointer away.
    pub astray: bool,
    /// A server was killed in a close that may have written them: whatever they hold until the next power cut is right.
    pub loose: bool,
}

impl Kept {
    /// Learns what an image has, which is being opened. `volatile`: by a successor, or after a try that failed; what the header
    /// says need not be durable.
    pub fn learn(&mut self, view: &View<'_>, loaded: &LoadedDelta, volatile: bool) {
        let Some(image) = loaded.expanded() else {
            return;
        };
        // What is given up is gone from the header when that is written: a server that is killed may leave that in the cache
        // alone, and a power cut then brings the old pointer back.
        if !(volatile && self.astray && image.header.ext_off.0 == 0) {
            self.ext_off = image.header.ext_off.0;
            self.astray = image.extension_astray;
        }
        self.sectors.clear();
        for &host in &image.reserved {
            let start = image.layout.host_sector(host).0;
            let sectors = start..start + image.layout.cluster.0;
            self.sectors
                .extend(sectors.map(|sector| (sector, view.read_value(sector))));
        }
    }
}

/// Judges an I/O before it is carried out.
pub fn check(op: &IoOp, kept: &Kept) -> Result<(), Failure> {
    let (at, len) = match op {
        IoOp::Write { at, len, .. }
        | IoOp::Zero { at, len, .. }
        | IoOp::PunchHole { at, len, .. }
        | IoOp::Copy { to: at, len, .. } => (at.0, len.0),
        _ => return Ok(()),
    };
    let mut sectors = kept.sectors.iter().map(|&(sector, _)| sector);
    match sectors.find(|sector| (at..at + len).contains(sector)) {
        None => Ok(()),
        Some(sector) => Err(failure(
            "extension",
            format!("sector {sector} is the format extension's, and is changed: {op:?}"),
        )),
    }
}

/// Judges an image of the top. `ext_off`: what its header says.
pub fn check_image(view: &View<'_>, ext_off: u64, kept: &Kept) -> Result<(), Failure> {
    if ext_off != kept.ext_off && !(kept.astray && ext_off == 0) {
        return Err(failure(
            "extension",
            format!("m_FormatExtensionOffset was {}, is {ext_off}", kept.ext_off),
        ));
    }
    if kept.astray {
        // A close may have cut them off: the header forgets them.
        return Ok(());
    }
    for &(sector, value) in &kept.sectors {
        let found = view.read_value(sector);
        if found != value {
            return Err(failure(
                "extension",
                format!("sector {sector} of the format extension held {value:?}, now {found:?}"),
            ));
        }
    }
    Ok(())
}
