//! Copies and dirty bitmaps of a disk in use: what was on stable storage when the copy began is in it, and it is the disk of one
//! moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::server::{self, add, create, ok};
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, files};

/// Copies made of one disk.
const COPIES: usize = 3;

/// A mounted ext4 with a writer is copied: each copy is a sound file system with the files that were synced before.
pub(crate) fn under_ext4() -> Outcome {
    let folder = disks::folder("copy-ext4")?;
    let image = folder.join("disk.hdd");
    create(&image, "128M", "64k")?;
    let device = add("--queues 2", &[&image])?;
    let path = device.path.display().to_string();
    disks::program("mkfs.ext4", &["-q", "-F", &path])?;
    files::mount_device(&device.path, "ext4")?;
    let name = ok(&format!("cbt start --id {}", device.id))?;
    let (stop, synced) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = || -> Result<(), Trouble> {
        while !stop.load(Ordering::Relaxed) && synced.load(Ordering::Relaxed) < 150 {
            let file = synced.load(Ordering::Relaxed);
            files::write(file, true)?;
            synced.store(file + 1, Ordering::Relaxed);
        }
        Ok(())
    };
    let copies = std::thread::scope(|scope| {
        let writer = scope.spawn(writer);
        let copies: Result<Vec<_>, Trouble> = (0..COPIES)
            .map(|number| {
                std::thread::sleep(Duration::from_millis(400));
                let there = synced.load(Ordering::Relaxed);
                let copy = folder.join(format!("copy{number}.hdd"));
                ok(&format!("copy --id {} {}", device.id, copy.display()))?;
                Ok((copy, there))
            })
            .collect();
        stop.store(true, Ordering::Relaxed);
        writer.join().map_err(|_| "the writer panicked")??;
        copies
    })?;
    files::unmount_device()?;
    let dump = ok(&format!("cbt dump --id {} --name {name}", device.id))?;
    demand(dump.lines().count() > 0, || {
        "nothing is dirty after all that".to_owned()
    })?;
    device.del()?;
    server::check(&image)?;
    let list = ok(&format!("cbt list {}", image.display()))?;
    demand(list.starts_with(&name) && list.lines().count() == 1, || {
        format!("{name} was started, and only that is to be there: {list}")
    })?;
    let mut least = u64::MAX;
    for (copy, there) in &copies {
        least = least.min(*there);
        let device = add("", &[copy])?;
        files::mount_device(&device.path, "ext4").during("a copy")?;
        (0..*there).try_for_each(files::verify).during("a copy")?;
        files::unmount_device()?;
        let path = device.path.display().to_string();
        disks::program("e2fsck", &["-f", "-n", &path]).during("a copy")?;
        device.del()?;
        server::check(copy)?;
    }
    Ok(format!(
        "{COPIES} copies, {least} files in the first, {} in all",
        synced.load(Ordering::Relaxed)
    ))
}
