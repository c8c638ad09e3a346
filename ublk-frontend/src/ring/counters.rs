//! What a queue has done: counters and a latency histogram. One writer (the queue), any readers, no lock.
//!
//! The histogram has four buckets an octave of microseconds: a value read from it is at most 25 % too high.

use std::sync::atomic::{AtomicU64, Ordering};

use ploop_core::Op;
use serde::{Deserialize, Serialize};

/// Kinds of requests.
const KINDS: usize = 5;
const NAMES: [&str; KINDS] = ["read", "write", "write-zeroes", "discard", "flush"];
/// Buckets of the histogram: up to 2^32 µs.
const BUCKETS: usize = 4 * 31;

/// Counters of one queue, on cache lines of their own.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    requests: [AtomicU64; KINDS],
    bytes: [AtomicU64; 2],
    failed: AtomicU64,
    mail: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            requests: [const { AtomicU64::new(0) }; KINDS],
            bytes: [const { AtomicU64::new(0) }; 2],
            failed: AtomicU64::new(0),
            mail: AtomicU64::new(0),
            latency: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

/// One writer: a plain add is enough, and is no locked instruction.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

/// The bucket of a time.
fn bucket(micros: u64) -> usize {
    if micros < 4 {
        return micros as usize;
    }
    let octave = micros.ilog2() as usize;
    let quarter = (micros >> (octave - 2) & 3) as usize;
    (4 * (octave - 1) + quarter).min(BUCKETS - 1)
}

/// The first time that is above a bucket.
fn end_of(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64 + 1;
    }
    let (octave, quarter) = (bucket / 4 + 1, bucket as u64 % 4);
    (5 + quarter) << (octave - 2)
}

impl Counters {
    /// A request began.
    pub fn began(&self, op: Op, bytes: u64) {
        let kind = match op {
            Op::Read => 0,
            Op::Write { .. } => 1,
            Op::WriteZeroes { .. } => 2,
            Op::Discard => 3,
            Op::Flush => 4,
            // Nobody's request.
            Op::Promote { .. } => return,
        };
        add(&self.requests[kind], 1);
        if kind < 2 {
            add(&self.bytes[kind], bytes);
        }
    }

    /// A request ended.
    pub fn ended(&self, ok: bool, nanos: u64) {
        if !ok {
            add(&self.failed, 1);
        }
        add(&self.latency[bucket(nanos / 1000)], 1);
    }

    /// A letter was sent to another queue.
    pub fn mailed(&self) {
        add(&self.mail, 1);
    }
}

/// What several queues have done together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Requests begun, by kind.
    pub requests: std::collections::BTreeMap<String, u64>,
    /// Bytes read by the guest.
    pub bytes_read: u64,
    /// Bytes written by the guest.
    pub bytes_written: u64,
    /// Requests begun and not ended.
    pub in_flight: u64,
    /// Requests that were answered with an error.
    pub failed: u64,
    /// Work handed from one queue to another.
    pub mail: u64,
    /// Latency: (at most this many microseconds, requests), buckets without requests left out.
    pub latency_micros: Vec<(u64, u64)>,
}

impl Summary {
    /// Adds them up.
    pub fn of<'a>(queues: impl Iterator<Item = &'a Counters>) -> Summary {
        let mut sum = Summary::default();
        let mut latency = [0u64; BUCKETS];
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (mut began, mut ended) = (0u64, 0u64);
        for queue in queues {
            for (bucket, sum) in queue.latency.iter().zip(&mut latency) {
                *sum += get(bucket);
                ended += get(bucket);
            }
            for (name, requests) in NAMES.iter().zip(&queue.requests) {
                *sum.requests.entry((*name).to_owned()).or_default() += get(requests);
                began += get(requests);
            }
            sum.bytes_read += get(&queue.bytes[0]);
            sum.bytes_written += get(&queue.bytes[1]);
            sum.failed += get(&queue.failed);
            sum.mail += get(&queue.mail);
        }
        sum.in_flight = began.saturating_sub(ended);
        let used = latency.iter().enumerate().filter(|(_, count)| **count > 0);
        sum.latency_micros = used.map(|(at, count)| (end_of(at), *count)).collect();
        sum
    }

    /// The time within which this share of all requests (in percent) ended, in microseconds.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let all: u64 = self.latency_micros.iter().map(|(_, count)| count).sum();
        let wanted = ((all as f64) * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.latency_micros.iter().find_map(|&(at, count)| {
            seen += count;
            (seen >= wanted).then_some(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_has_a_bucket_that_ends_little_above_it() {
        let mut last = 0;
        for micros in (0..5000).chain([1 << 20, (1 << 31) - 1, 1 << 31]) {
            let at = bucket(micros);
            assert!(at >= last, "{micros}");
            last = at;
            let end = end_of(at);
            assert!(
                end > micros && end <= (micros + 1).max(micros + micros / 4 + 1),
                "{micros}: {end}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn queues_add_up() {
        let (a, b) = (Counters::default(), Counters::default());
        a.began(Op::Read, 4096);
        a.began(Op::Flush, 0);
        b.began(Op::Read, 512);
        a.ended(true, 10_000);
        b.ended(false, 2_000_000);
        let sum = Summary::of([&a, &b].into_iter());
        assert_eq!((sum.requests["read"], sum.requests["flush"]), (2, 1));
        assert_eq!((sum.bytes_read, sum.failed, sum.in_flight), (4608, 1, 1));
        assert_eq!(sum.percentile(50.0), Some(12));
        assert!(
            sum.percentile(99.0)
                .is_some_and(|at| (2000..2600).contains(&at))
        );
    }
}
