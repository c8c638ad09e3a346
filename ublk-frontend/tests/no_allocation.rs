//! Mapped requests allocate nothing: neither in the core nor in the queue that carries them out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use ploop_core::format::Version;
use ploop_core::load::new_image;
use ploop_core::units::{QueueId, Sector, Sectors, Tag};
use ploop_core::{Failure, Op, Options, Request};
use ublk_frontend::files::RealFile;
use ublk_frontend::ring::event::Event;
use ublk_frontend::ring::mailbox::Letter;
use ublk_frontend::ring::open::{Chain, Survives, open};
use ublk_frontend::ring::queue::Link;
use ublk_frontend::ring::step::Guest;
use ublk_frontend::ring::ticker::Ticker;
use ublk_frontend::ring::{Counters, Direct, Front, Mailboxes, Memory, Queue, Shared};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Counts the allocations of each thread.
struct Counting;

// SAFETY: everything is the system allocator's; the counter is a thread-local cell that needs no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEPTH: u16 = 16;
const CLUSTERS: u64 = 64;
const WARM: u64 = 4000;
const REQUESTS: u64 = 20_000;

/// Keeps all tags busy: first every cluster is written, then mapped reads and writes of 4 KiB.
struct Load {
    begun: u64,
    ended: u64,
    at_warm: u64,
    shared: Arc<Shared>,
}

impl Load {
    fn next(&mut self) -> Request {
        let n = self.begun;
        self.begun += 1;
        let (fua, preflush) = (false, false);
        let op = match n {
            n if n < CLUSTERS || n % 3 == 0 => Op::Write { preflush, fua },
            _ => Op::Read,
        };
        let start = Sector((n * 7919 % CLUSTERS) * 128 + n % 15 * 8);
        let start = if n < CLUSTERS { Sector(n * 128) } else { start };
        let len = Sectors(if n < CLUSTERS { 128 } else { 8 });
        Request { op, start, len }
    }
}

impl Front for Load {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn guest(&self) -> Guest {
        Guest::Memory
    }
    fn begin(&mut self, link: &mut Link<'_>) -> std::io::Result<()> {
        for tag in 0..DEPTH {
            link.ring.nudge(Event::Front(u32::from(tag)).word());
        }
        Ok(())
    }
    fn came(&mut self, number: u32, _: i32, _: &mut Link<'_>) -> Option<(Tag, Request)> {
        Some((Tag(number as u16), self.next()))
    }
    fn ended(&mut self, tag: Tag, outcome: Result<(), Failure>, link: &mut Link<'_>) {
        assert_eq!(outcome, Ok(()));
        self.ended += 1;
        if self.ended == WARM {
            self.at_warm = COUNT.with(Cell::get);
        }
        if self.begun < REQUESTS {
            link.ring.nudge(Event::Front(u32::from(tag.0)).word());
        } else if self.ended == self.begun {
            let allocated = COUNT.with(Cell::get) - self.at_warm;
            assert_eq!(allocated, 0, "by {} requests", REQUESTS - WARM);
            self.shared.mail.send(QueueId(0), Letter::End);
        }
    }
    fn is_idle(&self) -> bool {
        self.ended == self.begun
    }
}

#[test]
fn mapped_requests_allocate_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("image");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("new");
    let file = RealFile::from_new(file, &path).expect("file");
    new_image(&file, Version::V2, Sectors(128), Sectors(128 * CLUSTERS)).expect("image");
    drop(file);
    let options = Options {
        depth: DEPTH,
        write_back: ploop_core::WriteBack::Immediate,
        ..Options::default()
    };
    let chain = Chain {
        images: vec![path],
        raw_base: false,
        direct: Direct::Off,
        trace: None,
    };
    let opened = open(&chain, options, Survives::No).expect("opens");
    let shared = Arc::new(Shared {
        device: opened.device,
        files: opened.files,
        zero: File::open("/dev/zero").expect("zeros"),
        mail: Mailboxes::new(1).expect("boxes"),
        promotion: Default::default(),
        ticker: Ticker::new(Duration::from_millis(50), None),
        counters: vec![Counters::default()],
        held: Vec::new(),
        leaving: false.into(),
        broken: false.into(),
    });
    let memory = Memory::new(DEPTH, 65536, 65536, 4096).expect("memory");
    let load = Load {
        begun: 0,
        ended: 0,
        at_warm: 0,
        shared: Arc::clone(&shared),
    };
    let queue = Queue::new(QueueId(0), DEPTH, shared, memory, load).expect("a queue");
    queue.run().expect("served");
}
