//! `kill -9` of the server under load, and recovery: clients see no error, and nothing that was acknowledged is lost.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::load::{Load, during};
use super::loads::Judged;
use super::random::Random;
use super::server::{self, Device, add, create};
use super::trouble::{Outcome, Trouble, demand};
use super::{disks, files};

const KILLS: u64 = 20;
/// What the dead server had answered has reached its clients after this time.
const ANSWERS: Duration = Duration::from_millis(150);

/// Raw clients, twenty kills. For the model there was no kill.
pub(crate) fn under_load() -> Outcome {
    let mut disk = Judged::new("kill", "16M", "64k", "--queues 4 --depth 16")?;
    disk.killed = true;
    let mut random = Random::new(9);
    let (mut late, mut slowest, mut sum) = (0, Duration::ZERO, Duration::ZERO);
    during(
        &Load::mixed(disk.sectors, 10),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            for _ in 0..KILLS {
                running.for_a_while(Duration::from_millis(150 + random.below(400)));
                if running.stopped() {
                    break;
                }
                disk.device.kill()?;
                std::thread::sleep(ANSWERS);
                late += disk.judge.running();
                let took = disk.device.recover()?;
                (slowest, sum) = (slowest.max(took), sum + took);
            }
            Ok(())
        },
    )?;
    let image = disk.image.clone();
    let found = disk.finish()?;
    disks::export(&image, "killed.hdd")?;
    demand(late > 0, || {
        "no operation was ever in flight when the server died".to_owned()
    })?;
    let mean = sum / KILLS as u32;
    Ok(format!(
        "{KILLS} kills, {late} operations issued again, recover took {mean:?} in the mean and {slowest:?} at most; {found}"
    ))
}

/// A mounted ext4 whose server dies five times: no writer sees an error, and what was written through the cache and
/// synced, before or after a death, is there.
pub(crate) fn under_ext4() -> Outcome {
    let image = disks::folder("kill-ext4")?.join("disk.hdd");
    create(&image, "192M", "64k")?;
    let device = add("--queues 2", &[&image])?;
    let path = device.path.display().to_string();
    disks::program("mkfs.ext4", &["-q", "-F", &path])?;
    files::mount_device(&device.path, "ext4")?;
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = |number: &AtomicU64| -> Result<(), Trouble> {
        while !stop.load(Ordering::Relaxed) && number.load(Ordering::Relaxed) < 150 {
            let file = number.fetch_add(1, Ordering::Relaxed);
            files::write(file, file % 2 == 0)?;
        }
        Ok(())
    };
    let written = std::thread::scope(|scope| {
        let writers = [scope.spawn(|| writer(&next)), scope.spawn(|| writer(&next))];
        let killed = kill_five(&device);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        killed.map(|()| next.load(Ordering::Relaxed))
    })?;
    // Everything is on the device, says the kernel.
    rustix::fs::syncfs(std::fs::File::open(files::MOUNTED)?)?;
    files::drop_caches()?;
    for number in 0..written {
        files::verify(number)?;
    }
    files::unmount_device()?;
    disks::program("e2fsck", &["-f", "-n", &path])?;
    device.del()?;
    server::check_killed(&image)?;
    disks::export(&image, "killed-ext4.hdd")?;
    Ok(format!("5 kills, {written} files, all there"))
}

fn kill_five(device: &Device) -> Result<(), Trouble> {
    for _ in 0..5 {
        std::thread::sleep(Duration::from_millis(700));
        device.kill()?;
        std::thread::sleep(Duration::from_millis(100));
        device.recover()?;
    }
    Ok(())
}

/// Written, acknowledged, server killed, recovered, flushed: the flush covers the write, whoever acknowledged it.
pub(crate) fn then_flush() -> Outcome {
    use super::buffer::Buffer;
    use model::op::{Kind, Op};
    let mut disk = Judged::new("kill-flush", "16M", "64k", "--flush-delay 60000ms")?;
    disk.killed = true;
    let mut buffer = Buffer::new(4096);
    for cluster in 0..16 {
        let op = Op {
            kind: Kind::Write {
                preflush: false,
                fua: false,
            },
            start: cluster * 128,
            len: 8,
        };
        disk.judge.perform(&disk.target, op, &mut buffer)??;
    }
    disk.device.kill()?;
    disk.device.recover()?;
    let flush = Op {
        kind: Kind::Flush,
        start: 0,
        len: 0,
    };
    disk.judge.perform(&disk.target, flush, &mut buffer)??;
    // The client has seen no error and knows of no kill: for it, this is one disk.
    disk.judge.read_everything(&disk.target, disk.sectors)?;
    disk.finish()
}

