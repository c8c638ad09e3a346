//! Which events touched the sector that is wrong: by guest sector, by guest cluster, or by a host cluster that was at
//! any time this guest cluster's.

use crate::world::log::{Change, Entry, Happening, State};
use crate::world::shape::Shape;
use model::op::Op;
use ploop_core::format::Layout;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{Buf, IoOp, Origin};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// The sector that a failure is about: the first number behind "sector" or "start:" (what is waited for), or the first
/// sector of the cluster of a BAT slot.
pub(super) fn wrong_sector(message: &str, cluster: u64) -> Option<u64> {
    let line = message.lines().next()?;
    let marks = [("sector ", 1), ("start: ", 1), ("BAT[", cluster)];
    marks.iter().find_map(|(mark, unit)| {
        let (_, rest) = line.split_once(mark)?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        number.checked_mul(*unit)
    })
}

/// Knows a guest sector and all places where it ever was.
#[derive(Debug)]
pub(super) struct Suspect {
    sector: u64,
    cluster: u64,
    page: (u32, u32),
    layout: Layout,
    hosts: BTreeSet<u32>,
    /// Operations under way, to know which guest sectors a buffer is about.
    active: BTreeMap<Origin, Op>,
}

impl Suspect {
    pub(super) fn new(sector: u64, shape: &Shape, entries: &[Entry]) -> Suspect {
        let cluster = sector / shape.cluster;
        let mut suspect = Suspect {
            sector,
            cluster,
            page: page_of(cluster as u32, shape),
            layout: shape.layout(),
            hosts: BTreeSet::new(),
            active: BTreeMap::new(),
        };
        for entry in entries {
            suspect.learn(&entry.what, shape);
        }
        suspect.active.clear();
        suspect
    }

    /// The host clusters that were its own.
    pub(super) fn hosts(&self) -> impl Iterator<Item = u32> + '_ {
        self.hosts.iter().copied()
    }

    fn learn(&mut self, what: &Happening, shape: &Shape) {
        let top = u32::from(shape.levels) - 1;
        match what {
            Happening::Opened(State { slots, .. }) => {
                let place = slots.get(&self.page).and_then(|slot| slot.place);
                self.add(place, top);
            }
            Happening::Pages(changes) => {
                for change in changes {
                    if let Change::Slot {
                        page,
                        slot,
                        from,
                        to,
                    } = change
                        && (*page, *slot) == self.page
                    {
                        self.add(from.place, top);
                        self.add(to.place, top);
                    }
                }
            }
            Happening::Begin {
                op: IoOp::Write { at, len, buf, .. },
                ..
            } => {
                if let Some(range) = self.guest(buf, *len)
                    && range.contains(&self.sector)
                {
                    let host = self.layout.hosts_touching(Sector(at.0), *len);
                    self.hosts.extend(host);
                }
            }
            _ => self.follow(what),
        }
    }

    fn add(&mut self, place: Option<(u32, u32)>, top: u32) {
        if let Some((level, entry)) = place
            && level == top
            && let Some(host) = self.layout.host_of(entry)
        {
            self.hosts.insert(host.0);
        }
    }

    fn follow(&mut self, what: &Happening) {
        match what {
            Happening::Submit { origin, op, .. } => {
                self.active.insert(*origin, *op);
            }
            Happening::Finish { origin, .. } => {
                self.active.remove(origin);
            }
            _ => {}
        }
    }

    fn guest(&self, buf: &Buf, len: Sectors) -> Option<Range<u64>> {
        let start = self.active.get(&buf.origin)?.start + buf.offset.0;
        Some(start..start + len.0)
    }

    /// True if this touches the sector, its cluster's slot, or a place where it was. Rows must come in order.
    pub(super) fn touches(&mut self, what: &Happening) -> bool {
        self.follow(what);
        match what {
            Happening::Submit { op, .. } => self.is_in(op),
            Happening::Finish { op, .. } => self.is_in(op),
            Happening::Begin { op, .. }
            | Happening::Deliver { op, .. }
            | Happening::Orphan { op, .. } => self.is_of(op),
            Happening::Pages(changes) => changes.iter().any(|change| self.is_changed(change)),
            _ => false,
        }
    }

    fn is_in(&self, op: &Op) -> bool {
        (op.start..op.start + op.len).contains(&self.sector)
    }

    fn is_changed(&self, change: &Change) -> bool {
        matches!(change, Change::Slot { page, slot, .. } if (*page, *slot) == self.page)
    }

    fn is_of(&self, op: &IoOp) -> bool {
        let on_host = |at: Sector, len: Sectors| {
            let mut touched = self.layout.hosts_touching(at, len);
            touched.any(|host| self.hosts.contains(&host))
        };
        match op {
            IoOp::Read {
                buf,
                len,
                zero_tail,
                ..
            } => self
                .guest(buf, Sectors(len.0 + zero_tail.0))
                .is_some_and(|range| range.contains(&self.sector)),
            IoOp::ReadHole { len, buf } => self
                .guest(buf, *len)
                .is_some_and(|range| range.contains(&self.sector)),
            IoOp::Write { at, len, .. }
            | IoOp::Zero { at, len, .. }
            | IoOp::PunchHole { at, len, .. } => on_host(*at, *len),
            IoOp::Copy { to, len, .. } => on_host(*to, *len),
            IoOp::WriteIndex { page, .. } => page.0 == self.page.0,
            IoOp::SetLen { .. } | IoOp::Sync { .. } => false,
        }
    }

    /// One sentence for a person.
    pub(super) fn sentence(&self) -> String {
        let hosts: Vec<String> = self.hosts().map(|host| host.to_string()).collect();
        let places = match hosts.len() {
            0 => "never mapped in the top file".to_owned(),
            1 => format!("in host cluster {}", hosts[0]),
            _ => format!("in host clusters {}", hosts.join(", ")),
        };
        format!(
            "guest sector {}, cluster {} (page {}, slot {}), {places}",
            self.sector, self.cluster, self.page.0, self.page.1
        )
    }
}

/// The page and slot of a guest cluster: page 0 begins with the header.
pub(super) fn page_of(cluster: u32, shape: &Shape) -> (u32, u32) {
    let (slots, header) = (shape.options.page_bytes / 4, 16);
    match (cluster + header) / slots {
        0 => (0, cluster),
        page => (page, (cluster + header) % slots),
    }
}

/// The guest cluster of a page and slot.
pub(super) fn cluster_of(page: u32, slot: u32, shape: &Shape) -> u32 {
    match page {
        0 => slot,
        page => page * (shape.options.page_bytes / 4) + slot - 16,
    }
}
