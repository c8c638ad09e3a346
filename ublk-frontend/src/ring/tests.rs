//! The queues on real files, without ublk: this machine's io_uring does.

mod traced;

use super::*;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ploop_core::control::inspect::Mapping;
use ploop_core::drive::DeltaFile;
use ploop_core::format::Version;
use ploop_core::load::new_image;
use ploop_core::units::{Level, Millis, QueueId, Sector, Sectors, Tag};
use ploop_core::{Actions, Failure, NoSpace, Op, Options, Request, WriteBack};

use crate::files::RealFile;
use crate::raw::Completion;
use crate::ring::mailbox::Letter;
use crate::ring::open::{Chain, Survives, open};
use crate::ring::promotion::{Promotion, State};
use crate::ring::queue::Link;
use crate::ring::step::Guest;
use crate::ring::ticker::Ticker;

const CLUSTER: u64 = 128;
const REQUEST: u32 = 64 << 10;

/// A request of the script: what to do, and the byte that a write writes.
type Asked = (Request, u8);
/// What became of it: the outcome, and what a read read.
type Answer = (Result<(), Failure>, Vec<u8>);

/// One request after the other, each on the next tag; the next one when the last has ended.
struct Script {
    todo: VecDeque<Asked>,
    now: Option<Asked>,
    answers: Arc<Mutex<Vec<Answer>>>,
    tag: u16,
    depth: u16,
}

impl Script {
    fn next(&mut self, link: &mut Link<'_>) {
        self.now = self.todo.pop_front();
        if self.now.is_some() {
            self.tag = (self.tag + 1) % self.depth;
            // Comes back at once, as a completion of the front end.
            link.ring.nudge(crate::ring::event::Event::Front(0).word());
        }
    }
}

impl Front for Script {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn guest(&self) -> Guest {
        Guest::Memory
    }
    fn begin(&mut self, link: &mut Link<'_>) -> std::io::Result<()> {
        self.next(link);
        Ok(())
    }
    fn came(&mut self, _: u32, _: i32, link: &mut Link<'_>) -> Option<(Tag, Request)> {
        let (request, byte) = self.now?;
        let at = link.memory.guest(self.tag);
        let bytes = vec![byte; request.len.bytes().min(u64::from(REQUEST)) as usize];
        link.ring.arena().copy_in(at, &bytes);
        Some((Tag(self.tag), request))
    }
    fn ended(&mut self, tag: Tag, outcome: Result<(), Failure>, link: &mut Link<'_>) {
        let mut read = Vec::new();
        if let Some((request, _)) = self.now
            && request.op == Op::Read
        {
            read = vec![0; request.len.bytes() as usize];
            link.ring
                .arena()
                .copy_out(link.memory.guest(tag.0), &mut read);
        }
        self.answers.lock().expect("lock").push((outcome, read));
        self.next(link);
    }
    fn is_idle(&self) -> bool {
        self.now.is_none()
    }
}

fn image(path: &Path, sectors: u64) {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .expect("new");
    let file = RealFile::from_new(file, path).expect("file");
    new_image(&file, Version::V2, Sectors(CLUSTER), Sectors(sectors)).expect("image");
}

fn share(images: &[&Path], queues: u16, direct: Direct, delay: WriteBack) -> Arc<Shared> {
    let options = Options {
        queues,
        depth: 4,
        write_back: delay,
        prealloc: Sectors(CLUSTER),
        no_space: NoSpace::Fail,
        ..Options::default()
    };
    let chain = Chain {
        images: images.iter().map(|path| path.to_path_buf()).collect(),
        raw_base: false,
        direct,
        trace: None,
    };
    let opened = open(&chain, options, Survives::No).expect("opens");
    Arc::new(Shared {
        device: opened.device,
        files: opened.files,
        zero: File::open("/dev/zero").expect("zeros"),
        mail: Mailboxes::new(queues).expect("boxes"),
        promotion: Promotion::default(),
        ticker: Ticker::new(Duration::from_millis(5), None),
        counters: (0..queues).map(|_| Counters::default()).collect(),
        held: Vec::new(),
        leaving: false.into(),
        broken: false.into(),
    })
}

