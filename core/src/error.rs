//! What can be wrong with an image or a chain, in a form to branch on ([`Rule`], [`Kind`]) and to print.
//!
//! A broken image ([`LoadError::Refused`]) is never confused with a file that cannot be read ([`LoadError::Io`]).
//! A [`Problem`] is small and `Copy`, so that millions of bad entries cost no heap; the file's name is added once, by
//! the error or the inspection that carries it.

use std::fmt;
use std::io;

/// Why an image or a chain was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read. Says nothing about the image in it.
    #[error("{file}: cannot read {what}: {source}")]
    Io {
        /// Name of the file.
        file: String,
        /// What was being read.
        what: &'static str,
        /// The file's answer.
        source: io::Error,
    },
    /// The image breaks a rule of the format, or may not be used in the way asked for.
    #[error("{file}: {problem}")]
    Refused {
        /// Name of the file.
        file: String,
        /// Field, value and rule.
        problem: Problem,
    },
}

impl LoadError {
    /// The rule that was broken; `None` for an I/O error.
    #[must_use]
    pub fn rule(&self) -> Option<Rule> {
        match self {
            LoadError::Io { .. } => None,
            LoadError::Refused { problem, .. } => Some(problem.rule),
        }
    }
}

/// Why a new image was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The geometry asked for does not exist in this format.
    #[error("{0}")]
    Geometry(Problem),
    /// The file already has content; a new image is written into an empty file only.
    #[error("the file is not empty ({0} bytes)")]
    NotEmpty(u64),
    /// The file could not be written.
    #[error("cannot write the new image: {0}")]
    Io(#[from] io::Error),
}

/// One broken rule: which field, what it holds, what it should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub field: Field,
    /// What it holds.
    pub value: Value,
    /// What it breaks.
    pub rule: Rule,
}

impl Problem {
    /// A problem whose value is a number.
    #[must_use]
    pub fn new(field: Field, value: impl Into<u64>, rule: Rule) -> Problem {
        Problem {
            field,
            value: Value::Number(value.into()),
            rule,
        }
    }

    /// The error that refuses `file` because of this.
    #[must_use]
    pub fn refuse(self, file: &str) -> LoadError {
        LoadError::Refused {
            file: file.to_owned(),
            problem: self,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.field, self.value, self.rule)
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number; printed in decimal, large ones in hexadecimal too.
    Number(u64),
    /// Sixteen raw bytes (the magic, a checksum).
    Bytes([u8; 16]),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(n) if *n < 0x1_0000 => write!(f, "{n}"),
            Value::Number(n) => write!(f, "{n} ({n:#x})"),
            Value::Bytes(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}

/// A field of an image, by the name the format gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Length of the file in bytes.
    FileLength,
    /// `m_Sig`.
    Magic,
    /// `m_Type`.
    Type,
    /// `m_Sectors`: the cluster size in sectors.
    ClusterSize,
    /// `m_Size`: the number of BAT entries.
    Entries,
    /// `m_SizeInSectors`: the virtual size.
    VirtualSize,
    /// `m_DiskInUse`.
    InUse,
    /// `m_FirstBlockOffset`: where data starts, in sectors.
    DataOffset,
    /// `m_Flags`.
    Flags,
    /// `m_FormatExtensionOffset`, in sectors.
    ExtensionOffset,
    /// A BAT entry, by guest cluster.
    Bat(u32),
    /// A field of the format extension's cluster.
    Extension(&'static str),
    /// An entry of a dirty bitmap's L1 table.
    L1(u32),
    /// The level of a delta in its chain; 0 = lowest.
    Level,
    /// The number of deltas of a chain.
    Chain,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Field::FileLength => "file length",
            Field::Magic => "m_Sig",
            Field::Type => "m_Type",
            Field::ClusterSize => "m_Sectors",
            Field::Entries => "m_Size",
            Field::VirtualSize => "m_SizeInSectors",
            Field::InUse => "m_DiskInUse",
            Field::DataOffset => "m_FirstBlockOffset",
            Field::Flags => "m_Flags",
            Field::ExtensionOffset => "m_FormatExtensionOffset",
            Field::Bat(entry) => return write!(f, "BAT[{entry}]"),
            Field::Extension(name) => return write!(f, "extension {name}"),
            Field::L1(entry) => return write!(f, "extension L1[{entry}]"),
            Field::Level => "level in the chain",
            Field::Chain => "number of deltas",
        };
        f.write_str(name)
    }
}

