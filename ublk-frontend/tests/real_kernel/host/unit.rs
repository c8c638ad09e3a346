//! The unit file, as a real systemd reads it: without a word of complaint.
//!
//! `systemd-analyze` is this machine's own, or Debian's, unpacked beside the guests' parts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Missing;
use super::apt::with_apt;
use super::parts::{TOOLS, library_path};

/// The test's name.
pub(super) const TEST: &str = "host::systemd-unit";

const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/ploop-ublk@.service");
/// Where the unit expects the program.
const INSTALLED: &str = "/usr/bin/ploop-ublk";

/// Where the analyzer is.
enum Analyzer {
    Installed,
    Unpacked(PathBuf),
}

impl Analyzer {
    fn command(&self) -> Command {
        match self {
            Analyzer::Installed => Command::new("systemd-analyze"),
            Analyzer::Unpacked(root) => {
                let mut command = Command::new(root.join("usr/bin/systemd-analyze"));
                let private = root.join("usr/lib/x86_64-linux-gnu/systemd");
                let path = format!("{}:{}", private.display(), library_path(root));
                command.env("LD_LIBRARY_PATH", path);
                command
            }
        }
    }

    fn starts(&self) -> bool {
        let output = self.command().arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    }

    fn find(cache: &Path) -> Result<Analyzer, Missing> {
        if Analyzer::Installed.starts() {
            return Ok(Analyzer::Installed);
        }
        std::fs::create_dir_all(cache)?;
        let lock = std::fs::File::create(cache.join("lock"))?;
        lock.lock()?;
        let root = cache.join("systemd");
        if !root.exists() {
            with_apt(&cache.join("apt-tools"), &TOOLS, |apt| {
                apt.unpack_with_missing("bookworm", &["systemd"], &root)
            })?;
        }
        let unpacked = Analyzer::Unpacked(root);
        match unpacked.starts() {
            true => Ok(unpacked),
            false => Err(Missing("systemd-analyze does not start".to_owned())),
        }
    }

    /// What it has to say of a unit.
    fn verify(&self, unit: &str, folder: &Path) -> Result<String, Missing> {
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("ploop-ublk@.service"), unit)?;
        let instance = folder.join("ploop-ublk@srv-disks-web.hds.service");
        let output = self
            .command()
            .args(["--man=no", "verify"])
            .arg(instance)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let exit = match output.status.success() {
            true => String::new(),
            false => format!("{}", output.status),
        };
        Ok(format!("{}{exit}", said.trim()))
    }
}

/// The unit is understood, and mistakes in it would not be.
pub(super) fn check(cache: &Path) -> Result<String, String> {
    let wrong = |Missing(what)| what;
    let analyzer = Analyzer::find(cache).map_err(wrong)?;
    let unit = std::fs::read_to_string(UNIT).map_err(|error| format!("{UNIT}: {error}"))?;
    if !unit.contains(INSTALLED) {
        return Err(format!("the unit does not start {INSTALLED}"));
    }
    // The program is not installed here.
    let unit = unit.replace(INSTALLED, env!("CARGO_BIN_EXE_ploop-ublk"));
    let folder = cache.join("unit");
    let said = analyzer.verify(&unit, &folder).map_err(wrong)?;
    if !said.is_empty() {
        return Err(said);
    }
    for (word, mistake) in [
        ("Type=notify", "Type=notfy"),
        ("RestartForceExitStatus=75", "RestartForceExitStatis=75"),
        ("RequiresMountsFor=%f", "RequiresMountsFor=%%f"),
    ] {
        let changed = unit.replace(word, mistake);
        if changed == unit
            || analyzer
                .verify(&changed, &folder)
                .map_err(wrong)?
                .is_empty()
        {
            return Err(format!("{mistake} for {word}, and nothing was said"));
        }
    }
    Ok("understood without a word; three mistakes are not".to_owned())
}