/// Runs a script on each queue, and gives the answers.
fn serve(shared: &Arc<Shared>, scripts: Vec<Vec<Asked>>) -> Vec<Vec<Answer>> {
    let answers: Vec<Arc<Mutex<Vec<Answer>>>> = scripts.iter().map(|_| Arc::default()).collect();
    let lens: Vec<usize> = scripts.iter().map(Vec::len).collect();
    let threads: Vec<_> = scripts
        .into_iter()
        .zip(&answers)
        .enumerate()
        .map(|(id, (script, answers))| {
            let (shared, answers) = (Arc::clone(shared), Arc::clone(answers));
            thread::spawn(move || {
                let memory = Memory::new(4, REQUEST, CLUSTER * 512, 4096).expect("memory");
                let front = Script {
                    todo: script.into(),
                    now: None,
                    answers,
                    tag: 0,
                    depth: 4,
                };
                let id = QueueId(id as u16);
                let queue = Queue::new(id, 4, shared, memory, front).expect("a queue");
                queue.run().expect("served");
            })
        })
        .collect();
    let until = Instant::now() + Duration::from_secs(60);
    let done = || {
        answers
            .iter()
            .zip(&lens)
            .all(|(a, len)| a.lock().expect("lock").len() == *len)
    };
    while !done() {
        assert!(Instant::now() < until, "a request was never answered");
        thread::sleep(Duration::from_millis(1));
    }
    shared.mail.send_all(|| Letter::End);
    for thread in threads {
        thread.join().expect("a queue");
    }
    answers
        .iter()
        .map(|a| std::mem::take(&mut *a.lock().expect("lock")))
        .collect()
}

fn request(op: Op, start: u64, len: u64) -> Request {
    let (start, len) = (Sector(start), Sectors(len));
    Request { op, start, len }
}

fn write(start: u64, len: u64, fua: bool, byte: u8) -> Asked {
    let preflush = false;
    (request(Op::Write { preflush, fua }, start, len), byte)
}

fn read(start: u64, len: u64) -> Asked {
    (request(Op::Read, start, len), 0xEE)
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Random requests, and what every read must see.
fn random(
    rng: &mut Rng,
    from: u64,
    sectors: u64,
    model: &mut [u8],
) -> (Vec<Asked>, Vec<Option<Vec<u8>>>) {
    let (mut script, mut expected) = (Vec::new(), Vec::new());
    for step in 0..400u64 {
        let len = 1 + rng.below(u64::from(REQUEST) / 512);
        let start = from + rng.below(sectors - len);
        let range = start as usize..(start + len) as usize;
        let byte = (step % 250) as u8 + 1;
        let (asked, sees) = match rng.below(10) {
            0..4 => {
                model[range].fill(byte);
                (write(start, len, rng.below(8) == 0, byte), None)
            }
            4 => {
                model[range].fill(0);
                let (fua, unmap) = (rng.below(2) == 0, rng.below(2) == 0);
                (
                    (request(Op::WriteZeroes { fua, unmap }, start, len), 0),
                    None,
                )
            }
            5 => ((request(Op::Flush, 0, 0), 0), None),
            _ => (read(start, len), Some(model[range].to_vec())),
        };
        script.push(asked);
        expected.push(sees);
    }
    (script, expected)
}

fn check(answers: &[Answer], expected: &[Option<Vec<u8>>]) {
    for (step, ((outcome, read), expected)) in answers.iter().zip(expected).enumerate() {
        assert_eq!(*outcome, Ok(()), "step {step}");
        if let Some(expected) = expected {
            let sectors: Vec<u8> = read.chunks(512).map(|sector| sector[0]).collect();
            assert!(
                read.chunks(512).all(|s| s.iter().all(|byte| *byte == s[0])),
                "step {step}"
            );
            assert_eq!(&sectors, expected, "step {step}");
        }
    }
}

fn two_queues(direct: Direct, stack: bool) {
    let dir = tempfile::tempdir().expect("folder");
    let (base, top) = (dir.path().join("base"), dir.path().join("top"));
    const HALF: u64 = 4000;
    let mut model = vec![0u8; 2 * HALF as usize];
    if stack {
        image(&base, 2 * HALF);
        let shared = share(&[&base], 1, direct, WriteBack::Immediate);
        let mut rng = Rng(77);
        let (script, expected) = random(&mut rng, 0, 2 * HALF, &mut model);
        check(&serve(&shared, vec![script])[0], &expected);
    }
    image(&top, 2 * HALF);
    let images: &[&Path] = if stack { &[&base, &top] } else { &[&top] };
    for seed in 0..3 {
        let shared = share(images, 2, direct, WriteBack::Delayed(Millis(5)));
        let mut rng = Rng(seed);
        let (a, seen_a) = random(&mut rng, 0, HALF, &mut model);
        let (b, seen_b) = random(&mut rng, HALF, HALF, &mut model);
        let answers = serve(&shared, vec![a, b]);
        check(&answers[0], &seen_a);
        check(&answers[1], &seen_b);
        shared.device.verify();
        // The last changes of the index, for the next round.
        let flush = vec![(request(Op::Flush, 0, 0), 0)];
        assert_eq!(serve(&shared, vec![flush, Vec::new()])[0][0].0, Ok(()));
    }
}

#[test]
fn random_requests_on_two_queues_through_the_page_cache() {
    two_queues(Direct::Off, false);
}

#[test]
fn random_requests_on_two_queues_past_the_page_cache() {
    two_queues(Direct::Auto, false);
}

#[test]
fn random_requests_on_a_stack() {
    two_queues(Direct::Auto, true);
}

/// Two queues write the same clusters for the first time, in every request: who comes second waits for the other queue's
/// work and goes on by mail. Nothing ticks, so a wait for a time-out would never end.
#[test]
fn work_for_another_queue_goes_by_mail_and_waits_for_no_time_out() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("image");
    image(&path, 60_000);
    let shared = share(&[&path], 2, Direct::Off, WriteBack::Immediate);
    let script = |byte| -> Vec<Asked> {
        let clusters = (0..400).map(|n| n * CLUSTER);
        clusters
            .map(|start| write(start + u64::from(byte) * 8, 8, false, byte))
            .collect()
    };
    let answers = serve(&shared, vec![script(1), script(2)]);
    assert!(
        answers
            .iter()
            .flatten()
            .all(|(outcome, _)| *outcome == Ok(()))
    );
    let summary = Summary::of(shared.counters.iter());
    assert!(summary.mail > 0, "they never met");
    let whole = (0..400).map(|n| read(n * CLUSTER, 24)).collect();
    for (outcome, bytes) in &serve(&shared, vec![whole, Vec::new()])[0] {
        assert_eq!(*outcome, Ok(()));
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(sectors, [[0; 8], [1; 8], [2; 8]].concat());
    }
}

