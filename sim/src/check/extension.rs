//! Checker `extension`: the format extension's clusters are never handed out, never written, and the header never
//! forgets them (I31: their bytes and space are kept, trust is not).
//!
//! Every I/O that changes the top is judged when it is issued, and every image that a crash or a close leaves is compared.
//! Not checked here: that a first write takes "v2.1" away; `image` sees that.

use model::op::Value;
use ploop_core::IoOp;

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
    if ext_off != kept.ext_off {
        return Err(failure(
            "extension",
            format!("m_FormatExtensionOffset was {}, is {ext_off}", kept.ext_off),
        ));
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
