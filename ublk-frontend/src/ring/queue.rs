//! One queue: one thread, one ring, the core's actions.
//!
//! ```text
//!   wait ──▶ completions: requests to the core, ended I/O to the core, mail, time
//!     ▲         └──▶ actions: carried out, answered, or sent to their queue ──▶ turn ──▶ until there is none
//!     └───────────────────────────────────────────────────────────────────────────┘
//! ```
//! Ends when it was told to ([`Letter::End`]), the front end is idle and no I/O is under way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ploop_core::drive::DeltaFile;
use ploop_core::units::{Level, QueueId, Sectors, Tag};
use ploop_core::{Action, ActionKind, Actions, Device, Failure, Op, Origin, Outcome, Request};

use crate::files::RealFile;
use crate::raw::{Buffers, Completion, FileIndex, Place, Ring};
use crate::ring::counters::Counters;
use crate::ring::event::Event;
use crate::ring::flights::Flights;
use crate::ring::mailbox::{Letter, Mailboxes};
use crate::ring::memory::{Kind, Memory};
use crate::ring::promotion::{Next, Promotion};
use crate::ring::step::{Guest, Tools, failure, file};
use crate::ring::ticker::Ticker;

/// What all queues of a device share.
#[derive(Debug)]
pub struct Shared {
    /// The core.
    pub device: Device,
    /// The files of the chain, oldest first.
    pub files: Vec<RealFile>,
    /// Source of zeros for the kernel's pages.
    pub zero: std::fs::File,
    /// Work for other queues.
    pub mail: Mailboxes,
    /// Time.
    pub ticker: Ticker,
    /// What the server itself asks of the core; queue 0 does it.
    pub promotion: Promotion,
    /// One for each queue.
    pub counters: Vec<Counters>,
    /// Locks that must not be free before the last I/O of a killed process has ended, on whatever file system the images
    /// are: each ring holds them, and lives as long as its I/O.
    pub held: Vec<std::fs::File>,
    /// Set when the image is about to be closed and its users are to go on with another server: what comes from then on is
    /// not answered.
    pub leaving: AtomicBool,
    /// Set when a queue has ended by an error.
    pub broken: AtomicBool,
}

impl Shared {
    /// Extends a file by a call that waits. Never shrinks it.
    #[must_use]
    pub fn set_len(&self, level: Level, len: Sectors) -> Outcome {
        match self.must_grow(level, len) {
            Ok(false) => Outcome::Done,
            Ok(true) => match self.files[usize::from(level.0)].set_len(len.bytes()) {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Failed(failure(error.raw_os_error().unwrap_or(0))),
            },
            Err(failure) => Outcome::Failed(failure),
        }
    }

    /// True if the file is shorter than that. A block device that is has no space.
    pub fn must_grow(&self, level: Level, len: Sectors) -> Result<bool, Failure> {
        let file = &self.files[usize::from(level.0)];
        match file.len() {
            Err(_) => Err(Failure::Io),
            Ok(now) if now >= len.bytes() => Ok(false),
            Ok(_) if file.is_device() => Err(Failure::NoSpace),
            Ok(_) => Ok(true),
        }
    }
}

