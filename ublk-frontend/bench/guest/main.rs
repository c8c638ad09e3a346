//! Block devices side by side on a real kernel: `cargo bench -p ublk-frontend --bench guest [-- --kernel 6.12] [--json]`.
//!
//! Our device, rublk's, the kernel's loop device and the file itself, in one guest, in turns; medians of the rounds, and
//! ratios to rublk's loop device. Two guests, one after the other:
//! * In the first one time is counted in instructions (`-icount`), of one processor that never sleeps: what an I/O costs the
//!   whole system, kernel, server and client together, whatever else this machine does. See `guest::meter`.
//! * In the second one time is the wall's: I/Os a second, which can be compared within one run only.
//!
//! | module | is |
//! |---|---|
//! | `rows` | who is measured, and what |
//! | `host` | fetches, boots, prints the table |
//! | `guest` | what runs inside: this program is its `/init`, as in the tests on a real kernel, whose parts are used here |
//!
//! Everything that was fetched is below `target/tmp`, where the tests keep theirs. A peer that cannot be run is a row that
//! says why.

mod guest;
mod host;
#[path = "../../tests/real_kernel/kernel.rs"]
mod kernel;
#[path = "../../tests/real_kernel/line.rs"]
mod line;
mod rows;

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
