//! A disk in use goes back to a snapshot, and forth; snapshots are deleted under it. And a device is told other words than `add`
//! was given: delay of write-back, a full file system, read-only.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use model::op::{Kind, Op, Value};

use super::aside::updates_size;
use super::bundle::{agrees, kill};
use super::disks;
use super::judge::{Judge, read_all, values};
use super::load::{Load, during};
use super::loads::Judged;
use super::random::Random;
use super::server::{Device, add, call, ok};
use super::target::{SECTOR, Target};
use super::trouble::{During, Outcome, Trouble, demand};

const SECTORS: u64 = 16 << 11;
const KILLS: u64 = 10;
const MOST: u64 = 48;

/// The same through the page cache.
fn read_cached(device: &Device) -> Result<Vec<Value>, Trouble> {
    let mut bytes = Vec::new();
    File::open(&device.path)?.read_to_end(&mut bytes)?;
    Ok(values(&bytes))
}

fn same(found: &[Value], wanted: &[Value], what: &str) -> Result<(), Trouble> {
    let differs = found
        .iter()
        .zip(wanted)
        .position(|(one, other)| one != other);
    demand(found.len() == wanted.len() && differs.is_none(), || {
        format!(
            "{what}: {} sectors, not {}; first difference at {differs:?}",
            found.len(),
            wanted.len()
        )
    })
}

/// Whoever has claimed the disk keeps it.
fn claimed_is_refused(device: &Device, words: &str) -> Result<(), Trouble> {
    let claim = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::EXCL.bits() as i32)
        .open(&device.path)
        .during("claim")?;
    let called = call(words)?;
    drop(claim);
    let refused = called.code == Some(1) && called.err.contains("unmount it first");
    demand(refused, || {
        format!("{words} of a disk that is claimed: {called:?}")
    })
}

/// Back and forth between two states, with writers, with killed commands, across a growth.
pub(crate) fn switched() -> Outcome {
    let at = disks::folder("rollback")?.join("disk");
    let words = at.display().to_string();
    ok(&format!("init {words} --size 16M --cluster 64k"))?;
    let device = add("--queues 4 --depth 16", &[&at])?;
    let (id, target) = (device.id, device.open()?);
    let judge = Judge::zeros(SECTORS);
    let load = |seed| -> Result<(), Trouble> {
        during(
            &Load::mixed(SECTORS, seed),
            &judge,
            &target,
            &[],
            |running| {
                running.for_a_while(Duration::from_millis(400));
                Ok(())
            },
        )
    };
    load(41)?;
    let first = read_all(&target)?;
    let old = ok(&format!("snapshot create --id {id}"))?;
    load(42)?;
    let second = read_all(&target)?;
    demand(first != second, || "a load that changed nothing".into())?;
    same(&read_cached(&device)?, &second, "through the page cache")?;

    let back = format!("snapshot switch --id {id} --to {old}");
    claimed_is_refused(&device, &back)?;
    let new = ok(&format!("{back} --save"))?;
    let forth = format!("snapshot switch --id {id} --to {new}");
    same(&read_all(&target)?, &first, "gone back")?;
    same(
        &read_cached(&device)?,
        &first,
        "gone back, through the page cache",
    )?;
    slowly(&target, &first, &back)?;
    ok(&forth)?;
    same(&read_all(&target)?, &second, "gone forth")?;
    let unknown = call(&format!(
        "snapshot switch --id {id} --to {}",
        "{11111111-1111-1111-1111-111111111111}"
    ))?;
    demand(
        unknown.code == Some(1) && unknown.err.contains("no snapshot"),
        || format!("{unknown:?}"),
    )?;

    let (mut kills, mut recovered) = (0, 0);
    let mut random = Random::new(43);
    for number in 0..MOST {
        if number >= KILLS && recovered > 0 {
            break;
        }
        kills += 1;
        let command = if number % 2 == 0 { &back } else { &forth };
        let after = random.below([400, 120, 60][number as usize / 2 % 3]);
        recovered += u64::from(kill(command, Duration::from_millis(after), &device)?);
        agrees(&device, &at)?;
        let found = read_all(&target)?;
        demand(found == first || found == second, || {
            format!("{command} was killed: neither the one disk nor the other")
        })?;
    }
    demand(recovered > 0, || {
        "no command was ever killed while the server was aside".into()
    })?;
    ok(&forth)?;
    grown(&device, &target, &back, &first)?;
    drop(target);
    deleted(&device, &at, &old, &new, &first)?;
    device.del()?;
    ok(&format!("check {words}"))?;
    let device = add("", &[&at]).during("again")?;
    let target = device.open()?;
    same(&read_all(&target)?, &first, "again")?;
    drop(target);
    device.del()?;
    Ok(format!("{kills} commands killed, {recovered} recoveries"))
}

