//! `features`: what this kernel's ublk driver can do.

use std::io::Write;

use super::refused;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::ctrl::Control;
use crate::ublk::sys::FLAGS;

/// Prints one name a line.
pub fn run(out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut control = Control::open().map_err(|e| refused(e.to_string()))?;
    let word = control.features().map_err(|e| refused(e.to_string()))?;
    out.line(format_args!("features: {word:#x}"))?;
    for (bit, name) in FLAGS {
        if word & bit != 0 {
            out.line(format_args!("  {name}"))?;
        }
    }
    let known = FLAGS.iter().fold(0, |all, (bit, _)| all | bit);
    if word & !known != 0 {
        out.line(format_args!(
            "  and {:#x}, which this program does not know",
            word & !known
        ))?;
    }
    Ok(())
}