#[test]
fn a_delayed_index_is_written_when_its_time_has_come() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("image");
    image(&path, 8000);
    let shared = share(&[&path], 1, Direct::Off, WriteBack::Delayed(Millis(5)));
    let answers = Arc::default();
    let front = Script {
        todo: vec![write(0, 8, false, 9)].into(),
        now: None,
        answers: Arc::clone(&answers),
        tag: 0,
        depth: 4,
    };
    let of_thread = Arc::clone(&shared);
    let queue = thread::spawn(move || {
        let memory = Memory::new(4, REQUEST, CLUSTER * 512, 4096).expect("memory");
        let queue = Queue::new(QueueId(0), 4, of_thread, memory, front).expect("a queue");
        queue.run().expect("served");
    });
    let until = Instant::now() + Duration::from_secs(30);
    let mut slot = [0u8; 4];
    while slot == [0; 4] {
        assert!(Instant::now() < until, "the index was never written");
        thread::sleep(Duration::from_millis(2));
        let file = &shared.files[0];
        file.read_at(64, &mut slot).expect("read");
    }
    shared.mail.send_all(|| Letter::End);
    queue.join().expect("a queue");
}

#[test]
fn a_file_that_was_cut_is_an_error_and_nothing_more() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("image");
    image(&path, 8000);
    let shared = share(&[&path], 1, Direct::Off, WriteBack::Immediate);
    let (first, last) = (write(0, 128, true, 5), write(7 * CLUSTER, 128, true, 6));
    let answers = serve(&shared, vec![vec![first, last]]);
    assert!(answers[0].iter().all(|(outcome, _)| *outcome == Ok(())));
    let len = shared.files[0].len().expect("length");
    shared.files[0].set_len(len - CLUSTER * 512).expect("cut");
    let script = vec![
        read(7 * CLUSTER, 8),
        read(0, 8),
        read(7 * CLUSTER + 120, 8),
        read(40 * CLUSTER, 3),
    ];
    let answers = &serve(&shared, vec![script])[0];
    assert_eq!(answers[0].0, Err(Failure::Io));
    assert!(answers[1] == (Ok(()), vec![5; 4096]));
    assert_eq!(answers[2].0, Err(Failure::Io));
    assert!(answers[3] == (Ok(()), vec![0; 1536]));
}

