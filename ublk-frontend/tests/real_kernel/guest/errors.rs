//! Errors from below: a file that cannot be read or written for a while, a lower delta that is cut or removed under a device.
//! The guest sees an error; the device lives, and no process is left that cannot be killed.

use std::fs::File;
use std::path::Path;

use model::op::{Kind, Op};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::buffer::Buffer;
use super::dm::Mapped;
use super::server::{self, add, create};
use super::target::Target;
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, files};

const PLACE: &str = "/tmp/failing";
const CLUSTER: u64 = 128;

/// One page.
fn read(target: &Target, start: u64) -> Result<(), Errno> {
    target.perform(
        Op {
            kind: Kind::Read,
            start,
            len: 8,
        },
        Buffer::new(4096).part(4096),
    )
}

fn write(target: &Target, start: u64, fua: bool) -> Result<(), Errno> {
    let mut buffer = Buffer::new(4096);
    buffer.part(4096).fill(0x5a);
    target.perform(
        Op {
            kind: Kind::Write {
                preflush: false,
                fua,
            },
            start,
            len: 8,
        },
        buffer.part(4096),
    )
}

/// An answer, for people.
fn told(answer: Result<(), Errno>) -> String {
    match answer {
        Ok(()) => "fine".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// The disk under the image fails for a while.
pub(crate) fn io_error() -> Outcome {
    let sectors = 64 << 11;
    let good = format!("{} 0", disks::POWER);
    let mapped = Mapped::create("failing", sectors, "linear", &good)?;
    let path = mapped.path.display().to_string();
    disks::program(
        "mkfs.ext4",
        &["-q", "-F", "-E", "lazy_itable_init=0", &path],
    )?;
    std::fs::create_dir_all(PLACE)?;
    mount(
        &mapped.path,
        PLACE,
        "ext4",
        MountFlags::NOATIME,
        Some(c"commit=600"),
    )
    .during("mount")?;
    let result = with_failing(&mapped, &good);
    unmount(PLACE, UnmountFlags::empty()).during("unmount")?;
    mapped.remove()?;
    result
}

fn with_failing(mapped: &Mapped, good: &str) -> Outcome {
    let image = Path::new(PLACE).join("disk.hdd");
    create(&image, "16M", "64k")?;
    let device = add("--queues 2", &[&image])?;
    let target = device.open()?;
    for cluster in 0..32 {
        write(&target, cluster * CLUSTER, false)?;
    }
    target.perform(
        Op {
            kind: Kind::Flush,
            start: 0,
            len: 0,
        },
        &mut [],
    )?;
    // Nothing of the file system itself is dirty or has to be read.
    rustix::fs::syncfs(File::open(PLACE)?)?;
    read(&target, 0)?;
    mapped.change("error", "")?;
    let (reads, writes) = (
        read(&target, 5 * CLUSTER),
        write(&target, 6 * CLUSTER, false),
    );
    mapped.change("linear", good)?;
    demand(reads == Err(Errno::IO), || {
        format!("a read of a disk that fails: {reads:?}")
    })?;
    demand(writes.is_ok() || writes == Err(Errno::IO), || {
        format!("a write: {writes:?}")
    })?;
    for cluster in 0..32 {
        read(&target, cluster * CLUSTER)
            .during(format!("read of cluster {cluster} when all is well again"))?;
    }
    drop(target);
    let deleted = server::call(&format!("del {}", device.id))?;
    no_process_left(device.id)?;
    Ok(format!(
        "read: {}, write: {}, then well again; del: exit {:?} {}",
        told(reads),
        told(writes),
        deleted.code,
        deleted.err
    ))
}

/// Lower deltas that are cut, and removed, under a device.
pub(crate) fn lower_lost() -> Outcome {
    let folder = disks::folder("lost")?;
    let (lower, top) = (folder.join("lower.hdd"), folder.join("top.hdd"));
    create(&lower, "16M", "64k")?;
    let device = add("", &[&lower])?;
    let target = device.open()?;
    for cluster in 0..32 {
        write(&target, cluster * CLUSTER, false)?;
    }
    drop(target);
    device.del()?;
    create(&top, "16M", "64k")?;
    let device = add("--queues 2", &[&lower, &top])?;
    let target = device.open()?;
    read(&target, 3 * CLUSTER).during("before")?;
    let length = std::fs::metadata(&lower)?.len();
    File::options()
        .write(true)
        .open(&lower)?
        .set_len(length.min(4 << 16))?;
    files::drop_caches()?;
    let cut = read(&target, 31 * CLUSTER);
    demand(cut == Err(Errno::IO) || cut == Err(Errno::NODATA), || {
        format!("a read of a cluster that was cut off: {cut:?}")
    })?;
    let copied = write(&target, 30 * CLUSTER + 8, false);
    demand(
        copied == Err(Errno::IO) || copied == Err(Errno::NODATA),
        || format!("a write over a cluster that was cut off: {copied:?}"),
    )?;
    read(&target, 0).during("a cluster that is still there")?;
    write(&target, 40 * CLUSTER, false).during("a cluster that never was below")?;
    std::fs::remove_file(&lower)?;
    read(&target, 0).during("removed, but open")?;
    drop(target);
    device.del()?;
    no_process_left(u32::MAX)?;
    server::check(&top)?;
    Ok(format!("read: {}, write: {}", told(cut), told(copied)))
}

/// No server is left: neither one that lives nor one that waits for ever in the kernel.
fn no_process_left(id: u32) -> Result<(), Trouble> {
    let node = format!("/dev/ublkb{id}");
    demand(!Path::new(&node).exists(), || {
        format!("{node} is still there")
    })?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    let left = server::servers();
    demand(left.is_empty(), || format!("servers are left: {left:?}"))
}
