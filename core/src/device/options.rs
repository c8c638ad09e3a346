//! How a device is opened, and why it is not.

use crate::error::LoadError;
use crate::format::Layout;
use crate::units::{Millis, Sectors};

/// When a write is acknowledged with respect to the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBack {
    /// After the index write that it needs is durable.
    Immediate,
    /// Before; the index follows within this time, or with the next flush or FUA.
    Delayed(Millis),
}

/// What to do when the file system has no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSpace {
    /// Wait, and try again this often. Suspend cancels the wait.
    Wait {
        /// Time between attempts.
        retry: Millis,
    },
    /// Fail the request at once.
    Fail,
}

/// How a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Number of queues, at least 1.
    pub queues: u16,
    /// Tags of a queue, at least 1.
    pub depth: u16,
    /// The top may be written.
    pub write: bool,
    /// Index write-back.
    pub write_back: WriteBack,
    /// By how much the file is extended when it is full, rounded down to clusters, at least one.
    pub prealloc: Sectors,
    /// What to do without space.
    pub no_space: NoSpace,
    /// Bytes of a metadata page: 4096, or less for an explorer. A multiple of `granule`, above 64.
    pub page_bytes: u32,
    /// Unit in which the file may be written: 512, 4096 on such hosts, less for an explorer.
    pub granule: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            queues: 1,
            depth: 128,
            write: true,
            write_back: WriteBack::Delayed(Millis(50)),
            prealloc: Sectors::whole_in(128 << 20),
            no_space: NoSpace::Wait {
                retry: Millis(1000),
            },
            page_bytes: 4096,
            granule: 512,
        }
    }
}

/// Why a device was not opened. Nothing was written, unless settling failed on its way.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The chain cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// An option makes no sense.
    #[error("option {name} is {value}: {rule}")]
    Option {
        /// Which.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// The image was not closed, and what was read of it need not be durable.
    #[error("{file}: was not closed: it must be settled before it is written")]
    NotSettled {
        /// The image.
        file: String,
    },
    /// The image was not closed, and making durable what is read of it failed. It is as sound as it was.
    #[error("{0}")]
    Settle(Box<dyn std::error::Error + Send + Sync>),
    /// The slots that a killed device left are not those of this image. Nothing of them was used.
    #[error("{file}: recovered BAT[{clu}] = {entry}: {rule}")]
    Recovered {
        /// The image.
        file: String,
        /// Guest cluster.
        clu: u32,
        /// The raw entry that was kept.
        entry: u32,
        /// What it must be.
        rule: &'static str,
    },
    /// The image can only be written in pieces smaller than its host takes.
    #[error(
        "{file}: {field} is at byte {at}, but the host writes in units of {granule} bytes: read-only at best"
    )]
    SubSector {
        /// The image.
        file: String,
        /// What is not aligned.
        field: &'static str,
        /// Where it is, or how long.
        at: u64,
        /// Unit of the host.
        granule: u32,
    },
}

impl Options {
    /// Every option makes sense.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let rules: [(&'static str, u32, bool, &'static str); 4] = [
            (
                "queues",
                u32::from(self.queues),
                self.queues > 0,
                "at least 1",
            ),
            ("depth", u32::from(self.depth), self.depth > 0, "at least 1"),
            (
                "granule",
                self.granule,
                self.granule >= 4 && self.granule % 4 == 0 && 4096 % self.granule == 0,
                "a power of two from 4 to 4096",
            ),
            (
                "page_bytes",
                self.page_bytes,
                self.page_bytes > 64
                    && self.page_bytes <= 1 << 18
                    && self.granule > 0
                    && self.page_bytes % self.granule == 0,
                "above 64, at most 256 KiB and a multiple of granule",
            ),
        ];
        match rules.into_iter().find(|rule| !rule.2) {
            Some((name, value, _, rule)) => Err(OpenError::Option {
                name,
                value: u64::from(value),
                rule,
            }),
            None => Ok(()),
        }
    }
}

/// Every write that the core makes must be a whole number of the host's units.
pub(super) fn check_granule(file: &str, layout: &Layout, granule: u32) -> Result<(), OpenError> {
    let places = [
        ("the start of the data area", layout.data_start.bytes()),
        ("the cluster grid", layout.phase.bytes()),
        ("the end of a cluster", layout.cluster.bytes()),
    ];
    match places
        .into_iter()
        .find(|(_, at)| at % u64::from(granule) != 0)
    {
        Some((field, at)) => Err(OpenError::SubSector {
            file: file.to_owned(),
            field,
            at,
            granule,
        }),
        None => Ok(()),
    }
}
