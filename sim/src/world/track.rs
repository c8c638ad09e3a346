//! A live copy: somebody copies the disk while it is written, cluster by cluster, as tracking says.
//!
//! Checker `tracking`: when nothing is in flight and nothing is marked, the copy is the disk. So each change was marked, and none
//! was marked so early that the copier read the cluster before it changed.

use model::op::Value;
use ploop_core::Device;
use ploop_core::control::inspect::Mapping;
use ploop_core::units::{Clu, Sector};

use crate::check::failure;
use crate::report::Failure;
use crate::tape::{Event, Kind};
use crate::world::Run;

impl Run<'_> {
    /// An event of the copier: it begins, or copies a cluster.
    pub(super) fn copy_some(&mut self, device: &Device) {
        self.tape.begin(Event::Copy);
        self.stats.steps += 1;
        if self.copy.is_none() {
            device.start_tracking();
            self.copy = Some(vec![Value::ZERO; self.shape.size as usize]);
            self.say(|_| format!("tracking started, {} clusters marked", device.tracked()));
        }
        // Mostly a few, so that it gets somewhere.
        for _ in 0..1 + self.tape.choose(Kind::Arg, 4) {
            let Ok(Some(clu)) = device.next_tracked() else {
                break;
            };
            self.copy_cluster(device, clu);
        }
    }

    /// Copies what a client would read now if it met no write in flight.
    fn copy_cluster(&mut self, device: &Device, clu: Clu) {
        self.trace.push(0x76 << 56 | u64::from(clu.0));
        self.say(|_| format!("copy     cluster {}", clu.0));
        let start = u64::from(clu.0) * self.shape.cluster;
        let top = self.shape.levels - 1;
        for sector in start..(start + self.shape.cluster).min(self.shape.size) {
            let value = match device.locate(Sector(sector)) {
                Mapping::Unmapped => Value::ZERO,
                Mapping::Mapped { level, at } if level == top => self.world.top.read_value(at.0),
                Mapping::Mapped { .. } => self.world.content.below[sector as usize],
            };
            if let Some(copy) = &mut self.copy {
                copy[sector as usize] = value;
            }
        }
    }

    /// Nothing is in flight, and `seen` was read just now: the rest is copied, and compared.
    pub(super) fn compare_copy(&mut self, device: &Device, seen: &[Value]) -> Result<(), Failure> {
        while self.copy.is_some()
            && let Ok(Some(clu)) = device.next_tracked()
        {
            self.copy_cluster(device, clu);
        }
        let Some(copy) = self.copy.take() else {
            return Ok(());
        };
        self.stats.copies += 1;
        device.stop_tracking();
        match copy.iter().zip(seen).position(|(copy, seen)| copy != seen) {
            None => Ok(()),
            Some(sector) => Err(failure(
                "tracking",
                format!(
                    "sector {sector} was copied as {:?} and is {:?}: its change was not tracked",
                    copy[sector], seen[sector]
                ),
            )),
        }
    }
}
