//! Power cuts on a real kernel: image on ext4 on `dm-log-writes`, which logs every write in the order in which a disk that
//! honours flushes could have kept them. After the load the log is replayed to its flushes and FUA writes, one by one.
//!
//! * **States.** Behind a flush or FUA entry the disk holds exactly what is logged up to it; in every second state also a
//!   drawn part of what follows up to the next flush: what a volatile cache may have kept.
//! * **What is judged.** ext4 recovers its journal; the core opens the image; `model::fsck` finds it sound; every sector
//!   is legal for `model::disk` after a power cut.
//! * **Whether the simulated disk allows it.** The server tells a journal of each write, hole, length and sync of the image. The
//!   image, its length and every sector, must be one that `sim::disk` could have left at one moment between the two marks: see
//!   `allowed`. So the crashes that the simulator draws include what this kernel, file system and disk have done. Some states
//!   are altered in one sector, which must be refused. (What is written without a copy cannot be told: one step without.)
//! * **When was that?** A thread puts numbered marks into the log, and into the history of operations before and after. What
//!   was acknowledged before the last mark ahead of the next write *had* been acknowledged, and if that promised to be durable it
//!   must be there; what was submitted before the mark that follows may have had an effect.
//! * **Dirty pages.** A state counts as one with a dirty delayed index page if a cluster was written and acknowledged before
//!   its mark, not touched since, and the image does not map it.

mod allowed;
mod history;
mod log;
mod replay;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::disks::{self, POWER, POWER_LOG};
use super::dm::Mapped;
use super::judge::{Event, Judge};
use super::load::{Load, during};
use super::server::{add, create};
use super::sys;
use super::target::Target;
use super::trouble::{During, Outcome, Trouble, demand};
use allowed::{Allowed, Marks};
use history::History;
use log::Log;
use replay::{Found, Replay};

/// Bytes of the disk whose power is cut.
const DISK: u64 = 32 << 20;
/// Sectors of a cluster.
const CLUSTER: u64 = 8;
const PLACE: &str = "/tmp/power";
const IMAGE: &str = "disk.hdd";
/// States that are looked at, and how many of them must have dirty pages.
const STATES: usize = 200;
const DIRTY: usize = STATES / 2;
/// States of a disk that lies.
const LIES: usize = 40;
/// States without a copy.
const WITHOUT_COPY: usize = 60;
/// The server's journal, on a file system in memory.
const JOURNAL: &str = "/tmp/power.journal";
/// The load goes on at most so long for a log that holds enough.
const LONGEST: Duration = Duration::from_secs(90);
/// Another log is made only before this time.
const ANOTHER: Duration = Duration::from_secs(180);

/// What serves the disk whose power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Ours, of an image, with a journal.
    Ours,
    /// Ours, without; without a copy where the kernel can.
    Untold,
    /// The kernel's loop device, of a raw file: what these checks say of somebody else's disk.
    KernelLoop,
}

/// Ours. A slow machine gets more time, up to what the step may take: first for the log to hold enough, then for another
/// log if too few states of the first had dirty pages.
pub(crate) fn cuts() -> Outcome {
    let began = Instant::now();
    let mut told = Vec::new();
    loop {
        let events = make_log(Server::Ours, Duration::from_secs(14), STATES)?;
        let (found, line) = replay(Server::Ours, &events, STATES, None)?;
        told.push(line);
        if found.states >= STATES && found.dirty >= DIRTY {
            found.check()?;
            told.push(lied(&events)?);
            return Ok(told.join("; "));
        }
        demand(began.elapsed() < ANOTHER, || {
            format!("too few: {}", told.join("; again: "))
        })?;
    }
}

