//! Loads that the model judges: mixed on one device, four queues on the same few clusters, two devices at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disks;
use super::judge::Judge;
use super::load::{Load, during};
use super::server::{self, Device, add, create};
use super::target::Target;
use super::trouble::{During, Outcome, Trouble, demand};

/// A device of one new image, and the judge of what it holds.
pub(crate) struct Judged {
    /// The image.
    pub(crate) image: PathBuf,
    /// The device.
    pub(crate) device: Device,
    /// It, opened.
    pub(crate) target: Target,
    /// Its judge.
    pub(crate) judge: Judge,
    /// Its size.
    pub(crate) sectors: u64,
    /// Its server was killed.
    pub(crate) killed: bool,
    options: String,
}

impl Judged {
    /// Makes image and device.
    pub(crate) fn new(
        name: &str,
        size: &str,
        cluster: &str,
        options: &str,
    ) -> Result<Judged, Trouble> {
        let image = disks::folder(name)?.join("disk.hdd");
        create(&image, size, cluster)?;
        let device = add(options, &[&image])?;
        let target = device.open()?;
        let sectors = target.sectors()?;
        Ok(Judged {
            image,
            device,
            target,
            judge: Judge::zeros(sectors),
            sectors,
            killed: false,
            options: options.to_owned(),
        })
    }

    /// Reads everything, deletes, checks, adds again, reads everything, deletes.
    pub(crate) fn finish(self) -> Result<String, Trouble> {
        self.judge.read_everything(&self.target, self.sectors)?;
        drop(self.target);
        self.device.del()?;
        check(&self.image, self.killed)?;
        let device = add(&self.options, &[&self.image]).during("again")?;
        let target = device.open()?;
        self.judge
            .read_everything(&target, self.sectors)
            .during("after del and add")?;
        drop(target);
        device.del()?;
        let leaks = check(&self.image, self.killed)?;
        let judged = self.judge.judged();
        let leaked = if leaks > 0 {
            format!(", {leaks} clusters leaked")
        } else {
            String::new()
        };
        Ok(format!(
            "{} operations, {} sectors compared{leaked}",
            judged.ops, judged.sectors
        ))
    }
}

fn check(image: &Path, killed: bool) -> Result<u64, Trouble> {
    if killed {
        return server::check_killed(image);
    }
    server::check(image).map(|()| 0)
}

/// A load of some seconds on a disk of its own, which is handed to the host under this name.
fn with(
    name: &str,
    cluster: &str,
    options: &str,
    load: impl Fn(u64) -> Load,
    seconds: u64,
) -> Outcome {
    let disk = Judged::new(
        "load",
        "48M",
        cluster,
        &format!("--queues 4 --depth 32 {options}"),
    )?;
    during(
        &load(disk.sectors),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            running.for_a_while(Duration::from_secs(seconds));
            Ok(())
        },
    )?;
    let image = disk.image.clone();
    let found = disk.finish()?;
    disks::export(&image, &format!("load-{name}.hdd"))?;
    Ok(found)
}

/// Everything at once.
pub(crate) fn mixed() -> Outcome {
    with("mixed", "64k", "", |sectors| Load::mixed(sectors, 3), 8)
}

/// The same through the page cache and with a copy, on clusters that are no power of two.
pub(crate) fn cached_and_copied() -> Outcome {
    let options = "--zero-copy off --direct off";
    with(
        "cached",
        "252k",
        options,
        |sectors| Load::mixed(sectors, 16),
        5,
    )
}

/// Zero copy where the server puts the pages of each request into its table, and takes them out: as every request on Linux
/// 6.15, and as a request whose pages the kernel could not put there itself.
pub(crate) fn lent_by_hand() -> Outcome {
    let options = "--zero-copy by-hand";
    with(
        "by-hand",
        "64k",
        options,
        |sectors| Load::mixed(sectors, 26),
        5,
    )
}

