//! Process 1: mounts what a program expects, loads modules, starts the agent on the result console, reaps whoever dies,
//! and powers off when the agent is gone.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsFd;
use std::process::{Command, ExitCode};

use rustix::mount::{MountFlags, mount};
use rustix::process::{WaitOptions, wait};
use rustix::system::{RebootCommand, finit_module, reboot};

use super::trouble::{During, Trouble};
use crate::AGENT;

/// A kernel module.
pub(crate) struct Module {
    /// As in its file's name.
    pub(crate) name: &'static str,
    /// Its parameters.
    parameters: &'static str,
}

const fn module(name: &'static str, parameters: &'static str) -> Module {
    Module { name, parameters }
}

/// What is loaded, in an order that needs no search for dependencies. A module that a kernel does not have is built in, or
/// the step that needs it says that it is missing.
pub(crate) const MODULES: [Module; 8] = [
    module("libcrc32c", ""),
    module("virtio_blk", ""),
    module("loop", ""),
    module("xfs", ""),
    module("dm-mod", ""),
    module("dm-log-writes", ""),
    module("dm-flakey", ""),
    module("ublk_drv", ""),
];

/// The result console.
const CONSOLE: &str = "/dev/hvc0";
/// `MODULE_INIT_COMPRESSED_FILE`: the kernel unpacks.
const COMPRESSED: i32 = 4;

pub(crate) fn main() -> ExitCode {
    if let Err(trouble) = live() {
        // The kernel's console; the host shows that there was no result.
        eprintln!("init: {trouble}");
    }
    // No sync: a device without a server would keep it for ever, and the host needs nothing but what was synced.
    match reboot(RebootCommand::PowerOff) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn live() -> Result<(), Trouble> {
    let none = MountFlags::empty();
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ] {
        mount(kind, place, kind, none, None).during(place)?;
    }
    std::os::unix::fs::symlink("/proc/self/fd", "/dev/fd").during("/dev/fd")?;
    for module in MODULES {
        load(&module).during(module.name)?;
    }
    // A task that waits this long is reported by the kernel, and that is a failure.
    std::fs::write("/proc/sys/kernel/hung_task_timeout_secs", "90").during("hung tasks")?;
    let console = File::options().write(true).open(CONSOLE).during(CONSOLE)?;
    let agent = Command::new("/init")
        .arg(AGENT)
        .env("PATH", "/bin")
        .env("HOME", "/tmp")
        .env("RUST_BACKTRACE", "1")
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .during("agent")?;
    let agent = i32::try_from(agent.id()).unwrap_or_default();
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, _))) if pid.as_raw_nonzero().get() == agent => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn load(module: &Module) -> Result<(), Trouble> {
    let Ok(file) = File::open(format!("/modules/{}", module.name)) else {
        return Ok(());
    };
    let parameters = CString::new(module.parameters).unwrap_or_default();
    match finit_module(file.as_fd(), &parameters, COMPRESSED) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
