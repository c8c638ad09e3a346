//! Files on a mounted file system: what is in them is decided by their number, so that anybody can tell what must be there.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::random::Random;
use super::trouble::{During, Trouble, demand};

/// Where devices are mounted.
pub(crate) const MOUNTED: &str = "/mnt";
/// Longest file.
const LONGEST: u64 = 1 << 20;

/// Mounts a device, with discards.
pub(crate) fn mount_device(device: &Path, kind: &str) -> Result<(), Trouble> {
    let options = Some(c"discard");
    mount(device, MOUNTED, kind, MountFlags::NOATIME, options)
        .during(format!("mount of {} as {kind}", device.display()))
}

/// Unmounts it.
pub(crate) fn unmount_device() -> Result<(), Trouble> {
    unmount(MOUNTED, UnmountFlags::empty()).during("unmount")
}

/// Forgets what was read, so that it is read from the device again.
pub(crate) fn drop_caches() -> Result<(), Trouble> {
    std::fs::write("/proc/sys/vm/drop_caches", "3").during("drop_caches")
}

fn place(number: u64) -> PathBuf {
    Path::new(MOUNTED)
        .join(format!("d{}", number % 7))
        .join(format!("f{number}"))
}

fn content(number: u64) -> Vec<u8> {
    let mut random = Random::new(number + 17);
    let words = random.below(LONGEST / 8) >> random.below(8);
    (0..=words)
        .flat_map(|_| random.next().to_le_bytes())
        .collect()
}

/// Writes file `number`.
pub(crate) fn write(number: u64, sync: bool) -> Result<(), Trouble> {
    let path = place(number);
    let folder = path.parent().unwrap_or(Path::new(MOUNTED));
    std::fs::create_dir_all(folder).during(folder.display())?;
    let mut file = File::create(&path).during(path.display())?;
    file.write_all(&content(number)).during(path.display())?;
    if sync {
        file.sync_all().during(path.display())?;
        File::open(folder)?.sync_all().during(folder.display())?;
    }
    Ok(())
}

/// Removes file `number`.
pub(crate) fn remove(number: u64) -> Result<(), Trouble> {
    std::fs::remove_file(place(number)).during(place(number).display())
}

/// File `number` is whole.
pub(crate) fn verify(number: u64) -> Result<(), Trouble> {
    let found = std::fs::read(place(number)).during(place(number).display())?;
    let wanted = content(number);
    let differs = found.iter().zip(&wanted).position(|(a, b)| a != b);
    demand(found == wanted, || {
        format!(
            "file {number}: {} bytes, not {}; they differ from {differs:?} on",
            found.len(),
            wanted.len()
        )
    })
}

/// File `number` is not there.
pub(crate) fn absent(number: u64) -> Result<(), Trouble> {
    demand(!place(number).exists(), || {
        format!("file {number} is there")
    })
}