/// A load on a disk, another on a snapshot of it: what the lower image holds stays, byte by byte.
pub(crate) fn snapshot() -> Outcome {
    let folder = disks::folder("snapshot")?;
    let (lower, top) = (folder.join("lower.hdd"), folder.join("top.hdd"));
    create(&lower, "24M", "64k")?;
    let device = add("--queues 2", &[&lower])?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    let judge = Judge::zeros(sectors);
    let work = |target: &Target, seed: u64| {
        during(
            &Load::mixed(sectors, seed),
            &judge,
            target,
            &[],
            |running| {
                running.for_a_while(Duration::from_secs(3));
                Ok(())
            },
        )
    };
    work(&target, 17)?;
    drop(target);
    device.del()?;
    let before = std::fs::read(&lower)?;
    create(&top, "24M", "64k")?;
    for round in 0..2 {
        let device = add("--queues 4", &[&lower, &top]).during("the stack")?;
        let target = device.open()?;
        judge
            .read_everything(&target, sectors)
            .during("the stack")?;
        work(&target, 18 + round)?;
        judge.read_everything(&target, sectors)?;
        drop(target);
        device.del()?;
        server::check(&top)?;
    }
    demand(std::fs::read(&lower)? == before, || {
        "the lower image was changed".to_owned()
    })?;
    disks::export(&lower, "snapshot-lower.hdd")?;
    disks::export(&top, "snapshot-top.hdd")?;
    let judged = judge.judged();
    Ok(format!(
        "{} operations, {} sectors compared",
        judged.ops, judged.sectors
    ))
}

/// Mostly one after the other, in long operations.
pub(crate) fn sequential() -> Outcome {
    let load = |sectors| Load {
        sequential: 95,
        longest: 2048,
        grain: 8,
        clients: 3,
        weights: [40, 50, 2, 0, 0, 2, 2],
        ..Load::mixed(sectors, 4)
    };
    with("sequential", "1M", "", load, 6)
}

/// Discards and writes on the same clusters.
pub(crate) fn trim() -> Outcome {
    let load = |sectors| Load {
        weights: [25, 30, 3, 2, 10, 28, 2],
        longest: 512,
        area: (0, sectors / 8),
        ..Load::mixed(sectors, 5)
    };
    with("trim", "64k", "", load, 6)
}

/// Longer than the queue of the slowest machine, and nothing that runs out: an operation that waits so long was forgotten
/// until somebody came by.
const TOO_SLOW: Duration = Duration::from_secs(10);

/// Four queues, each client on its processor, on eight clusters that are mapped and discarded all the time: whoever comes
/// second waits for a client of another queue.
pub(crate) fn cross_queue() -> Outcome {
    let disk = Judged::new("cross", "32M", "64k", "--queues 4 --depth 16")?;
    let queues = std::fs::read_dir(format!("/sys/block/ublkb{}/mq", disk.device.id))
        .during("queues")?
        .count();
    demand(queues == 4, || format!("{queues} queues"))?;
    let load = Load {
        area: (0, 8 * 128),
        longest: 128,
        sequential: 0,
        weights: [20, 45, 5, 0, 8, 20, 2],
        ..Load::mixed(disk.sectors, 6)
    };
    let mut slowest = Duration::ZERO;
    during(&load, &disk.judge, &disk.target, &[], |running| {
        running.for_a_while(Duration::from_secs(6));
        slowest = disk.judge.slowest();
        Ok(())
    })?;
    let report = server::ok(&format!("info {} --json", disk.device.id))?;
    let report: serde_json::Value =
        serde_json::from_str(&report).map_err(|error| format!("info: {error}"))?;
    let mail = report["counters"]["mail"].as_u64().unwrap_or(0);
    demand(mail > 0, || "no queue ever worked for another".to_owned())?;
    demand(slowest < TOO_SLOW, || {
        format!("an operation took {slowest:?}: it waited for something that did not come")
    })?;
    Ok(format!(
        "{}, {mail} letters, slowest operation {slowest:?}",
        disk.finish()?
    ))
}

/// Two devices under load; one is deleted while the other goes on.
pub(crate) fn two_devices() -> Outcome {
    let one = Judged::new("one", "24M", "64k", "--queues 2")?;
    let two = Judged::new("two", "24M", "1M", "")?;
    demand(one.device.id != two.device.id, || {
        format!("both are number {}", one.device.id)
    })?;
    let listed = server::ok("list")?;
    for device in [&one.device, &two.device] {
        let name = device.path.display().to_string();
        demand(
            listed.contains(&format!("ublkb{}", device.id)) || listed.contains(&name),
            || format!("list does not show {name}: {listed}"),
        )?;
    }
    let (one_load, two_load) = (
        Load {
            clients: 2,
            ..Load::mixed(one.sectors, 7)
        },
        Load {
            clients: 2,
            ..Load::mixed(two.sectors, 8)
        },
    );
    let found = during(&one_load, &one.judge, &one.target, &[], |_| {
        let (judge, target) = (&two.judge, &two.target);
        during(&two_load, judge, target, &[], |running| {
            running.for_a_while(Duration::from_secs(4));
            Ok(())
        })?;
        two.finish()
    })?;
    Ok(format!("one: {}; two: {found}", one.finish()?))
}
