//! Taking a snapshot, going back to one, dropping one without copying. The caller holds the bundle's lock.
//!
//! ```text
//!   create G:      A <- top            becomes   A <- G <- top'       (the old top's file is G's, top' is new and empty)
//!   switch A:      A <- G <- top       becomes   A <- top', A <- G    (the old top's file is removed, or kept as a snapshot)
//!   delete leaf G: A <- top', A <- G   becomes   A <- top'
//! ```
//! The delta that is written keeps its GUID: in bundles of ploop that is always the same one.

use std::path::PathBuf;

use ploop_core::drive::DeltaFile;
use ploop_core::error::CreateError;
use ploop_core::load::new_image;

use super::descriptor::{Descriptor, Image, Kind, Temporary};
use super::folder::Folder;
use super::guid::Guid;
use super::held::{Likeness, hold, likeness, must_be_closed};
use super::store::Change;
use super::tree::{Node, Tree, plain_name};
use crate::tool::ToolError;

/// A snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// The snapshot.
    pub snapshot: Guid,
    /// The new file, which is written from now on.
    pub file: PathBuf,
}

/// What a disk was switched to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    /// The new file, which is written from now on.
    pub file: PathBuf,
    /// The snapshot that the old top has become.
    pub saved: Option<Guid>,
    /// A file that is not in the bundle any more, and was left where it is: see [`stays`].
    pub left: Option<PathBuf>,
    /// It had been done before, and nothing was changed.
    pub again: bool,
}

/// Takes a snapshot: what was written until now is called `guid`, what is written from now on goes into a new file.
pub fn create(folder: &dyn Folder, guid: Option<Guid>) -> Result<Created, ToolError> {
    take(folder, guid, &[])
}

/// Takes a snapshot that is to go, together with the one below it: the beginning of a merge (see `live`).
pub(super) fn create_going(folder: &dyn Folder, below: Guid) -> Result<Created, ToolError> {
    let guid = Guid::random();
    take(folder, Some(guid), &[guid, below])
}

/// `going`: snapshots that are marked as temporary in the same step, if they are not.
fn take(folder: &dyn Folder, guid: Option<Guid>, going: &[Guid]) -> Result<Created, ToolError> {
    let mut change = Change::begin(folder)?;
    let guid = match guid {
        Some(guid) => free(&change, guid)?,
        None => Guid::random(),
    };
    let bundle = change.bundle();
    let top = bundle.tree.top();
    let held = hold(folder, bundle, top, &[top])?;
    let old = held.last().ok_or_else(|| no_snapshot(&change, top))?;
    must_be_closed(old)?;
    let like = likeness(bundle, &old.delta);
    let file = new_name(&bundle.tree);
    let next = bundle
        .descriptor
        .with_top(top)
        .and_then(|next| next.renamed(top, guid))
        .and_then(|next| next.with_image(&image(top, &file), Some(guid)))
        // `renamed` has renamed the top too.
        .and_then(|next| next.with_top_named(top));
    let next = going.iter().fold(next, |next, going| {
        next.and_then(|next| next.marked_temporary(*going))
    });
    let next = sound(&change, next)?;
    change.note(&[&file])?;
    let done = write_new(&change, &file, like).and_then(|_locked| change.commit(next));
    settle(&change, done)?;
    Ok(Created {
        snapshot: guid,
        file: folder.path().join(file),
    })
}

/// Goes back to a snapshot: what was written since is dropped, or kept as the snapshot `save`.
///
/// Asked again with the same `save`, it finds that it is done: the disk stands on the snapshot, nothing was written to it since, and
/// `save` is there.
pub fn switch(folder: &dyn Folder, guid: Guid, save: Option<Guid>) -> Result<Switched, ToolError> {
    switch_if(folder, guid, save, &mut |_| Ok(()))
}

