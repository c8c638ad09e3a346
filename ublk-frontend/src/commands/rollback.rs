//! `snapshot switch --id`, `snapshot delete --id`: what is done to the snapshots of a bundle whose disk stays where it is.
//!
//! ```text
//!   switch:  claim ─▶ cached writes out ─▶ server aside ─▶ descriptor switched, chain recorded ─▶ next server
//!              └── nobody has it mounted                        ─▶ kernel told the size ─▶ cache and partitions forgotten
//! ```
//! * A disk that goes back holds other bytes than its users remember. Who has mounted it is refused; a virtual machine that has
//!   it open is its user's to stop. Requests that arrive meanwhile wait, and are issued to the disk that has gone back.
//! * What can be refused is refused while the server still serves: an unknown snapshot, another cluster size, a size that this
//!   kernel cannot be told.
//! * Killed in between, `recover` serves what the descriptor says: the disk of before, or the one that has gone back.

use ploop_core::units::Sectors;

use super::merge;
use super::tell::question;
use super::topology::{with_server_aside, with_server_aside_after, writable};
use super::{folder, refused, resize};
use crate::bundle::delete::{Deleted, delete};
use crate::bundle::held::{hold, likeness};
use crate::bundle::snapshots::{self, Switched};
use crate::bundle::{Bundle, Guid, RealFolder, files_in};
use crate::cli::SnapshotMerge;
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::output::{Output, complain};
use crate::ublk::claim::Claim;
use crate::ublk::report::Report;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Record};
use crate::ublk::sys;

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
    let record = writable(&folder, id)?;
    bundle(&record)?;
    let claim = Claim::of(id)?;
    let before = |record: &Record, _: &_| {
        can_switch(&folder, record, guid)?;
        claim.flush()
    };
    let (done, record) = with_server_aside_after(&folder, id, before, |change| {
        let at = change.bundle().unwrap_or_default();
        let (at, _lock) = bundle_of(&at, Some(id))?;
        let done = snapshots::switch(&at, guid, save)?;
        change.commit_bundle()?;
        Ok((done, change.record().clone()))
    })?;
    let told = match record.flags & sys::F_UPDATE_SIZE {
        0 => Ok(()),
        _ => resize::tell_kernel(&folder, &record),
    };
    if let Err(error) = told.and_then(|()| claim.forget()) {
        complain(
            "warning",
            format_args!("the disk has gone back, but {error}"),
        );
    }
    Ok(done)
}

/// Whether the disk that is served can become what it was then.
fn can_switch(folder: &Folder, record: &Record, guid: Guid) -> Result<(), ToolError> {
    let Some(Answer::Info(now)) = question(folder, record.id, Question::Info)? else {
        return Err(refused(format!("device {} has no server", record.id)));
    };
    let at = bundle(record)?;
    let bundle = Bundle::read(&at)?;
    if guid == bundle.tree.top() {
        return Err(refused(format!("{guid} is what is written already")));
    }
    files_in(crate::bundle::Folder::path(&at), &bundle, guid)?;
    let held = hold(&at, &bundle, guid, &[])?;
    let Some(last) = held.last() else {
        return Err(refused(format!("no snapshot {guid}")));
    };
    let like = likeness(&bundle, &last.delta);
    fits(&now, guid, like.cluster, like.size, record.flags)
}

fn fits(
    now: &Report,
    guid: Guid,
    cluster: Sectors,
    size: Sectors,
    flags: u64,
) -> Result<(), ToolError> {
    if cluster.bytes() != now.cluster_size {
        return Err(refused(format!(
            "{guid}: has clusters of {} bytes, the disk in use has {}: `del`, switch, `add`",
            cluster.bytes(),
            now.cluster_size
        )));
    }
    if size.bytes() != now.size && flags & sys::F_UPDATE_SIZE == 0 {
        return Err(refused(format!(
            "{guid}: has {} bytes, the disk in use has {}, and this kernel cannot change that (Linux 6.16): `del`, switch, `add`",
            size.bytes(),
            now.size
        )));
    }
    Ok(())
}

/// Deletes a snapshot: with one right above it in the disk that is served, by a merge while the disk goes on; else while the
/// disk waits for a moment.
pub fn delete_one(id: u32, guid: Guid) -> Result<Deleted, ToolError> {
    let folder = folder()?;
    let record = writable(&folder, id)?;
    let tree = Bundle::read(&bundle(&record)?)?.tree;
    let chain = tree.chain(tree.top());
    let is_served = chain.iter().any(|node| node.guid == guid);
    let above = match tree.get(guid).map(|node| node.children.as_slice()) {
        Some([above]) => Some(*above),
        _ => None,
    };
    match above {
        Some(above) if is_served => {
            let upper = (above != tree.top()).then_some(above);
            merge::merge(
                id,
                &SnapshotMerge::of(id, upper),
                &mut Output::new(std::io::sink()),
            )?;
            Ok(Deleted::default())
        }
        Some(above) => Err(refused(format!(
            "{guid}: {above} stands on it, and neither is in the disk that is served: to copy between them the disk would have to \
             wait; `del {id}`, or delete {above} first"
        ))),
        None => with_server_aside(&folder, id, |change| {
            let at = change.bundle().unwrap_or_default();
            let (at, _lock) = bundle_of(&at, Some(id))?;
            let done = delete(&at, guid, &mut |_| {})?;
            change.commit_bundle()?;
            Ok(done)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_cannot_become_is_refused_with_both_values() {
        let now = Report {
            size: 16 << 20,
            cluster_size: 65_536,
            ..Report::default()
        };
        let fits = |cluster: u64, size: u64, flags| {
            let size = Sectors(size << 11);
            fits(&now, Guid::NONE, Sectors(cluster), size, flags).map_err(|error| error.to_string())
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
