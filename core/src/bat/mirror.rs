//! What outlives the process: a copy of the visible map, kept where a killed process leaves it.
//!
//! A process that is killed loses the index changes that it has acknowledged and not written yet. A machine that goes
//! down loses those as well, and is allowed to: its guests go down with it. But a guest of a block device server that
//! recovers goes on, and its next flush covers them. So each change is told to the mirror before whoever asked for it is
//! answered; whoever recovers syncs the file (all data under the changes was written), puts the changes into its BAT and
//! syncs again.
//!
//! * Told under the page's lock, in the order of the changes of a slot.
//! * Two slots of which one depends on the other are never outstanding together (a host cluster is taken again only
//!   when its un-map is durable), so the changes may be written in any order.

use std::fmt;

use crate::units::Clu;

/// See the module.
pub trait Mirror: fmt::Debug + Send + Sync {
    /// The raw entry that a guest cluster has in the top's BAT from now on; 0: not mapped.
    fn set(&self, clu: Clu, entry: u32);
}
