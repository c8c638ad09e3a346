//! Clients of one block device, a thread each, that do what a seed decides until they are told to stop.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use model::op::{Kind, Op};
use rustix::io::Errno;

use super::buffer::Buffer;
use super::judge::Judge;
use super::random::Random;
use super::sys;
use super::target::{SECTOR, Target};
use super::trouble::Trouble;

/// What clients do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Clients.
    pub(crate) clients: usize,
    /// Weights: read, write, FUA write, zeroes, zeroes that unmap, discard, flush.
    pub(crate) weights: [u32; 7],
    /// Longest operation, in sectors.
    pub(crate) longest: u64,
    /// Operations start and end at multiples of it, in sectors.
    pub(crate) grain: u64,
    /// The sectors that they use: first, number.
    pub(crate) area: (u64, u64),
    /// Each client has a part of them to itself: no two writes are in flight to one sector.
    pub(crate) apart: bool,
    /// Part of the operations, in percent, that go on where the client's last one ended.
    pub(crate) sequential: u64,
    /// Seed.
    pub(crate) seed: u64,
}

/// Everything that a disk offers.
pub(crate) const MIXED: [u32; 7] = [30, 40, 6, 3, 4, 8, 3];

impl Load {
    /// A mixed load by four clients on a whole disk.
    pub(crate) fn mixed(sectors: u64, seed: u64) -> Load {
        Load {
            clients: 4,
            weights: MIXED,
            longest: 256,
            grain: 1,
            area: (0, sectors),
            apart: false,
            sequential: 30,
            seed,
        }
    }

    /// What this client does of it.
    fn of(&self, client: usize) -> Load {
        let mut load = self.clone();
        if self.apart {
            let (first, count) = self.area;
            let part = count / self.clients as u64 / self.grain * self.grain;
            load.area = (first + client as u64 * part, part);
        }
        load
    }

    fn draw(&self, random: &mut Random, last: u64) -> Op {
        let kind = match random.weighted(&self.weights) {
            0 => Kind::Read,
            1 => Kind::Write {
                preflush: false,
                fua: false,
            },
            2 => Kind::Write {
                preflush: false,
                fua: true,
            },
            3 => Kind::WriteZeroes {
                fua: false,
                unmap: false,
            },
            4 => Kind::WriteZeroes {
                fua: false,
                unmap: true,
            },
            5 => Kind::Discard,
            _ => {
                return Op {
                    kind: Kind::Flush,
                    start: 0,
                    len: 0,
                };
            }
        };
        let (first, count) = self.area;
        let grains = count / self.grain;
        // Small ones mostly, long ones now and then.
        let most = if random.below(4) == 0 {
            self.longest
        } else {
            self.longest.min(16)
        };
        let len = 1 + random.below((most / self.grain).max(1));
        let at = if random.below(100) < self.sequential && last + len <= grains {
            last
        } else {
            random.below(grains - len.min(grains) + 1)
        };
        Op {
            kind,
            start: first + at * self.grain,
            len: len.min(grains) * self.grain,
        }
    }
}

/// Clients that run.
pub(crate) struct Running<'a> {
    stop: &'a AtomicBool,
}

impl Running<'_> {
    /// Has something gone wrong already?
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for that long, or until something goes wrong.
    pub(crate) fn for_a_while(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.stopped() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Running<'_> {
    /// Waits for that long, and on until enough has happened: a slow machine needs more time. At most so long in all.
    pub(crate) fn until(&self, enough: impl Fn() -> bool, time: Duration, most: Duration) {
        let began = Instant::now();
        self.for_a_while(time);
        while !enough() && began.elapsed() < most && !self.stopped() {
            self.for_a_while(Duration::from_millis(100));
        }
    }
}

/// Runs the load while `meanwhile` runs. Both must be well in the end.
///
/// `allowed`: answers that are no failure, besides success.
pub(crate) fn during<T>(
    load: &Load,
    judge: &Judge,
    target: &Target,
    allowed: &[Errno],
    meanwhile: impl FnOnce(&Running<'_>) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let stop = AtomicBool::new(false);
    let first: Mutex<Option<Trouble>> = Mutex::new(None);
    let result = std::thread::scope(|scope| {
        for client in 0..load.clients {
            let (stop, first) = (&stop, &first);
            scope.spawn(move || {
                sys::pin(client);
                if let Err(trouble) = run(load, client, judge, target, allowed, stop) {
                    stop.store(true, Ordering::Relaxed);
                    if let Ok(mut first) = first.lock() {
                        first.get_or_insert(trouble);
                    }
                }
            });
        }
        let result = meanwhile(&Running { stop: &stop });
        if let Err(trouble @ Trouble::Failed(_)) = &result {
            // Clients may wait for a server that will never come.
            println!("failed: {trouble}");
            // What clients see from here on comes of it.
            if let Ok(mut first) = first.lock() {
                first.get_or_insert_with(|| trouble.clone());
            }
            super::server::clean_up();
        }
        stop.store(true, Ordering::Relaxed);
        result
    });
    match first.into_inner() {
        Ok(Some(trouble)) => Err(trouble),
        _ => result,
    }
}

fn run(
    load: &Load,
    client: usize,
    judge: &Judge,
    target: &Target,
    allowed: &[Errno],
    stop: &AtomicBool,
) -> Result<(), Trouble> {
    let load = load.of(client);
    let mut random = Random::new(load.seed * 1000 + client as u64 + 1);
    let mut buffer = Buffer::new((load.longest * SECTOR) as usize);
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        let op = load.draw(&mut random, last);
        if op.len > 0 {
            last = (op.start + op.len - load.area.0) / load.grain;
        }
        if let Err(error) = judge.perform(target, op, &mut buffer)?
            && !allowed.contains(&error)
        {
            return Err(format!("client {client}: {op:?} failed: {error}").into());
        }
    }
    Ok(())
}