#[test]
fn a_discard_of_many_clusters_gives_the_space_back() {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("image");
    image(&path, 60_000);
    let shared = share(&[&path], 1, Direct::Off, WriteBack::Immediate);
    let fill = (0..400)
        .map(|n| write(n * CLUSTER, 128, false, 3))
        .collect();
    serve(&shared, vec![fill]);
    let before = shared.files[0].allocated().expect("space");
    let script = vec![
        (request(Op::Discard, 0, 400 * CLUSTER), 0),
        (request(Op::Flush, 0, 0), 0),
        read(5 * CLUSTER, 8),
    ];
    let answers = &serve(&shared, vec![script])[0];
    assert!(answers[2] == (Ok(()), vec![0; 4096]));
    // Punching goes on behind the flush.
    let mut out = Actions::new();
    shared.device.suspend(&mut out);
    assert!(out.is_empty());
    let after = shared.files[0].allocated().expect("space");
    assert!(before > 25 << 20 && after < 8 << 20, "{before} -> {after}");
}

/// An image on another one is emptied into it while a client writes: afterwards the lower one shows nothing any more, and
/// everything reads as before.
#[test]
fn a_promotion_goes_on_beside_the_requests() {
    let dir = tempfile::tempdir().expect("folder");
    let (base, top) = (dir.path().join("base"), dir.path().join("top"));
    image(&base, 100 * CLUSTER - 5);
    image(&top, 100 * CLUSTER - 5);
    let shared = share(&[&base], 1, Direct::Off, WriteBack::Immediate);
    let fill = (0..100).filter(|n| n % 3 != 1);
    let fill = fill
        .map(|n| write(n * CLUSTER, 100, true, n as u8))
        .collect();
    serve(&shared, vec![fill]);
    drop(shared);
    let shared = share(
        &[&base, &top],
        1,
        Direct::Off,
        WriteBack::Delayed(Millis(5)),
    );
    assert!(shared.promotion.start(&shared.device, Level(1)).is_err());
    shared
        .promotion
        .start(&shared.device, Level(0))
        .expect("started");
    shared
        .promotion
        .start(&shared.device, Level(0))
        .expect("it goes on");
    // In the box when the queue begins to listen.
    shared.mail.send(QueueId(0), Letter::Own);
    let script: Vec<Asked> = (0..100)
        .map(|n| write(n * CLUSTER, 8, false, 0xAA))
        .collect();
    let answers = Arc::default();
    let front = Script {
        todo: script.into(),
        now: None,
        answers: Arc::clone(&answers),
        tag: 0,
        depth: 4,
    };
    let of_thread = Arc::clone(&shared);
    let queue = thread::spawn(move || {
        let memory = Memory::new(4, REQUEST, CLUSTER * 512, 4096).expect("memory");
        let queue = Queue::new(QueueId(0), 4, of_thread, memory, front).expect("a queue");
        queue.run().expect("served");
    });
    let until = Instant::now() + Duration::from_secs(60);
    let progress = loop {
        let progress = shared.promotion.progress().expect("begun");
        let answered = answers.lock().expect("lock").len();
        if progress.state != State::Running && answered == 100 {
            break progress;
        }
        assert!(Instant::now() < until, "{progress:?}, {answered} answers");
        thread::sleep(Duration::from_millis(1));
    };
    assert_eq!((progress.state, progress.total), (State::Done, 67));
    assert!(answers.lock().expect("lock").iter().all(|(o, _)| o.is_ok()));
    shared.mail.send_all(|| Letter::End);
    queue.join().expect("a queue");
    for n in 0..100 {
        let place = shared.device.locate(Sector(n * CLUSTER));
        assert!(
            matches!(place, Mapping::Mapped { level: 1, .. }),
            "{n}: {place:?}"
        );
    }
    let reads = (0..100).map(|n| read(n * CLUSTER, 120)).collect();
    for (n, (outcome, bytes)) in serve(&shared, vec![reads])[0].iter().enumerate() {
        let old = if n % 3 == 1 { 0 } else { n as u8 };
        let (new, rest) = bytes.split_at(8 * 512);
        let (kept, behind) = rest.split_at(92 * 512);
        assert_eq!(*outcome, Ok(()));
        assert!(new.iter().all(|byte| *byte == 0xAA), "{n}");
        assert!(kept.iter().all(|byte| *byte == old), "{n}");
        assert!(behind.iter().all(|byte| *byte == 0), "{n}");
    }
}

#[test]
fn completions_are_small() {
    assert_eq!(size_of::<Completion>(), 16);
}
