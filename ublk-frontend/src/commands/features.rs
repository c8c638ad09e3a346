//! `features`: what this kernel's ublk driver can do.

use std::io::Write;

use serde::Serialize;

use super::refused;
use crate::cli::Features;
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::ctrl::Control;
use crate::ublk::sys::FLAGS;

/// The JSON form.
#[derive(Debug, Serialize)]
struct Report {
    /// As the driver says it, a bit a feature.
    features: u64,
    names: Vec<&'static str>,
    /// Bits that have no name here.
    unknown: u64,
}

/// Prints one name a line.
pub fn run(asked: &Features, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let mut control = Control::open().map_err(|e| refused(e.to_string()))?;
    let word = control.features().map_err(|e| refused(e.to_string()))?;
    let known = FLAGS.iter().fold(0, |all, (bit, _)| all | bit);
    if asked.json {
        let names = FLAGS.iter().filter(|(bit, _)| word & bit != 0);
        return out.json_line(&Report {
            features: word,
            names: names.map(|(_, name)| *name).collect(),
            unknown: word & !known,
        });
    }
    out.line(format_args!("features: {word:#x}"))?;
    for (bit, name) in FLAGS {
        if word & bit != 0 {
            out.line(format_args!("  {name}"))?;
        }
    }
    if word & !known != 0 {
        out.line(format_args!(
            "  and {:#x}, which this program does not know",
            word & !known
        ))?;
    }
    Ok(())
}
