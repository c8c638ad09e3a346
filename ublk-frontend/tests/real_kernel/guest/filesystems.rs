//! File systems on a device: made, mounted, filled, emptied in part, unmounted, checked; and all of it still there when the
//! device has been deleted and added again.

use super::server::{self, add, create};
use super::trouble::{During, Outcome, Trouble};
use super::{disks, files};

const FILES: u64 = 40;

/// ext4.
pub(crate) fn ext4() -> Outcome {
    let make = ["mkfs.ext4", "-q", "-F"];
    let check = ["e2fsck", "-f", "-n"];
    whole_life("ext4", "256M", "1M", &make, &check)
}

/// The same on clusters of 64 KiB.
pub(crate) fn ext4_small_clusters() -> Outcome {
    let make = ["mkfs.ext4", "-q", "-F"];
    let check = ["e2fsck", "-f", "-n"];
    whole_life("ext4", "128M", "64k", &make, &check)
}

/// XFS: below 300 MB there is none.
pub(crate) fn xfs() -> Outcome {
    let make = ["mkfs.xfs", "-q", "-f"];
    let check = ["xfs_repair", "-n"];
    whole_life("xfs", "320M", "1M", &make, &check)
}

fn on_device(words: &[&str], device: &str) -> Result<(), Trouble> {
    let (program, arguments) = words.split_first().ok_or("no program")?;
    disks::program(program, &[arguments, &[device]].concat()).map(drop)
}

fn whole_life(kind: &str, size: &str, cluster: &str, make: &[&str], check: &[&str]) -> Outcome {
    let image = disks::folder("filesystem")?.join("disk.hdd");
    create(&image, size, cluster)?;
    let device = add("--queues 2", &[&image])?;
    let path = device.path.display().to_string();
    on_device(make, &path)?;
    files::mount_device(&device.path, kind)?;
    for number in 0..FILES {
        files::write(number, number % 3 == 0)?;
    }
    for number in (0..FILES).step_by(4) {
        files::remove(number)?;
    }
    files::drop_caches()?;
    verify()?;
    files::unmount_device()?;
    on_device(check, &path)?;
    device.del()?;
    server::check(&image)?;

    let device = add("", &[&image]).during("again")?;
    files::mount_device(&device.path, kind)?;
    verify().during("again")?;
    for number in 0..FILES / 2 {
        files::write(FILES + number, false)?;
    }
    files::unmount_device()?;
    let path = device.path.display().to_string();
    on_device(check, &path)?;
    device.del()?;
    server::check(&image)?;
    disks::export(&image, &format!("{kind}-{cluster}.hdd"))?;
    let length = std::fs::metadata(&image)?.len();
    Ok(format!("{FILES} files, image of {} MiB", length >> 20))
}

fn verify() -> Result<(), Trouble> {
    for number in 0..FILES {
        if number % 4 == 0 {
            files::absent(number)?;
        } else {
            files::verify(number)?;
        }
    }
    Ok(())
}
