//! The file system under the image is full: requests wait, and go on when there is space again; or they fail, if asked for.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use super::buffer::Buffer;
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

/// They wait, and then they are not to wait any more: what cannot be done by a server that steps aside.
pub(crate) fn set_while_full() -> Outcome {
    let small = Small::new()?;
    let image = image()?;
    let device = add("--queues 2", &[&image])?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    let judge = Judge::zeros(sectors);
    let pid = device.server()?;
    let refused = during(
        &writes(sectors),
        &judge,
        &target,
        &[Errno::NOSPC],
        |running| {
            stalled(&judge, running)?;
            let refused = server::call(&format!("set {} --flush-delay 0", device.id))?;
            demand(judge.failed() == 0, || "a write failed".into())?;
            server::ok(&format!("set {} --no-space fail", device.id))?;
            let enough = || judge.failed() > 0;
            running.until(enough, Duration::from_millis(100), Duration::from_secs(15));
            Ok(refused)
        },
    )?;
    let why = refused.code == Some(1) && refused.err.contains("wait for space");
    demand(why, || format!("stepped aside without space: {refused:?}"))?;
    let failed = judge.failed();
    demand(failed > 0 && device.server()? == pid, || {
        format!("{failed} writes failed after --no-space fail")
    })?;
    small.grow()?;
    // The next server is told so, too.
    server::ok(&format!("set {} --flush-delay 0", device.id))?;
    let said = server::ok(&format!("info {} --json", device.id))?;
    demand(said.contains("\"no-space\": \"fail\""), || said.clone())?;
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

/// They wait for two seconds, although each attempt to go on looks like relief.
pub(crate) fn limited() -> Outcome {
    let small = Small::new()?;
    let image = image()?;
    let image_name = image.display();
    let refused = server::call(&format!("add --no-space-limit 10ms {image_name}"))?;
    demand(
        refused.code == Some(1) && refused.err.contains("whole seconds"),
        || format!("a limit below a second: {refused:?}"),
    )?;
    let device = add("--no-space-limit 2s", &[&image])?;
    let disk = File::options()
        .write(true)
        .custom_flags(libc::O_DSYNC | libc::O_DIRECT)
        .open(&device.path)?;
    let mut buffer = Buffer::new(64 << 10);
    let (block, mut at) = (buffer.part(64 << 10), 0);
    block.fill(7);
    let (error, took) = loop {
        let began = Instant::now();
        match disk.write_at(block, at) {
            Ok(_) => at += block.len() as u64,
            Err(error) => break (error, began.elapsed()),
        }
        demand(at < 24 << 20, || "nothing ever failed".to_owned())?;
    };
    let seconds = took.as_secs_f64();
    demand((1.5..8.0).contains(&seconds), || {
        format!("a write failed after {seconds} s, not 2: {error}")
    })?;
    let is_space = error.raw_os_error() == Some(libc::ENOSPC);
    demand(is_space, || {
        format!("the user is told another reason: {error}")
    })?;
    small.grow()?;
    disk.write_at(block, at).during("with space again")?;
    drop(disk);
    device.del()?;
    server::check(&image)?;
    Ok(format!("{error} after {seconds:.1} s"))
}

/// They fail, and the device lives.
pub(crate) fn fails() -> Outcome {
    let small = Small::new()?;
    let image = image()?;
    let device = add("--queues 2 --no-space fail", &[&image])?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    let judge = Judge::zeros(sectors);
    let allowed = [Errno::NOSPC];
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
