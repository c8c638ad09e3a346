//! How `ploop-ublk` behaves towards a person: what it prints, what it refuses, what it leaves behind; and what it told the
//! kernel about its disk.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::process::{Signal, kill_process};

use super::server::{self, Called, Device, add, call, create};
use super::target::wait_for;
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, files};

/// It was refused: exit 1 and one line.
fn refused(called: &Called, what: &str) -> Result<(), Trouble> {
    demand(
        called.code == Some(1) && called.out.is_empty() && called.err.lines().count() == 1,
        || format!("{what} must be refused in one line: {called:?}"),
    )
}

fn setting(device: &Device, name: &str) -> Result<String, Trouble> {
    let path = format!("/sys/block/ublkb{}/{name}", device.id);
    let text = std::fs::read_to_string(&path).during(path)?;
    Ok(text.trim().to_owned())
}

/// Number, link, second server, mounted, read-only, SIGTERM.
pub(crate) fn manners() -> Outcome {
    let image = disks::folder("manners")?.join("disk.hdd");
    create(&image, "64M", "1M")?;
    let link = Path::new("/tmp/my-disk");
    let device = add("--id 7 --symlink /tmp/my-disk", &[&image])?;
    demand(device.id == 7, || format!("--id 7 made {device:?}"))?;
    let points = std::fs::read_link(link).during("the link")?;
    demand(points == device.path, || {
        format!("the link leads to {}", points.display())
    })?;

    refused(
        &call(&format!("add {}", image.display()))?,
        "a second server of one image",
    )?;
    refused(
        &call(&format!("add --id 7 {}", image.display()))?,
        "a number that is taken",
    )?;
    disks::program(
        "mkfs.ext4",
        &["-q", "-F", &device.path.display().to_string()],
    )?;
    files::mount_device(&device.path, "ext4")?;
    refused(&call("del 7")?, "del of a mounted device")?;
    files::write(1, true)?;
    files::verify(1)?;
    files::unmount_device()?;

    for arguments in ["list --json", "info 7 --json"] {
        let printed = server::ok(arguments)?;
        let json = serde_json::from_str::<serde_json::Value>(&printed);
        json.map_err(|error| format!("{arguments}: {error}: {printed}"))?;
    }
    let pid = device.server()?;
    kill_process(pid, Signal::TERM).during("SIGTERM")?;
    for path in [
        device.path.clone(),
        PathBuf::from("/dev/ublkc7"),
        link.to_owned(),
    ] {
        wait_for(&path, false, 10).during("after SIGTERM")?;
    }
    server::check(&image).during("after SIGTERM")?;
    read_only(&image)?;
    Ok("number, link, second server, mounted, SIGTERM, read-only".to_owned())
}

fn read_only(image: &Path) -> Result<(), Trouble> {
    let before = std::fs::read(image)?;
    let device = add("--read-only", &[image])?;
    demand(setting(&device, "ro")? == "1", || {
        "--read-only makes a disk that is not".to_owned()
    })?;
    // The kernel lets it be opened for writing, and refuses the write.
    let disk = File::options().write(true).open(&device.path)?;
    demand(
        (&disk)
            .write_all(&[0; 512])
            .and_then(|()| disk.sync_all())
            .is_err(),
        || "a read-only disk was written".to_owned(),
    )?;
    drop(disk);
    disks::program("e2fsck", &["-f", "-n", &device.path.display().to_string()])?;
    device.del()?;
    demand(std::fs::read(image)? == before, || {
        "a read-only disk was changed".to_owned()
    })
}

/// What the kernel says of the disk.
pub(crate) fn parameters() -> Outcome {
    let image = disks::folder("parameters")?.join("disk.hdd");
    let mut told = Vec::new();
    for (size, cluster, sectors) in [("64M", "1M", 2048_u64), ("16M", "64k", 128)] {
        let _ = std::fs::remove_file(&image);
        create(&image, size, cluster)?;
        let device = add("--queues 2", &[&image])?;
        let bytes = (sectors * 512).to_string();
        for (name, wanted) in [
            ("queue/write_cache", "write back"),
            ("queue/fua", "1"),
            ("queue/logical_block_size", "512"),
            ("queue/chunk_sectors", sectors.to_string().as_str()),
            ("queue/discard_granularity", bytes.as_str()),
            ("queue/rotational", "0"),
        ] {
            let found = setting(&device, name)?;
            demand(found == wanted, || {
                format!("{name} is {found}, not {wanted}")
            })?;
        }
        for name in ["queue/discard_max_bytes", "queue/write_zeroes_max_bytes"] {
            let found: u64 = setting(&device, name)?.parse().unwrap_or(0);
            demand(found > 0, || format!("{name} is {found}"))?;
            told.push(format!("{name} {found}"));
        }
        device.del()?;
    }
    let features = server::ok("features")?.replace('\n', ", ");
    Ok(format!("{}; {features}", told.join(", ")))
}