/// What a broken rule means for the user of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The file holds no image of this format.
    NotAnImage,
    /// The image is damaged: it is not opened.
    Corrupt,
    /// Only the format extension is lost; data and mapping are sound.
    Extension,
    /// Sound for reading, refused for writing.
    ReadOnly,
    /// The deltas do not fit together.
    Chain,
}

/// Declares [`Rule`] so that each rule's kind and text stand beside its name.
macro_rules! rules {
    ($($name:ident: $kind:ident, $text:literal;)*) => {
        /// The rules of the format and of the chain. One enum to branch on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule { $(#[doc = $text] $name,)* }

        impl Rule {
            /// Every rule.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// What breaking it means.
            #[must_use]
            pub fn kind(self) -> Kind {
                match self { $(Rule::$name => Kind::$kind,)* }
            }

            /// The rule in words.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Rule::$name => $text,)* }
            }
        }
    };
}

rules! {
    HeaderInFile: NotAnImage, "the file is shorter than a header (64 bytes)";
    Magic: NotAnImage, "must be \"WithoutFreeSpace\" or \"WithouFreSpacExt\"";
    Type: NotAnImage, "must be 2";
    ClusterNotZero: Corrupt, "the cluster size must not be zero";
    ClusterLimit: Corrupt, "the cluster size must be at most 4185922 sectors";
    EntriesLimit: Corrupt, "the BAT must have at most 536870911 entries";
    SizeLimit: Corrupt, "header, BAT and virtual size must fit 2^32 sectors in a version 1 image";
    EntriesCoverSize: Corrupt, "the BAT must have an entry for every cluster of the virtual size";
    BatInFile: Corrupt, "the BAT must lie inside the file";
    DataOffsetNotZero: Corrupt, "data must start behind the BAT (only version 1 may say 0)";
    DataBehindBat: Corrupt, "data must not start inside the header or the BAT";
    DataOffsetInFile: Corrupt, "data must not start beyond the end of the file";
    EntryNotReserved: Corrupt, "0xffffffff is not a cluster";
    EntryBehindBat: Corrupt, "must not point into the header, the BAT, or before the start of data";
    EntryInFile: Corrupt, "must point to a cluster inside the file";
    EntryUnique: Corrupt, "points to a cluster that another entry points to";
    EntryOverlap: Corrupt, "overlaps the cluster of another entry";
    ExtensionInFile: Extension, "the extension must lie in the data area, inside the file";
    ExtensionOnGrid: Extension, "the extension must start at a cluster";
    ExtensionUnmapped: Extension, "the cluster belongs to a BAT entry";
    ExtensionVouched: Extension, "the extension counts only in an image closed as \"v2.1\"";
    ExtensionMagic: Extension, "must be the magic of a format extension";
    ExtensionChecksum: Extension, "must be the MD5 of the extension's cluster";
    ExtensionFeatureList: Extension, "the list of features must end inside the cluster, with zeros behind it";
    ExtensionKnown: ReadOnly, "an unknown feature is marked as necessary";
    BitmapSize: Extension, "the dirty bitmap must be as large as the virtual disk";
    BitmapGranularity: Extension, "the granularity must be a power of two";
    BitmapL1Size: Extension, "the L1 table must have exactly the entries that the bitmap needs";
    BitmapL1Entry: Extension, "must be 0, 1 or the sector of a cluster of its own inside the file";
    BitmapLimit: Extension, "at most 64 dirty bitmaps with 2^32 bits in all are kept";
    BitmapTail: Extension, "no bit behind the end of the disk may be set";
    ChainNotEmpty: Chain, "a chain has at least one delta";
    ChainLimit: Chain, "a chain has at most 253 deltas";
    SameCluster: Chain, "all deltas of a chain have the same cluster size";
    RawIsBase: Chain, "a raw file can only be the lowest delta";
    RawIsNotTop: Chain, "a raw file cannot be written on its own";
    LowerNotEmpty: Chain, "a lower delta must not be empty";
    LowerFitsTop: Chain, "a lower delta must not be larger than one above it";
    EntriesMatchSize: ReadOnly, "for writing, the BAT must have exactly one entry for each cluster of the virtual size";
    OneGrid: ReadOnly, "for writing, all clusters must lie on one grid";
    NotConverting: ReadOnly, "a conversion of the format was interrupted";
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
