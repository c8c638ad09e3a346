//! `snapshot`: the snapshots of a bundle, listed and changed.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::{Output, complain};
use super::{ToolError, progress};
use crate::bundle::folder::Lock;
use crate::bundle::store::LOCK;
use crate::bundle::tree::{Node, Tree};
use crate::bundle::{Bundle, Folder, Guid, RealFolder, delete, folder_of, snapshots};
use crate::cli::{
    Snapshot, SnapshotCreate, SnapshotDelete, SnapshotList, SnapshotMerge, SnapshotSwitch,
};
use crate::commands::existing_folder;
use crate::files::{FileId, id_of};

/// Carries out one of them.
pub fn run(asked: &Snapshot, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    match asked {
        Snapshot::Create(asked) => create(asked, out),
        Snapshot::List(asked) => list(asked, out),
        Snapshot::Delete(asked) => delete_one(asked, out),
        Snapshot::Switch(asked) => switch(asked, out),
        Snapshot::Merge(asked) => merge(asked, out),
    }
}

/// The folder of a bundle.
pub(super) fn bundle_at(path: &Path) -> Result<RealFolder, ToolError> {
    match folder_of(path) {
        Some(folder) => Ok(RealFolder::new(&folder)),
        None => Err(ToolError::Refused(format!(
            "{}: not a bundle: give the folder of a DiskDescriptor.xml",
            path.display()
        ))),
    }
}

/// A bundle that nobody else changes as long as the lock lives, and that no device uses.
pub(super) fn locked_bundle(path: &Path) -> Result<(RealFolder, Lock), ToolError> {
    let folder = bundle_at(path)?;
    // Before the lock: a folder that is no bundle gets no file.
    Bundle::read(&folder)?;
    let lock = folder.lock(LOCK)?;
    let bundle = Bundle::read(&folder)?;
    let of = |node: &&Node| id_of(&folder.path().join(&node.file));
    let ids: Vec<_> = bundle.tree.nodes().iter().filter_map(of).collect();
    must_be_free(&folder, &ids)?;
    Ok((folder, lock))
}

/// A device whose server was killed, or has made way for another, has no lock on its images, and still needs them.
fn must_be_free(bundle: &RealFolder, files: &[FileId]) -> Result<(), ToolError> {
    let Some(records) = existing_folder()? else {
        return Ok(());
    };
    for id in records.ids()? {
        let Some(record) = records.load(id)? else {
            continue;
        };
        let ours = |image: &PathBuf| id_of(image).is_some_and(|id| files.contains(&id));
        if record.images.iter().any(ours) {
            return Err(ToolError::Refused(format!(
                "{}: in use by device {id} (`ploop-ublk del {id}` takes it away)",
                bundle.path().display()
            )));
        }
    }
    Ok(())
}

fn create(asked: &SnapshotCreate, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        snapshot: Guid,
        file: String,
    }
    let (folder, _lock) = locked_bundle(&asked.bundle)?;
    let made = snapshots::create(&folder, asked.guid)?;
    if !asked.json {
        return out.line(made.snapshot);
    }
    out.json(&Report {
        snapshot: made.snapshot,
        file: made.file.display().to_string(),
    })
}

/// A line of the list. Sizes are in bytes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    guid: Guid,
    parent: Option<Guid>,
    children: Vec<Guid>,
    depth: usize,
    top: bool,
    temporary: bool,
    file: String,
    /// `None`: the file is missing.
    file_length: Option<u64>,
}

fn list(asked: &SnapshotList, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder_of(&asked.bundle).unwrap_or_else(|| asked.bundle.clone());
    let bundle = Bundle::read(&bundle_at(&asked.bundle)?)?;
    let rows: Vec<Row> = bundle
        .tree
        .nodes()
        .into_iter()
        .map(|node| row(&folder, &bundle.tree, node))
        .collect();
    if asked.json {
        return out.json(&rows);
    }
    for row in rows {
        let indent = "  ".repeat(row.depth);
        let mark = if row.top { "*" } else { " " };
        let notes = match (row.temporary, row.file_length) {
            (_, None) => " (missing)",
            (true, _) => " (being deleted)",
            _ => "",
        };
        out.line(format_args!(
            "{mark} {indent}{} {}{notes}",
            row.guid, row.file
        ))?;
    }
    Ok(())
}

fn row(folder: &Path, tree: &Tree, node: &Node) -> Row {
    let path = folder.join(&node.file);
    Row {
        guid: node.guid,
        parent: node.parent,
        children: node.children.clone(),
        depth: node.depth,
        top: node.guid == tree.top(),
        temporary: node.temporary.is_some(),
        file: path.display().to_string(),
        file_length: id_of(&path).and_then(|_| std::fs::metadata(&path).ok().map(|m| m.len())),
    }
}

fn switch(asked: &SnapshotSwitch, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        file: String,
        saved: Option<Guid>,
    }
    let (folder, _lock) = locked_bundle(&asked.bundle)?;
    let save = asked.save.then(Guid::random);
    let done = snapshots::switch(&folder, asked.guid, save)?;
    tell_left(done.left.as_deref());
    if asked.json {
        return out.json(&Report {
            file: done.file.display().to_string(),
            saved: done.saved,
        });
    }
    done.saved.map_or(Ok(()), |guid| out.line(guid))
}

/// Files outside of a bundle are never removed.
fn tell_left(file: Option<&Path>) {
    if let Some(file) = file {
        complain(
            "note",
            format_args!(
                "{}: not removed, as it lies outside of the bundle",
                file.display()
            ),
        );
    }
}

fn delete_one(asked: &SnapshotDelete, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        snapshot: Guid,
        removed: bool,
    }
    let (folder, _lock) = locked_bundle(&asked.bundle)?;
    let bar = progress::clusters();
    let done = delete::delete(&folder, asked.guid, &mut |done| progress::show(&bar, done))?;
    for file in &done.left {
        tell_left(Some(file));
    }
    if done.marked {
        complain(
            "note",
            format_args!(
                "{}: several snapshots stand on this one; it goes when only one is left",
                asked.guid
            ),
        );
    }
    if !asked.json {
        return Ok(());
    }
    out.json(&Report {
        snapshot: asked.guid,
        removed: !done.marked,
    })
}

fn merge(asked: &SnapshotMerge, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        merged: Guid,
    }
    let (folder, _lock) = locked_bundle(&asked.bundle)?;
    let bar = progress::clusters();
    let (merged, done) =
        delete::merge_down(&folder, asked.guid, &mut |done| progress::show(&bar, done))?;
    for file in &done.left {
        tell_left(Some(file));
    }
    if asked.json {
        out.json(&Report { merged })?;
    }
    Ok(())
}
