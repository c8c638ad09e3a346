//! `snapshot switch --id`, `snapshot delete --id`: what is done to the snapshots of a bundle whose disk stays where it is.
//!
//! ```text
//!   switch:  claim ─▶ cached writes out ─▶ server aside ─▶ descriptor switched, chain recorded ─▶ next server
//!              └── nobody has it mounted                        ─▶ kernel told the size ─▶ cache and partitions forgotten
//! ```
//! * A disk that goes back holds other bytes than its users remember. Who has mounted it is refused; a virtual machine that has
//!   it open is its user's to stop. Requests that arrive meanwhile wait, and are issued to the disk that has gone back.
//! * What can be refused is refused while the server still serves: an unknown snapshot, another cluster size, a size that this
//!   kernel cannot be told, a partition that somebody has open. Nothing is dropped before the new chain has been opened.
//! * Killed in between, `recover` serves what the descriptor says: the disk of before, or the one that has gone back; and the server
//!   tells the kernel what the command has not (`ublk::retell`).

use std::cell::RefCell;
use std::sync::atomic::Ordering;

use ploop_core::units::Sectors;

use super::merge;
use super::tell::{question, tell_soon};
use super::topology::{being_changed, with_server_aside_after, writable};
use super::{folder, refused};
use crate::bundle::delete::{Deleted, can_delete_at_once, delete_at_once, delete_beside};
use crate::bundle::held::{hold, likeness};
use crate::bundle::snapshots::{self, Switched};
use crate::bundle::{Bundle, Folder, Guid, RealFolder, files_in};
use crate::cli::SnapshotMerge;
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::output::Output;
use crate::tool::progress;
use crate::ublk::claim::{Claim, GLANCE};
use crate::ublk::ctrl::Control;
use crate::ublk::report::Report;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder as Records, Record, Stale};
use crate::ublk::{setup, sys};

/// The bundle that a device serves.
fn bundle(record: &Record) -> Result<RealFolder, ToolError> {
    let bundle = record.bundle.as_deref().map(RealFolder::new);
    bundle.ok_or_else(|| {
        refused(format!(
            "device {0} is made of single images, which have no names: `del {0}`, and `add` with those that it is to have",
            record.id
        ))
    })
}

/// Goes back to a snapshot: see [`snapshots::switch`].
pub fn switch(id: u32, guid: Guid, save: Option<Guid>) -> Result<Switched, ToolError> {
    let folder = folder()?;
    bundle(&writable(&folder, id)?)?;
    let held = RefCell::new(None);
    let (done, unsaved) = with_server_aside_after(
        &folder,
        id,
        |record, interrupted| {
            let mut held = held.borrow_mut();
            let claim = held.insert(Claim::soon(id)?);
            can_switch(&folder, record, guid, save)?;
            // Who has a partition open is found while nothing has changed.
            claim.read_partitions(GLANCE)?;
            claim.flush()?;
            record.retell = record.retell.max(Stale::Content);
            match interrupted.load(Ordering::Relaxed) {
                true => Err(interrupted_before()),
                false => Ok(()),
            }
        },
        |change| {
            if change.is_interrupted() {
                return Err(interrupted_before());
            }
            let record = change.record().clone();
            let (at, _lock) = bundle_of(&change.bundle().unwrap_or_default(), Some(id))?;
            let below = files_in(Folder::path(&at), &Bundle::read(&at)?, guid)?;
            let done = snapshots::switch_if(&at, guid, save, &mut |new| {
                let mut images = below.images.clone();
                images.push(new.to_owned());
                let raw_base = below.raw_base;
                setup::try_images(&Record {
                    images,
                    raw_base,
                    ..record.clone()
                })
            })?;
            // From here on it has gone back, whatever else fails: the descriptor counts.
            Ok((done, change.commit_bundle().err()))
        },
    )?;
    let claim = held.into_inner();
    // A flag that somebody else has set (`blockdev --setro`) stays.
    let told = claim.map_or(Ok(()), |claim| claim.forget(GLANCE));
    let told = told.and_then(|()| tell_soon(&folder, id, Question::Told));
    match unsaved.map_or(told, Err) {
        Ok(()) => Ok(done),
        Err(error) => Err(refused(format!(
            "the disk has gone back{}, but {error}",
            done.saved
                .map_or(String::new(), |guid| format!(", what came later is {guid}"))
        ))),
    }
}

fn interrupted_before() -> ToolError {
    refused("interrupted: nothing has changed")
}