/// Writers on the upper half while the disk goes back: none fails, and the lower half is what it was.
fn slowly(target: &Target, first: &[Value], back: &str) -> Result<(), Trouble> {
    let half = SECTORS / 2;
    let load = Load {
        weights: [0, 40, 6, 3, 4, 8, 3],
        area: (half, half),
        ..Load::mixed(SECTORS, 44)
    };
    during(&load, &Judge::zeros(SECTORS), target, &[], |running| {
        for _ in 0..3 {
            running.for_a_while(Duration::from_millis(200));
            ok(back)?;
            let found = read_all(target)?;
            same(
                &found[..half as usize],
                &first[..half as usize],
                "under load",
            )?;
        }
        Ok(())
    })?;
    ok(back)?;
    same(&read_all(target)?, first, "after the load")
}

/// The snapshot is smaller than the disk: the kernel is told, or it is refused before anything has changed.
fn grown(device: &Device, target: &Target, back: &str, first: &[Value]) -> Result<(), Trouble> {
    ok(&format!("resize {} 40M", device.id))?;
    if updates_size()? {
        ok(back)?;
        let sectors = target.sectors()?;
        demand(sectors == SECTORS, || {
            format!("{sectors} sectors, gone back")
        })?;
        return same(&read_all(target)?, first, "grown, and gone back");
    }
    let called = call(back)?;
    let told = called.err.contains("16777216") && called.err.contains("41943040");
    demand(called.code == Some(1) && told, || format!("{called:?}"))?;
    demand(
        call(&format!("info {}", device.id))?.code == Some(0),
        || "a refused switch has stopped the server".into(),
    )?;
    // What users of such a kernel do.
    let whole = ok(&format!("info {} --json", device.id))?;
    demand(whole.contains("41943040"), || whole.clone())
}

/// A leaf goes, then the snapshot under the disk: what is served does not change.
fn deleted(
    device: &Device,
    at: &Path,
    old: &str,
    new: &str,
    first: &[Value],
) -> Result<(), Trouble> {
    let id = device.id;
    if !updates_size()? {
        // The disk has grown, and stands on `new`: back by hand.
        ok(&format!("del {id}"))?;
        ok(&format!("snapshot switch {} {old}", at.display()))?;
        let again = add(&format!("--id {id} --queues 4 --depth 16"), &[at])?;
        demand(again.id == id, || format!("{again:?}"))?;
    }
    let target = device.open()?;
    let printed = ok(&format!("snapshot delete --id {id} --guid {new} --json"))?;
    demand(printed.contains("\"removed\": true"), || printed.clone())?;
    same(&read_all(&target)?, first, "a leaf deleted")?;
    ok(&format!("snapshot delete --id {id} --guid {old}"))?;
    same(&read_all(&target)?, first, "the snapshot below deleted")?;
    let images = agrees(device, at)?;
    demand(images == 1, || {
        format!("{images} images after both were deleted")
    })
}

/// A field of `info --json`.
fn info(device: &Device, field: &str) -> Result<serde_json::Value, Trouble> {
    let printed = ok(&format!("info {} --json", device.id))?;
    let report: serde_json::Value =
        serde_json::from_str(&printed).map_err(|error| format!("info: {error}"))?;
    Ok(report[field].clone())
}

/// One write to a cluster that is not mapped yet; then pages that are dirty.
fn dirty_after_write(disk: &Judged, cluster: u64) -> Result<u64, Trouble> {
    let mut buffer = super::buffer::Buffer::new(SECTOR as usize);
    let op = Op {
        kind: Kind::Write {
            preflush: false,
            fua: false,
        },
        start: cluster * 128,
        len: 1,
    };
    disk.judge
        .perform(&disk.target, op, &mut buffer)?
        .during("a write")?;
    let dirty = info(&disk.device, "dirty-pages")?;
    dirty
        .as_u64()
        .ok_or_else(|| format!("dirty-pages: {dirty}").into())
}

