//! The snapshots of a descriptor as a tree: which file stands on which.
//!
//! ```text
//!   root (oldest) ──> snapshot ──> snapshot ──> top (written)
//!                        └──────> snapshot          └── no child, not temporary
//! ```
//! A [`Tree`] exists only if: every snapshot has one file and every file one snapshot, no two have the same GUID or file,
//! there is one root, everything hangs on it (so there is no cycle), and the delta that is written is known and has no
//! child. All chains are therefore finite, and at most [`MAX_LEVELS`] long.
//!
//! Files may lie outside of the bundle (`../`, absolute): ploop opens them, so do we. They are never removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use ploop_core::delta::chain::MAX_LEVELS;

use super::descriptor::{Descriptor, Image, Kind, Temporary};
use super::guid::Guid;
use super::refusal::{Refusal, Rule};

/// The snapshots of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<Guid, Node>,
    root: Guid,
    top: Guid,
    raw_base: bool,
}

/// A snapshot, or the delta that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub guid: Guid,
    /// Its file, as the descriptor writes it.
    pub file: PathBuf,
    /// The one below.
    pub parent: Option<Guid>,
    /// Those above, in the order of the descriptor.
    pub children: Vec<Guid>,
    /// Whether it is to go.
    pub temporary: Option<Temporary>,
    /// Number of snapshots below.
    pub depth: usize,
}

impl Tree {
    /// The tree of a descriptor.
    pub fn of(descriptor: &Descriptor) -> Result<Tree, Refusal> {
        let mut files = files(descriptor.images())?;
        let mut nodes = BTreeMap::new();
        for shot in descriptor.shots() {
            let Some(file) = files.remove(&shot.guid) else {
                let rule = if nodes.contains_key(&shot.guid) {
                    Rule::Duplicate
                } else {
                    Rule::NoImage
                };
                return Err(Refusal::value("Shot/GUID", shot.guid, rule));
            };
            let node = Node {
                guid: shot.guid,
                file,
                parent: shot.parent,
                children: Vec::new(),
                temporary: shot.temporary,
                depth: 0,
            };
            nodes.insert(shot.guid, node);
        }
        if let Some(guid) = files.keys().next() {
            return Err(Refusal::value("Image/GUID", guid, Rule::NoShot));
        }
        let root = hang(descriptor, &mut nodes)?;
        measure(root, &mut nodes)?;
        let top = top(descriptor, &nodes)?;
        let raw_base = raw_base(descriptor, root)?;
        Ok(Tree {
            nodes,
            root,
            top,
            raw_base,
        })
    }

    /// The delta that is written.
    #[must_use]
    pub fn top(&self) -> Guid {
        self.top
    }

    /// The oldest.
    #[must_use]
    pub fn root(&self) -> Guid {
        self.root
    }

    /// True if the oldest file is a raw disk, whatever it looks like.
    #[must_use]
    pub fn raw_base(&self) -> bool {
        self.raw_base
    }

    /// A snapshot.
    #[must_use]
    pub fn get(&self, guid: Guid) -> Option<&Node> {
        self.nodes.get(&guid)
    }

    /// All of them: each behind its parent, the children of one in the order of the descriptor.
    #[must_use]
    pub fn nodes(&self) -> Vec<&Node> {
        let mut all = Vec::with_capacity(self.nodes.len());
        let mut open = vec![self.root];
        while let Some(node) = open.pop().and_then(|guid| self.nodes.get(&guid)) {
            all.push(node);
            open.extend(node.children.iter().rev());
        }
        all
    }

    /// The snapshots from the oldest to this one; empty if there is no such snapshot.
    #[must_use]
    pub fn chain(&self, guid: Guid) -> Vec<&Node> {
        let mut chain = Vec::new();
        let mut at = self.nodes.get(&guid);
        while let Some(node) = at {
            chain.push(node);
            at = node.parent.and_then(|parent| self.nodes.get(&parent));
        }
        chain.reverse();
        chain
    }

    /// True if a file of the folder is one of the bundle's.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.nodes
            .values()
            .any(|node| plain_name(&node.file) == Some(name))
    }
}

/// The name of a file that lies in the folder of the descriptor itself, or `None`.
#[must_use]
pub fn plain_name(file: &Path) -> Option<&str> {
    let mut parts = file
        .components()
        .filter(|part| !matches!(part, Component::CurDir));
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(name)), None) => name.to_str(),
        _ => None,
    }
}

