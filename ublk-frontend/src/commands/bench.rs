//! `bench`: the queue driver on an image, without ublk: what the core and io_uring cost.
//!
//! One queue, one thread; so many requests are always under way. A flush goes between the others and waits for none of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ploop_core::units::{Millis, QueueId, Sector, Sectors, Tag};
use ploop_core::{Failure, NoSpace, Op, Options, Request, WriteBack};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::add::refuse_lower;
use super::refused;
use crate::cli::Bench;
use crate::ring::event::Event;
use crate::ring::mailbox::Letter;
use crate::ring::open::{Chain, Survives, open};
use crate::ring::promotion::Promotion;
use crate::ring::queue::Link;
use crate::ring::step::Guest;
use crate::ring::ticker::Ticker;
use crate::ring::{Counters, Front, Mailboxes, Memory, Queue, Shared};
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::closing;

/// Unit in which the core keeps its index.
const PAGE: u32 = 4096;

/// The order of the requests.
#[derive(Debug)]
enum Order {
    /// One behind the other, round and round.
    Sequential,
    /// Anywhere, in multiples of a request; the state of a generator.
    Random(u64),
}

/// Brings requests until there were enough.
struct Load {
    bench: Bench,
    /// Requests that fit on the disk.
    places: u64,
    /// Sectors from one to the next.
    step: u64,
    order: Order,
    begun: u64,
    ended: u64,
    /// Flushes that are due.
    flushes: u64,
    failed: Option<Failure>,
    done: Sender<Result<(), Failure>>,
}

impl Load {
    /// First sector of the next request.
    fn place(&mut self) -> u64 {
        match &mut self.order {
            Order::Sequential => (self.begun - 1) % self.places * self.step,
            Order::Random(state) => {
                // A multiplicative generator: the same places in each run.
                *state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (*state >> 33) % self.places * self.step
            }
        }
    }

    fn next(&mut self) -> Option<Request> {
        if self.failed.is_some() {
            return None;
        }
        if self.flushes > 0 {
            self.flushes -= 1;
            let (start, len) = (Sector(0), Sectors::ZERO);
            return Some(Request {
                op: Op::Flush,
                start,
                len,
            });
        }
        if self.begun == self.bench.count {
            return None;
        }
        self.begun += 1;
        let len = self.bench.size.0;
        let op = if self.bench.write {
            Op::Write {
                preflush: false,
                fua: false,
            }
        } else {
            Op::Read
        };
        if self.bench.flush_interval > 0 && self.begun.is_multiple_of(self.bench.flush_interval) {
            self.flushes += 1;
        }
        let start = Sector(self.place());
        Some(Request { op, start, len })
    }
}

impl Front for Load {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn guest(&self) -> Guest {
        Guest::Memory
    }

    fn begin(&mut self, link: &mut Link<'_>) -> io::Result<()> {
        for tag in 0..self.bench.depth {
            link.ring.nudge(Event::Front(tag.into()).word());
        }
        Ok(())
    }

    fn came(&mut self, tag: u32, _: i32, _: &mut Link<'_>) -> Option<(Tag, Request)> {
        self.next().map(|request| (Tag(tag as u16), request))
    }

