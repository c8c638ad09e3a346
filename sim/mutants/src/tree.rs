//! The scratch copy of the workspace with the woven core, and its builds.

use crate::list::Mutant;
use crate::sites::{Site, offset, sites};
use crate::weave::{Owner, WHICH, owner, weave};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is copied of the workspace.
const COPIED: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "clippy.toml",
    "LICENSE",
    "README.md",
    "core",
    "model",
    "sim",
    "fuzz",
    "ublk-frontend",
    "corpus",
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    state: PathBuf,
}

/// What became of the mutants when they were woven.
#[derive(Debug, Default)]
pub(crate) struct Woven {
    /// These are no programs: errors of types that their own text has.
    pub(crate) unviable: BTreeSet<u32>,
    /// These cannot stand beside others, and are built alone.
    pub(crate) alone: BTreeSet<u32>,
}

impl Tree {
    /// Copies the workspace into the folder of the state, as it is.
    pub(crate) fn copy(root: &Path, state: &Path) -> io::Result<Tree> {
        let tree = Tree {
            state: state.to_path_buf(),
        };
        let mut files = BTreeMap::new();
        for name in COPIED {
            collect(root, Path::new(name), &mut files)?;
        }
        for (path, bytes) in &files {
            if !path.starts_with("core/src") {
                tree.write(path, bytes)?;
            }
        }
        tree.remove_others(&files)?;
        Ok(tree)
    }

    fn remove_others(&self, files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
        let mut present = BTreeMap::new();
        collect(&self.folder(), Path::new(""), &mut present)?;
        for path in present.keys() {
            if !files.contains_key(path) && path != Path::new("core/src/mutant.rs") {
                fs::remove_file(self.folder().join(path))?;
            }
        }
        Ok(())
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.state.join("tree")
    }

    /// Writes a file of the copy, if it is another.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.folder().join(path);
        if fs::read(&path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)
    }

    /// Puts all mutants into the copy. Those that the compiler refuses are taken out, until it has no more to say.
    /// `known`: what an earlier run has learnt. Where nothing has changed, no file is touched and nothing is built again.
    pub(crate) fn weave(&self, root: &Path, mutants: &[Mutant], known: Woven) -> io::Result<Woven> {
        let mut sources = BTreeMap::new();
        collect(root, Path::new("core/src"), &mut sources)?;
        let mut texts: BTreeMap<String, (String, Vec<Site>)> = BTreeMap::new();
        let mut woven = known;
        for (path, bytes) in &sources {
            let path = path.to_string_lossy().into_owned();
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            let of_file: Vec<&Mutant> = mutants.iter().filter(|one| one.file == path).collect();
            // Snapshots of tests are among them, which are no Rust.
            let found = if of_file.is_empty() {
                Vec::new()
            } else {
                sites(&text, &of_file)
                    .map_err(|error| io::Error::other(format!("{path}: {error}")))?
            };
            for mutant in of_file {
                if !found.iter().any(|site| site.id == mutant.id) {
                    woven.alone.insert(mutant.id);
                }
            }
            if path == "core/src/lib.rs" {
                text.push_str("\nmod mutant;\n");
            }
            texts.insert(path, (text, found));
        }
        self.write(Path::new("core/src/mutant.rs"), WHICH.as_bytes())?;
        let mut now: BTreeMap<String, String> = BTreeMap::new();
        loop {
            for (path, (text, sites)) in &texts {
                let kept: Vec<Site> = sites
                    .iter()
                    .filter(|site| {
                        !woven.unviable.contains(&site.id) && !woven.alone.contains(&site.id)
                    })
                    .cloned()
                    .collect();
                now.insert(path.clone(), weave(text, &kept));
            }
            for (path, text) in &now {
                self.write(Path::new(path), text.as_bytes())?;
            }
            let errors = self.errors()?;
            if errors.is_empty() {
                return Ok(woven);
            }
            let before = woven.unviable.len() + woven.alone.len();
            for error in &errors {
                let owner = now
                    .get(&error.file)
                    .and_then(|text| owner(text, error.byte));
                match owner {
                    Some(Owner::One(id)) => {
                        let one = mutants.iter().find(|mutant| mutant.id == id);
                        if one.is_some_and(|one| error.is_its_own(one)) {
                            woven.unviable.insert(id);
                        } else {
                            woven.alone.insert(id);
                        }
                    }
                    Some(Owner::Place(ids)) => woven.alone.extend(ids),
                    None if error.code == "E0004" => {
                        let text = now.get(&error.file).map_or("", String::as_str);
                        woven.alone.extend(arms(text, error.byte, mutants));
                    }
                    None => {}
                }
            }
            eprintln!(
                "{} errors: {} mutants are no programs, {} cannot stand beside others",
                errors.len(),
                woven.unviable.len(),
                woven.alone.len()
            );
            if woven.unviable.len() + woven.alone.len() == before {
                let first = errors.first().map_or("", |error| &error.rendered);
                return Err(io::Error::other(format!("nobody's error:\n{first}")));
            }
        }
    }

    /// The core as it is but for one mutant. False: that is no program.
    pub(crate) fn alone(&self, root: &Path, mutant: &Mutant) -> io::Result<bool> {
        let mut sources = BTreeMap::new();
        collect(root, Path::new("core/src"), &mut sources)?;
        for (path, bytes) in &sources {
            if path == Path::new(&mutant.file) {
                let text = String::from_utf8_lossy(bytes);
                let (start, end) = (
                    offset(&text, mutant.span.start),
                    offset(&text, mutant.span.end),
                );
                let changed = [&text[..start], &mutant.replacement, &text[end..]].concat();
                self.write(path, changed.as_bytes())?;
            } else {
                self.write(path, bytes)?;
            }
        }
        Ok(self.errors()?.is_empty())
    }

    /// `cargo` in the copy.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = Command::new("cargo");
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        cargo
            .current_dir(self.folder())
            .env("CARGO_TARGET_DIR", self.state.join("build"))
            .env("CARGO_TERM_COLOR", "never")
            .env("CARGO_INCREMENTAL", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("RUSTFLAGS", "--cap-lints=allow");
        cargo
    }

    fn errors(&self) -> io::Result<Vec<Problem>> {
        let output = self
            .cargo()
            .args(["check", "-q", "-p", "ploop-core", "--message-format=json"])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let problems: Vec<Problem> = text.lines().filter_map(Problem::read).collect();
        if problems.is_empty() && !output.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        Ok(problems)
    }

    /// Builds programs and returns the paths of those with these arguments: `--message-format=json` tells them.
    pub(crate) fn build(&self, arguments: &[&str]) -> io::Result<Vec<PathBuf>> {
        let output = self
            .cargo()
            .args(arguments)
            .args(["-q", "--message-format=json"])
            .output()?;
        if !output.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let messages = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(messages
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .collect())
    }
}

