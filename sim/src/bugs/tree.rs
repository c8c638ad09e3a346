//! The scratch copy of the workspace: source in `target/bugs/tree`, builds in `target/bugs/build`.
//!
//! Files are written only where their content differs, and builds share one folder, so that the next patch compiles
//! what it changes and no more.

use super::cache::Hash;
use super::patch::Patch;
use super::{Trouble, process};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is copied, besides the folders of the workspace's members.
const FILES: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "rust-toolchain.toml",
    "LICENSE",
    "README.md",
];
const FOLDERS: &[&str] = &[
    "core",
    "model",
    "sim",
    "fuzz",
    "ublk-frontend",
    "corpus",
    ".cargo",
];
/// What decides the outcome of an engine.
const SOURCE: &[&str] = &[
    "core/",
    "model/",
    "sim/",
    "fuzz/",
    "ublk-frontend/src/bundle",
    "Cargo.lock",
];

/// The workspace that the current folder is in.
pub(super) fn root() -> io::Result<PathBuf> {
    let here = std::env::current_dir()?;
    here.ancestors()
        .find(|folder| folder.join("corpus/bugs").is_dir() && folder.join("Cargo.toml").is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| {
            io::Error::other("run this inside the workspace: no corpus/bugs here or above")
        })
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tree {
    base: PathBuf,
    jobs: usize,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The patch that is in the copy.
    current: Option<String>,
}

impl Tree {
    /// Reads the workspace. Nothing is copied yet.
    pub(super) fn new(root: &Path, jobs: usize) -> io::Result<Tree> {
        let mut files = BTreeMap::new();
        for name in FILES.iter().chain(FOLDERS) {
            collect(root, Path::new(name), &mut files)?;
        }
        let base = root.join("target/bugs");
        fs::create_dir_all(base.join("tree"))?;
        Ok(Tree {
            base,
            jobs,
            files,
            current: None,
        })
    }

    /// A number for everything that decides what an engine finds. The runner and the patches do not.
    pub(super) fn source(&self) -> u64 {
        let mut hash = Hash::default();
        for (path, bytes) in &self.files {
            let name = path.to_string_lossy();
            let decides = SOURCE.iter().any(|prefix| name.starts_with(prefix));
            if decides && !name.starts_with("sim/src/bugs") {
                hash.add(name.as_bytes());
                hash.add(bytes);
            }
        }
        hash.value()
    }

    /// Makes the copy the workspace with this patch.
    pub(super) fn patch(&mut self, patch: &Patch) -> Result<(), Trouble> {
        if self.current.as_ref() == Some(&patch.text) {
            return Ok(());
        }
        self.current = None;
        self.restore()
            .map_err(|error| Trouble::Apply(format!("the scratch copy: {error}")))?;
        if !patch.is_control() {
            self.apply(&patch.text)?;
        }
        self.current = Some(patch.text.clone());
        Ok(())
    }

    fn apply(&self, text: &str) -> Result<(), Trouble> {
        let file = self.base.join("bug.patch");
        fs::write(&file, text).map_err(|error| Trouble::Apply(error.to_string()))?;
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn"]).arg(&file);
        // The copy may stand inside a git folder, which is none of git's business here.
        git.env("GIT_CEILING_DIRECTORIES", &self.base);
        let ended = process::run(git.current_dir(self.folder()), None).or_else(|_| {
            let mut patch = Command::new("patch");
            patch.args(["-p1", "--fuzz=0", "--batch", "--forward", "-i"]);
            process::run(patch.arg(&file).current_dir(self.folder()), None)
        });
        match ended {
            Ok(ended) if ended.ok => Ok(()),
            Ok(ended) => Err(Trouble::Apply(process::tail(&ended.output, 4))),
            Err(error) => Err(Trouble::Apply(format!(
                "neither git nor patch can be run: {error}"
            ))),
        }
    }

    /// Writes what differs from the workspace, and removes what is not in it.
    fn restore(&self) -> io::Result<()> {
        let folder = self.folder();
        let mut present = BTreeMap::new();
        collect(&folder, Path::new(""), &mut present)?;
        for path in present.keys() {
            if !self.files.contains_key(path) {
                fs::remove_file(folder.join(path))?;
            }
        }
        for (path, bytes) in &self.files {
            if present.get(path) != Some(bytes) {
                let path = folder.join(path);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::write(path, bytes)?;
            }
        }
        Ok(())
    }

    /// The names of its files, without those of the patch.
    pub(super) fn names(&self) -> impl Iterator<Item = String> + '_ {
        let names = self.files.keys();
        names.map(|path| path.to_string_lossy().into_owned())
    }

    /// Where the copy is.
    pub(super) fn folder(&self) -> PathBuf {
        self.base.join("tree")
    }

    /// A folder for what an engine leaves.
    pub(super) fn scratch(&self) -> PathBuf {
        self.base.join("scratch")
    }

    /// `cargo` in the copy.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(self.folder());
        self.environment(&mut cargo);
        cargo
    }

    /// A program of the copy, with what cargo's own variables would say about this build taken off.
    pub(super) fn environment(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let package = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
            if package || name == "CARGO_BIN_NAME" || name == "CARGO_CRATE_NAME" {
                command.env_remove(name);
            }
        }
        command
            .env("CARGO_TARGET_DIR", self.base.join("build"))
            .env("CARGO_BUILD_JOBS", self.jobs.to_string())
            .env("CARGO_TERM_COLOR", "never")
            // Debug builds: they check the order of locks, and a patched core is compiled in seconds.
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("INSTA_UPDATE", "no");
    }

    /// Builds the simulator. Returns where it is.
    pub(super) fn build_simulator(&self) -> Result<PathBuf, Trouble> {
        let mut cargo = self.cargo();
        cargo.args(["build", "-p", "sim", "--bin", "sim"]);
        build(&mut cargo)?;
        Ok(self.base.join("build/debug/sim"))
    }
}

/// Runs a build.
pub(super) fn build(cargo: &mut Command) -> Result<String, Trouble> {
    match process::run(cargo, None) {
        Ok(ended) if ended.ok => Ok(ended.output),
        Ok(ended) => {
            let errors: Vec<&str> = ended
                .output
                .lines()
                .skip_while(|line| !line.starts_with("error"))
                .take(12)
                .collect();
            Err(Trouble::Build(errors.join("\n")))
        }
        Err(error) => Err(Trouble::Build(format!("cargo cannot be run: {error}"))),
    }
}

/// Adds the files at and below `path` (relative to `root`), if there are any. Links are followed.
fn collect(root: &Path, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let full = root.join(path);
    if full.is_dir() {
        for entry in fs::read_dir(&full)? {
            let path = path.join(entry?.file_name());
            if !is_foreign(&path) {
                collect(root, &path, files)?;
            }
        }
    } else if full.is_file() {
        files.insert(path.to_path_buf(), fs::read(&full)?);
    }
    Ok(())
}

/// True for what is not source: builds, results, the house's machinery.
fn is_foreign(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_none_or(|name| {
        matches!(name, "target" | ".git" | "artifacts" | "coverage") || name.ends_with(".snap.new")
    })
}
