//! `sim bench`: how fast the simulator and the mapping core are, beside the budgets. Nothing timed is asserted.
//!
//! Rates are per core: work done by one thread per second of its processor time. Where threads compete, rounds of all
//! contestants take turns, and medians of the rounds' ratios are shown: what slows the machine slows all of them.

mod crash_images;
mod explore;
mod image;
mod locks;
mod lookup;
mod requests;
mod runs;
mod shuttle;
mod table;

use crate::campaign::clock::thread_cpu;
use serde::Serialize;
use std::io::{self, Write};
use std::time::Duration;

/// Counters of the calling thread's allocations. Only a program can have them: it owns the allocator.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Allocations so far.
    pub allocations: fn() -> u64,
    /// Bytes taken less bytes given back.
    pub live_bytes: fn() -> i64,
}

impl Meter {
    /// For programs that do not count: always 0.
    pub const NONE: Meter = Meter {
        allocations: || 0,
        live_bytes: || 0,
    };
}

/// All figures of one run. Times in nanoseconds, rates per second of one core.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Runs of the profile `tiny`.
    pub runs_per_s: f64,
    /// Time of such a run when a campaign watches what some of them look like, to the time when it does not.
    pub watched_to_unwatched: f64,
    /// Events delivered to the core in them.
    pub steps_per_s: f64,
    /// Guest operations of such a run.
    pub ops_per_run: f64,
    /// How many of such runs have a power cut.
    pub crashes_per_run: f64,
    /// Crash images opened, checked by the model's fsck and compared, tiny geometry.
    pub crash_images_per_s: f64,
    /// Three tasks that take a lock ten times each.
    pub shuttle_schedules_per_s: f64,
    /// The same under our explorer: executions, each of another trace.
    pub explorer_executions_per_s: f64,
    /// Three tasks that take each of six locks once, all 46,656 traces: seconds.
    pub explorer_six_locks_s: f64,
    /// Two queues on one page of a device, with disk and model: executions.
    pub explorer_device_executions_per_s: f64,
    /// The same with every crash image at each moment.
    pub explorer_crash_executions_per_s: f64,
    /// Look-up of a mapped cluster, in a working set of 64 pages of an image of a million clusters.
    pub lookup_ns: f64,
    /// The same anywhere in that image: mostly waiting for memory.
    pub lookup_anywhere_ns: f64,
    /// The same within one metadata page.
    pub lookup_one_page_ns: f64,
    /// A mapped read or write, submitted and completed.
    pub mapped_request_ns: f64,
    /// Heap allocations of such a request.
    pub allocs_per_mapped_request: f64,
    /// What the device says it needs, by BAT entry.
    pub bytes_per_cluster: f64,
    /// What the allocator gave it.
    pub heap_bytes_per_cluster: f64,
    /// Two threads on different pages of one device, against two devices.
    pub pages_to_two_devices: f64,
    /// As before, pages next to each other in memory.
    pub neighbours_to_two_devices: f64,
    /// One thread, a lock per page against one around the device.
    pub pages_to_global_1_thread: f64,
    /// Two threads, a lock per page against one around the device.
    pub pages_to_global_2_threads: f64,
    /// Two threads against one, a lock per page.
    pub two_threads_to_one: f64,
    /// Two threads against one, one lock around the device.
    pub global_two_threads_to_one: f64,
}

/// Measures everything, about `effort` for each figure.
#[must_use]
pub fn measure(meter: &Meter, effort: Duration) -> Figures {
    let mut figures = Figures::default();
    runs::measure(effort, &mut figures);
    crash_images::measure(effort, &mut figures);
    shuttle::measure(effort, &mut figures);
    explore::measure(effort, &mut figures);
    lookup::measure(meter, effort, &mut figures);
    requests::measure(meter, effort, &mut figures);
    locks::measure(effort, &mut figures);
    figures
}

/// The command: figures as a table or as one line of JSON. The exit code is 0, whatever the figures.
pub fn run(meter: &Meter, effort: Duration, json: bool, out: &mut dyn Write) -> io::Result<u8> {
    let figures = measure(meter, effort);
    if json {
        serde_json::to_writer(&mut *out, &figures)?;
        writeln!(out)?;
    } else {
        table::write(&figures, out)?;
    }
    Ok(0)
}

/// Calls `work`, which says how many things it did, until `effort` of processor time is spent. Things per second.
fn rate(effort: Duration, mut work: impl FnMut() -> u64) -> f64 {
    work();
    let (begin, mut done) = (thread_cpu(), 0);
    loop {
        done += work();
        let spent = thread_cpu().saturating_sub(begin);
        if spent >= effort {
            return done as f64 / spent.as_secs_f64().max(1e-9);
        }
    }
}

/// The middle one; 0 if there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// A quick generator for addresses; of no other quality.
struct Walk(u64);

impl Walk {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) * n) >> 32
    }
}
