//! Why an operation of the control plane did not happen, or not to its end.

use std::{fmt, io};

use crate::error::{LoadError, Problem};
use crate::units::{Clu, DstClu, Sector, Sectors};

/// Why an operation ended early.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The file is no sound image, or cannot be read. Nothing was written.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What was asked for is impossible. Nothing was written.
    #[error("{file}: {refusal}")]
    Refused {
        /// Name of the file.
        file: String,
        /// Field, value, rule.
        refusal: Refusal,
    },
    /// A raw base goes on behind the end of the disk above it, which would come to light. Nothing was written.
    #[error(
        "{file}: has {len} bytes, and the disk above it ends at {end}: the rest would become part of the disk (`truncate -s {end} {file}` cuts it off)"
    )]
    Padded {
        /// Name of the file.
        file: String,
        /// Its length in bytes.
        len: u64,
        /// Bytes of the disk.
        end: u64,
    },
    /// The file failed on the way. The image is sound and reads as before; it may be marked as in use. The same
    /// operation may be tried again.
    #[error("{file}: {what}: {source}")]
    Io {
        /// Name of the file.
        file: String,
        /// What was being done.
        what: &'static str,
        /// The file's answer.
        source: io::Error,
    },
}

impl ControlError {
    /// True if it was refused as it stands, before anything was written: the same again is refused again.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            ControlError::Refused { .. } | ControlError::Padded { .. }
        )
    }

    /// True if the file system is full: the operation may be tried again when it no longer is.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let ControlError::Io { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }

    /// Why it was refused, if it was.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        match self {
            ControlError::Refused { refusal, .. } => Some(*refusal),
            _ => None,
        }
    }
}

/// Why an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The format has no such image.
    #[error("{0}")]
    Format(Problem),
    /// A disk is never made smaller here.
    #[error("m_SizeInSectors = {}: cannot become {} sectors, images are not made smaller", from.0, to.0)]
    Shrink {
        /// The virtual size.
        from: Sectors,
        /// The one asked for.
        to: Sectors,
    },
    /// A lower image goes on behind the end of the disk above it, which would come to light.
    #[error("m_SizeInSectors = {}: the disk above it ends at {}, and the rest would become part of the disk", size.0, end.0)]
    LowerIsLarger {
        /// Its virtual size.
        size: Sectors,
        /// That of the one above it.
        end: Sectors,
    },
    /// The data area would reach beyond what entries can name.
    #[error("sector {}: a cluster there cannot be named by a BAT entry", at.0)]
    NoHost {
        /// Where the cluster would have been.
        at: Sector,
    },
    /// There is no dirty bitmap of this name, or there is one already, or it cannot be made.
    #[error("dirty bitmap {}: {rule}", Guid(*id))]
    Bitmap {
        /// Its name.
        id: [u8; 16],
        /// What is wrong.
        rule: &'static str,
    },
    /// The format extension holds what nobody here knows, and would be lost.
    #[error("the format extension has an unknown feature ({feature:#x}), which would be lost")]
    ForeignExtension {
        /// Magic of the feature.
        feature: u64,
    },
    /// The operation has ended, or failed before: make a new one.
    #[error("the operation is over")]
    Over,
    /// A slot to be moved does not hold what it was said to hold.
    #[error("BAT[{}] = {entry}: must be {} or, if this was tried before, {}", clu.0, from.0, to.0)]
    SlotDiffers {
        /// Guest cluster.
        clu: Clu,
        /// What it holds, as it stands on disk.
        entry: u32,
        /// The host cluster that was named.
        from: DstClu,
        /// Where it was to go.
        to: DstClu,
    },
    /// There is no such slot, or it is named twice.
    #[error("BAT[{}]: {rule}", clu.0)]
    Slot {
        /// Guest cluster.
        clu: Clu,
        /// What is wrong.
        rule: &'static str,
    },
    /// A slot cannot be moved there.
    #[error("BAT[{}], new host cluster = {}: {rule}", clu.0, to.0)]
    Host {
        /// Guest cluster.
        clu: Clu,
        /// Where it was to go.
        to: DstClu,
        /// What is wrong.
        rule: &'static str,
    },
}

/// Sixteen bytes as a GUID is written.
struct Guid([u8; 16]);

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl Refusal {
    pub(super) fn of(self, file: &str) -> ControlError {
        ControlError::Refused {
            file: file.to_owned(),
            refusal: self,
        }
    }
}
