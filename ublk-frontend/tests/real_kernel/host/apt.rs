//! A private apt tree: this machine's own source of Debian packages and its own keys, but lists, cache and downloads in a
//! folder of ours. Nothing is installed and nothing of the machine's apt is changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::Missing;

/// See the module.
pub(super) struct Apt {
    root: PathBuf,
}

fn run(command: &mut Command) -> Result<String, Missing> {
    let output = command
        .output()
        .map_err(|error| Missing(format!("{command:?}: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Missing(format!(
        "{}: {}",
        short(command),
        complaint(&output)
    )))
}

/// Program and last argument: enough to tell commands apart in one line.
fn short(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let last = command.get_args().last().map(|a| a.to_string_lossy());
    format!("{program} ... {}", last.unwrap_or_default())
}

fn complaint(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    let line = err.lines().find(|line| line.starts_with("E:"));
    line.or(err.lines().last())
        .unwrap_or("it failed and said nothing")
        .to_owned()
}

/// The address that this machine gets Debian's own suites from.
fn mirror() -> Result<String, Missing> {
    let listed = run(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Created-By: Packages",
    ]))?;
    let debian = ["bookworm", "trixie", "forky", "sid", "stable", "testing"];
    let mut lines = listed.lines().filter_map(|line| line.split_once(' '));
    lines
        .find(|(_, release)| debian.contains(release))
        .map(|(uri, _)| uri.to_owned())
        .ok_or_else(|| Missing("apt of this machine has no source of Debian packages".to_owned()))
}

/// Does something with the tree in `root`. If it fails, once more with fresh lists: what old ones name may be gone.
pub(super) fn with_apt<T>(
    root: &Path,
    suites: &[&str],
    work: impl Fn(&Apt) -> Result<T, Missing>,
) -> Result<T, Missing> {
    let old = root.join(FRESH).exists();
    let result = Apt::new(root, suites).and_then(|apt| work(&apt));
    if result.is_ok() || !old {
        return result;
    }
    fs::remove_dir_all(root)?;
    Apt::new(root, suites).and_then(|apt| work(&apt))
}

/// There when the lists are.
const FRESH: &str = "lists-are-here";

impl Apt {
    /// The tree in `root` for these suites, with lists that are fetched if they are not there.
    fn new(root: &Path, suites: &[&str]) -> Result<Apt, Missing> {
        let apt = Apt {
            root: root.to_owned(),
        };
        let fresh = root.join(FRESH);
        if fresh.exists() {
            return Ok(apt);
        }
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(folder))?;
        }
        let mirror = mirror()?;
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let lines = suites
            .iter()
            .map(|suite| format!("deb [signed-by={keys}] {mirror} {suite} main\n"));
        fs::write(root.join("sources.list"), lines.collect::<String>())?;
        run(apt
            .command("apt-get")
            .args(["-q", "-oAPT::Update::Error-Mode=any", "update"]))?;
        fs::write(fresh, "")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let root = self.root.display();
        command
            .arg(format!("-oDir::Etc::sourcelist={root}/sources.list"))
            .arg("-oDir::Etc::sourceparts=/dev/null")
            .arg("-oDir::Etc::preferencesparts=/dev/null")
            .arg(format!("-oDir::State::Lists={root}/lists"))
            .arg(format!("-oDir::Cache={root}/cache"))
            .arg("-oAPT::Sandbox::User=root")
            .arg("-oAcquire::Languages=none")
            .arg("-oAcquire::Retries=3")
            .arg("-oDebug::NoLocking=1")
            .env("LC_ALL", "C");
        command
    }

    /// Names of packages that begin with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>, Missing> {
        let listed = run(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Unpacks exactly these packages into `into`, without what they depend on.
    pub(super) fn unpack(&self, packages: &[String], into: &Path) -> Result<(), Missing> {
        let part = into.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part)?;
        let mut download = self.command("apt-get");
        run(download
            .current_dir(&part)
            .args(["-q", "download"])
            .args(packages))?;
        unpack_all(&part, &part)?;
        fs::rename(part, into)?;
        Ok(())
    }

    /// Unpacks these packages of `suite` into `into`, with all that they depend on and that this machine does not have.
    pub(super) fn unpack_with_missing(
        &self,
        suite: &str,
        packages: &[&str],
        into: &Path,
    ) -> Result<(), Missing> {
        let archives = self.root.join("cache/archives");
        let mut download = self.command("apt-get");
        run(download
            .args([
                "-q",
                "-y",
                "--no-install-recommends",
                "--download-only",
                "-t",
            ])
            .arg(suite)
            .arg("install")
            .args(packages))?;
        let part = into.with_extension("part");
        let _ = fs::remove_dir_all(&part);
        fs::create_dir_all(&part)?;
        unpack_all(&archives, &part)?;
        fs::rename(part, into)?;
        Ok(())
    }
}

/// Unpacks every package in `from` into `to`, and removes it.
fn unpack_all(from: &Path, to: &Path) -> Result<(), Missing> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            run(Command::new("dpkg-deb").arg("-x").args([&path, to]))?;
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
