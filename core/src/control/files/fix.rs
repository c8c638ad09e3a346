//! What a repair tells about itself.

use std::fmt;

use crate::error::{Field, Problem};
use crate::units::{Clu, Sector};

/// Fixes that are kept one by one.
const KEPT: usize = 1000;

/// What was mended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The first thousand fixes, in order.
    pub fixes: Vec<Fix>,
    /// Number of all fixes.
    pub count: u64,
    /// What is still wrong.
    pub left: Vec<Problem>,
    /// The mapping is sound now.
    pub sound: bool,
}

/// One thing that was mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fix {
    /// A header field.
    Header {
        /// Which.
        field: Field,
        /// What it held.
        from: u64,
        /// What it holds now.
        to: u64,
    },
    /// An entry that led nowhere is 0 now.
    Cleared {
        /// Guest cluster.
        clu: Clu,
        /// What the entry held.
        entry: u32,
    },
    /// A cluster that another entry had too, or beside the grid, was copied.
    Copied {
        /// Guest cluster.
        clu: Clu,
        /// What the entry held.
        from: u32,
        /// What it holds now.
        to: u32,
    },
    /// The file ended too early; what was missing is zeros.
    Extended {
        /// Length in bytes.
        from: u64,
        /// Length in bytes now.
        to: u64,
    },
    /// Bytes behind the last cluster in use were cut.
    Cut {
        /// How many.
        bytes: u64,
    },
    /// Clusters that belonged to nobody were given back.
    Freed {
        /// Where.
        at: Sector,
        /// How many clusters.
        clusters: u32,
    },
    /// The mark of an image that was not closed.
    Closed,
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Fix::Header { field, from, to } => write!(f, "{field} = {from}: now {to}"),
            Fix::Cleared { clu, entry } => {
                write!(f, "{} = {entry:#x}: led nowhere, now 0", Field::Bat(clu.0))
            }
            Fix::Copied { clu, from, to } => {
                let field = Field::Bat(clu.0);
                write!(f, "{field} = {from:#x}: shared, copied to {to:#x}")
            }
            Fix::Extended { from, to } => write!(f, "file length = {from}: now {to}"),
            Fix::Cut { bytes } => write!(f, "{bytes} bytes behind the image: cut"),
            Fix::Freed { at, clusters } => {
                write!(f, "{clusters} clusters of nobody at sector {}: freed", at.0)
            }
            Fix::Closed => write!(f, "{}: cleared", Field::InUse),
        }
    }
}

impl Repaired {
    pub(super) fn note(&mut self, fix: Fix) {
        self.count += 1;
        if self.fixes.len() < KEPT {
            self.fixes.push(fix);
        }
    }
}

impl Fix {
    /// True if everything that could be read reads the same, and nothing more can be read.
    pub(super) fn keeps_content(self) -> bool {
        matches!(
            self,
            Fix::Copied { .. } | Fix::Cut { .. } | Fix::Freed { .. } | Fix::Closed
        )
    }
}
