//! The harness's program. All of it is in the library but the allocator, which counts for `sim bench`.

mod counting;

use sim::bench::Meter;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() -> ExitCode {
    sim::cli::main(&Meter {
        allocations: counting::allocations,
        live_bytes: counting::live_bytes,
    })
}