/// The same; before anything is lost, `allowed` is asked about the new file, which stands on the snapshot. Nobody has it.
pub fn switch_if(
    folder: &dyn Folder,
    guid: Guid,
    save: Option<Guid>,
    allowed: &mut dyn FnMut(&std::path::Path) -> Result<(), ToolError>,
) -> Result<Switched, ToolError> {
    let mut change = Change::begin(folder)?;
    if let Some(done) = switched_already(&change, guid, save)? {
        return Ok(done);
    }
    let save = save.map(|save| free(&change, save)).transpose()?;
    let bundle = change.bundle();
    let top = bundle.tree.top();
    let node = usable(&change, guid)?;
    if guid == top {
        return Err(refused(
            &change,
            format_args!("{guid} is what is written already"),
        ));
    }
    let old_file = file_of(&bundle.tree, top);
    // Nobody may be writing it.
    let old = match save {
        None => vec![folder.open(&old_file, true)?],
        Some(_) => {
            let held = hold(folder, bundle, top, &[top])?;
            held.last().map_or(Ok(()), must_be_closed)?;
            held.into_iter().map(|held| held.file).collect()
        }
    };
    let below = hold(folder, bundle, node.guid, &[])?;
    let last = below.last().ok_or_else(|| no_snapshot(&change, guid))?;
    let like = likeness(bundle, &last.delta);
    let file = new_name(&bundle.tree);
    let next = bundle
        .descriptor
        .with_top(top)
        .and_then(|next| match save {
            Some(save) => next.renamed(top, save),
            None => next.without(top),
        })
        .and_then(|next| next.with_image(&image(top, &file), Some(guid)))
        .and_then(|next| next.with_top_named(top))
        .and_then(|next| sized(next, like));
    let next = sound(&change, next)?;
    let goes = plain_name(&old_file).filter(|_| save.is_none());
    let left = match save {
        None => stays(folder, &old_file),
        Some(_) => None,
    };
    change.note(
        &[Some(file.as_str()), goes]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
    )?;
    let path = folder.path().join(&file);
    let written = write_new(&change, &file, like).map(drop);
    let done = written
        .and_then(|()| allowed(&path))
        .and_then(|()| change.commit(next));
    drop((old, below));
    settle(&change, done)?;
    Ok(Switched {
        file: folder.path().join(file),
        saved: save,
        left,
        again: false,
    })
}

/// Whether it can be gone back to, and kept as `save`. The caller holds the bundle's lock; nothing is changed.
pub fn can_switch(folder: &dyn Folder, guid: Guid, save: Option<Guid>) -> Result<(), ToolError> {
    let change = Change::begin(folder)?;
    let tree = &change.bundle().tree;
    usable(&change, guid)?;
    if guid == tree.top() {
        let why = format_args!("{guid} is what is written already");
        return Err(refused(&change, why));
    }
    match save {
        Some(save) if !may_be_done(tree, guid, save) => free(&change, save).map(drop),
        _ => Ok(()),
    }
}

/// The disk stands on `guid`, and something is called `save` already.
fn may_be_done(tree: &Tree, guid: Guid, save: Guid) -> bool {
    let top = tree.top();
    let stands_on = tree.get(top).and_then(|node| node.parent);
    tree.get(save).is_some() && save != guid && save != top && stands_on == Some(guid)
}

/// What the same switch has done before, if nothing is left to do.
fn switched_already(
    change: &Change<'_>,
    guid: Guid,
    save: Option<Guid>,
) -> Result<Option<Switched>, ToolError> {
    let bundle = change.bundle();
    let (tree, top) = (&bundle.tree, bundle.tree.top());
    let Some(saved) = save.filter(|save| may_be_done(tree, guid, *save)) else {
        return Ok(None);
    };
    let held = hold(change.folder(), bundle, top, &[top])?;
    let image = held.last().and_then(|held| held.delta.expanded());
    let is_empty = image.is_some_and(|image| image.bat.iter().all(|entry| *entry == 0));
    Ok(is_empty.then(|| Switched {
        file: change.folder().path().join(file_of(tree, top)),
        saved: Some(saved),
        left: None,
        again: true,
    }))
}

/// What is left of a file that goes from the bundle: one outside of it, or what a symbolic link in it leads to. Its owner is to be
/// told.
pub fn stays(folder: &dyn Folder, file: &std::path::Path) -> Option<PathBuf> {
    match plain_name(file) {
        None => Some(folder.path().join(file)),
        Some(name) => folder.target(name),
    }
}

/// Drops a snapshot that nothing stands on. Returns what is left of its file: see [`stays`].
pub fn drop_leaf(change: &mut Change<'_>, guid: Guid) -> Result<Option<PathBuf>, ToolError> {
    let folder = change.folder();
    let bundle = change.bundle();
    let top = bundle.tree.top();
    let file = file_of(&bundle.tree, guid);
    // Nobody may be reading it, and nobody may be serving the disk.
    let held = [
        folder.open(&file, true)?,
        folder.open(&file_of(&bundle.tree, top), true)?,
    ];
    let next = bundle
        .descriptor
        .with_top(top)
        .and_then(|next| next.without(guid));
    let next = sound(change, next)?;
    let name = plain_name(&file);
    let left = stays(folder, &file);
    change.note(&name.into_iter().collect::<Vec<_>>())?;
    let done = change.commit(next);
    drop(held);
    settle(change, done)?;
    Ok(left)
}

