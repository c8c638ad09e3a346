//! The devices that are measured: each made on a new file or image, opened, and taken away.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::disks;
use super::server::{self, Device};
use super::sys;
use super::target::wait_for;
use super::trouble::{During, Trouble, demand};
use crate::rows::{DISK, Row};

const RUBLK: &str = "/bin/rublk";
/// An empty qcow2 image of [`DISK`] bytes.
const QCOW2: &str = "/empty.qcow2";
/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// Number of rublk's device.
const NUMBER: u32 = 40;
const LOOP: &str = "/dev/loop0";
/// Largest request of rublk's devices, as large as ours are.
const REQUEST: &str = "--io-buf-size=1048576";

/// A device that is up.
pub(crate) struct Peer {
    /// What is opened.
    path: PathBuf,
    /// What is below it.
    below: PathBuf,
    serves: Serves,
}

enum Serves {
    Nobody,
    Kernel,
    Rublk,
    Ploop(Device),
}

impl Peer {
    /// Makes it.
    pub(crate) fn add(row: Row) -> Result<Peer, Trouble> {
        let below = disks::folder("side-by-side")?.join("disk");
        match row {
            Row::RublkNull => {}
            Row::RublkQcow2 => std::fs::copy(QCOW2, &below)
                .map(drop)
                .during("qcow2 image")?,
            Row::Ploop | Row::PloopZeroCopy => server::create(&below, "512M", "1M")?,
            _ => File::create(&below)?.set_len(DISK)?,
        }
        // Nothing of it is written while somebody is measured.
        File::open(disks::SCRATCH).and_then(|folder| folder.sync_all())?;
        let (path, serves) = match row {
            Row::File => (below.clone(), Serves::Nobody),
            Row::KernelLoop => {
                sys::attach_loop(Path::new(LOOP), &below).during(LOOP)?;
                (LOOP.into(), Serves::Kernel)
            }
            Row::RublkNull => rublk(&["null"], &[])?,
            Row::RublkLoop => rublk(&["loop"], &[&below])?,
            Row::RublkLoopZeroCopy => rublk(&["loop", "--zero-copy"], &[&below])?,
            Row::RublkQcow2 => rublk(&["qcow2"], &[&below])?,
            Row::Ploop => ploop("off", &below)?,
            Row::PloopZeroCopy => {
                // Never taken for a failure of ours, and a failure of ours never for this.
                if !server::ok("features")?.contains("AUTO_BUF_REG") {
                    let why = "this kernel lends no buffers (AUTO_BUF_REG)";
                    return Err(Trouble::NotOffered(why.to_owned()));
                }
                ploop("on", &below)?
            }
        };
        Ok(Peer {
            path,
            below,
            serves,
        })
    }

    /// Opens it, past the page cache.
    pub(crate) fn open(&self) -> Result<File, Trouble> {
        let direct = OFlags::DIRECT.bits() as i32;
        OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(direct)
            .open(&self.path)
            .during(self.path.display())
    }

    /// Takes it away.
    pub(crate) fn del(self) -> Result<(), Trouble> {
        match self.serves {
            Serves::Nobody => Ok(()),
            Serves::Kernel => Ok(sys::detach_loop(&self.path).during(LOOP)?),
            Serves::Rublk => {
                call(&["del", "-n", &NUMBER.to_string()])?;
                wait_for(&self.path, false, 10)
            }
            Serves::Ploop(device) => {
                del(&device)?;
                server::check(&self.below)
            }
        }
    }
}

/// The client's ring lets go of the device some time after it is gone: until then `del` is refused.
fn del(device: &Device) -> Result<(), Trouble> {
    let began = Instant::now();
    let deleted = loop {
        let called = server::call(&format!("del {}", device.id))?;
        if called.code == Some(0) || began.elapsed() > PATIENCE {
            break called;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    deleted.fine().map(drop).during("del")
}

fn ploop(zero_copy: &str, image: &Path) -> Result<(PathBuf, Serves), Trouble> {
    let device = server::add(&format!("--zero-copy {zero_copy}"), &[image])?;
    Ok((device.path.clone(), Serves::Ploop(device)))
}

fn rublk(kind: &[&str], files: &[&Path]) -> Result<(PathBuf, Serves), Trouble> {
    let number = NUMBER.to_string();
    let mut arguments = vec!["add"];
    arguments.extend(kind);
    arguments.extend(["-n", &number, REQUEST]);
    let files: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    for file in &files {
        arguments.extend(["-f", file]);
    }
    call(&arguments)?;
    let path = PathBuf::from(format!("/dev/ublkb{NUMBER}"));
    wait_for(&path, true, 10)?;
    Ok((path, Serves::Rublk))
}

/// Calls rublk. It does not wait for the end of its output: the server may keep it open.
fn call(arguments: &[&str]) -> Result<(), Trouble> {
    demand(Path::new(RUBLK).exists(), || "rublk is not here".to_owned())?;
    let log = disks::folder("rublk-log")?.join("log");
    let file = File::create(&log)?;
    let mut child = Command::new(RUBLK)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .during(RUBLK)?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if began.elapsed() > PATIENCE {
            sys::print_waiting();
            return Err(format!("rublk {}: it hangs", arguments.join(" ")).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    demand(status.success(), || {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        format!("rublk {}: {status}: {}", arguments.join(" "), said.trim())
    })
}