/// `set`, alone and under load.
pub(crate) fn set() -> Outcome {
    let disk = Judged::new("set", "64M", "64k", "--queues 4 --depth 16")?;
    let id = disk.device.id;
    // What the delay does is seen, not only said.
    ok(&format!("set {id} --flush-delay 60000ms"))?;
    let dirty = dirty_after_write(&disk, 1000)?;
    demand(dirty > 0, || {
        "a delay of a minute, and nothing is dirty".into()
    })?;
    let printed = ok(&format!("set {id} --flush-delay 0 --json"))?;
    demand(printed.contains("\"flush-delay-ms\":0"), || printed.clone())?;
    let dirty = dirty_after_write(&disk, 1010)?;
    demand(dirty == 0, || {
        format!("no delay, and {dirty} pages are dirty")
    })?;
    let mut slowest = Duration::ZERO;
    let load = Load::mixed(disk.sectors, 45);
    during(&load, &disk.judge, &disk.target, &[], |running| {
        for words in [
            "--flush-delay 20ms",
            "--no-space fail",
            "--no-space wait --no-space-limit 30s --flush-delay 0",
            "--flush-delay 50ms --no-space-limit 0",
        ] {
            running.for_a_while(Duration::from_millis(300));
            let began = Instant::now();
            ok(&format!("set {id} {words}"))?;
            slowest = slowest.max(began.elapsed());
        }
        running.for_a_while(Duration::from_millis(300));
        Ok(())
    })?;
    let delay = info(&disk.device, "flush-delay-ms")?;
    demand(delay == 50, || format!("flush-delay-ms {delay}"))?;
    read_only(&disk)?;
    during(&load, &disk.judge, &disk.target, &[], |running| {
        running.for_a_while(Duration::from_millis(300));
        Ok(())
    })?;
    let image = disk.image.clone();
    let found = disk.finish()?;
    let device = add("--read-only", &[&image])?;
    let called = call(&format!("set {} --read-write", device.id))?;
    let refused = called.code == Some(1) && called.err.contains("added with --read-only");
    demand(refused, || format!("{called:?}"))?;
    ok(&format!("set {} --flush-delay 0", device.id))?;
    device.del()?;
    Ok(format!("{slowest:?} at most; {found}"))
}

/// No writes for a while; meanwhile others read the image.
fn read_only(disk: &Judged) -> Result<(), Trouble> {
    let id = disk.device.id;
    claimed_is_refused(&disk.device, &format!("set {id} --read-only"))?;
    let mut buffer = super::buffer::Buffer::new(SECTOR as usize);
    let write = Op {
        kind: Kind::Write {
            preflush: false,
            fua: false,
        },
        start: 0,
        len: 1,
    };
    disk.judge
        .perform(&disk.target, write, &mut buffer)?
        .during("before")?;
    let shared = call(&format!("add --read-only {}", disk.image.display()))?;
    demand(shared.code == Some(1), || {
        format!("an image that is written, shared: {shared:?}")
    })?;
    ok(&format!("set {id} --read-only"))?;
    demand(info(&disk.device, "read-only")? == true, || {
        "info does not say read-only".into()
    })?;
    let refused = disk.target.perform(write, buffer.part(SECTOR as usize));
    demand(refused.is_err(), || {
        "a write to a disk that is read-only".into()
    })?;
    let other = add("--read-only", &[&disk.image]).during("shared")?;
    let (mine, others) = (
        read_all(&disk.target)?,
        read_all(&Target::open(&other.path)?)?,
    );
    same(&others, &mine, "two devices of one image")?;
    let called = call(&format!("set {id} --read-write"))?;
    let why = called.code == Some(1) && info(&disk.device, "read-only")? == true;
    demand(why, || {
        format!("writable although others read the image: {called:?}")
    })?;
    other.del()?;
    disk.judge.read_everything(&disk.target, disk.sectors)?;
    ok(&format!("set {id} --read-write"))?;
    disk.judge
        .perform(&disk.target, write, &mut buffer)?
        .during("after")
}