/// The same log as a disk would have left it that lies: some writes are lost. What the image holds then is not allowed.
fn lied(told: &Told) -> Outcome {
    match replay(Server::Ours, told, LIES, Some(FORGOTTEN)) {
        Ok((_, line)) => {
            Err(format!("every {FORGOTTEN}th write was lost, and nobody noticed: {line}").into())
        }
        Err(Trouble::Failed(found)) if found.contains(allowed::REFUSAL) => {
            Ok(format!("with losses: {found}"))
        }
        Err(other) => Err(other),
    }
}

/// Ours without a journal, and without a copy.
pub(crate) fn without_copy() -> Outcome {
    let told = make_log(Server::Untold, Duration::from_secs(6), WITHOUT_COPY)?;
    let (found, line) = replay(Server::Untold, &told, WITHOUT_COPY, None)?;
    demand(found.dirty > 0, || format!("no dirty pages: {line}"))?;
    Ok(line)
}

/// The test of this test: nothing is found on the kernel's loop device, and something is if a logged write is left out.
pub(crate) fn sound() -> Outcome {
    let events = make_log(Server::KernelLoop, Duration::from_secs(4), 30)?;
    let (_, line) = replay(Server::KernelLoop, &events, 30, None)?;
    match replay(Server::KernelLoop, &events, 30, Some(FORGOTTEN)) {
        Ok((_, line)) => {
            Err(format!("every {FORGOTTEN}th write was lost, and nobody noticed: {line}").into())
        }
        Err(Trouble::Failed(found)) => Ok(format!("{line}; with losses: {found}")),
        Err(other) => Err(other),
    }
}

/// Of the lying disk: of so many writes one is lost.
const FORGOTTEN: usize = 40;

/// What happened while the log was filled.
struct Told {
    events: Vec<Event>,
    marks: Marks,
    /// The image as it was when the journal began, if there is one.
    before: Option<Vec<u8>>,
}

/// Fills the log for some time, and on until it holds so many durable moments: what happened meanwhile.
fn make_log(server: Server, time: Duration, moments: usize) -> Result<Told, Trouble> {
    let parameters = format!("{POWER} {POWER_LOG}");
    let mapped = Mapped::create("logged", DISK / 512, "log-writes", &parameters)
        .map_err(|trouble| Trouble::NotOffered(trouble.to_string()))?;
    let recorded = run(&mapped, server, (time, moments));
    // The log's end is written when it goes.
    mapped.remove()?;
    recorded
}

fn replay(
    server: Server,
    told: &Told,
    states: usize,
    forget: Option<usize>,
) -> Result<(Found, String), Trouble> {
    let history = History::new(told.events.clone(), sectors());
    let allowed = match &told.before {
        Some(before) => Some(Allowed::read(
            before,
            Path::new(JOURNAL),
            told.marks.clone(),
        )?),
        None => None,
    };
    let is_told = allowed.is_some();
    let log = Log::read(Path::new(POWER_LOG), forget)?;
    let marks = log.durable().count();
    let found = Replay::new(log, history, allowed, server)?.all(states)?;
    let mut line = format!(
        "{} states of {marks} flushes and FUA writes, {} with dirty pages, {} with a part of what followed; {} sectors judged",
        found.states, found.dirty, found.parts, found.sectors
    );
    if is_told {
        line.push_str(&found.of_image());
    }
    Ok((found, line))
}

/// Of the disk in the image.
fn sectors() -> u64 {
    8 << 11
}

/// Makes a file system for the server, and takes it away.
fn run(mapped: &Mapped, server: Server, time: Span) -> Result<Told, Trouble> {
    let path = mapped.path.display().to_string();
    disks::program(
        "mkfs.ext4",
        &[
            "-q",
            "-F",
            "-E",
            "nodiscard,lazy_itable_init=0",
            "-J",
            "size=4",
            &path,
        ],
    )?;
    std::fs::create_dir_all(PLACE)?;
    mount(&mapped.path, PLACE, "ext4", MountFlags::NOATIME, None).during("mount")?;
    let recorded = match server {
        Server::Ours | Server::Untold => serve(mapped, server, time),
        Server::KernelLoop => serve_loop(mapped, time),
    };
    unmount(PLACE, UnmountFlags::empty()).during("unmount")?;
    recorded
}

