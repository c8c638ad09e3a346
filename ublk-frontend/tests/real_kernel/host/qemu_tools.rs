//! `qemu-img` and `qemu-io`: those of this machine, or those of Debian's backports, unpacked below the target folder. Older ones
//! than [`OLDEST`] take images for damaged that newer ones, and we, take for sound.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Missing;
use super::apt::with_apt;

/// The oldest version that is good enough.
const OLDEST: u32 = 10;

/// Where they come from.
const SUITES: [&str; 2] = ["bookworm", "bookworm-backports"];

/// Where Debian keeps libraries.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Where the tools are.
#[derive(Debug)]
pub(super) enum Tools {
    Installed,
    Unpacked(PathBuf),
}

impl Tools {
    /// Finds them, or fetches them once into `cache`.
    pub(super) fn find(cache: &Path) -> Result<Tools, Missing> {
        if Tools::Installed.are_good() {
            return Ok(Tools::Installed);
        }
        std::fs::create_dir_all(cache)?;
        // Two runs of the tests fetch one after the other.
        let lock = File::create(cache.join("qemu-utils.lock"))?;
        lock.lock()?;
        let root = cache.join("qemu-utils");
        let tools = Tools::Unpacked(root.clone());
        if tools.are_good() {
            return Ok(tools);
        }
        if root.exists() {
            // Another machine's: libraries that were installed there are missing here.
            std::fs::remove_dir_all(&root)?;
        }
        with_apt(&cache.join("apt-qemu-utils"), &SUITES, |apt| {
            apt.unpack_with_missing(SUITES[1], &["qemu-utils"], &root)
        })?;
        if tools.are_good() {
            return Ok(tools);
        }
        let root = root.display();
        Err(Missing(format!(
            "{root} does not start, or is older than {OLDEST}"
        )))
    }

    /// A call of one of them.
    pub(super) fn command(&self, program: &str) -> Command {
        match self {
            Tools::Installed => Command::new(program),
            Tools::Unpacked(root) => {
                let libraries = LIBRARIES.map(|folder| root.join(folder).display().to_string());
                let mut command = Command::new(root.join("usr/bin").join(program));
                command.env("LD_LIBRARY_PATH", libraries.join(":"));
                command
            }
        }
    }

    /// They start, and are new enough.
    fn are_good(&self) -> bool {
        ["qemu-img", "qemu-io"].iter().all(|program| {
            let output = self.command(program).arg("--version").output();
            let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            let version = said.ok().and_then(|said| {
                let (_, rest) = said.split_once(" version ")?;
                rest.split('.').next()?.parse::<u32>().ok()
            });
            version.is_some_and(|version| version >= OLDEST)
        })
    }
}
