//! The guest's root: this program as `/init`, `ploop-ublk`, file system tools, their libraries, modules, scenarios.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Missing;
use super::cpio::Cpio;
use super::parts::{Parts, library_path};
use crate::guest::init::MODULES;

/// Programs that the steps call.
const TOOLS: [&str; 4] = ["mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair"];
/// Where programs are looked for, below the unpacked tools and on this machine.
const PROGRAMS: [&str; 4] = ["sbin", "usr/sbin", "bin", "usr/bin"];

/// Packs it. `more`: programs and other files, and where they go.
pub(super) fn pack(parts: &Parts, more: &[(PathBuf, &str)]) -> Result<Vec<u8>, Missing> {
    let mut root = Cpio::default();
    for folder in ["dev", "proc", "sys", "tmp", "run", "mnt", "etc", "scratch"] {
        root.folder(folder);
    }
    root.device("dev/console", 5, 1);
    root.file("etc/passwd", 0o644, b"root:x:0:0::/:/bin/false\n");
    root.file("etc/mtab", 0o644, b"");
    let mut libraries = BTreeSet::new();
    let mut program = |root: &mut Cpio, from: &Path, to: &str| -> Result<(), Missing> {
        libraries.extend(needs(from, &parts.tools)?);
        Ok(root.copy(from, to)?)
    };
    program(&mut root, &std::env::current_exe()?, "init")?;
    let served = Path::new(env!("CARGO_BIN_EXE_ploop-ublk"));
    program(&mut root, served, "bin/ploop-ublk")?;
    for tool in TOOLS {
        program(
            &mut root,
            &find(&parts.tools, tool)?,
            &format!("bin/{tool}"),
        )?;
    }
    for (from, to) in more {
        if to.starts_with("bin/") {
            program(&mut root, from, to)?;
        } else {
            root.copy(from, to)?;
        }
    }
    for library in libraries {
        let name = library.display().to_string();
        // Unpacked ones go where the loader looks.
        let place = match library.strip_prefix(&parts.tools) {
            Ok(inside) => format!("/{}", inside.display()),
            Err(_) => name,
        };
        root.copy(&library, &place)?;
    }
    for module in MODULES {
        if let Some(path) = find_module(&parts.modules, module.name)? {
            root.copy(&path, &format!("modules/{}", module.name))?;
        }
    }
    scenarios(&mut root)?;
    Ok(root.finish())
}

fn scenarios(root: &mut Cpio) -> Result<(), Missing> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/scenarios");
    for entry in std::fs::read_dir(corpus)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        root.copy(&path, &format!("scenarios/{name}"))?;
    }
    Ok(())
}

fn find(tools: &Path, name: &str) -> Result<PathBuf, Missing> {
    let roots = [tools, Path::new("/")];
    let places = roots
        .iter()
        .flat_map(|root| PROGRAMS.map(|folder| root.join(folder).join(name)));
    let mut found = places.filter(|path| path.exists());
    found
        .next()
        .ok_or_else(|| Missing(format!("no program {name}")))
}

/// The libraries of a program, the loader included.
fn needs(program: &Path, tools: &Path) -> Result<Vec<PathBuf>, Missing> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LD_LIBRARY_PATH", library_path(tools))
        .output()?;
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(line) = listed.lines().find(|line| line.contains("not found")) {
        return Err(Missing(format!("{}: {}", program.display(), line.trim())));
    }
    let words = listed.split_whitespace();
    Ok(words
        .filter(|word| word.starts_with('/'))
        .map(|word| PathBuf::from(word.trim_end_matches(':')))
        .filter(|path| path != program)
        .collect())
}

fn find_module(folder: &Path, name: &str) -> Result<Option<PathBuf>, Missing> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_module(&path, name)? {
                return Ok(Some(found));
            }
        } else if path
            .file_name()
            .is_some_and(|file| file.to_string_lossy().split(".ko").next() == Some(name))
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}
