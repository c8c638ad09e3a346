//! `snapshot`: the snapshots of a bundle, listed and changed.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::output::{Output, complain};
use super::{ToolError, change, progress};
use crate::bundle::folder::Lock;
use crate::bundle::tree::{Node, Tree};
use crate::bundle::{Bundle, Guid, RealFolder, delete, folder_of, must_differ, snapshots};
use crate::cli::{
    Snapshot, SnapshotCreate, SnapshotDelete, SnapshotList, SnapshotMerge, SnapshotSwitch,
};
use crate::commands::{self, rollback, topology};
use crate::files::id_of;

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

/// The bundle of a command that has no device; the command line demands one of the two.
fn bundle_named(path: Option<&Path>) -> Result<(RealFolder, Lock), ToolError> {
    change::bundle(path.unwrap_or(Path::new("")))
}

fn create(asked: &SnapshotCreate, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        snapshot: Guid,
        file: String,
    }
    if let Some(id) = asked.id {
        return topology::snapshot_create(id, asked.file.as_deref(), asked.guid, asked.json, out);
    }
    let (folder, _lock) = bundle_named(asked.bundle.as_deref())?;
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
    let bundle = Bundle::read(&change::bundle_at(&asked.bundle)?)?;
    must_differ(&folder, &change::files_named(&folder, &bundle))?;
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
        /// It had been done before, and nothing was changed.
        again: bool,
    }
    let save = asked.save.then(|| asked.saved.unwrap_or_else(Guid::random));
    let guid = asked.guid.or(asked.to).unwrap_or(Guid::NONE);
    let done = match asked.id {
        Some(id) => rollback::switch(id, guid, save)?,
        None => {
            let (folder, _lock) = bundle_named(asked.bundle.as_deref())?;
            snapshots::switch(&folder, guid, save)?
        }
    };
    tell_left(done.left.as_deref());
    if done.again {
        complain(
            "note",
            format_args!("{guid}: it was done before; nothing is changed"),
        );
    }
    if asked.json {
        return out.json(&Report {
            file: done.file.display().to_string(),
            saved: done.saved,
            again: done.again,
        });
    }
    done.saved.map_or(Ok(()), |guid| out.line(guid))
}

/// Files outside of a bundle are never removed, nor what a symbolic link in it leads to.
fn tell_left(file: Option<&Path>) {
    if let Some(file) = file {
        complain(
            "note",
            format_args!(
                "{}: not removed, as it lies outside of the bundle, or behind a symbolic link",
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
    let guid = asked.guid.or(asked.named).unwrap_or(Guid::NONE);
    let done = match asked.id {
        Some(id) => rollback::delete_one(id, guid)?,
        None => {
            let (folder, _lock) = bundle_named(asked.bundle.as_deref())?;
            let bar = progress::clusters();
            delete::delete(&folder, guid, &mut |done| progress::show(&bar, done))?
        }
    };
    for file in &done.left {
        tell_left(Some(file));
    }
    for ripe in &done.ripe {
        complain(
            "note",
            format_args!("{ripe}: was to go, and can: delete it once more"),
        );
    }
    if done.marked {
        complain(
            "note",
            format_args!(
                "{guid}: several snapshots stand on this one; it goes when only one is left"
            ),
        );
    }
    if !asked.json {
        return Ok(());
    }
    out.json(&Report {
        snapshot: guid,
        removed: !done.marked,
    })
}

fn merge(asked: &SnapshotMerge, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        merged: Guid,
    }
    if let Some(id) = asked.id {
        return commands::merge::merge(id, asked, out);
    }
    let (folder, _lock) = bundle_named(asked.bundle.as_deref())?;
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
