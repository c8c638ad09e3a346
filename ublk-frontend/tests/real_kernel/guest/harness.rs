//! The tests of these tests: on the kernel's own loop device the load must find nothing, and a sector that changes behind
//! its back must be found.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::judge::Judge;
use super::load::{Load, during};
use super::target::Target;
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, sys};

const SECTORS: u64 = 16 << 11;
/// More than so many operations say something.
const OPERATIONS: u64 = 200;

struct Loop(PathBuf);

impl Loop {
    fn attach(name: &str) -> Result<(Loop, PathBuf), Trouble> {
        let file = disks::folder(name)?.join("raw");
        File::create(&file)?.set_len(SECTORS * 512)?;
        let device = Path::new("/dev/loop0");
        sys::attach_loop(device, &file).during("loop")?;
        Ok((Loop(device.to_owned()), file))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Whoever is next finds it busy and says so.
        let _ = sys::detach_loop(&self.0);
    }
}

/// No false alarm.
pub(crate) fn sound() -> Outcome {
    let (device, _) = Loop::attach("sound")?;
    let target = Target::open(&device.0)?;
    let judge = Judge::zeros(SECTORS);
    during(&Load::mixed(SECTORS, 1), &judge, &target, &[], |running| {
        let enough = || judge.judged().ops > OPERATIONS;
        running.until(enough, Duration::from_secs(3), Duration::from_secs(40));
        Ok(())
    })?;
    let judged = judge.judged();
    judge.read_everything(&target, SECTORS)?;
    demand(judged.ops > OPERATIONS, || {
        format!("only {} operations", judged.ops)
    })?;
    Ok(format!("{judged:?}, nothing found, as it must be"))
}

/// A disk that forgets one write.
pub(crate) fn lie() -> Outcome {
    let (device, file) = Loop::attach("lie")?;
    let target = Target::open(&device.0)?;
    let judge = Judge::zeros(SECTORS);
    let load = Load {
        weights: [0, 1, 0, 0, 0, 0, 0],
        ..Load::mixed(SECTORS, 2)
    };
    during(&load, &judge, &target, &[], |running| {
        running.for_a_while(Duration::from_secs(1));
        Ok(())
    })?;
    let mut content = std::fs::read(&file)?;
    let written = content
        .chunks(512)
        .position(|sector| sector.iter().any(|&byte| byte != 0));
    let at = written.ok_or("nothing was written")? * 512;
    content[at] ^= 1;
    File::options()
        .write(true)
        .open(&file)?
        .write_all_at(&content[at..at + 512], at as u64)?;
    match judge.read_everything(&target, SECTORS) {
        Err(found) => Ok(format!("found: {found}")),
        Ok(()) => Err("one flipped bit was not found".into()),
    }
}
