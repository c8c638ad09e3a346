//! How a server ends while it is used: by SIGTERM, by a panic, by `kill -9` with the next one in the door; and with an
//! image that was cut.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use model::op::{Kind, Op};
use rustix::io::Errno;
use rustix::process::{Signal, kill_process};

use super::buffer::Buffer;
use super::disks;
use super::load::{Load, during};
use super::loads::Judged;
use super::server::{self, add, call, create, ok};
use super::target::wait_for;
use super::trouble::{During, Outcome, Trouble, demand};
use super::{files, sys};

/// What a disk says that is gone: no such device, an error, or, since it has no sectors any more, their end.
const GONE: [Errno; 6] = [
    Errno::IO,
    Errno::NXIO,
    Errno::NODEV,
    Errno::NODATA,
    Errno::NOSPC,
    Errno::INVAL,
];

/// SIGTERM under load: requests are answered until the disk is gone, the image is closed, and all that was answered is there.
pub(crate) fn terminated() -> Outcome {
    let options = "--queues 4 --depth 16 --flush-delay 60000ms";
    let mut disk = Judged::new("terminated", "16M", "64k", options)?;
    let server = disk.device.server()?;
    let before = during(
        &Load::mixed(disk.sectors, 41),
        &disk.judge,
        &disk.target,
        &GONE,
        |running| {
            running.for_a_while(Duration::from_secs(2));
            let (done, failed) = (disk.judge.judged().ops, disk.judge.failed());
            demand(failed == 0, || format!("{failed} failed before the signal"))?;
            kill_process(server, Signal::TERM).during("SIGTERM")?;
            wait_for(&disk.device.path, false, 30)?;
            Ok(done)
        },
    )?;
    let failed = disk.judge.failed();
    demand(failed > 0, || "nobody used it when it went".to_owned())?;
    gone(server.as_raw_nonzero().get())?;
    // The mark is cleared, nothing is leaked.
    server::check(&disk.image)?;
    disk.device = add(options, &[&disk.image])?;
    disk.target = disk.device.open()?;
    disk.judge
        .read_everything(&disk.target, disk.sectors)
        .during("after SIGTERM")?;
    Ok(format!(
        "{before} operations, none failed, then SIGTERM: {failed} failed; {}",
        disk.finish()?
    ))
}

/// A server that ends as a panic ends it: by abort, under load. (That a panic in any thread is an abort: a test of the
/// program itself.)
pub(crate) fn aborted() -> Outcome {
    successor("aborted", 3, Signal::ABORT, true)
}

/// `kill -9`, and `recover` at once, while the old server still dies.
pub(crate) fn recovered_at_once() -> Outcome {
    successor("at-once", 10, Signal::KILL, false)
}

/// A server is ended by a signal under load, so often, and a new one started: when the old one is gone, or at once.
fn successor(name: &str, times: u32, signal: Signal, wait: bool) -> Outcome {
    let mut disk = Judged::new(name, "16M", "64k", "--queues 4 --depth 16")?;
    disk.killed = true;
    let mut late = 0;
    let load = Load::mixed(disk.sectors, 42);
    during(&load, &disk.judge, &disk.target, &[], |running| {
        for _ in 0..times {
            running.for_a_while(Duration::from_millis(300));
            if running.stopped() {
                break;
            }
            let old = disk.device.server()?;
            kill_process(old, signal).during("signal")?;
            if wait {
                gone(old.as_raw_nonzero().get())?;
                late += disk.judge.running();
            }
            disk.device.recover()?;
            let new = disk.device.server()?;
            demand(new != old, || {
                format!("process {old:?} is still the server")
            })?;
        }
        running.for_a_while(Duration::from_millis(300));
        Ok(())
    })?;
    demand(!wait || late > 0, || "nobody waited".to_owned())?;
    demand(disk.judge.failed() == 0, || {
        "an operation failed".to_owned()
    })?;
    Ok(format!("{times} times; {}", disk.finish()?))
}

fn gone(pid: i32) -> Result<(), Trouble> {
    wait_for(Path::new(&format!("/proc/{pid}")), false, 10)
}

fn op(kind: Kind, cluster: u64) -> Op {
    Op {
        kind,
        start: cluster * 128,
        len: 8,
    }
}

const WRITE: Kind = Kind::Write {
    preflush: false,
    fua: false,
};
const FLUSH: Op = Op {
    kind: Kind::Flush,
    start: 0,
    len: 0,
};

/// The image itself is cut under its server: errors where something is missing, no panic, no process that stays, and a
/// plain word at the end.
pub(crate) fn cut() -> Outcome {
    let image = disks::folder("cut")?.join("disk.hdd");
    create(&image, "16M", "64k")?;
    let device = add("--queues 2 --flush-delay 60000ms", &[&image])?;
    let target = device.open()?;
    let mut buffer = Buffer::new(4096);
    buffer.part(4096).fill(0x5a);
    for cluster in 0..32 {
        target.perform(op(WRITE, cluster), buffer.part(4096))?;
    }
    target.perform(FLUSH, &mut [])?;
    // One that the index does not name yet.
    target.perform(op(WRITE, 40), buffer.part(4096))?;
    let file = File::options().write(true).open(&image)?;
    file.set_len(8 << 16)?;
    files::drop_caches()?;
    let lost = target.perform(op(Kind::Read, 31), buffer.part(4096));
    demand(matches!(lost, Err(Errno::IO | Errno::NODATA)), || {
        format!("a read of a cluster that was cut off: {lost:?}")
    })?;
    target
        .perform(op(Kind::Read, 0), buffer.part(4096))
        .during("a cluster that is still there")?;
    target
        .perform(op(Kind::Read, 200), buffer.part(4096))
        .during("a cluster that never was")?;
    let server = device.server()?;
    ok(&format!("info {}", device.id)).during("the server still answers")?;
    // Whether these are errors is the file system's affair; that they end is ours.
    let written = target.perform(op(WRITE, 201), buffer.part(4096));
    let flushed = target.perform(FLUSH, &mut []);
    drop(target);
    let log = server::log(device.id);
    let deleted = call(&format!("del {}", device.id))?;
    demand(matches!(deleted.code, Some(0 | 1)), || {
        format!("del: {deleted:?}")
    })?;
    demand(
        deleted.code == Some(0) || deleted.err.contains("disk.hdd"),
        || format!("it does not say which image: {deleted:?}"),
    )?;
    wait_for(&device.path, false, 10)?;
    gone(server.as_raw_nonzero().get())?;
    sys::nobody_waits()?;
    demand(!log.contains("panicked"), || log.clone())?;
    // What is left is told for what it is.
    let checked = call(&format!("check {}", image.display()))?;
    demand(checked.code == Some(2), || format!("check: {checked:?}"))?;
    let again = call(&format!("add {}", image.display()))?;
    demand(
        again.code == Some(1) && again.err.contains("ploop-ublk check"),
        || format!("add of what is left: {again:?}"),
    )?;
    Ok(format!(
        "read: {lost:?}, write: {written:?}, flush: {flushed:?}; del: exit {:?} {}; add: {}",
        deleted.code, deleted.err, again.err
    ))
}