/// Where requests come from and answers go. Its methods run on the queue's thread.
pub trait Front {
    /// The file that its commands go to, if it has one.
    fn file(&self) -> Option<BorrowedFd<'_>>;
    /// Where the guest's bytes are.
    fn guest(&self) -> Guest;
    /// Asks for the first requests. They are handed over at once.
    fn begin(&mut self, link: &mut Link<'_>) -> io::Result<()>;
    /// Something that it asked for came back. `Some`: a request.
    fn came(&mut self, number: u32, result: i32, link: &mut Link<'_>) -> Option<(Tag, Request)>;
    /// A request has ended.
    fn ended(&mut self, tag: Tag, outcome: Result<(), Failure>, link: &mut Link<'_>);
    /// True if it has asked for nothing and will bring no request any more.
    fn is_idle(&self) -> bool;
}

/// What a front end may use.
pub struct Link<'a> {
    /// The kernel.
    pub ring: &'a mut Ring,
    /// The queue's memory.
    pub memory: &'a Memory,
}

/// See the module.
pub struct Queue<F> {
    id: QueueId,
    shared: Arc<Shared>,
    front: F,
    ring: Ring,
    memory: Memory,
    flights: Flights,
    /// What the core wants done.
    out: Actions,
    /// What is being done.
    doing: Actions,
    /// What other queues want done.
    mailed: Vec<Action>,
    letters: Vec<Letter>,
    /// Start of the queue's time.
    epoch: Instant,
    /// When the request of each tag began, in nanoseconds of the queue's time.
    began: Vec<u64>,
    /// Time of the batch under way, likewise.
    now: u64,
    ending: bool,
    /// Where the bell's 8 bytes go.
    bell: usize,
}

impl<F: Front> Queue<F> {
    /// A queue for the calling thread.
    pub fn new(
        id: QueueId,
        depth: u16,
        shared: Arc<Shared>,
        mut memory: Memory,
        front: F,
    ) -> io::Result<Queue<F>> {
        let mut ring = {
            let mut files = vec![
                front.file().unwrap_or_else(|| shared.zero.as_fd()),
                shared.zero.as_fd(),
                shared.mail.bell(id),
            ];
            files.extend(shared.files.iter().map(AsFd::as_fd));
            // Never read or written: behind the others.
            files.extend(shared.held.iter().map(AsFd::as_fd));
            let buffers = match front.guest() {
                Guest::Memory => Buffers::Ours(depth),
                Guest::Fixed => Buffers::Kernel(depth),
            };
            let entries = 2 * u32::from(depth) + 64;
            Ring::new(entries, Rc::clone(memory.arena()), &files, buffers)?
        };
        if let Some(trace) = shared.files.first().and_then(RealFile::traced) {
            ring.trace(Arc::clone(trace), FileIndex(file::CHAIN));
        }
        // Never given back: the bell is listened to as long as the ring lives.
        let bell = memory.take(Kind::Index).map_or(0, |piece| piece.keep());
        Ok(Queue {
            id,
            shared,
            front,
            ring,
            memory,
            flights: Flights::new(depth),
            out: Actions::new(),
            doing: Actions::new(),
            mailed: Vec::with_capacity(64),
            letters: Vec::with_capacity(64),
            epoch: Instant::now(),
            began: vec![0; usize::from(depth)],
            now: 0,
            ending: false,
            bell,
        })
    }

    /// Asks for the first requests, and serves until told to end.
    pub fn run(mut self) -> io::Result<()> {
        self.begin()?;
        self.serve()
    }

    /// Asks for the first requests.
    pub fn begin(&mut self) -> io::Result<()> {
        self.listen();
        self.front.begin(&mut Link {
            ring: &mut self.ring,
            memory: &self.memory,
        })?;
        self.ring.submit()
    }

    /// Serves until told to end.
    pub fn serve(mut self) -> io::Result<()> {
        let mut completions: Vec<Completion> = Vec::with_capacity(1024);
        while !(self.ending && self.front.is_idle() && self.flights.is_empty()) {
            self.ring.submit_and_wait()?;
            self.ring.reap(&mut completions);
            self.now = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
            for completion in completions.drain(..) {
                self.completed(completion);
            }
            self.work();
        }
        Ok(())
    }

    fn listen(&mut self) {
        let into = Place::Memory(self.bell);
        self.ring.read(file::BELL, 0, 8, into, Event::Mail.word());
    }

    fn completed(&mut self, Completion { data, result }: Completion) {
        match Event::of(data) {
            Event::Io(place) => {
                let mut tools = Tools {
                    ring: &mut self.ring,
                    memory: &mut self.memory,
                    shared: &self.shared,
                    guest: self.front.guest(),
                };
                if let Some((ticket, outcome)) = self.flights.answered(place, result, &mut tools) {
                    self.shared.device.complete(ticket, outcome, &mut self.out);
                }
            }
            Event::Front(number) => {
                let mut link = Link {
                    ring: &mut self.ring,
                    memory: &self.memory,
                };
                if let Some((tag, request)) = self.front.came(number, result, &mut link) {
                    self.began[usize::from(tag.0)] = self.now;
                    self.count_begin(request);
                    let origin = Origin {
                        queue: self.id,
                        tag,
                    };
                    self.shared.device.submit(origin, request, &mut self.out);
                }
            }
            Event::Mail => self.mail(),
            Event::Timer => self.tick(),
            Event::Unknown(word) => unreachable!("completion of unknown word {word:#x}"),
        }
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters[usize::from(self.id.0)]
    }

    fn count_begin(&self, request: Request) {
        let bytes = match request.op {
            Op::Flush => 0,
            _ => request.len.bytes(),
        };
        self.counters().began(request.op, bytes);
    }

    fn mail(&mut self) {
        self.shared.mail.take(self.id, &mut self.letters);
        self.listen();
        let mut own = false;
        for letter in self.letters.drain(..) {
            match letter {
                Letter::Action(action) => self.mailed.push(action),
                Letter::Turn => {}
                Letter::Own => own = true,
                Letter::End => self.ending = true,
            }
        }
        if own {
            self.own();
        }
    }

    /// The next request of the server itself.
    fn own(&mut self) {
        match self.shared.promotion.next(&self.shared.device) {
            Next::Submit(request) => {
                let origin = Origin {
                    queue: self.id,
                    tag: self.own_tag(),
                };
                self.shared.device.submit(origin, request, &mut self.out);
            }
            Next::Again => self.shared.mail.send(self.id, Letter::Own),
            Next::Nothing => {}
        }
    }

    /// The tag behind those of the guest.
    fn own_tag(&self) -> Tag {
        Tag(self.began.len() as u16)
    }

    fn tick(&mut self) {
        let Shared { device, ticker, .. } = &*self.shared;
        // Before the tick: it tries again what waits for space, which then does not look as if it were waiting.
        if ticker.is_out_of_patience(device) {
            device.fail_starved(&mut self.out);
        }
        let next = device.tick(ticker.now(), &mut self.out);
        if let Some(after) = ticker.again(device, next) {
            self.ring.timeout(after, Event::Timer.word());
        }
    }

    /// Carries actions out until the core has none.
    fn work(&mut self) {
        if !self.mailed.is_empty() {
            let mut mailed = std::mem::take(&mut self.mailed);
            for action in mailed.drain(..) {
                self.carry_out(action);
            }
            self.mailed = mailed;
        }
        loop {
            if self.out.is_empty() {
                self.shared.device.turn(self.id, &mut self.out);
                if self.out.is_empty() {
                    break;
                }
            }
            // What comes of these goes into the other list.
            let mut doing = std::mem::take(&mut self.doing);
            std::mem::swap(&mut doing, &mut self.out);
            for action in doing.drain() {
                self.carry_out(action);
            }
            self.doing = doing;
        }
        if let Some(after) = self.shared.ticker.to_arm(&self.shared.device) {
            self.ring.timeout(after, Event::Timer.word());
        }
    }

    fn carry_out(&mut self, action: Action) {
        if action.queue != self.id {
            self.counters().mailed();
            let to = action.queue;
            return self.shared.mail.send(to, Letter::Action(action));
        }
        match action.kind {
            ActionKind::Io { ticket, op } => {
                let mut tools = Tools {
                    ring: &mut self.ring,
                    memory: &mut self.memory,
                    shared: &self.shared,
                    guest: self.front.guest(),
                };
                if let Some((ticket, outcome)) = self.flights.start(ticket, op, &mut tools) {
                    self.shared.device.complete(ticket, outcome, &mut self.out);
                }
            }
            ActionKind::Finish { tag, outcome } if tag == self.own_tag() => {
                self.shared.promotion.ended(outcome);
                // Others have their turn first.
                self.shared.mail.send(self.id, Letter::Own);
            }
            // Also what waited for space and was cancelled: the next server waits for it.
            ActionKind::Finish {
                outcome: Err(Failure::Closed | Failure::NoSpace),
                ..
            } if self.shared.leaving.load(Ordering::Acquire) => {
                // The kernel issues it again to the next server.
            }
            ActionKind::Finish { tag, outcome } => {
                let took = self.now.saturating_sub(self.began[usize::from(tag.0)]);
                self.counters().ended(outcome.is_ok(), took);
                let mut link = Link {
                    ring: &mut self.ring,
                    memory: &self.memory,
                };
                self.front.ended(tag, outcome, &mut link);
            }
        }
    }
}

impl<F> Drop for Queue<F> {
    fn drop(&mut self) {
        // Also when the thread unwinds: whoever waits for the queue learns of it.
        if !self.ending {
            self.shared.broken.store(true, Ordering::Release);
        }
    }
}
