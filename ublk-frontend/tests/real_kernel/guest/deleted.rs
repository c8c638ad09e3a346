//! Snapshots are deleted while the disk is in use: below it, beside it, leaves.

use std::path::Path;
use std::time::Duration;

use model::op::Value;
use rustix::process::Pid;

use super::bundle::{agrees, kill};
use super::judge::{Judge, read_all};
use super::load::{Load, during};
use super::random::Random;
use super::rollback::same;
use super::server::{Device, call, ok};
use super::trouble::{During, Trouble, demand};

const KILLS: u64 = 6;
const RACES: u64 = 8;

/// A snapshot by name, and what it shows.
type Snapshot<'a> = (&'a str, &'a [Value]);

fn has(at: &Path, guid: &str) -> Result<bool, Trouble> {
    Ok(ok(&format!("snapshot list {}", at.display()))?.contains(guid))
}

fn files(at: &Path) -> std::io::Result<usize> {
    std::fs::read_dir(at).map(Iterator::count)
}

/// `old <- new` and `old <- disk`, which shows what `old` does: in the end all snapshots are gone, and the disk has not changed.
pub(super) fn some(
    device: &Device,
    at: &Path,
    (old, shown): Snapshot<'_>,
    (new, later): Snapshot<'_>,
) -> Result<(), Trouble> {
    let id = device.id;
    let target = device.open()?;
    let pid = device.server()?;
    let unknown = call(&format!(
        "snapshot delete --id {id} --guid {}",
        "{11111111-1111-1111-1111-111111111111}"
    ))?;
    demand(unknown.code == Some(1) && device.server()? == pid, || {
        format!("an unknown snapshot: {unknown:?}")
    })?;
    let upper = beside(device, at, (old, shown), (new, later))?;

    let before = files(at)?;
    ok(&format!("snapshot delete --id {id} --guid {upper}"))?;
    let gone = !has(at, &upper)? && has(at, old)? && files(at)? == before - 1;
    demand(gone, || format!("{upper} was deleted"))?;
    same(&read_all(&target)?, shown, "a leaf deleted")?;
    ok(&format!("snapshot delete --id {id} --guid {old}"))?;
    demand(!has(at, old)?, || format!("{old} was deleted"))?;
    same(&read_all(&target)?, shown, "the snapshot below deleted")?;
    let images = agrees(device, at)?;
    demand(images == 1, || {
        format!("{images} images after both were deleted")
    })?;
    raced(device, at, shown)?;
    // Gone back once more: whoever removes the device at once finds nobody in his way.
    let guid = ok(&format!("snapshot create --id {id}"))?;
    ok(&format!("snapshot switch --id {id} --to {guid}")).map(drop)
}

/// Meanwhile somebody takes a snapshot: that works, or is refused while the server serves on.
fn beside_create(device: &Device, at: &Path, delete: &str, pid: Pid) -> Result<(), Trouble> {
    let id = device.id;
    let mut random = Random::new(50);
    let lead = Duration::from_millis(random.below(60));
    let (deleted, created) = std::thread::scope(|scope| {
        let deleting = scope.spawn(|| call(delete));
        std::thread::sleep(lead);
        let created = call(&format!("snapshot create --id {id}"));
        (deleting.join(), created)
    });
    let (deleted, created) = (deleted.map_err(|_| "a panic")??, created?);
    match created.code {
        Some(0) => {
            agrees(device, at)?;
            let new = created.out.trim();
            ok(&format!("snapshot delete --id {id} --guid {new}"))?;
        }
        _ => demand(device.server()? == pid, || {
            format!("refused, and the server had to go: {created:?}")
        })?,
    }
    // It may have met the other one's server being aside.
    if deleted.code != Some(0) {
        ok(delete).during(&deleted.err)?;
    }
    Ok(())
}

