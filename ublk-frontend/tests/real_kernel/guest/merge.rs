//! Any two images of a disk in use become one while its users go on: below the top, both ways; the top downwards. The server is
//! killed in the middle, or the command.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use model::op::{Kind, Op};

use super::aside::images_of;
use super::buffer::Buffer;
use super::disks;
use super::judge::Judge;
use super::load::{Load, Running, during};
use super::loads::Judged;
use super::random::Random;
use super::server::{self, Device, add, call, ok};
use super::target::{SECTOR, Target};
use super::trouble::{During, Outcome, Trouble, demand};

const SIZE: &str = "48M";
const SECTORS: u64 = 48 << 11;
/// Sectors of a write that fills.
const PIECE: u64 = 512;

/// Writes every sector of this part of the disk.
fn fill(judge: &Judge, target: &Target, part: std::ops::Range<u64>) -> Result<(), Trouble> {
    let mut buffer = Buffer::new((PIECE * SECTOR) as usize);
    for start in part.step_by(PIECE as usize) {
        let kind = Kind::Write {
            preflush: false,
            fua: false,
        };
        let len = PIECE;
        if let Err(error) = judge.perform(target, Op { kind, start, len }, &mut buffer)? {
            return Err(format!("a write failed: {error}").into());
        }
    }
    Ok(())
}

/// A merge that has to work. Requests have to end while clusters are copied. Clusters and requests.
fn merge(words: &str) -> Result<(u64, u64), Trouble> {
    let printed = ok(&format!("snapshot merge --json {words}"))?;
    let report: serde_json::Value =
        serde_json::from_str(&printed).map_err(|error| format!("merge: {error}"))?;
    let count = |name: &str| report[name].as_u64().unwrap_or(0);
    let (clusters, requests) = (count("clusters"), count("requests"));
    demand(clusters > 0 && requests > 0, || {
        format!("merge {words}: nothing went on meanwhile: {printed}")
    })?;
    Ok((clusters, requests))
}

