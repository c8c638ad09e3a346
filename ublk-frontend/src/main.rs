//! The binary of `ploop-ublk`. See the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ublk_frontend::end_on_panic();
    ublk_frontend::program(std::env::args_os())
}
