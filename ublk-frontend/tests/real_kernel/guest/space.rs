//! The file system under the image is full: requests wait, and go on when there is space again; or they fail, if asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use super::judge::Judge;
use super::load::{Load, during};
use super::server::{self, add, create};
use super::trouble::{During, Outcome, Trouble, demand};

const PLACE: &str = "/tmp/small";

/// A file system of a few MiB.
struct Small;

impl Small {
    fn new() -> Result<Small, Trouble> {
        std::fs::create_dir_all(PLACE)?;
        mount(
            "tmpfs",
            PLACE,
            "tmpfs",
            MountFlags::empty(),
            Some(c"size=6m"),
        )
        .during("small tmpfs")?;
        Ok(Small)
    }

    fn grow(&self) -> Result<(), Trouble> {
        mount_remount(PLACE, MountFlags::empty(), c"size=64m").during("growing the tmpfs")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(PLACE, UnmountFlags::DETACH);
    }
}

fn image() -> Result<PathBuf, Trouble> {
    let image = Path::new(PLACE).join("disk.hdd");
    create(&image, "24M", "64k")?;
    Ok(image)
}

fn writes(sectors: u64) -> Load {
    Load {
        weights: [10, 60, 2, 0, 0, 0, 3],
        ..Load::mixed(sectors, 11)
    }
}

/// They wait.
pub(crate) fn waits() -> Outcome {
    let small = Small::new()?;
    let image = image()?;
    let device = add("--queues 2", &[&image])?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    let judge = Judge::zeros(sectors);
    let mut told = String::new();
    during(&writes(sectors), &judge, &target, &[], |running| {
        stalled(&judge, running)?;
        told = server::ok(&format!("info {}", device.id))?;
        let before = judge.judged().ops;
        running.for_a_while(Duration::from_secs(3));
        demand(judge.judged().ops <= before + 4, || {
            "writes went on without space".to_owned()
        })?;
        small.grow()?;
        let mut waited = 0;
        while judge.judged().ops < before + 50 && !running.stopped() {
            demand(waited < 200, || {
                "writes did not go on when there was space again".to_owned()
            })?;
            running.for_a_while(Duration::from_millis(100));
            waited += 1;
        }
        Ok(())
    })?;
    judge.read_everything(&target, sectors)?;
    drop(target);
    device.del()?;
    server::check(&image)?;
    let line = told
        .lines()
        .find(|line| line.contains("WAIT FOR SPACE"))
        .unwrap_or("")
        .trim()
        .to_owned();
    demand(!line.is_empty(), || {
        format!("info says nothing of space: {told}")
    })?;
    Ok(format!("{:?}; info said: {line}", judge.judged()))
}

/// Waits until nothing moves any more.
fn stalled(judge: &Judge, running: &super::load::Running<'_>) -> Result<(), Trouble> {
    for _ in 0..60 {
        let before = judge.judged().ops;
        running.for_a_while(Duration::from_millis(700));
        if running.stopped() || judge.judged().ops == before {
            return Ok(());
        }
    }
    Err("the file system never became full".into())
}

/// They fail, and the device lives.
pub(crate) fn fails() -> Outcome {
    let small = Small::new()?;
    let image = image()?;
    let device = add("--queues 2 --no-space fail", &[&image])?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    let judge = Judge::zeros(sectors);
    let allowed = [Errno::NOSPC, Errno::IO];
    during(&writes(sectors), &judge, &target, &allowed, |running| {
        running.for_a_while(Duration::from_secs(4));
        Ok(())
    })?;
    let failed = judge.failed();
    demand(failed > 0, || "nothing failed".to_owned())?;
    small.grow()?;
    // There is space now: no error any more.
    during(&writes(sectors), &judge, &target, &[], |running| {
        running.for_a_while(Duration::from_secs(1));
        Ok(())
    })
    .during("with space again")?;
    judge.read_everything(&target, sectors)?;
    drop(target);
    device.del()?;
    server::check(&image)?;
    Ok(format!("{failed} failed, {:?}", judge.judged()))
}
