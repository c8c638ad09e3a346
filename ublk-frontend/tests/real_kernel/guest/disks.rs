//! The guest's own disks, and the way that images take to the host.
//!
//! An exported file is a head of 4096 bytes (`name length\n`, zeros) and its content, padded to 4096; one behind the other.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use rustix::mount::{MountFlags, mount};

use super::trouble::{During, Trouble, demand};

/// Names on the host and sizes, in the order in which the guest sees them: `/dev/vda` ...
pub(crate) const DISKS: [(&str, u64); 4] = [
    ("scratch", 3 << 30),
    ("exports", 1 << 30),
    ("power", 64 << 20),
    ("power-log", 8 << 30),
];
/// The one whose power is cut: its flushes must end in their order.
pub(crate) const ONE_QUEUE: &str = "power";
/// Images and everything else, an ext4 that is mounted on [`SCRATCH`].
const SCRATCH_DISK: &str = "/dev/vda";
const EXPORTS: &str = "/dev/vdb";
/// The disk whose power is cut.
pub(crate) const POWER: &str = "/dev/vdc";
/// What was written to it.
pub(crate) const POWER_LOG: &str = "/dev/vdd";
/// Where steps keep their files.
pub(crate) const SCRATCH: &str = "/scratch";

/// Bytes of the head of an exported file.
pub(crate) const EXPORT_HEAD: usize = 4096;

/// Name and length in a head, if there is one.
pub(crate) fn exported_head(head: &[u8]) -> Option<(String, u64)> {
    let line = head.split(|&byte| byte == b'\n').next()?;
    let (name, len) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    Some((name.to_owned(), len.parse().ok()?))
}

/// Makes the file system for the steps' files.
pub(crate) fn prepare() -> Result<(), Trouble> {
    program(
        "mkfs.ext4",
        &["-q", "-F", "-E", "lazy_itable_init=1", SCRATCH_DISK],
    )?;
    mount(SCRATCH_DISK, SCRATCH, "ext4", MountFlags::NOATIME, None).during("mount of scratch")
}

/// A fresh folder for a step.
pub(crate) fn folder(name: &str) -> Result<PathBuf, Trouble> {
    let path = Path::new(SCRATCH).join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).during(path.display())?;
    Ok(path)
}

/// Hands a file to the host under this name.
pub(crate) fn export(file: &Path, name: &str) -> Result<(), Trouble> {
    static END: Mutex<u64> = Mutex::new(0);
    let mut end = END.lock().map_err(|_| "an export failed before")?;
    let content = std::fs::read(file).during(file.display())?;
    let disk = File::options().write(true).open(EXPORTS).during(EXPORTS)?;
    let mut head = vec![0; EXPORT_HEAD];
    writeln!(&mut head[..], "{name} {}", content.len())?;
    disk.write_all_at(&head, *end)?;
    disk.write_all_at(&content, *end + EXPORT_HEAD as u64)
        .during("export")?;
    disk.sync_all()?;
    *end += (EXPORT_HEAD + content.len().next_multiple_of(EXPORT_HEAD)) as u64;
    Ok(())
}

/// Runs a program that has to work; what it printed.
pub(crate) fn program(name: &str, arguments: &[&str]) -> Result<String, Trouble> {
    let output = Command::new(name).args(arguments).output().during(name)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    demand(output.status.success(), || {
        format!(
            "{name} {}: {}: {}",
            arguments.join(" "),
            output.status,
            said.trim()
        )
    })?;
    Ok(said)
}
