//! The state of a device in service, for `info`. Sizes are in bytes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::NoSpaceArg;
use crate::ring::Summary;
use crate::ring::promotion::Progress;
use crate::ring::queue::Shared;
use crate::ublk::ctrl::disk_node;
use crate::ublk::lent::{Lent, Merging};
use crate::ublk::shape::Shape;
use crate::ublk::state::Record;
use crate::ublk::sys;

/// The state of a device in service. Sizes are in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// Number.
    pub id: u32,
    /// Node of the disk.
    pub device: PathBuf,
    /// The server.
    pub pid: u32,
    /// Somebody starts it again when it dies: it is a service of systemd.
    pub supervised: bool,
    /// The files, oldest first.
    pub images: Vec<PathBuf>,
    /// Virtual size.
    pub size: u64,
    /// Cluster size.
    pub cluster_size: u64,
    /// Logical block size.
    pub block_size: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// Read and written past the page cache.
    pub direct: bool,
    /// The guest's pages are used as they are.
    pub zero_copy: bool,
    /// Queues.
    pub queues: u16,
    /// Tags of a queue.
    pub depth: u16,
    /// Flags of the device by name.
    pub flags: Vec<String>,
    /// Delay of index write-back in milliseconds; 0: none.
    pub flush_delay_ms: u64,
    /// What a full file system means.
    #[serde(default)]
    pub no_space: NoSpaceArg,
    /// How long a request waits for space, in seconds; `None`: for ever.
    #[serde(default)]
    pub no_space_limit: Option<u64>,
    /// Guest clusters mapped in the top file.
    pub mapped_clusters: u64,
    /// Clusters of the top file that are free.
    pub free_clusters: u64,
    /// Index pages that are not on disk yet.
    pub dirty_pages: u64,
    /// A sync has failed: nothing is durable until the image is opened again.
    pub sync_failed: bool,
    /// Requests wait for space in the file system.
    pub waits_for_space: bool,
    /// Bytes of the mapping in memory.
    pub mapping_bytes: u64,
    /// Images that are being merged, or were.
    pub promotion: Option<Progress>,
    /// An image below the top is being written by a command that merges it with its neighbour.
    #[serde(default)]
    pub merge: Option<Merging>,
    /// What it has done.
    pub counters: Summary,
}

/// What there is to say.
pub(super) fn of(
    record: &Record,
    shape: &Shape,
    direct: bool,
    supervised: bool,
    shared: &Shared,
    lent: &Lent,
) -> Report {
    let device = &shared.device;
    let (geometry, stats) = (device.geometry(), device.stats());
    let flags = sys::FLAGS.iter().filter(|(bit, _)| record.flags & bit != 0);
    Report {
        id: record.id,
        device: disk_node(record.id),
        pid: record.pid,
        supervised,
        images: record.images.clone(),
        size: geometry.size.bytes(),
        cluster_size: geometry.cluster.bytes(),
        block_size: shape.block,
        read_only: record.read_only,
        direct,
        zero_copy: record.zero_copy,
        queues: record.queues,
        depth: record.depth,
        flags: flags.map(|(_, name)| (*name).to_owned()).collect(),
        flush_delay_ms: record.flush_delay_ms,
        no_space: record.no_space.word().0,
        no_space_limit: record.no_space.word().1,
        mapped_clusters: stats.mapped,
        free_clusters: stats.free,
        dirty_pages: stats.dirty_pages,
        sync_failed: stats.poisoned,
        waits_for_space: device.is_starving(),
        mapping_bytes: stats.bytes,
        promotion: shared.promotion.progress(),
        merge: lent.progress(),
        counters: crate::ring::Summary::of(shared.counters.iter()),
    }
}