/// A snapshot that can be used.
pub fn usable<'c>(change: &'c Change<'_>, guid: Guid) -> Result<&'c Node, ToolError> {
    let node = find(change, guid)?;
    match node.temporary {
        None => Ok(node),
        Some(_) => Err(refused(
            change,
            format_args!("the snapshot {guid} is being deleted: what it held may be gone"),
        )),
    }
}

/// A snapshot that may be deleted, or merged.
pub fn removable<'c>(change: &'c Change<'_>, guid: Guid) -> Result<&'c Node, ToolError> {
    let node = find(change, guid)?;
    match node.temporary {
        Some(Temporary::Foreign) => Err(refused(
            change,
            format_args!(
                "the snapshot {guid}: ploop has begun to merge it on a running device; only ploop can end that"
            ),
        )),
        _ => Ok(node),
    }
}

fn find<'c>(change: &'c Change<'_>, guid: Guid) -> Result<&'c Node, ToolError> {
    let found = change.bundle().tree.get(guid);
    found.ok_or_else(|| no_snapshot(change, guid))
}

fn no_snapshot(change: &Change<'_>, guid: Guid) -> ToolError {
    refused(change, format_args!("no snapshot {guid}"))
}

/// An error about the bundle.
pub fn refused(change: &Change<'_>, why: impl std::fmt::Display) -> ToolError {
    ToolError::Refused(format!("{}: {why}", change.folder().path().display()))
}

/// A GUID that nothing has.
fn free(change: &Change<'_>, guid: Guid) -> Result<Guid, ToolError> {
    if guid == Guid::NONE || change.bundle().tree.get(guid).is_some() {
        return Err(refused(
            change,
            format_args!("{guid} cannot be the name of a new snapshot: it is used already"),
        ));
    }
    Ok(guid)
}

/// The next descriptor, if its snapshots form a tree. Nothing has been done yet.
pub fn sound(
    change: &Change<'_>,
    next: Result<Descriptor, super::Refusal>,
) -> Result<Descriptor, ToolError> {
    let checked = next.and_then(|next| Tree::of(&next).map(|_| next));
    checked.map_err(|refusal| refusal.in_file(change.folder().path().join(super::DESCRIPTOR)))
}

/// Ends a change, whether it worked or not: nothing is left behind.
pub fn settle<T>(change: &Change<'_>, done: Result<T, ToolError>) -> Result<T, ToolError> {
    let cleaned = change.clean();
    let value = done?;
    cleaned?;
    Ok(value)
}

/// The file of a snapshot that is there.
pub fn file_of(tree: &Tree, guid: Guid) -> PathBuf {
    tree.get(guid)
        .map(|node| node.file.clone())
        .unwrap_or_default()
}

fn image(guid: Guid, file: &str) -> Image {
    Image {
        guid,
        kind: Kind::Expanded,
        file: file.into(),
    }
}

/// The name of a new file, as ploop makes them: the oldest one's and a GUID.
fn new_name(tree: &Tree) -> String {
    let root = file_of(tree, tree.root());
    let base = root.file_name().and_then(|name| name.to_str());
    format!("{}.{}", base.unwrap_or("root.hds"), Guid::random())
}

/// The size of the disk is that of the snapshot.
fn sized(next: Descriptor, like: Likeness) -> Result<Descriptor, super::Refusal> {
    if next.size() == Some(like.size) {
        return Ok(next);
    }
    next.resized(like.size)
}

fn write_new(
    change: &Change<'_>,
    name: &str,
    like: Likeness,
) -> Result<Box<dyn DeltaFile>, ToolError> {
    let path = change.folder().path().join(name);
    let file = change.create(name)?;
    new_image(&*file, like.version, like.cluster, like.size).map_err(|error| match error {
        CreateError::Io(source) => ToolError::io(&path, "write")(source),
        other => ToolError::Refused(format!("{}: cannot create: {other}", path.display())),
    })?;
    Ok(file)
}
