//! One lock a metadata page against one lock around the device, and against two devices that share nothing.
//!
//! The same code and the same requests each time: mapped reads and writes, one a time, on each thread's own pages. Wall
//! time, since a thread that waits for a lock uses no processor.

use super::image::{Client, Core, PAGE, device};
use super::{Figures, Walk, median};
use ploop_core::units::QueueId;
use ploop_core::{Actions, Device, Op, Origin, Outcome, Request, Ticket};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pages of the device; a thread uses half of them.
const PAGES: u64 = 64;
/// A multiple of it on each thread in each round.
const BATCH: u64 = 200;
const ROUNDS: u32 = 51;
/// Contestants of a round, for sharing the effort out.
const CONTESTANTS: u32 = 7;

/// The same device behind one lock.
struct Global(Mutex<Device>);

impl Global {
    fn with<T>(&self, work: impl FnOnce(&Device) -> T) -> T {
        work(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Core for Global {
    fn submit(&self, from: Origin, request: Request, out: &mut Actions) {
        self.with(|device| device.submit(from, request, out));
    }
    fn complete(&self, ticket: Ticket, outcome: Outcome, out: &mut Actions) {
        self.with(|device| device.complete(ticket, outcome, out));
    }
    fn turn(&self, queue: QueueId, out: &mut Actions) {
        self.with(|device| device.turn(queue, out));
    }
}

/// Which pages a thread uses.
#[derive(Clone, Copy)]
enum Pages {
    /// A half of the device.
    Half,
    /// Every other page.
    Alternate,
}

impl Pages {
    /// A random cluster of thread `me`'s pages. The first page is left out: it is shorter.
    fn cluster(self, me: u64, walk: &mut Walk) -> u64 {
        let index = walk.below(PAGES / 2 - 1);
        let page = match self {
            Pages::Half => me * PAGES / 2 + index,
            Pages::Alternate => 2 * index + me,
        };
        // A page begins 16 entries earlier than a multiple of its size: the header is in the first one.
        (page + 1) * PAGE - 16 + walk.below(PAGE)
    }
}

/// Requests per second of all threads, each on the device of its number.
fn contest(cores: &[&dyn Contestant], pages: Pages, requests: u64) -> f64 {
    let barrier = Barrier::new(cores.len());
    let times: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(cores)
            .map(|(me, core)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    let begin = Instant::now();
                    core.work(me, pages, requests);
                    (begin, Instant::now())
                })
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .collect()
    });
    assert_eq!(
        times.len(),
        cores.len(),
        "a thread of the benchmark panicked"
    );
    let begin = times.iter().map(|(begin, _)| *begin).min();
    let end = times.iter().map(|(_, end)| *end).max();
    let wall = begin
        .zip(end)
        .map_or(0.0, |(begin, end)| (end - begin).as_secs_f64());
    (requests * cores.len() as u64) as f64 / wall.max(1e-9)
}

/// Something that a thread can work on.
trait Contestant: Sync {
    fn work(&self, me: u16, pages: Pages, requests: u64);
}

impl<C: Core> Contestant for C {
    fn work(&self, me: u16, pages: Pages, requests: u64) {
        let mut client = Client::new(me);
        let mut walk = Walk(0x9e37_79b9_7f4a_7c15 ^ u64::from(me) << 20);
        for _ in 0..requests / 2 {
            let me = u64::from(me);
            client.request(self, Op::Read, pages.cluster(me, &mut walk));
            client.write(self, pages.cluster(me, &mut walk));
        }
    }
}

/// Fills in the ratios.
pub(super) fn measure(effort: Duration, figures: &mut Figures) {
    let clusters = (PAGES * PAGE) as u32;
    let make = || {
        let device = device(clusters, 2);
        // Marked in use before anything is measured.
        Client::new(0).write(&device, 0);
        device
    };
    let (shared, one, other) = (make(), make(), make());
    let global = Global(Mutex::new(make()));
    let slice = (4 * effort / (ROUNDS * CONTESTANTS)).as_secs_f64();
    let alone = contest(&[&shared], Pages::Half, 10 * BATCH);
    let requests = ((alone * slice) as u64).next_multiple_of(BATCH).max(BATCH);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push([
            contest(&[&shared, &shared], Pages::Half, requests),
            contest(&[&one, &other], Pages::Half, requests),
            contest(&[&shared, &shared], Pages::Alternate, requests),
            contest(&[&one, &other], Pages::Alternate, requests),
            contest(&[&global, &global], Pages::Half, requests),
            contest(&[&shared], Pages::Half, requests),
            contest(&[&global], Pages::Half, requests),
        ]);
    }
    let ratio = |over: usize, under: usize| {
        let ratios = rounds.iter().map(|round| round[over] / round[under]);
        median(ratios.collect())
    };
    figures.pages_to_two_devices = ratio(0, 1);
    figures.neighbours_to_two_devices = ratio(2, 3);
    figures.pages_to_global_2_threads = ratio(0, 4);
    figures.pages_to_global_1_thread = ratio(5, 6);
    figures.two_threads_to_one = ratio(0, 5);
    figures.global_two_threads_to_one = ratio(4, 6);
}
