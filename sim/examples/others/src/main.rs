//! Devices that others wrote, under the harness. What was found stands in the README.
//!
//! `cargo run --release -- [DEVICE] [SEED | A..B | FILE.tape | SCENARIO.txt]` for `qcow2-rs` and `qcow2-rs+faults`;
//! `cargo run --release -- qemu [SEED | A..B | FILE.tape]` for QEMU's parallels driver, whose server is killed.

mod qcow2;
mod qemu;
#[path = "../../../tests/face/qemu.rs"]
mod tools;
mod turns;

use std::process::ExitCode;

use sim::face::{self, entry};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("qemu") {
        return qemu::main(arguments.next().as_deref());
    }
    face::main(&[
        entry::<qcow2::Qcow2<false>>(),
        entry::<qcow2::Qcow2<true>>(),
    ])
}
