//! A FUA write with no flush behind it, as file systems send it: what is overwritten in place is durable when it is acknowledged.
//!
//! Programs that write to the block device itself cannot do that: behind each write with `DSYNC` the kernel sends a flush, which
//! hides whether the write was more than an ordinary one.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use ublk_frontend::files::trace::{Id, Record, SECTOR, digest, read};

use super::buffer::Buffer;
use super::server::{self, Device, add, create, ok};
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, files};

const JOURNAL: &str = "/tmp/fua.journal";
const WRITES: u8 = 32;
const BLOCK: usize = 4096;

/// Flushes that the server was asked for.
fn flushes(device: &Device) -> Result<u64, Trouble> {
    let printed = ok(&format!("info {} --json", device.id))?;
    let report: serde_json::Value =
        serde_json::from_str(&printed).map_err(|error| format!("info: {error}"))?;
    let flushes = report["counters"]["requests"]["flush"].as_u64();
    flushes.ok_or_else(|| format!("info: {printed}").into())
}

/// Is a sector with this content durable after these records?
fn is_durable<'a>(records: impl Iterator<Item = &'a Record>, sector: u64) -> bool {
    let mut written: Option<(Id, bool)> = None;
    let (mut has_ended, mut sync) = (false, None);
    for record in records {
        match record {
            Record::Write {
                id, contents, fua, ..
            } if contents.contains(&sector) => written = Some((*id, *fua)),
            Record::End { id, result } if *result > 0 && written == Some((*id, true)) => {
                return true;
            }
            Record::End { id, result } if *result > 0 && written == Some((*id, false)) => {
                has_ended = true;
            }
            Record::Sync { id, .. } if has_ended => sync = Some(*id),
            Record::End { id, result: 0 } if sync == Some(*id) => return true,
            _ => {}
        }
    }
    false
}

/// The server's journal is held against what a program was told.
pub(crate) fn alone() -> Outcome {
    let image = disks::folder("fua")?.join("disk.hdd");
    create(&image, "64M", "64k")?;
    let device = add(&format!("--trace-io {JOURNAL}"), &[&image])?;
    let disk = device.path.display().to_string();
    disks::program("mkfs.ext4", &["-q", "-F", &disk])?;
    files::mount_device(&device.path, "ext4")?;
    let path = Path::new(files::MOUNTED).join("file");
    std::fs::write(&path, vec![0; usize::from(WRITES) * BLOCK])?;
    File::open(&path)?.sync_all()?;
    let file = File::options()
        .write(true)
        .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
        .open(&path)
        .during(path.display())?;
    let mut buffer = Buffer::new(BLOCK);
    let before = flushes(&device)?;
    let mut promised = Vec::new();
    for number in 0..WRITES {
        let block = buffer.part(BLOCK);
        block.fill(number + 1);
        file.write_all_at(block, u64::from(number) * BLOCK as u64)?;
        let journal = std::fs::metadata(JOURNAL)?.len();
        promised.push((journal, digest(&block[..SECTOR])));
    }
    let flushes = flushes(&device)? - before;
    demand(flushes < u64::from(WRITES) / 2, || {
        format!("{flushes} flushes: this says nothing of FUA writes")
    })?;
    drop(file);
    files::unmount_device()?;
    device.del()?;
    server::check(&image)?;
    let journal = std::fs::read(JOURNAL)?;
    let records = read(&journal).map_err(|error| error.to_string())?;
    for (number, (then, sector)) in promised.iter().enumerate() {
        let told = records.iter().take_while(|(at, _)| *at as u64 <= *then);
        let durable = is_durable(told.map(|(_, record)| record), *sector);
        demand(durable, || {
            format!("write {number} was acknowledged, and not durable")
        })?;
    }
    Ok(format!("{WRITES} FUA writes, {flushes} flushes"))
}