/// Written, acknowledged, server killed, and no new one: nobody else gets the image meanwhile, and `del` writes back what
/// the dead server had answered for.
pub(crate) fn then_del() -> Outcome {
    use super::buffer::Buffer;
    use model::op::{Kind, Op};
    let mut disk = Judged::new("kill-del", "16M", "64k", "--flush-delay 60000ms")?;
    let mut buffer = Buffer::new(4096);
    for cluster in 0..16 {
        let op = Op {
            kind: Kind::Write {
                preflush: false,
                fua: false,
            },
            start: cluster * 256 + 8,
            len: 8,
        };
        disk.judge.perform(&disk.target, op, &mut buffer)??;
    }
    disk.device.kill()?;
    let image = disk.image.clone();
    // A disk that is open is not removed.
    drop(disk.target);
    let refused = server::call(&format!("add {}", image.display()))?;
    demand(
        refused.code == Some(1) && refused.err.contains("has lost its server"),
        || format!("add of an image whose device waits for a server: {refused:?}"),
    )?;
    disk.device.del()?;
    server::check(&image)?;
    disk.device = add("", &[&image])?;
    disk.target = disk.device.open()?;
    // The client has seen no error and knows of no kill: for it, this is one disk.
    disk.judge.read_everything(&disk.target, disk.sectors)?;
    disk.finish()
}

/// Fifty devices come and go; nothing of them stays.
pub(crate) fn no_leak() -> Outcome {
    come_and_go("--queues 2 --depth 64")
}

/// The same, and the guest's pages are used as they are.
pub(crate) fn no_leak_without_copy() -> Outcome {
    come_and_go("--queues 2 --depth 64 --zero-copy on")
}

fn come_and_go(options: &str) -> Outcome {
    let image = disks::folder("leak")?.join("disk.hdd");
    create(&image, "16M", "1M")?;
    let round = || -> Result<(), Trouble> {
        let device = add(options, &[&image])?;
        let target = device.open()?;
        // One that is mapped, and all the others.
        let mut buffer = super::buffer::Buffer::new(4096);
        let write = model::op::Op {
            kind: model::op::Kind::Write {
                preflush: false,
                fua: false,
            },
            start: 0,
            len: 8,
        };
        target.perform(write, buffer.part(4096))?;
        super::judge::read_all(&target).map(drop)?;
        drop(target);
        device.del()
    };
    // What is allocated once is there after a few.
    for _ in 0..3 {
        round()?;
    }
    let before = Held::now()?;
    for _ in 0..50 {
        round()?;
    }
    let after = Held::now()?;
    let listed = server::ok("list --json")?;
    demand(
        before.nodes == after.nodes
            && before.servers == after.servers
            // The kernel counts in lots of 32 on each processor.
            && after.files <= before.files + 128,
        || format!("before {before:?}, after {after:?}"),
    )?;
    demand(after.kib < before.kib + 16 * 1024, || {
        format!("memory: before {before:?}, after {after:?}")
    })?;
    demand(
        serde_json::from_str::<serde_json::Value>(&listed)
            .is_ok_and(|list| list.as_array().is_none_or(Vec::is_empty)),
        || format!("list is not empty: {listed}"),
    )?;
    server::check(&image)?;
    Ok(format!("before {before:?}, after {after:?}"))
}

/// What devices hold.
#[derive(Debug)]
struct Held {
    /// Nodes in /dev.
    nodes: usize,
    /// Processes of the server.
    servers: usize,
    /// Open files of all processes.
    files: u64,
    /// Memory that processes and kernel hold, caches not counted, in KiB.
    kib: i64,
}

impl Held {
    fn now() -> Result<Held, Trouble> {
        files::drop_caches()?;
        // What the kernel frees, it frees a moment later.
        std::thread::sleep(Duration::from_secs(1));
        let nodes = std::fs::read_dir("/dev")?.filter_map(Result::ok);
        let nodes = nodes
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("ublk"))
            .count();
        let files = std::fs::read_to_string("/proc/sys/fs/file-nr")?;
        let files = files.split_whitespace().next().and_then(|n| n.parse().ok());
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let line = |name: &str| -> i64 {
            let line = memory.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
                .unwrap_or(0)
        };
        let held = [
            "SUnreclaim:",
            "Percpu:",
            "KernelStack:",
            "AnonPages:",
            "Shmem:",
            "PageTables:",
            "VmallocUsed:",
        ];
        let kib = held.iter().map(|name| line(name)).sum();
        Ok(Held {
            nodes,
            servers: server::servers().len(),
            files: files.ok_or("file-nr")?,
            kib,
        })
    }
}
