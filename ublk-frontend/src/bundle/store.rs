//! A bundle on disk, and how it goes from one state to the next so that a crash leaves one of the two.
//!
//! ```text
//!  clean up ─> note the names that come or go ─> new images ─> NEW descriptor ─> rename ─> old images ─> drop the note
//!              (fsync file, folder)              (fsync all)   (fsync)           (fsync    (unlink,
//!                                                                                folder)    fsync folder)
//!                                                                 old chain <──┼──> new chain
//! ```
//! 1. A file that a durable descriptor names is there, whole and durable.
//! 2. A file that comes or goes is noted before it comes, and until it is gone: a crash leaves no file that nobody finds.
//!    The next change removes what the note names and the descriptor does not. The note is believed only if it is complete,
//!    and only plain names are taken from it.
//! 3. Nothing is removed before the descriptor that does not name it is durable.
//! 4. Files outside of the folder are never removed.
//!
//! | file | is |
//! |---|---|
//! | `DiskDescriptor.xml` | the descriptor |
//! | `DiskDescriptor.xml.lck` | locked by the one who changes the bundle, as ploop does |
//! | `DiskDescriptor.xml.tmp` | the next descriptor, as ploop calls it |
//! | `DiskDescriptor.xml.pending` | the note: names, one a line, and a last line that says that it is complete |

use std::io;

use ploop_core::drive::DeltaFile;

use super::descriptor::Descriptor;
use super::folder::Folder;
use super::tree::{Tree, plain_name};
use super::xml::MOST_BYTES;
use crate::tool::ToolError;

/// The descriptor.
pub const DESCRIPTOR: &str = "DiskDescriptor.xml";
/// Locked during a change.
pub const LOCK: &str = "DiskDescriptor.xml.lck";
/// The next descriptor.
pub const NEXT: &str = "DiskDescriptor.xml.tmp";
/// What comes or goes.
pub const PENDING: &str = "DiskDescriptor.xml.pending";
/// Last line of a complete note.
const COMPLETE: &str = "# complete";

/// What a descriptor says, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The descriptor.
    pub descriptor: Descriptor,
    /// Its snapshots.
    pub tree: Tree,
}

impl Bundle {
    /// Reads a descriptor.
    pub fn parse(bytes: &[u8]) -> Result<Bundle, super::Refusal> {
        let descriptor = Descriptor::parse(bytes)?;
        let tree = Tree::of(&descriptor)?;
        Ok(Bundle { descriptor, tree })
    }

    /// Reads the descriptor of a folder.
    pub fn read(folder: &dyn Folder) -> Result<Bundle, ToolError> {
        let path = folder.path().join(DESCRIPTOR);
        let bytes = folder
            .read(DESCRIPTOR, MOST_BYTES)
            .map_err(ToolError::io(&path, "read"))?;
        Bundle::parse(&bytes).map_err(|refusal| refusal.in_file(path))
    }
}

/// A change under way. The caller holds the lock.
pub struct Change<'f> {
    folder: &'f dyn Folder,
    bundle: Bundle,
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").finish_non_exhaustive()
    }
}

impl<'f> Change<'f> {
    /// Begins: what a change that did not end has left is removed.
    pub fn begin(folder: &'f dyn Folder) -> Result<Change<'f>, ToolError> {
        let bundle = Bundle::read(folder)?;
        let change = Change { folder, bundle };
        change.clean()?;
        Ok(change)
    }

    /// The bundle as it is now.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &'f dyn Folder {
        self.folder
    }

    /// Notes the names of files that come or go. Replaces an earlier note.
    pub fn note(&self, names: &[&str]) -> Result<(), ToolError> {
        note(self.folder, names)
    }

    /// Makes a new image, which must have been noted.
    pub fn create(&self, name: &str) -> Result<Box<dyn DeltaFile>, ToolError> {
        self.folder.create(name)
    }

    /// Puts a new descriptor in place of the old one. The names of new files become durable with it.
    pub fn commit(&mut self, next: Descriptor) -> Result<(), ToolError> {
        let path = self.folder.path().join(DESCRIPTOR);
        let tree = Tree::of(&next).map_err(|refusal| refusal.in_file(&path))?;
        commit(self.folder, &next)?;
        self.bundle = Bundle {
            descriptor: next,
            tree,
        };
        Ok(())
    }

