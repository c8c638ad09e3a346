//! `ploop-ublk` as a user calls it, and the processes behind its devices.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::target::{Target, wait_for};
use super::trouble::{During, Trouble, demand};

const PROGRAM: &str = "/bin/ploop-ublk";

/// What a call of the program came to.
#[derive(Debug)]
pub(crate) struct Called {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Called {
    /// It worked: its output.
    pub(crate) fn fine(self) -> Result<String, Trouble> {
        demand(self.code == Some(0), || format!("{self:?}"))?;
        Ok(self.out)
    }
}

/// Calls it with arguments separated by blanks.
pub(crate) fn call(arguments: &str) -> Result<Called, Trouble> {
    let output = Command::new(PROGRAM)
        .args(arguments.split_whitespace())
        .output()
        .during(PROGRAM)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(Called {
        code: output.status.code(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    })
}

/// Calls it; it has to work.
pub(crate) fn ok(arguments: &str) -> Result<String, Trouble> {
    call(arguments)?.fine().during(arguments)
}

/// A device that is up.
#[derive(Debug)]
pub(crate) struct Device {
    /// Its number.
    pub(crate) id: u32,
    /// `/dev/ublkbN`.
    pub(crate) path: PathBuf,
}

/// Makes an image.
pub(crate) fn create(image: &Path, size: &str, cluster: &str) -> Result<(), Trouble> {
    ok(&format!(
        "create {} --size {size} --cluster {cluster}",
        image.display()
    ))
    .map(drop)
}

/// `add` with these options and images.
pub(crate) fn add(options: &str, images: &[&Path]) -> Result<Device, Trouble> {
    let images: Vec<String> = images
        .iter()
        .map(|image| image.display().to_string())
        .collect();
    let printed = ok(&format!("add {options} {}", images.join(" ")))?;
    let path = PathBuf::from(printed.trim());
    let id = printed
        .trim()
        .strip_prefix("/dev/ublkb")
        .and_then(|id| id.parse().ok());
    let id =
        id.ok_or_else(|| format!("add printed {printed:?}, not the path of a device alone"))?;
    demand(path.exists(), || {
        format!("{} is not there when add has ended", path.display())
    })?;
    Ok(Device { id, path })
}

impl Device {
    /// Opens it.
    pub(crate) fn open(&self) -> Result<Target, Trouble> {
        Target::open(&self.path)
    }

    /// Its server, as `list` says.
    pub(crate) fn server(&self) -> Result<Pid, Trouble> {
        let listed = ok("list --json")?;
        let rows: serde_json::Value =
            serde_json::from_str(&listed).map_err(|e| format!("list: {e}"))?;
        let mut rows = rows.as_array().into_iter().flatten();
        let row = rows.find(|row| row["id"] == self.id);
        let pid = row
            .and_then(|row| row["pid"].as_i64())
            .and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.and_then(Pid::from_raw);
        pid.ok_or_else(|| format!("list shows no server of {}: {listed}", self.id).into())
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) fn kill(&self) -> Result<(), Trouble> {
        let pid = self.server()?;
        kill_process(pid, Signal::KILL).during("kill -9")?;
        let place = format!("/proc/{}", pid.as_raw_nonzero());
        wait_for(Path::new(&place), false, 10)
    }

    /// `recover`. Time until the device works again.
    pub(crate) fn recover(&self) -> Result<Duration, Trouble> {
        let began = Instant::now();
        ok(&format!("recover {}", self.id))?;
        Ok(began.elapsed())
    }

    /// `del`; all nodes are gone afterwards.
    pub(crate) fn del(self) -> Result<(), Trouble> {
        ok(&format!("del {}", self.id))?;
        for node in ["ublkb", "ublkc"] {
            wait_for(&PathBuf::from(format!("/dev/{node}{}", self.id)), false, 5)?;
        }
        Ok(())
    }
}

/// What a server in the background had to say.
pub(crate) fn log(id: u32) -> String {
    std::fs::read_to_string(format!("/run/ploop-ublk/{id}.log")).unwrap_or_default()
}

/// Every check that can be made of an image that is closed.
pub(crate) fn check(image: &Path) -> Result<(), Trouble> {
    ok(&format!("check {}", image.display())).map(drop)
}

/// The same of an image whose server was killed: a cluster that was being given back may be leaked. Clusters leaked.
pub(crate) fn check_killed(image: &Path) -> Result<u64, Trouble> {
    let called = call(&format!("check {} --json", image.display()))?;
    demand(matches!(called.code, Some(0 | 3)), || {
        format!("check: {called:?}")
    })?;
    let report: serde_json::Value =
        serde_json::from_str(&called.out).map_err(|error| format!("check --json: {error}"))?;
    Ok(report["leaks"].as_u64().unwrap_or(0))
}

/// Processes.
fn processes() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}

/// Processes of the program.
pub(crate) fn servers() -> Vec<i32> {
    let name = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(PROGRAM))
    };
    processes().into_iter().filter(name).collect()
}

/// Takes away what a step has left, users or not.
pub(crate) fn clean_up() {
    let _ = rustix::mount::unmount("/mnt", rustix::mount::UnmountFlags::DETACH);
    let entries = std::fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(id) = name.strip_prefix("ublkc") {
            println!(
                "device {id} was left: {:?}",
                call(&format!("del {id} --force"))
            );
        }
    }
}
