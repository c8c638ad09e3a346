//! Checker `clusters`: where the core writes (I2, I10, I21).
//!
//! Every I/O that changes a file goes to the top, lies inside the data area (index writes: inside the BAT area), and
//! inside the length that the file has, an extension excepted. Not checked: whose cluster it is; `linear`, `durable` and
//! `image` see that from the content.

use ploop_core::IoOp;
use ploop_core::format::Layout;
use ploop_core::units::Level;

use crate::check::failure;
use crate::report::Failure;

/// Judges an I/O before it is carried out. `len`: sectors of the top file now.
pub fn check(
    op: &IoOp,
    top: Level,
    layout: &Layout,
    granule: u32,
    len: u64,
) -> Result<(), Failure> {
    let start = layout.data_start.0;
    let (level, range, inside) = match op {
        IoOp::Read { .. } | IoOp::ReadHole { .. } | IoOp::Sync { .. } => return Ok(()),
        IoOp::Write { level, at, len, .. }
        | IoOp::Zero { level, at, len, .. }
        | IoOp::PunchHole { level, at, len } => (*level, at.0..at.0 + len.0, at.0 >= start),
        IoOp::Copy {
            to_level, to, len, ..
        } => (*to_level, to.0..to.0 + len.0, to.0 >= start),
        // An extension that a failed one overtook is no shrinking: it never shrinks.
        IoOp::SetLen { level, .. } => (*level, 0..0, true),
        IoOp::WriteIndex {
            level, at, image, ..
        } => {
            let end = at + image.len() as u64;
            let aligned = at % u64::from(granule) == 0 && end % u64::from(granule) == 0;
            (*level, 0..0, aligned && end <= start * 512)
        }
    };
    if level != top {
        return Err(failure(
            "clusters",
            format!("a lower delta is changed (I21): {op:?}"),
        ));
    }
    if !inside || range.end > len {
        let message = format!(
            "outside the area it belongs to (I2), data from sector {start}, file of {len}: {op:?}"
        );
        return Err(failure("clusters", message));
    }
    Ok(())
}
