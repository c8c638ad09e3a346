//! What a guest is made of and where it comes from: kernel, QEMU, tools for file systems.
//!
//! * Each part is a folder below the cache; it is there whole or not at all (unpacked beside it, then renamed).
//! * QEMU must be 10 or newer: 7.2 corrupts such guests. A QEMU of the machine that is new enough is taken.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Missing;
use super::apt::{Apt, with_apt};
use crate::kernel::Kernel;

/// The suite that QEMU and the tools come from.
pub(super) const TOOLS: [&str; 2] = ["bookworm", "bookworm-backports"];
const OLDEST_QEMU: u32 = 10;
/// Where Debian puts libraries.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// All parts of one guest.
pub(super) struct Parts {
    /// Which kernel, as it says itself.
    pub(super) release: String,
    /// The kernel itself.
    pub(super) vmlinuz: PathBuf,
    /// Folder of its modules.
    pub(super) modules: PathBuf,
    /// The machine.
    pub(super) qemu: Qemu,
    /// Root of the unpacked tools.
    pub(super) tools: PathBuf,
}

/// An emulator that starts.
pub(super) enum Qemu {
    /// This machine's own.
    Installed,
    /// Unpacked here.
    Unpacked(PathBuf),
}

impl Qemu {
    /// A command that starts it, with its libraries and firmware. It dies with this process.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match self {
            Qemu::Installed => {
                command.arg("qemu-system-x86_64");
                command
            }
            Qemu::Unpacked(root) => {
                command.arg(root.join("usr/bin/qemu-system-x86_64"));
                command.env("LD_LIBRARY_PATH", library_path(root)).env(
                    "QEMU_MODULE_DIR",
                    root.join("usr/lib/x86_64-linux-gnu/qemu"),
                );
                for firmware in ["usr/share/qemu", "usr/share/seabios"] {
                    command.arg("-L").arg(root.join(firmware));
                }
                command
            }
        }
    }

    /// Its major version, if it starts.
    fn version(&self) -> Option<u32> {
        let output = self.command().arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let (_, version) = text.split_once("version ")?;
        version.split('.').next()?.parse().ok()
    }

    fn is_good(&self) -> bool {
        self.version().is_some_and(|v| v >= OLDEST_QEMU)
    }
}

/// The value of `LD_LIBRARY_PATH` for programs unpacked at `root`.
pub(super) fn library_path(root: &Path) -> String {
    let folders = LIBRARIES.map(|folder| root.join(folder).display().to_string());
    folders.join(":")
}

/// Fetches what is not there.
pub(super) fn gather(cache: &Path, kernel: Kernel) -> Result<Parts, Missing> {
    let folder = cache.join(format!("kernel-{}", kernel.name()));
    if !folder.exists() {
        fetch_kernel(cache, kernel, &folder)?;
    }
    let (vmlinuz, modules) = kernel_files(&folder)?;
    let release = modules.parent().and_then(Path::file_name);
    Ok(Parts {
        release: release.unwrap_or_default().to_string_lossy().into_owned(),
        vmlinuz,
        modules,
        qemu: qemu(cache)?,
        tools: tools(cache)?,
    })
}

fn unpack_tools(cache: &Path, suite: &str, packages: &[&str], into: &Path) -> Result<(), Missing> {
    with_apt(&cache.join("apt-tools"), &TOOLS, |apt| {
        apt.unpack_with_missing(suite, packages, into)
    })
}

fn qemu(cache: &Path) -> Result<Qemu, Missing> {
    if Qemu::Installed.is_good() {
        return Ok(Qemu::Installed);
    }
    let root = cache.join("qemu");
    let unpacked = Qemu::Unpacked(root.clone());
    if root.exists() {
        if unpacked.is_good() {
            return Ok(unpacked);
        }
        // Another machine's: libraries that were installed there are missing here.
        std::fs::remove_dir_all(&root)?;
    }
    unpack_tools(cache, "bookworm-backports", &["qemu-system-x86"], &root)?;
    if unpacked.is_good() {
        return Ok(unpacked);
    }
    Err(Missing(format!(
        "{} does not start, or is older than {OLDEST_QEMU}",
        root.display()
    )))
}

/// File system tools: whatever of them this machine does not have.
fn tools(cache: &Path) -> Result<PathBuf, Missing> {
    let root = cache.join("tools");
    if !root.exists() {
        let packages = ["e2fsprogs", "xfsprogs"];
        unpack_tools(cache, "bookworm", &packages, &root)?;
    }
    Ok(root)
}

fn fetch_kernel(cache: &Path, kernel: Kernel, folder: &Path) -> Result<(), Missing> {
    let root = cache.join(format!("apt-{}", kernel.suite()));
    with_apt(&root, &[kernel.suite()], |apt| {
        unpack_kernel(apt, kernel, folder)
    })
}

fn unpack_kernel(apt: &Apt, kernel: Kernel, folder: &Path) -> Result<(), Missing> {
    let newest = |prefix: &str, suffix: &str| -> Result<String, Missing> {
        let names = apt.names(prefix)?;
        let version = |name: &str| -> Option<Vec<u32>> {
            let middle = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            // `6.12.95+deb12` or `6.12.95+deb12.1`
            let numbers = middle.split(['.', '+']);
            numbers
                .map(|part| part.trim_start_matches("deb").parse().ok())
                .collect()
        };
        let found = names
            .iter()
            .filter(|name| version(name).is_some_and(|version| kernel.is(&version)));
        found
            .max_by_key(|name| version(name))
            .cloned()
            .ok_or_else(|| {
                Missing(format!(
                    "{} has no kernel {prefix}*{suffix} for {}",
                    kernel.suite(),
                    kernel.name()
                ))
            })
    };
    let packages = match kernel {
        Kernel::V6_12 => vec![newest("linux-image-", "-cloud-amd64-unsigned")?],
        Kernel::Newest => {
            let binary = newest("linux-binary-", "-cloud-amd64")?;
            let modules = binary.replace("linux-binary-", "linux-modules-");
            vec![binary, modules]
        }
    };
    apt.unpack(&packages, folder)
}

/// The kernel's file and the folder of its modules.
fn kernel_files(folder: &Path) -> Result<(PathBuf, PathBuf), Missing> {
    let only = |of: &Path, prefix: &str| -> Option<PathBuf> {
        let entries = std::fs::read_dir(of).ok()?.filter_map(Result::ok);
        let mut paths = entries.map(|entry| entry.path());
        paths.find(|path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(prefix)
        })
    };
    let homes = ["lib/modules", "usr/lib/modules"].map(|home| only(&folder.join(home), ""));
    let modules = homes.into_iter().flatten().next();
    let modules = modules.ok_or_else(|| Missing(format!("no modules in {}", folder.display())))?;
    let vmlinuz = only(&folder.join("boot"), "vmlinuz").or_else(|| only(&modules, "vmlinuz"));
    let vmlinuz = vmlinuz.ok_or_else(|| Missing(format!("no kernel in {}", folder.display())))?;
    Ok((vmlinuz, modules.join("kernel")))
}
