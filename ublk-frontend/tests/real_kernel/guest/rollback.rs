//! A disk in use goes back to a snapshot, and forth; snapshots are deleted under it. And a device is told other words than `add`
//! was given: delay of write-back, a full file system, read-only.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use model::op::{Kind, Op, Value};

use super::aside::updates_size;
use super::buffer::Buffer;
use super::bundle::{agrees, kill};
use super::judge::{Judge, read_all, values};
use super::load::{Load, during};
use super::loads::Judged;
use super::random::Random;
use super::server::{Device, add, call, ok};
use super::sys;
use super::target::{SECTOR, Target, wait_for};
use super::trouble::{During, Outcome, Trouble, demand};
use super::{deleted, disks};

const SECTORS: u64 = 16 << 11;
const KILLS: u64 = 10;
const MOST: u64 = 48;

/// The same through the page cache.
fn read_cached(device: &Device) -> Result<Vec<Value>, Trouble> {
    let mut bytes = Vec::new();
    File::open(&device.path)?.read_to_end(&mut bytes)?;
    Ok(values(&bytes))
}

pub(super) fn same(found: &[Value], wanted: &[Value], what: &str) -> Result<(), Trouble> {
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

/// A table with one partition, in the first sector.
fn write_table(target: &Target) -> Result<(), Trouble> {
    let mut buffer = Buffer::new(SECTOR as usize);
    let sector = buffer.part(SECTOR as usize);
    sector.fill(0);
    sector[446 + 4] = 0x83;
    sector[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    sector[446 + 12..446 + 16].copy_from_slice(&4096_u32.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let op = Op {
        kind: Kind::Write {
            preflush: false,
            fua: true,
        },
        start: 0,
        len: 1,
    };
    target.perform(op, sector).during("a partition table")
}

/// What the disk is, and what the kernel must know of it.
struct State {
    values: Vec<Value>,
    has_partition: bool,
}

impl State {
    fn of(target: &Target, has_partition: bool) -> Result<State, Trouble> {
        Ok(State {
            values: read_all(target)?,
            has_partition,
        })
    }

    /// Past the page cache, through it, and what the kernel says of partitions; where nobody waits for the server, that takes a
    /// moment.
    fn is_there(&self, device: &Device, target: &Target, what: &str) -> Outcome {
        same(&read_all(target)?, &self.values, what)?;
        let partition = format!("/sys/class/block/ublkb{}p1", device.id);
        wait_for(Path::new(&partition), self.has_partition, 10).during(what)?;
        let cached = format!("{what}, through the page cache");
        same(&read_cached(device)?, &self.values, &cached)?;
        Ok(String::new())
    }
}

/// Back and forth between two states, with writers, with killed commands. The one is larger where the kernel can be told, and has
/// a partition.
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
    let first = State::of(&target, false)?;
    let old = ok(&format!("snapshot create --id {id}"))?;
    load(42)?;
    if updates_size()? {
        ok(&format!("resize {id} 20M"))?;
    }
    write_table(&target)?;
    let second = State::of(&target, true)?;
    demand(first.values != second.values, || {
        "a load that changed nothing".into()
    })?;
    same(
        &read_cached(&device)?,
        &second.values,
        "through the page cache",
    )?;

    let back = format!("snapshot switch --id {id} --to {old}");
    claimed_is_refused(&device, &back)?;
    looped_is_refused(&device, &back)?;
    let saved = ok(&format!("{back} --save --json"))?;
    let saved: serde_json::Value =
        serde_json::from_str(&saved).map_err(|error| format!("{saved}: {error}"))?;
    let new = saved["saved"].as_str().unwrap_or_default().to_owned();
    let forth = format!("snapshot switch --id {id} --to {new}");
    first.is_there(&device, &target, "gone back")?;
    // The flag that somebody else has set stays.
    let disk = File::open(&device.path)?;
    sys::set_read_only(disk.as_fd(), true).during("--setro")?;
    ok(&forth)?;
    second.is_there(&device, &target, "gone forth")?;
    let flag = std::fs::read_to_string(format!("/sys/block/ublkb{id}/ro"))?;
    demand(flag.trim() == "1", || format!("--setro, and ro is {flag}"))?;
    sys::set_read_only(disk.as_fd(), false).during("--setrw")?;
    drop(disk);
    slowly(&target, (&first, &second), (&back, &forth))?;
    partition_is_refused(&device, &target, (&first, &second), (&back, &forth))?;
    for wrong in [
        "--to {11111111-1111-1111-1111-111111111111}".to_owned(),
        format!("--to {old} --save --guid {old}"),
    ] {
        let pid = device.server()?;
        let called = call(&format!("snapshot switch --id {id} {wrong}"))?;
        let same_server = device.server()? == pid;
        demand(called.code == Some(1) && same_server, || {
            format!("{wrong}: {called:?}, the same server: {same_server}")
        })?;
    }

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
        let is = [&first, &second]
            .into_iter()
            .find(|state| state.values == found);
        let is = is.ok_or_else(|| {
            let sectors = found.len();
            format!("{command} was killed: {sectors} sectors, neither the one disk nor the other")
        })?;
        is.is_there(&device, &target, "killed")?;
    }
    demand(recovered > 0, || {
        "no command was ever killed while the server was aside".into()
    })?;
    ok(&back)?;
    drop(target);
    deleted::some(&device, &at, (&old, &first.values), (&new, &second.values))?;
    device.del()?;
    ok(&format!("check {words}"))?;
    let device = add("", &[&at]).during("again")?;
    let target = device.open()?;
    same(&read_all(&target)?, &first.values, "again")?;
    drop(target);
    device.del()?;
    Ok(format!("{kills} commands killed, {recovered} recoveries"))
}

/// Writers on the upper half while the disk goes back and forth: none fails, and the lower half is always that of a snapshot.
fn slowly(
    target: &Target,
    (first, second): (&State, &State),
    (back, forth): (&str, &str),
) -> Result<(), Trouble> {
    let half = SECTORS / 2;
    let load = Load {
        weights: [0, 40, 6, 3, 4, 8, 3],
        area: (half, half),
        ..Load::mixed(SECTORS, 44)
    };
    let lower = half as usize;
    during(&load, &Judge::zeros(SECTORS), target, &[], |running| {
        for (state, words) in [
            (first, back),
            (second, forth),
            (first, back),
            (second, forth),
        ] {
            running.for_a_while(Duration::from_millis(200));
            ok(words)?;
            let found = read_all(target)?;
            same(&found[..lower], &state.values[..lower], "under load")?;
        }
        Ok(())
    })?;
    for (state, words) in [(first, back), (second, forth)] {
        ok(words)?;
        same(&read_all(target)?, &state.values, "after the load")?;
    }
    Ok(())
}

/// Somebody has a partition open: that is found while nothing has changed. And a disk that has grown goes back where the kernel can
/// be told, and stays where it cannot.
fn partition_is_refused(
    device: &Device,
    target: &Target,
    (first, second): (&State, &State),
    (back, forth): (&str, &str),
) -> Result<(), Trouble> {
    let open = File::open(format!("/dev/ublkb{}p1", device.id)).during("the partition")?;
    let called = call(back)?;
    let refused = called.code == Some(1) && called.err.contains("partitions");
    demand(refused, || format!("a partition is open: {called:?}"))?;
    drop(open);
    second.is_there(device, target, "refused")?;
    ok(&format!("resize {} 40M", device.id))?;
    if updates_size()? {
        ok(back)?;
        first.is_there(device, target, "grown, and gone back")?;
    } else {
        // The kernel shows the size of before, which is that of the snapshot.
        ok(back)?;
        first.is_there(device, target, "grown unseen, and gone back")?;
    }
    ok(forth)
        .and_then(|_| second.is_there(device, target, "and forth"))
        .map(drop)
}

/// A loop device on the disk has no claim of its own.
fn looped_is_refused(device: &Device, words: &str) -> Result<(), Trouble> {
    let looped = Path::new("/dev/loop7");
    sys::attach_loop(looped, &device.path).during("a loop device")?;
    let called = call(words);
    sys::detach_loop(looped).during("the loop device away")?;
    let called = called?;
    let refused = called.code == Some(1) && called.err.contains("unmount it first");
    demand(refused, || {
        format!("{words} of a disk behind a loop device: {called:?}")
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
    let mut buffer = Buffer::new(SECTOR as usize);
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
    killed(&disk)?;
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

/// The command is killed at any moment; the same once more does what is left.
fn killed(disk: &Judged) -> Result<(), Trouble> {
    let (id, mut random) = (disk.device.id, Random::new(46));
    for number in 0..8 {
        let is_read_only = number % 2 == 0;
        let word = if is_read_only {
            "--read-only"
        } else {
            "--read-write"
        };
        let words = format!("set {id} {word}");
        let after = random.below([300, 100, 50, 20][number / 2]);
        kill(&words, Duration::from_millis(after), &disk.device)?;
        ok(&words)?;
        let refused = File::options()
            .write(true)
            .open(&disk.device.path)
            .and_then(|file| {
                // Of its own content: what was written is not changed.
                let mut sector = [0; SECTOR as usize];
                File::open(&disk.device.path)?.read_exact(&mut sector)?;
                file.write_all_at(&sector, 0)?;
                file.sync_all()
            });
        demand(refused.is_err() == is_read_only, || {
            format!("{word} was killed, and given again: a write: {refused:?}")
        })?;
    }
    Ok(())
}

/// No writes for a while; meanwhile others read the image.
fn read_only(disk: &Judged) -> Result<(), Trouble> {
    let id = disk.device.id;
    claimed_is_refused(&disk.device, &format!("set {id} --read-only"))?;
    let mut buffer = Buffer::new(SECTOR as usize);
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
    let again = disk.target.perform(write, buffer.part(SECTOR as usize));
    let is_refused = called.code == Some(1) && again.is_err();
    let why = is_refused && info(&disk.device, "read-only")? == true;
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
