//! Look-ups, and the memory that they need.

use super::image::{CLUSTER, PAGE, device};
use super::{Figures, Meter, Walk, median, rate};
use ploop_core::units::Sector;
use std::hint::black_box;
use std::time::Duration;

/// Clusters of the image.
const CLUSTERS: u32 = 1 << 20;
/// What the guest is at: 64 pages. Their entries are in the processor's second cache; those of all the image are not.
const WORKING_SET: u64 = 64 * PAGE;
/// Look-ups between two looks at the clock.
const BATCH: u64 = 10_000;
/// The effort is divided into rounds: the machine may be busy.
const ROUNDS: u32 = 9;

/// Fills in look-ups and memory.
pub(super) fn measure(meter: &Meter, effort: Duration, figures: &mut Figures) {
    let before = (meter.live_bytes)();
    // What was loaded is dropped on the way: only the device's own bytes are left.
    let device = device(CLUSTERS, 1);
    let heap = (meter.live_bytes)() - before;
    figures.heap_bytes_per_cluster = heap as f64 / f64::from(CLUSTERS);
    figures.bytes_per_cluster = device.stats().bytes as f64 / f64::from(CLUSTERS);
    let ns = |clusters: u64| {
        let mut walk = Walk(0x1234_5678_9abc_def1);
        let round = |_| {
            1e9 / rate(effort / ROUNDS, || {
                for _ in 0..BATCH {
                    let sector = Sector(walk.below(clusters) * CLUSTER + 3);
                    black_box(device.locate(black_box(sector)));
                }
                BATCH
            })
        };
        median((0..ROUNDS).map(round).collect())
    };
    figures.lookup_ns = ns(WORKING_SET);
    figures.lookup_anywhere_ns = ns(u64::from(CLUSTERS));
    figures.lookup_one_page_ns = ns(PAGE / 2);
}
