//! Mapped reads and writes through one queue: their time and their heap allocations.

use super::image::{Client, device};
use super::{Figures, Meter, Walk, median, rate};
use ploop_core::Op;
use std::time::Duration;

/// Clusters of the image: all its pages stay in the processor's cache.
const CLUSTERS: u32 = 1 << 16;
/// Requests between two looks at the clock.
const BATCH: u64 = 2000;
const ROUNDS: u32 = 9;

/// Fills in both.
pub(super) fn measure(meter: &Meter, effort: Duration, figures: &mut Figures) {
    let device = device(CLUSTERS, 1);
    let mut client = Client::new(0);
    let mut walk = Walk(0xfeed_beef_1234_5677);
    let mut requests = || {
        for _ in 0..BATCH / 2 {
            client.request(&device, Op::Read, walk.below(u64::from(CLUSTERS)));
            client.write(&device, walk.below(u64::from(CLUSTERS)));
        }
        BATCH
    };
    requests();
    let (mut allocations, mut done) = (0, 0);
    let round = |_| {
        let before = (meter.allocations)();
        let rate = rate(effort / ROUNDS, || {
            let count = requests();
            done += count;
            count
        });
        allocations += (meter.allocations)() - before;
        1e9 / rate
    };
    figures.mapped_request_ns = median((0..ROUNDS).map(round).collect());
    figures.allocs_per_mapped_request = allocations as f64 / done as f64;
}
