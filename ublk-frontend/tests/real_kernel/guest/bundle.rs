//! A bundle is served: its chain changes in its descriptor while its disk is in use. A command that is killed leaves a chain that
//! `recover` finds there, the old one or the new one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::aside::images_of;
use super::disks;
use super::judge::Judge;
use super::load::{Load, during};
use super::random::Random;
use super::server::{Device, add, call, ok};
use super::trouble::{During, Outcome, Trouble, demand};

const SECTORS: u64 = 16 << 11;
const KILLS: u64 = 12;
/// So many if none of those has met a server that was aside.
const MOST: u64 = 48;

/// Kills a command at any moment; afterwards the device has a server, if need be a new one. True: it needed one.
pub(crate) fn kill(words: &str, after: Duration, device: &Device) -> Result<bool, Trouble> {
    let mut command = Command::new("/bin/ploop-ublk")
        .args(words.split(' '))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::sleep(after);
    command.kill()?;
    command.wait()?;
    std::thread::sleep(Duration::from_millis(300));
    if call(&format!("info {}", device.id))?.code == Some(0) {
        return Ok(false);
    }
    let again = call(&format!("recover {}", device.id))?;
    let served = again.code == Some(0) || again.err.contains("is served");
    demand(served, || format!("after {words}: {again:?}"))?;
    Ok(true)
}

/// What is served is what the descriptor says.
pub(crate) fn agrees(device: &Device, at: &Path) -> Result<usize, Trouble> {
    let served = images_of(device)?;
    let said = ublk_frontend::bundle::images_of(at).map_err(|error| error.to_string())?;
    let real = said.iter().map(std::fs::canonicalize);
    let said = real.collect::<Result<Vec<_>, _>>()?;
    demand(served == said, || {
        format!("{served:?} is served, the descriptor says {said:?}")
    })?;
    Ok(said.len())
}

/// Snapshots, a growth, merges and killed commands under load.
pub(crate) fn served() -> Outcome {
    let at = disks::folder("bundle")?.join("disk");
    let words = at.display().to_string();
    ok(&format!("init {words} --size 16M --cluster 64k"))?;
    let device = add("--queues 4 --depth 16", &[&at])?;
    let target = device.open()?;
    let judge = Judge::zeros(SECTORS);
    let (mut random, mut kills, mut recovered) = (Random::new(31), 0, 0);
    let id = device.id;
    during(&Load::mixed(SECTORS, 32), &judge, &target, &[], |running| {
        for _ in 0..3 {
            running.for_a_while(Duration::from_millis(300));
            ok(&format!("snapshot create --id {id}"))?;
        }
        demand(agrees(&device, &at)? == 4, || {
            "three snapshots, and not four images".into()
        })?;
        let busy = call(&format!("snapshot create {words}"))?;
        demand(busy.code == Some(1) && busy.err.contains("in use"), || {
            format!("a served bundle was changed without its server: {busy:?}")
        })?;
        let lower = images_of(&device)?.remove(0);
        let refused = call(&format!("add {}", lower.display()))?;
        // Not because it is locked: because of what it is.
        let why = refused.err.contains("of a bundle, and not to be written");
        demand(refused.code == Some(1) && why, || {
            format!("a lower file of a bundle alone: {refused:?}")
        })?;
        ok(&format!("resize {id} 40M"))?;
        running.for_a_while(Duration::from_millis(300));
        ok(&format!("snapshot merge --id {id} --up"))?;
        demand(agrees(&device, &at)? == 3, || {
            "a merge, and not three images".into()
        })?;
        for number in 0..MOST {
            running.for_a_while(Duration::from_millis(100));
            if running.stopped() || number >= KILLS && recovered > 0 {
                break;
            }
            kills += 1;
            let command = match number % 3 {
                0 => format!("resize {id} {}M", 41 + number),
                1 => format!("snapshot create --id {id}"),
                2 if number % 2 == 0 => format!("snapshot merge --id {id}"),
                _ => format!("snapshot merge --id {id} --up"),
            };
            recovered += u64::from(kill(
                &command,
                Duration::from_millis(random.below([1200, 400, 120][number as usize / 3 % 3])),
                &device,
            )?);
            agrees(&device, &at)?;
        }
        Ok(())
    })?;
    demand(recovered > 0, || {
        "no command was ever killed while the server was aside".to_owned()
    })?;
    judge.read_everything(&target, SECTORS)?;
    while agrees(&device, &at)? > 1 {
        ok(&format!("snapshot merge --id {id}"))?;
    }
    judge.read_everything(&target, SECTORS).during("merged")?;
    drop(target);
    device.del()?;
    ok(&format!("check {words}"))?;
    let device = add("", &[&at]).during("again")?;
    let target = device.open()?;
    judge.read_everything(&target, SECTORS).during("again")?;
    drop(target);
    device.del()?;
    let judged = judge.judged();
    Ok(format!(
        "{kills} commands killed, {recovered} recoveries; {} operations, {} sectors compared",
        judged.ops, judged.sectors
    ))
}
