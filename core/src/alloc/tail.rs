//! The end of the top file: how far it reaches, and the one extension that may be under way.
//!
//! ```text
//!   Idle ──reserve finds nothing──▶ Extending(to) ──done──▶ Idle, new clusters are free: zero After(next sync)
//!                                        │  └─waits for space: promotions fail, the others wait
//!                                        └──failed──▶ Idle, whoever waited fails (or a smaller extension is tried)
//! ```

use std::collections::VecDeque;

use crate::request::work::Segment;
use crate::units::Sectors;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Host clusters that lie wholly inside the file.
    pub(crate) hosts: u32,
    /// The cluster behind the last whole one has bytes already, up to this length of the file: its content is unknown
    /// after an extension.
    pub(crate) ragged: Option<Sectors>,
    /// The most host clusters that an extension ever asked for: a failed one may have left the file that long.
    pub(crate) reached: u32,
    /// An extension to this many hosts is under way.
    pub(crate) extending: Option<u32>,
    /// It waits for space: promotions do not wait with it.
    pub(crate) starves: bool,
    /// Makers of mappings that wait for it; each holds its cluster.
    pub(crate) waiting: VecDeque<Segment>,
}