fn serve(mapped: &Mapped, server: Server, time: Span) -> Result<Told, Trouble> {
    let image = Path::new(PLACE).join(IMAGE);
    create(&image, "8M", "4k")?;
    rustix::fs::syncfs(std::fs::File::open(PLACE)?)?;
    let _ = std::fs::remove_file(JOURNAL);
    let (before, journal) = match server {
        Server::Ours => (
            Some(std::fs::read(&image)?),
            format!("--trace-io {JOURNAL}"),
        ),
        _ => (None, String::new()),
    };
    let options = format!("--queues 4 --depth 16 --flush-delay 80ms {journal}");
    let device = add(&options, &[&image])?;
    let target = device.open()?;
    rustix::fs::syncfs(std::fs::File::open(PLACE)?)?;
    let mut recorded = work(mapped, time, &target)?;
    recorded.before = before;
    drop(target);
    device.del()?;
    super::server::check(&image)?;
    disks::export(&image, "power.hdd")?;
    Ok(recorded)
}

fn serve_loop(mapped: &Mapped, time: Span) -> Result<Told, Trouble> {
    let file = Path::new(PLACE).join(IMAGE);
    std::fs::File::create(&file)?.set_len(sectors() * 512)?;
    let device = Path::new("/dev/loop2");
    sys::attach_loop(device, &file).during("loop")?;
    rustix::fs::syncfs(std::fs::File::open(PLACE)?)?;
    let recorded = Target::open(device).and_then(|target| work(mapped, time, &target));
    sys::detach_loop(device).during("loop")?;
    recorded
}

/// How long at least, and until how many flushes and FUA writes were answered.
type Span = (Duration, usize);

/// The load, and the marks.
fn work(mapped: &Mapped, (time, moments): Span, target: &Target) -> Result<Told, Trouble> {
    let judge = Judge::zeros(sectors());
    judge.record();
    // First touches and discards, so that there are always new mappings; flushes and FUA now and then. Everybody is alone in
    // a part of the disk: the log has writes in the order in which they were completed. Of two in flight to one sector that
    // need not be the one that the disk has kept and that clients have read.
    let own = sectors() / 8;
    let load = Load {
        weights: [4, 63, 0, 0, 2, 29, 2],
        longest: 32,
        grain: 4,
        sequential: 10,
        clients: 5,
        area: (own, sectors() - own),
        apart: true,
        ..Load::mixed(sectors(), 12)
    };
    let alone = Load {
        weights: [4, 53, 11, 0, 2, 29, 1],
        clients: 1,
        area: (0, own),
        seed: 30,
        ..load.clone()
    };
    let stop = AtomicBool::new(false);
    let marks = std::thread::scope(|scope| {
        let marker = scope.spawn(|| mark(mapped, &judge, &stop));
        let result = during(&load, &judge, target, &[], |_| {
            during(&alone, &judge, target, &[], |running| {
                running.until(|| judge.durables() >= moments, time, LONGEST);
                Ok(())
            })
        });
        stop.store(true, Ordering::Relaxed);
        let marks = marker.join().map_err(|_| "the marker panicked")??;
        result.map(|_| marks)
    })?;
    Ok(Told {
        events: judge.recorded(),
        marks,
        before: None,
    })
}

/// Mark `n` of the log stands between the events `2n` and `2n + 1`, and between two lengths of the journal.
fn mark(mapped: &Mapped, judge: &Judge, stop: &AtomicBool) -> Result<Marks, Trouble> {
    let mut marks = Marks::new();
    let journal = || std::fs::metadata(JOURNAL).map_or(0, |journal| journal.len());
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        judge.mark(2 * number);
        let before = journal();
        mapped.message(&format!("mark {number}"))?;
        marks.push((before, journal()));
        judge.mark(2 * number + 1);
        number += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(marks)
}
