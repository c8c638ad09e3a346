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
use crate::scenario::Track;
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

    /// What a scenario says about tracking, but the comparison.
    pub(super) fn track(&mut self, device: &Device, track: Track) -> Result<(), Failure> {
        let wrong = |message| Err(failure("scenario", message));
        match track {
            Track::Start => {
                device.start_tracking();
                self.copy = Some(vec![Value::ZERO; self.shape.size as usize]);
            }
            Track::Next(wanted) => match device.next_tracked() {
                Err(error) => return wrong(error.to_string()),
                Ok(found) if found.map(|clu| clu.0) != wanted => {
                    return wrong(format!("the next cluster is {found:?}, not {wanted:?}"));
                }
                Ok(None) => {}
                Ok(Some(clu)) => self.copy_cluster(device, clu),
            },
            Track::Refused => {
                if let Ok(found) = device.next_tracked() {
                    return wrong(format!("it is tracked: {found:?}"));
                }
            }
            Track::Marked(wanted) => {
                let found = device.tracked();
                if found != wanted {
                    return wrong(format!("{found} clusters are marked, not {wanted}"));
                }
            }
            Track::Clear => {
                device.clear_tracking();
                self.copy = None;
            }
            Track::Stop => {
                device.stop_tracking();
                self.copy = None;
            }
            Track::Same if self.copy.is_none() => return wrong("there is no copy".to_owned()),
            Track::Same => {
                let mut seen = self.copy.clone();
                let model = seen.iter_mut().flatten().zip(0..);
                for (value, sector) in model {
                    *value = self.shown(device, sector);
                }
                return self.compare_copy(device, &seen.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Copies what a client would read now if it met no write in flight.
    fn copy_cluster(&mut self, device: &Device, clu: Clu) {
        self.trace.push(0x76 << 56 | u64::from(clu.0));
        self.say(|_| format!("copy     cluster {}", clu.0));
        let start = u64::from(clu.0) * self.shape.cluster;
        for sector in start..(start + self.shape.cluster).min(self.shape.size) {
            let value = self.shown(device, sector);
            if let Some(copy) = &mut self.copy {
                copy[sector as usize] = value;
            }
        }
    }

    fn shown(&self, device: &Device, sector: u64) -> Value {
        let top = self.shape.levels - 1;
        match device.locate(Sector(sector)) {
            Mapping::Unmapped => Value::ZERO,
            Mapping::Mapped { level, at } if level == top => self.world.top.read_value(at.0),
            Mapping::Mapped { .. } => self.world.content.below[sector as usize],
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
