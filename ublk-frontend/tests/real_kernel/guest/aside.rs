//! The server steps aside: snapshots and growth of a disk in use. Users see no error, and nothing is lost; a command that is
//! killed in the middle leaves a device that can be recovered.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::judge::Judge;
use super::load::{Load, during};
use super::loads::Judged;
use super::random::Random;
use super::server::{self, Device, add, call, create, ok};
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, files};

const SNAPSHOTS: usize = 5;

/// Takes a snapshot of a device into `new`, and adds it to its images. How long the disk waited at most.
fn snapshot(device: &Device, images: &mut Vec<PathBuf>) -> Result<Duration, Trouble> {
    let folder = images[0].parent().unwrap_or(Path::new("/"));
    let new = folder.join(format!("s{}.hdd", images.len()));
    let began = Instant::now();
    let printed = ok(&format!(
        "snapshot create --id {} --file {}",
        device.id,
        new.display()
    ))?;
    let took = began.elapsed();
    images.push(new);
    let wanted: Vec<String> = images
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    demand(printed == wanted.join(" "), || {
        format!("snapshot create printed {printed:?}")
    })?;
    Ok(took)
}

fn check_all(images: &[PathBuf]) -> Result<(), Trouble> {
    images.iter().try_for_each(|image| server::check(image))
}

fn as_paths(images: &[PathBuf]) -> Vec<&Path> {
    images.iter().map(PathBuf::as_path).collect()
}

/// True if this kernel can change the size of a disk.
pub(crate) fn updates_size() -> Result<bool, Trouble> {
    Ok(ok("features")?.contains("UPDATE_SIZE"))
}

/// Five snapshots and a growth under raw clients. For the model nothing has happened.
pub(crate) fn under_load() -> Outcome {
    let disk = Judged::new("aside", "16M", "64k", "--queues 4 --depth 16")?;
    let mut images = vec![disk.image.clone()];
    let mut slowest = Duration::ZERO;
    during(
        &Load::mixed(disk.sectors, 21),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            for _ in 0..SNAPSHOTS {
                running.for_a_while(Duration::from_millis(400));
                if running.stopped() {
                    break;
                }
                slowest = slowest.max(snapshot(&disk.device, &mut images)?);
            }
            running.for_a_while(Duration::from_millis(400));
            ok(&format!("resize {} 40M", disk.device.id))?;
            running.for_a_while(Duration::from_millis(400));
            Ok(())
        },
    )?;
    if updates_size()? {
        let sectors = disk.target.sectors()?;
        demand(sectors == 40 << 11, || format!("{sectors} sectors"))?;
    }
    disk.judge.read_everything(&disk.target, disk.sectors)?;
    drop(disk.target);
    disk.device.del()?;
    check_all(&images)?;
    lower_is_refused(&images)?;
    let device = add("--queues 2", &as_paths(&images)).during("the stack")?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    demand(sectors == 40 << 11, || {
        format!("{sectors} sectors after add")
    })?;
    disk.judge.read_everything(&target, disk.sectors)?;
    drop(target);
    device.del()?;
    check_all(&images)?;
    merge_all(&mut images, &disk.judge)?;
    for (number, image) in images.iter().enumerate() {
        disks::export(image, &format!("aside-{number}.hdd"))?;
    }
    let judged = disk.judge.judged();
    Ok(format!(
        "{SNAPSHOTS} snapshots, {slowest:?} at most; {} operations, {} sectors compared",
        judged.ops, judged.sectors
    ))
}

