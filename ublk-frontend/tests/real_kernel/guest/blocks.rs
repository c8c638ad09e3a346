//! A file system that can be read and written past the page cache only in blocks of 4096 bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::judge::Judge;
use super::load::{Load, during};
use super::server::{self, add, call, create};
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, sys};

const PLACE: &str = "/tmp/blocks";
const LOOP: &str = "/dev/loop3";
const BLOCK: u64 = 4096;

/// `--direct on`: the disk has blocks of 4096 bytes. `auto`: it keeps its 512, through the page cache. An image that lies
/// at odd places is refused.
pub(crate) fn direct() -> Outcome {
    let disk = disks::folder("blocks")?.join("disk.raw");
    std::fs::File::create(&disk)?.set_len(192 << 20)?;
    let device = Path::new(LOOP);
    sys::attach_loop(device, &disk).during("loop")?;
    let result = with_loop(device);
    sys::detach_loop(device).during("loop")?;
    result
}

fn with_loop(device: &Path) -> Outcome {
    sys::set_loop_block_size(device, BLOCK as usize).during("blocks of the loop device")?;
    disks::program("mkfs.ext4", &["-q", "-F", "-b", "4096", LOOP])?;
    std::fs::create_dir_all(PLACE)?;
    mount(device, PLACE, "ext4", MountFlags::NOATIME, None).during("mount")?;
    let result = with_files();
    unmount(PLACE, UnmountFlags::empty()).during("unmount")?;
    result
}

fn with_files() -> Outcome {
    let mut found = Vec::new();
    for (direct, block, grain) in [("on", BLOCK, 8), ("auto", 512, 1)] {
        let image = Path::new(PLACE).join(direct);
        create(&image, "16M", "64k")?;
        let options = format!("--direct {direct} --queues 2");
        let device = add(&options, &[&image])?;
        let path = format!("/sys/block/ublkb{}/queue/logical_block_size", device.id);
        let told = std::fs::read_to_string(&path).during(path)?;
        demand(told.trim() == block.to_string(), || {
            format!("--direct {direct}: blocks of {told}")
        })?;
        let target = device.open()?;
        let sectors = target.sectors()?;
        let judge = Judge::zeros(sectors);
        let load = Load {
            grain,
            ..Load::mixed(sectors, 25)
        };
        during(&load, &judge, &target, &[], |running| {
            running.for_a_while(Duration::from_secs(2));
            Ok(())
        })?;
        judge.read_everything(&target, sectors)?;
        drop(target);
        device.del()?;
        server::check(&image)?;
        let device = add(&options, &[&image]).during("again")?;
        let target = device.open()?;
        judge.read_everything(&target, sectors).during("again")?;
        drop(target);
        device.del()?;
        found.push(format!("{direct}: {} operations", judge.judged().ops));
    }
    odd()?;
    Ok(found.join(", "))
}

/// Clusters of 65 sectors.
fn odd() -> Result<(), Trouble> {
    let image: PathBuf = Path::new(PLACE).join("odd");
    create(&image, "16M", "33280")?;
    let refused = call(&format!("add --direct on {}", image.display()))?;
    demand(
        refused.code == Some(1)
            && refused.err.lines().count() == 1
            && refused.err.contains("direct I/O is not possible"),
        || format!("--direct on with clusters of 65 sectors: {refused:?}"),
    )?;
    add("", &[&image])?.del()
}