/// A merge that was begun and is known to be copying, if it could be seen: it may be over.
fn copying(words: &str, device: &Device) -> Result<(Child, bool), Trouble> {
    let mut command = Command::new("/bin/ploop-ublk")
        .args(["snapshot", "merge"])
        .args(words.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let until = Instant::now() + Duration::from_secs(20);
    while command.try_wait()?.is_none() && Instant::now() < until {
        let state = call(&format!("info {} --json", device.id))?;
        let report: serde_json::Value = serde_json::from_str(&state.out).unwrap_or_default();
        let count = |name: &str| report["merge"][name].as_u64().unwrap_or(0);
        if count("done") > 0 && count("done") < count("total") {
            return Ok((command, true));
        }
    }
    Ok((command, false))
}

/// The command is killed while it copies; then the server. The chain is as before, and the disk is served.
fn killed(words: &str, device: &Device, running: &Running<'_>) -> Result<(bool, bool), Trouble> {
    let before = images_of(device)?.len();
    let (mut command, was_copying) = copying(words, device)?;
    command.kill()?;
    command.wait()?;
    running.for_a_while(Duration::from_millis(200));
    bring_back(device)?;
    if images_of(device)?.len() < before {
        return Ok((was_copying, false));
    }
    let (mut command, was_copying_too) = copying(words, device)?;
    if was_copying_too {
        device.kill()?;
    }
    // It brings the server back if it finds it dead, and if not, somebody else does.
    command.wait()?;
    bring_back(device)?;
    Ok((was_copying, was_copying_too))
}

/// A merge of the top is killed at any moment, some times, until it is over.
fn kill_at_random(device: &Device, running: &Running<'_>) -> Result<(), Trouble> {
    let mut random = Random::new(53);
    for _ in 0..4 {
        if images_of(device)?.len() == 2 {
            break;
        }
        let mut command = Command::new("/bin/ploop-ublk")
            .args(["snapshot", "merge", "--id", &device.id.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        running.for_a_while(Duration::from_millis(random.below(2000)));
        command.kill()?;
        command.wait()?;
        running.for_a_while(Duration::from_millis(300));
        bring_back(device)?;
    }
    Ok(())
}

fn must_have_hit((command, server): (bool, bool)) -> Result<(), Trouble> {
    demand(command || server, || {
        "neither the command nor the server was killed while it copied".to_owned()
    })
}

fn bring_back(device: &Device) -> Result<(), Trouble> {
    if call(&format!("info {}", device.id))?.code == Some(0) {
        return Ok(());
    }
    let again = call(&format!("recover {}", device.id))?;
    let served = again.code == Some(0) || again.err.contains("is served");
    demand(served, || format!("recover: {again:?}"))
}

fn names(images: &[PathBuf]) -> Vec<String> {
    let names = images.iter().filter_map(|image| image.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// The load leaves some of the disk alone: what is written anew is not below the top any more.
fn load(seed: u64) -> Load {
    Load {
        clients: 3,
        ..Load::mixed(SECTORS / 4, seed)
    }
}

/// A list of images.
pub(crate) fn list() -> Outcome {
    let Judged {
        image,
        device,
        target,
        judge,
        ..
    } = Judged::new("merge", SIZE, "64k", "--queues 2 --depth 16")?;
    let folder = image.parent().unwrap_or(Path::new("/")).to_owned();
    let id = device.id;
    fill(&judge, &target, 0..SECTORS)?;
    for (number, part) in [
        (1, SECTORS / 4..SECTORS),
        (2, 0..SECTORS / 2),
        (3, SECTORS / 2..SECTORS / 4 * 3),
        (4, 0..SECTORS / 4),
        (5, 0..SECTORS / 8 * 3),
    ] {
        let file = folder.join(format!("s{number}.hdd"));
        ok(&format!(
            "snapshot create --id {id} --file {}",
            file.display()
        ))?;
        if number == 1 {
            // What goes into the oldest makes it grow, so that clusters under its table move: that is done while the disk waits.
            ok(&format!("resize {id} 2G"))?;
        }
        fill(&judge, &target, part)?;
    }
    // disk s1 s2 s3 s4 s5
    let file = |name: &str| format!("--id {id} --file {}", folder.join(name).display());
    let expect = |wanted: &[&str]| {
        let images = images_of(&device)?;
        demand(names(&images) == wanted, || {
            format!("{images:?}, not {wanted:?}")
        })
    };
    let mut old = images_of(&device)?;
    old.pop();
    let mut seen = (false, false);
    let done = during(&load(51), &judge, &target, &[], |running| {
        let first = merge(&file("s1.hdd")).during("two below the top")?;
        expect(&["disk.hdd", "s2.hdd", "s3.hdd", "s4.hdd", "s5.hdd"])?;
        let up = merge(&format!("{} --up", file("s4.hdd"))).during("upwards")?;
        expect(&["disk.hdd", "s2.hdd", "s4.hdd", "s5.hdd"])?;
        seen = killed(&file("s2.hdd"), &device, running)?;
        if images_of(&device)?.len() == 4 {
            ok(&format!("snapshot merge {}", file("s2.hdd"))).during("again")?;
        }
        expect(&["disk.hdd", "s4.hdd", "s5.hdd"])?;
        let top = merge(&format!("--id {id}")).during("the top")?;
        expect(&["disk.hdd", "s4.hdd"])?;
        let new = folder.join("s6.hdd");
        ok(&format!(
            "snapshot create --id {id} --file {}",
            new.display()
        ))?;
        fill(&judge, &target, SECTORS / 4..SECTORS / 4 * 3)?;
        kill_at_random(&device, running)?;
        // Wherever that was: once more ends it.
        if images_of(&device)?.len() > 2 {
            ok(&format!("snapshot merge --id {id}")).during("after kills")?;
        }
        expect(&["disk.hdd", "s4.hdd"])?;
        running.for_a_while(Duration::from_millis(300));
        Ok([first, up, top])
    })?;
    must_have_hit(seen)?;
    judge.read_everything(&target, SECTORS)?;
    drop(target);
    let left = images_of(&device)?;
    device.del()?;
    left.iter().try_for_each(|image| server::check(image))?;
    // No list of before is the disk any more.
    for count in 1..=old.len() {
        let words: Vec<String> = old[..count]
            .iter()
            .map(|p| p.display().to_string())
            .collect();
        let refused = call(&format!("add {}", words.join(" ")))?;
        demand(refused.code == Some(1), || {
            format!("add of an old list: {words:?}: {refused:?}")
        })?;
    }
    let paths: Vec<&Path> = left.iter().map(PathBuf::as_path).collect();
    let device = add("", &paths).during("again")?;
    let target = device.open()?;
    judge.read_everything(&target, SECTORS).during("again")?;
    drop(target);
    device.del()?;
    for image in &left {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        server::check(image)?;
        disks::export(image, &format!("merge-{name}"))?;
    }
    Ok(format!(
        "(clusters, requests meanwhile): {done:?}; killed while copying (command, server): {seen:?}; {} operations",
        judge.judged().ops
    ))
}

/// A bundle: a pair below the top both ways, the top downwards, cut in the middle.
pub(crate) fn bundle() -> Outcome {
    let at = disks::folder("merge-bundle")?.join("disk");
    let words = at.display().to_string();
    ok(&format!("init {words} --size {SIZE} --cluster 64k"))?;
    let device = add("--queues 2 --depth 16", &[&at])?;
    let target = device.open()?;
    let judge = Judge::zeros(SECTORS);
    let id = device.id;
    let mut guids = Vec::new();
    for part in [0..SECTORS, SECTORS / 4..SECTORS, 0..SECTORS / 2] {
        fill(&judge, &target, part)?;
        guids.push(ok(&format!("snapshot create --id {id}"))?.trim().to_owned());
    }
    fill(&judge, &target, 0..SECTORS)?;
    // g0 g1 g2 top
    let count = |wanted: usize| {
        let images = images_of(&device)?;
        demand(images.len() == wanted, || {
            format!("{images:?}, not {wanted}")
        })
    };
    let mut seen = (false, false);
    let done = during(&load(52), &judge, &target, &[], |running| {
        let down = merge(&format!("--id {id} --guid {} --down", guids[1]))?;
        count(3)?;
        let up = merge(&format!("--id {id} --guid {} --up", guids[2]))?;
        count(2)?;
        let words = format!("--id {id} --down");
        seen = killed(&words, &device, running)?;
        if images_of(&device)?.len() > 1 {
            ok(&format!("snapshot merge {words}")).during("again")?;
        }
        count(1)?;
        running.for_a_while(Duration::from_millis(300));
        Ok([down, up])
    })?;
    must_have_hit(seen)?;
    judge.read_everything(&target, SECTORS)?;
    drop(target);
    device.del()?;
    ok(&format!("check {words}"))?;
    let device = add("", &[&at]).during("again")?;
    let target = device.open()?;
    judge.read_everything(&target, SECTORS).during("again")?;
    let left = images_of(&device)?;
    drop(target);
    device.del()?;
    for image in &left {
        disks::export(image, "merge-bundle.hdd")?;
    }
    Ok(format!(
        "(clusters, requests meanwhile): {done:?}; killed while copying (command, server): {seen:?}; {} operations",
        judge.judged().ops
    ))
}