/// All snapshots but one are merged again, under load; what was merged down is gone, and the one below is not refused any
/// more.
fn merge_all(images: &mut Vec<PathBuf>, judge: &Judge) -> Result<(), Trouble> {
    let device = add("--queues 4 --depth 16", &as_paths(images)).during("to merge")?;
    let target = device.open()?;
    let sectors = 16 << 11;
    let mut old: Vec<Vec<PathBuf>> = Vec::new();
    during(&Load::mixed(sectors, 27), judge, &target, &[], |running| {
        while images.len() > 2 && !running.stopped() {
            running.for_a_while(Duration::from_millis(300));
            // By turns: the newest goes into the one below, while the disk waits; or that one into the newest, while it does not.
            let up = images.len() % 2 == 1;
            let flag = if up { "--up" } else { "" };
            old.push(images.clone());
            if up {
                old.push(images[..images.len() - 1].to_vec());
            }
            let merged = call(&format!("snapshot merge --id {} {flag}", device.id))?;
            demand(
                merged.code == Some(0) && !merged.err.contains("copied while"),
                || format!("merge {flag}: {merged:?}"),
            )?;
            let printed = merged.out.trim();
            let gone = images.remove(images.len() - if up { 2 } else { 1 });
            demand(gone.exists() == up, || {
                format!("{} is there: {}", gone.display(), gone.exists())
            })?;
            let left: Vec<String> = images.iter().map(|p| p.display().to_string()).collect();
            demand(printed == left.join(" "), || {
                format!("merge printed {printed:?}")
            })?;
        }
        running.for_a_while(Duration::from_millis(300));
        Ok(())
    })?;
    judge.read_everything(&target, sectors).during("merged")?;
    drop(target);
    device.del()?;
    check_all(images)?;
    // No list of before is the disk any more, whatever is left of it.
    for list in &old {
        let words: Vec<String> = list.iter().map(|p| p.display().to_string()).collect();
        let refused = call(&format!("add {}", words.join(" ")))?;
        demand(refused.code == Some(1), || {
            format!("add of an old list: {words:?}: {refused:?}")
        })?;
    }
    let device = add("", &as_paths(images)).during("merged")?;
    let target = device.open()?;
    judge
        .read_everything(&target, sectors)
        .during("merged, and added again")?;
    drop(target);
    device.del()?;
    check_all(images)
}

/// The old list would be the old disk: it is refused, unless a person wants that.
fn lower_is_refused(images: &[PathBuf]) -> Result<(), Trouble> {
    for count in 1..images.len() {
        let list = as_paths(&images[..count]);
        let words: Vec<String> = list.iter().map(|path| path.display().to_string()).collect();
        let refused = call(&format!("add {}", words.join(" ")))?;
        demand(
            refused.code == Some(1) && refused.err.contains(&images[count].display().to_string()),
            || format!("add of the first {count} images: {refused:?}"),
        )?;
        add("--read-only", &list)?.del()?;
    }
    Ok(())
}

