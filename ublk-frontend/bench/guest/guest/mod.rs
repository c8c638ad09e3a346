//! What runs inside a guest.
//!
//! | file | is |
//! |---|---|
//! | `agent` | measures every row of every round, one result line a figure |
//! | `peer` | devices: made, opened, taken away |
//! | `client` | I/Os on a device, so many under way at once, and the comparison of what was read |
//! | `meter` | what an I/O costs: instructions or time |
//!
//! The others are those of the tests on a real kernel.

pub(crate) mod agent;
mod client;
#[path = "../../../tests/real_kernel/guest/disks.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
pub(crate) mod disks;
#[path = "../../../tests/real_kernel/guest/init.rs"]
pub(crate) mod init;
mod meter;
mod peer;
#[path = "../../../tests/real_kernel/guest/random.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod random;
#[path = "../../../tests/real_kernel/guest/server.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod server;
#[path = "../../../tests/real_kernel/guest/sys.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod sys;
#[path = "../../../tests/real_kernel/guest/target.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod target;
#[path = "../../../tests/real_kernel/guest/trouble.rs"]
mod trouble;