/// A snapshot is taken while the one below the disk is deleted: what was taken is there, whoever was faster.
fn raced(device: &Device, at: &Path, shown: &[Value]) -> Result<(), Trouble> {
    let (id, target) = (device.id, device.open()?);
    let create = format!("snapshot create --id {id}");
    let mut random = Random::new(51);
    let (mut both, mut last, mut refused) = (0, ok(&create)?, Vec::new());
    for _ in 0..RACES {
        let delete = format!("snapshot delete --id {id} --guid {last}");
        let lead = Duration::from_millis(random.below(40));
        let (deleted, created) = std::thread::scope(|scope| {
            let deleting = scope.spawn(|| call(&delete));
            std::thread::sleep(lead);
            let created = call(&create);
            (deleting.join(), created)
        });
        let (deleted, created) = (deleted.map_err(|_| "a panic")??, created?);
        let fine = [deleted.code, created.code].map(|code| code == Some(0));
        both += u64::from(fine == [true; 2]);
        refused.extend([&deleted, &created].map(|called| called.err.clone()));
        if fine[1] {
            let new = created.out.trim().to_owned();
            demand(has(at, &new)?, || {
                format!("{new} was taken, and is gone: {deleted:?}")
            })?;
        }
        demand(fine[0] != has(at, &last)?, || {
            format!("{last}: {deleted:?}")
        })?;
        agrees(device, at)?;
        same(&read_all(&target)?, shown, "deleted and taken at once")?;
        if !fine[0] {
            ok(&delete)?;
        }
        last = match fine[1] {
            true => created.out.trim().to_owned(),
            false => ok(&create)?,
        };
    }
    demand(both > 0, || format!("never did both: {refused:?}"))?;
    ok(&format!("snapshot delete --id {id} --guid {last}")).map(drop)
}

/// Two snapshots beside the disk become one while it is served, by commands of which some are killed: its server does not notice,
/// and the upper one shows what it showed. The upper one's name.
fn beside(
    device: &Device,
    at: &Path,
    (old, shown): Snapshot<'_>,
    (new, later): Snapshot<'_>,
) -> Result<String, Trouble> {
    let (id, target) = (device.id, device.open()?);
    let sectors = later.len() as u64;
    // old <- new <- upper, and the disk goes back to old.
    ok(&format!("snapshot switch --id {id} --to {new}"))?;
    same(&read_all(&target)?, later, "gone forth")?;
    // Without reads: nobody judges what is there already.
    let load = Load {
        weights: [0, 40, 6, 3, 4, 8, 3],
        ..Load::mixed(sectors, 48)
    };
    during(&load, &Judge::zeros(sectors), &target, &[], |running| {
        running.for_a_while(Duration::from_millis(400));
        Ok(())
    })?;
    let latest = read_all(&target)?;
    let upper = ok(&format!("snapshot switch --id {id} --to {old} --save"))?;
    same(&read_all(&target)?, shown, "gone back")?;

    let (pid, before) = (device.server()?, files(at)?);
    let delete = format!("snapshot delete --id {id} --guid {new}");
    let mut random = Random::new(49);
    let mut cut = 0;
    for _ in 0..KILLS {
        if !has(at, new)? {
            break;
        }
        let recovered = kill(&delete, Duration::from_millis(random.below(60)), device)?;
        demand(!recovered, || "the disk had lost its server".to_owned())?;
        cut += u64::from(has(at, new)?);
        agrees(device, at)?;
    }
    if has(at, new)? {
        beside_create(device, at, &delete, pid)?;
    }
    demand(!has(at, new)?, || {
        format!("{new} was deleted beside the disk, after {cut} kills")
    })?;
    demand(files(at)? == before - 1, || {
        format!("{} files, {before} before", files(at).unwrap_or(0))
    })?;
    same(&read_all(&target)?, shown, "the disk beside")?;
    ok(&format!("snapshot switch --id {id} --to {upper}"))?;
    same(&read_all(&target)?, &latest, "the upper one of two")?;
    let back = format!("snapshot switch --id {id} --to {old}");
    ok(&back)?;
    same(&read_all(&target)?, shown, "back again")?;
    Ok(upper)
}