/// A mounted ext4 with writers: five snapshots, a growth, and the file system grows with the disk or stays.
pub(crate) fn under_ext4() -> Outcome {
    let image = disks::folder("aside-ext4")?.join("disk.hdd");
    create(&image, "128M", "64k")?;
    let device = add("--queues 2", &[&image])?;
    let path = device.path.display().to_string();
    disks::program("mkfs.ext4", &["-q", "-F", &path])?;
    files::mount_device(&device.path, "ext4")?;
    let mut images = vec![image];
    let (stop, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let writer = || -> Result<(), Trouble> {
        while !stop.load(Ordering::Relaxed) && next.load(Ordering::Relaxed) < 150 {
            let file = next.fetch_add(1, Ordering::Relaxed);
            files::write(file, file % 2 == 0)?;
        }
        Ok(())
    };
    let written = std::thread::scope(|scope| {
        let writers = [scope.spawn(writer), scope.spawn(writer)];
        let changed = (0..SNAPSHOTS).try_for_each(|_| {
            std::thread::sleep(Duration::from_millis(400));
            snapshot(&device, &mut images).map(drop)
        });
        let changed = changed.and_then(|()| {
            std::thread::sleep(Duration::from_millis(300));
            ok(&format!("resize {} 256M", device.id)).map(drop)
        });
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        changed.map(|()| next.load(Ordering::Relaxed))
    })?;
    rustix::fs::syncfs(std::fs::File::open(files::MOUNTED)?)?;
    files::drop_caches()?;
    (0..written).try_for_each(files::verify)?;
    files::unmount_device()?;
    disks::program("e2fsck", &["-f", "-n", &path])?;
    device.del()?;
    check_all(&images)?;
    let device = add("", &as_paths(&images))?;
    files::mount_device(&device.path, "ext4")?;
    (0..written).try_for_each(files::verify).during("again")?;
    files::unmount_device()?;
    device.del()?;
    check_all(&images)?;
    Ok(format!("{SNAPSHOTS} snapshots, {written} files, all there"))
}

/// The command is killed at any moment. The device is served, or can be recovered; the old chain or the new one is recorded.
pub(crate) fn killed() -> Outcome {
    const KILLS: u64 = 16;
    // So many are enough if none of the first has met a server that was aside: a fast machine is done soon.
    const MOST: u64 = 64;
    let disk = Judged::new("aside-killed", "16M", "64k", "--queues 2 --depth 16")?;
    let folder = disk.image.parent().unwrap_or(Path::new("/")).to_owned();
    let mut random = Random::new(22);
    let (mut kills, mut recovered) = (0, 0);
    during(
        &Load::mixed(disk.sectors, 23),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            for number in 0..MOST {
                running.for_a_while(Duration::from_millis(150));
                if running.stopped() || number >= KILLS && recovered > 0 {
                    break;
                }
                kills += 1;
                let words = match number % 4 {
                    0 => format!("resize {} {}M", disk.device.id, 17 + number),
                    3 if number % 8 == 3 => format!("snapshot merge --id {}", disk.device.id),
                    3 => format!("snapshot merge --id {} --up", disk.device.id),
                    _ => format!(
                        "snapshot create --id {} --file {}",
                        disk.device.id,
                        folder.join(format!("k{number}.hdd")).display()
                    ),
                };
                let mut command = Command::new("/bin/ploop-ublk")
                    .args(words.split(' '))
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()?;
                let longest = [1500, 400, 120][number as usize % 3];
                std::thread::sleep(Duration::from_millis(random.below(longest)));
                command.kill()?;
                command.wait()?;
                // It may have been done, or not begun: then there is a server.
                std::thread::sleep(Duration::from_millis(300));
                let state = call(&format!("info {}", disk.device.id))?;
                if state.code != Some(0) {
                    recovered += 1;
                    let again = call(&format!("recover {}", disk.device.id))?;
                    let served = again.code == Some(0) || again.err.contains("is served");
                    demand(served, || format!("after {words}: {again:?}"))?;
                }
            }
            Ok(())
        },
    )?;
    demand(recovered > 0, || {
        "no command was ever killed while the server was aside".to_owned()
    })?;
    disk.judge.read_everything(&disk.target, disk.sectors)?;
    let most = images_of(&disk.device)?.len();
    // A merge that was killed leaves the lower image marked as in use; one that ends clears it.
    while images_of(&disk.device)?.len() > 1 {
        ok(&format!("snapshot merge --id {}", disk.device.id))?;
    }
    disk.judge
        .read_everything(&disk.target, disk.sectors)
        .during("merged")?;
    let images = images_of(&disk.device)?;
    drop(disk.target);
    disk.device.del()?;
    check_all(&images)?;
    let device = add("", &as_paths(&images)).during("again")?;
    let target = device.open()?;
    disk.judge.read_everything(&target, disk.sectors)?;
    drop(target);
    device.del()?;
    check_all(&images)?;
    let judged = disk.judge.judged();
    Ok(format!(
        "{kills} commands killed, {recovered} recoveries, {most} images in the end, merged; {} operations",
        judged.ops
    ))
}

/// The images of a device, as its server says.
pub(crate) fn images_of(device: &Device) -> Result<Vec<PathBuf>, Trouble> {
    let printed = ok(&format!("info {} --json", device.id))?;
    let report: serde_json::Value =
        serde_json::from_str(&printed).map_err(|error| format!("info: {error}"))?;
    let images = report["images"].as_array().into_iter().flatten();
    Ok(images
        .filter_map(|image| image.as_str().map(PathBuf::from))
        .collect())
}