/// The file of each GUID.
fn files(images: &[Image]) -> Result<BTreeMap<Guid, PathBuf>, Refusal> {
    if images.is_empty() {
        return Err(Refusal::of("Storage/Image", Rule::Missing));
    }
    let mut files = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for image in images {
        // `./a` and `a` are one file.
        let plain: PathBuf = image
            .file
            .components()
            .filter(|part| !matches!(part, Component::CurDir))
            .collect();
        if !seen.insert(plain) {
            return Err(Refusal::value(
                "Image/File",
                image.file.display(),
                Rule::Duplicate,
            ));
        }
        if files.insert(image.guid, image.file.clone()).is_some() {
            return Err(Refusal::value("Image/GUID", image.guid, Rule::Duplicate));
        }
    }
    Ok(files)
}

/// Tells the parents of their children; returns the root.
fn hang(descriptor: &Descriptor, nodes: &mut BTreeMap<Guid, Node>) -> Result<Guid, Refusal> {
    let mut root: Option<Guid> = None;
    for shot in descriptor.shots() {
        let Some(parent) = shot.parent else {
            if let Some(first) = root {
                let rule = Rule::SecondRoot(first.to_string());
                return Err(Refusal::value("Shot/GUID", shot.guid, rule));
            }
            root = Some(shot.guid);
            continue;
        };
        match nodes.get_mut(&parent) {
            Some(node) => node.children.push(shot.guid),
            None => return Err(Refusal::value("Shot/ParentGUID", parent, Rule::Dangling)),
        }
    }
    root.ok_or_else(|| Refusal::of("Snapshots/Shot", Rule::NoRoot))
}

/// How deep everything stands; what does not hang on the root is a cycle.
fn measure(root: Guid, nodes: &mut BTreeMap<Guid, Node>) -> Result<(), Refusal> {
    let mut reached = BTreeSet::new();
    let mut open = vec![(root, 0)];
    while let Some((guid, depth)) = open.pop() {
        if depth >= MAX_LEVELS {
            return Err(Refusal::value("Shot/GUID", guid, Rule::TooDeep(MAX_LEVELS)));
        }
        if let Some(node) = nodes.get_mut(&guid) {
            reached.insert(guid);
            node.depth = depth;
            open.extend(node.children.iter().map(|child| (*child, depth + 1)));
        }
    }
    match nodes.keys().find(|guid| !reached.contains(guid)) {
        Some(guid) => Err(Refusal::value("Shot/GUID", guid, Rule::Cycle)),
        None => Ok(()),
    }
}

/// The delta that is written: `TopGUID`, or what has the usual GUID, or the only one without a child.
fn top(descriptor: &Descriptor, nodes: &BTreeMap<Guid, Node>) -> Result<Guid, Refusal> {
    const TOP: &str = "Snapshots/TopGUID";
    let leaves = || nodes.values().filter(|node| node.children.is_empty());
    let top = match descriptor.top() {
        Some(top) => nodes
            .get(&top)
            .ok_or_else(|| Refusal::value(TOP, top, Rule::NoShot))?,
        None => match (nodes.get(&Guid::TOP), leaves().next(), leaves().nth(1)) {
            (Some(top), _, _) => top,
            (None, Some(only), None) => only,
            _ => return Err(Refusal::of(TOP, Rule::NoTop)),
        },
    };
    if let Some(child) = top.children.first() {
        let rule = Rule::TopHasChild(child.to_string());
        return Err(Refusal::value(TOP, top.guid, rule));
    }
    if top.temporary.is_some() {
        return Err(Refusal::value(TOP, top.guid, Rule::TopTemporary));
    }
    Ok(top.guid)
}

/// ploop calls every image of a disk with a raw base `Plain`; the type of the base counts.
fn raw_base(descriptor: &Descriptor, root: Guid) -> Result<bool, Refusal> {
    let is_plain = |image: &&Image| image.kind == Kind::Plain;
    let mut plain = descriptor.images().iter().filter(is_plain).peekable();
    let Some(first) = plain.peek().copied() else {
        return Ok(false);
    };
    if plain.any(|image| image.guid == root) {
        return Ok(true);
    }
    Err(Refusal::value("Image/GUID", first.guid, Rule::PlainAbove))
}
