//! The device on real Linux kernels: Debian's cloud kernels under QEMU, without a hypervisor and without root rights.
//!
//! This program plays three parts, told apart by who starts it:
//! * `cargo test` starts it as a test program. It fetches kernels and QEMU once (`host`), boots each kernel with itself as
//!   `/init`, and shows every step of every guest as a test of its own.
//! * The guest's kernel starts it as process 1: it mounts, loads modules, starts the next one, reaps, powers off.
//! * Process 1 starts it as the agent, which runs the steps (`guest`) and prints one result line each.
//!
//! `steps` is the list of what runs, which host and guest both know; `line` the result lines between them.
//!
//! A pass over both kernels is about 90 tests, and takes about 7 minutes on 2 processors, with the two guests side by side; kernels
//! and QEMU are fetched once, about 100 MB. One step is about 10 s for a boot, and what it takes itself: each prints the seconds
//! of its guest and how much processor time of this machine those were. Give a name to run some: `-- 6.12::scenarios`.
//!
//! `PLOOP_SKIP_REAL_KERNEL=1` skips all of it, loudly; without it, whatever is missing is a failure. Everything that was
//! fetched, and the logs of the last run, are below `target/tmp/real-kernel`.

#[path = "real_kernel/guest/mod.rs"]
mod guest;
#[path = "real_kernel/host/mod.rs"]
mod host;
#[path = "real_kernel/kernel.rs"]
mod kernel;
#[path = "real_kernel/line.rs"]
mod line;
#[path = "real_kernel/steps.rs"]
mod steps;

use std::process::ExitCode;

/// The argument that makes the agent of this program.
const AGENT: &str = "--ploop-guest-agent";

fn main() -> ExitCode {
    if std::process::id() == 1 {
        guest::init::main()
    } else if std::env::args().nth(1).as_deref() == Some(AGENT) {
        guest::agent::main()
    } else {
        host::main()
    }
}