/// An arm with a guard does not count towards what a `match` covers, and the error stands at the `match`: the arms of the
/// function whose `match` it is.
fn arms(woven: &str, byte: usize, mutants: &[Mutant]) -> Vec<u32> {
    let behind = woven.get(byte..).unwrap_or("");
    let mark = behind.split("/*@<").skip(1).find_map(|rest| {
        let (id, rest) = rest.split_once("*/")?;
        let is_arm = rest.starts_with(&format!("crate::mutant::which() != {id}"));
        is_arm.then(|| id.parse::<u32>().ok())?
    });
    let place = |mutant: &Mutant| {
        let function = mutant
            .label
            .rsplit_once(" in ")
            .map(|(_, name)| name.to_owned());
        (mutant.file.clone(), function)
    };
    let first = mutants.iter().find(|mutant| Some(mutant.id) == mark);
    let of_it = mutants.iter().filter(|mutant| {
        mutant.genre == "MatchArm" && first.is_some_and(|first| place(first) == place(mutant))
    });
    of_it.map(|mutant| mutant.id).collect()
}

/// An error of the compiler.
#[derive(Debug)]
struct Problem {
    code: String,
    file: String,
    byte: usize,
    rendered: String,
}

impl Problem {
    fn read(line: &str) -> Option<Problem> {
        let value: Value = serde_json::from_str(line).ok()?;
        let message = &value["message"];
        if value["reason"] != "compiler-message" || message["level"] != "error" {
            return None;
        }
        let spans = message["spans"].as_array()?;
        let primary = spans.iter().find(|span| span["is_primary"] == true)?;
        Some(Problem {
            code: message["code"]["code"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            file: primary["file_name"].as_str()?.to_owned(),
            byte: usize::try_from(primary["byte_start"].as_u64()?).ok()?,
            rendered: message["rendered"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Whether the mutant would be refused alone, too: its types do not fit. Of borrows and moves nobody knows.
    fn is_its_own(&self, mutant: &Mutant) -> bool {
        let types = [
            "E0277", "E0308", "E0369", "E0368", "E0599", "E0600", "E0433", "E0412", "E0425",
        ];
        types.contains(&self.code.as_str()) && !mutant.opaque && mutant.genre != "StructField"
    }
}

/// Adds the files at and below `path`, if there are any, without what is built.
fn collect(root: &Path, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    let full = root.join(path);
    if full.is_dir() {
        for entry in fs::read_dir(&full)? {
            let name = entry?.file_name();
            let foreign = ["target", ".git", "artifacts", "coverage"];
            if !foreign.iter().any(|other| name == *other) {
                collect(root, &path.join(name), files)?;
            }
        }
    } else if full.is_file() {
        files.insert(path.to_path_buf(), fs::read(&full)?);
    }
    Ok(())
}