/// Whether the disk that is served can become what it was then.
fn can_switch(
    folder: &Records,
    record: &Record,
    guid: Guid,
    save: Option<Guid>,
) -> Result<(), ToolError> {
    let Some(Answer::Info(now)) = question(folder, record.id, Question::Info)? else {
        return Err(refused(format!("device {} has no server", record.id)));
    };
    if now.waits_for_space {
        return Err(refused(format!(
            "device {}: requests wait for space in the file system of the image",
            record.id
        )));
    }
    let (at, _lock) = bundle_of(bundle(record)?.path(), Some(record.id))?;
    snapshots::can_switch(&at, guid, save)?;
    let bundle = Bundle::read(&at)?;
    let held = hold(&at, &bundle, guid, &[])?;
    let Some(last) = held.last() else {
        return Err(refused(format!("no snapshot {guid}")));
    };
    let like = likeness(&bundle, &last.delta);
    let mut control = Control::open().map_err(|error| refused(error.to_string()))?;
    let params = control.params(record.id);
    let params = params.map_err(|error| refused(error.to_string()))?;
    let known = Sectors(params.basic.dev_sectors);
    fits(&now, guid, like.cluster, like.size, known, record.flags)
}

/// `known`: the size that the kernel shows, in whole blocks.
fn fits(
    now: &Report,
    guid: Guid,
    cluster: Sectors,
    size: Sectors,
    known: Sectors,
    flags: u64,
) -> Result<(), ToolError> {
    if cluster.bytes() != now.cluster_size {
        return Err(refused(format!(
            "{guid}: has clusters of {} bytes, the disk in use has {}: `del`, switch, `add`",
            cluster.bytes(),
            now.cluster_size
        )));
    }
    let block = u64::from(now.block_size / 512).max(1);
    if size.0 / block * block != known.0 && flags & sys::F_UPDATE_SIZE == 0 {
        return Err(refused(format!(
            "{guid}: has {} bytes, the disk in use has {}, and this kernel cannot change that (Linux 6.16): `del`, switch, `add`",
            size.bytes(),
            known.bytes()
        )));
    }
    Ok(())
}

/// Deletes a snapshot: with one right above it by a merge while the disk goes on, whether it is in the disk that is served or not;
/// if none stands on it, or several do, while it waits for a moment. Nothing is copied while it waits.
pub fn delete_one(id: u32, guid: Guid) -> Result<Deleted, ToolError> {
    let folder = folder()?;
    let record = writable(&folder, id)?;
    let at = bundle(&record)?;
    let tree = Bundle::read(&at)?.tree;
    let chain = tree.chain(tree.top());
    let is_served = chain.iter().any(|node| node.guid == guid);
    let above = match tree.get(guid).map(|node| node.children.as_slice()) {
        Some([above]) => Some(*above),
        _ => None,
    };
    match above {
        Some(above) if is_served => {
            let upper = (above != tree.top()).then_some(above);
            let asked = SnapshotMerge::of(id, guid, upper);
            merge::merge(id, &asked, &mut Output::new(std::io::sink()))?;
            Ok(Deleted::default())
        }
        Some(_) => beside(&folder, id, guid),
        None => with_server_aside_after(
            &folder,
            id,
            |record, _| {
                let (at, _lock) = bundle_of(bundle(record)?.path(), Some(id))?;
                match can_delete_at_once(&at, guid)? {
                    true => Ok(()),
                    false => Err(refused(format!("{guid}: another stands on it now"))),
                }
            },
            |change| {
                let (at, _lock) = bundle_of(&change.bundle().unwrap_or_default(), Some(id))?;
                let done = delete_at_once(&at, guid)?;
                change.commit_bundle()?;
                Ok(done)
            },
        ),
    }
}

/// Neither it nor what stands on it is in the disk that is served: that goes on, and its server knows of nothing. The bundle's
/// lock keeps other changes away; the device's would make a `recover` wait for the copy.
fn beside(folder: &Records, id: u32, guid: Guid) -> Result<Deleted, ToolError> {
    let (at, _lock) = {
        let changing = folder.begin_change(id)?;
        let _changing = changing.ok_or_else(|| refused(being_changed(id)))?;
        let held = bundle_of(bundle(&writable(folder, id)?)?.path(), Some(id))?;
        // Who has both locks knows that no merge of the disk lives: one that was killed may have left a file lent.
        let _ = question(folder, id, Question::GiveBack);
        held
    };
    let bar = progress::clusters();
    delete_beside(&at, guid, &mut |done| progress::show(&bar, done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_cannot_become_is_refused_with_both_values() {
        let now = Report {
            size: 16 << 20,
            cluster_size: 65_536,
            block_size: 512,
            ..Report::default()
        };
        let fits = |cluster: u64, size: u64, flags| {
            let size = Sectors(size << 11);
            let known = Sectors(16 << 11);
            let fits = fits(&now, Guid::NONE, Sectors(cluster), size, known, flags);
            fits.map_err(|error| error.to_string())
        };
        assert_eq!(fits(128, 16, 0), Ok(()));
        assert_eq!(fits(128, 8, sys::F_UPDATE_SIZE), Ok(()));
        let smaller = fits(128, 8, 0).expect_err("a kernel that cannot be told");
        assert!(
            smaller.contains("8388608 bytes") && smaller.contains("16777216"),
            "{smaller}"
        );
        let cluster = fits(256, 16, sys::F_UPDATE_SIZE).expect_err("another cluster size");
        assert!(
            cluster.contains("131072 bytes") && cluster.contains("65536"),
            "{cluster}"
        );
    }
}
