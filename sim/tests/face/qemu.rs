//! QEMU's tools: those of this machine if they are new enough, or Debian's, unpacked below the target folder. Without a way to
//! Debian's packages these tests fail with a line that says why.

#[path = "../../../ublk-frontend/tests/real_kernel/host/apt.rs"]
#[expect(dead_code, reason = "the guests of `real_kernel` need more of it")]
mod apt;
#[path = "../../../ublk-frontend/tests/real_kernel/host/qemu_tools.rs"]
mod qemu_tools;

use std::process::Command;
use std::sync::OnceLock;

use qemu_tools::Tools;

/// Why there is no package.
#[derive(Debug)]
struct Missing(String);

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Missing {
        Missing(error.to_string())
    }
}

/// A call of `qemu-img` or `qemu-nbd`, which are looked for, or fetched, once.
pub(crate) fn command(program: &str) -> Command {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    let found = TOOLS.get_or_init(|| {
        // Only cargo's tests are told of a folder.
        let folder = option_env!("CARGO_TARGET_TMPDIR").unwrap_or("target/tmp");
        let folder = std::path::absolute(folder).map_err(|error| error.to_string())?;
        Tools::find(&folder).map_err(|Missing(why)| why)
    });
    match found {
        Ok(tools) => tools.command(program),
        Err(why) => panic!("{program} is needed, and it could not be fetched: {why}"),
    }
}