    /// Ends: what the note names and the descriptor does not is removed, and the note.
    ///
    /// Also what is left to do after a change that failed.
    pub fn clean(&self) -> Result<(), ToolError> {
        let names = self.failing("read", self.folder.names())?;
        let is_there = |name: &str| names.iter().any(|other| other == name);
        if !is_there(PENDING) && !is_there(NEXT) {
            return Ok(());
        }
        // Whoever renamed it may have died before it was durable.
        self.failing("sync", self.folder.sync_file(DESCRIPTOR))?;
        self.failing("sync", self.folder.sync())?;
        let tree = Bundle::read(self.folder)?.tree;
        for name in self.leftovers(&tree)? {
            self.failing("remove a file of", self.folder.unlink(&name))?;
        }
        self.failing("remove a file of", self.folder.unlink(NEXT))?;
        self.failing("sync", self.folder.sync())?;
        self.failing("remove a file of", self.folder.unlink(PENDING))
    }

    /// What the note names and the descriptor, as it is on disk, does not.
    fn leftovers(&self, tree: &Tree) -> Result<Vec<String>, ToolError> {
        let names = match self.folder.read(PENDING, MOST_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => noted(&self.failing("read", other)?),
        };
        let is_left = |name: &String| {
            plain_name(name.as_ref()) == Some(name)
                && !name.starts_with(DESCRIPTOR)
                && !tree.uses(name)
        };
        Ok(names.into_iter().filter(is_left).collect())
    }

    fn failing<T>(&self, doing: &'static str, done: io::Result<T>) -> Result<T, ToolError> {
        done.map_err(ToolError::io(self.folder.path(), doing))
    }
}

/// Makes a bundle: the note and the files that it names come first, then the descriptor. What a killed attempt has left is
/// taken away before.
pub fn make(
    folder: &dyn Folder,
    file: &str,
    descriptor: &Descriptor,
    write: impl FnOnce(&dyn DeltaFile) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let failed = ToolError::io(folder.path(), "write in");
    if let Ok(bytes) = folder.read(PENDING, MOST_BYTES)
        && noted(&bytes).iter().any(|name| name == file)
    {
        folder.unlink(file).map_err(&failed)?;
    }
    note(folder, &[file])?;
    let image = folder.create(file)?;
    write(&*image)?;
    drop(image);
    commit(folder, descriptor)?;
    folder.unlink(PENDING).map_err(&failed)
}

/// The names in a note, none if it is not complete.
fn noted(bytes: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Vec::new();
    };
    match text.strip_suffix(&format!("{COMPLETE}\n")) {
        Some(names) => names.lines().map(str::to_owned).collect(),
        None => Vec::new(),
    }
}

fn note(folder: &dyn Folder, names: &[&str]) -> Result<(), ToolError> {
    let failed = ToolError::io(folder.path(), "write in");
    let mut text = String::new();
    for name in names {
        if name.contains('\n') {
            return Err(ToolError::Refused(format!(
                "{}: {name:?} cannot be changed: its name has two lines",
                folder.path().display()
            )));
        }
        text.push_str(name);
        text.push('\n');
    }
    text.push_str(COMPLETE);
    text.push('\n');
    folder
        .write(PENDING, text.as_bytes(), DESCRIPTOR)
        .and_then(|()| folder.sync_file(PENDING))
        .and_then(|()| folder.sync())
        .map_err(failed)
}

fn commit(folder: &dyn Folder, descriptor: &Descriptor) -> Result<(), ToolError> {
    let text = descriptor.print();
    if text.len() > MOST_BYTES {
        return Err(ToolError::Refused(format!(
            "{}: the descriptor would be longer than {MOST_BYTES} bytes",
            folder.path().display()
        )));
    }
    folder
        .write(NEXT, text.as_bytes(), DESCRIPTOR)
        .and_then(|()| folder.sync_file(NEXT))
        // New images before the descriptor that names them.
        .and_then(|()| folder.sync())
        .and_then(|()| folder.rename(NEXT, DESCRIPTOR))
        .and_then(|()| folder.sync())
        .map_err(ToolError::io(&folder.path().join(DESCRIPTOR), "write"))
}