    fn ended(&mut self, tag: Tag, outcome: Result<(), Failure>, link: &mut Link<'_>) {
        if let Err(failure) = outcome {
            self.failed.get_or_insert(failure);
        }
        self.ended += 1;
        link.ring.nudge(Event::Front(tag.0.into()).word());
        let all = self.bench.count
            + match self.bench.flush_interval {
                0 => 0,
                interval => self.bench.count / interval,
            };
        if self.ended == all || self.failed.is_some() {
            // Nobody listens any more after the first answer.
            let _ = self.done.send(self.failed.map_or(Ok(()), Err));
        }
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Figures {
    requests: u64,
    bytes: u64,
    seconds: f64,
    iops: f64,
    mib_per_s: f64,
    cpu_us_per_request: f64,
    direct: bool,
}

/// Runs the load, prints the figures.
pub fn run(bench: &Bench, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let chain = Chain {
        images: bench.images.clone(),
        raw_base: false,
        direct: bench.direct,
        trace: None,
    };
    let delay = bench.flush_delay.0;
    let options = Options {
        queues: 1,
        depth: bench.depth,
        write: bench.write,
        write_back: match delay.as_millis() as u64 {
            0 => WriteBack::Immediate,
            ms => WriteBack::Delayed(Millis(ms)),
        },
        no_space: NoSpace::Fail,
        ..Options::default()
    };
    if bench.write {
        refuse_lower(&bench.images)?;
    }
    let opened = open(&chain, options, Survives::No)?;
    let direct = opened.direct;
    let geometry = opened.device.geometry();
    let len = bench.size.0.0;
    let step = bench.step.map_or(len, |step| step.0.0).max(1);
    let places = match geometry.size.0.checked_sub(len) {
        Some(last) if len > 0 => last / step + 1,
        _ => 0,
    };
    if places == 0 {
        return Err(refused(format!(
            "requests of {} bytes: the disk has {}",
            bench.size.0.bytes(),
            geometry.size.bytes()
        )));
    }
    let zero = Path::new("/dev/zero");
    let shared = Arc::new(Shared {
        device: opened.device,
        files: opened.files,
        zero: File::open(zero).map_err(ToolError::io(zero, "open"))?,
        mail: Mailboxes::new(1).map_err(|e| refused(format!("eventfd: {e}")))?,
        promotion: Promotion::default(),
        ticker: Ticker::new(delay.max(Duration::from_millis(1)), None),
        counters: vec![Counters::default()],
        held: Vec::new(),
        leaving: false.into(),
        broken: false.into(),
    });
    let (done, told) = channel();
    let load = Load {
        bench: bench.clone(),
        places,
        step,
        order: if bench.random {
            Order::Random(1)
        } else {
            Order::Sequential
        },
        begun: 0,
        ended: 0,
        flushes: 0,
        failed: None,
        done,
    };
    let figures = measure(bench, &shared, load, &told, geometry.cluster.bytes())?;
    let figures = Figures { direct, ..figures };
    if bench.json {
        return out.json(&figures);
    }
    out.line(format_args!(
        "{} {} {} of {} bytes, {} under way, {}: {:.3} s, {:.0} IOPS, {:.1} MiB/s, {:.2} CPU us a request",
        figures.requests,
        if bench.random { "random" } else { "sequential" },
        if bench.write { "writes" } else { "reads" },
        bench.size.0.bytes(),
        bench.depth,
        if direct { "direct" } else { "through the page cache" },
        figures.seconds,
        figures.iops,
        figures.mib_per_s,
        figures.cpu_us_per_request,
    ))
}

fn measure(
    bench: &Bench,
    shared: &Arc<Shared>,
    load: Load,
    told: &Receiver<Result<(), Failure>>,
    cluster: u64,
) -> Result<Figures, ToolError> {
    let request =
        u32::try_from(bench.size.0.bytes()).map_err(|_| refused("requests of 4 GiB and more"))?;
    let (cpu, began) = (cpu_time(), Instant::now());
    let serving = {
        let shared = Arc::clone(shared);
        let depth = bench.depth;
        thread::spawn(move || -> io::Result<()> {
            let memory = Memory::new(depth, request, cluster, PAGE)?;
            Queue::new(QueueId(0), depth, shared, memory, load)?.run()
        })
    };
    let ended = told.recv();
    let (cpu, seconds) = (cpu_time() - cpu, began.elapsed());
    // The queue's end without an answer is its error, which it tells itself.
    let closed = match ended {
        Ok(_) => closing::close(shared, false),
        Err(_) => Ok(()),
    };
    shared.mail.send_all(|| Letter::End);
    match serving.join() {
        Ok(served) => served.map_err(|e| refused(format!("io_uring: {e}")))?,
        Err(_) => return Err(refused("the queue's thread panicked")),
    }
    if let Ok(Err(failure)) = ended {
        return Err(refused(format!("a request failed: {failure:?}")));
    }
    closed?;
    let requests = bench.count as f64;
    let bytes = bench.count * bench.size.0.bytes();
    Ok(Figures {
        requests: bench.count,
        bytes,
        seconds: seconds.as_secs_f64(),
        iops: requests / seconds.as_secs_f64(),
        mib_per_s: bytes as f64 / f64::from(1 << 20) / seconds.as_secs_f64(),
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests,
        direct: false,
    })
}

/// Processor time of the whole process, the kernel's workers for it included.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
