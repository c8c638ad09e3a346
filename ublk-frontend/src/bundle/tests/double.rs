//! A folder in memory that stops after a number of steps and forgets what was not made durable.
//!
//! A file is what was synced and a list of changes since; the folder is the names that were synced and a list of changes since.
//! A crash keeps any subset of each list, in order. Rougher than most file systems, which keep the order of names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;

use ploop_core::drive::DeltaFile;

use crate::bundle::Folder;
use crate::bundle::tree::plain_name;
use crate::tool::ToolError;

/// What happened to a file since its last sync.
#[derive(Clone, Debug)]
enum Bytes {
    Write(usize, Vec<u8>),
    Len(usize),
}

/// What happened to the names since the last sync.
#[derive(Clone, Debug)]
enum Names {
    Link(String, usize),
    Rename(String, String, usize),
    Unlink(String),
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    since: Vec<Bytes>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: Vec<Inode>,
    durable: BTreeMap<String, usize>,
    now: BTreeMap<String, usize>,
    since: Vec<Names>,
    steps: usize,
    last: Option<usize>,
}

impl Bytes {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Bytes::Write(at, part) => {
                bytes.resize(bytes.len().max(at + part.len()), 0);
                bytes[*at..][..part.len()].copy_from_slice(part);
            }
            Bytes::Len(len) => bytes.resize(*len, 0),
        }
    }
}

impl Names {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Names::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Names::Rename(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            Names::Unlink(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk {
    /// Counts a step; after the last one nothing works any more.
    fn step(&mut self) -> io::Result<()> {
        self.alive()?;
        if self.last == Some(self.steps) {
            self.steps = usize::MAX;
            return self.alive();
        }
        self.steps += 1;
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.steps == usize::MAX {
            return Err(io::Error::other("the machine has stopped"));
        }
        Ok(())
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.alive()?;
        let found = self.now.get(name).copied();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn link(&mut self, name: &str) -> usize {
        self.inodes.push(Inode::default());
        let inode = self.inodes.len() - 1;
        let change = Names::Link(name.to_owned(), inode);
        change.apply(&mut self.now);
        self.since.push(change);
        inode
    }

    fn change(&mut self, inode: usize, change: Bytes) -> io::Result<()> {
        self.step()?;
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.now);
        inode.since.push(change);
        Ok(())
    }

    fn sync(&mut self, inode: usize) -> io::Result<()> {
        self.step()?;
        let inode = &mut self.inodes[inode];
        inode.durable = inode.now.clone();
        inode.since.clear();
        Ok(())
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct MemFolder(Rc<RefCell<Disk>>);

impl MemFolder {
    /// The same files, all durable; works until `last` steps were made.
    pub(super) fn stopping_after(&self, last: usize) -> MemFolder {
        let mut disk = self.0.borrow().clone();
        disk.settle();
        (disk.steps, disk.last) = (0, Some(last));
        MemFolder(Rc::new(RefCell::new(disk)))
    }

    /// What the next program finds if only the last one was killed: everything is there, and what was not durable is not.
    pub(super) fn going_on(&self, last: usize) -> MemFolder {
        let mut disk = self.0.borrow().clone();
        (disk.steps, disk.last) = (0, Some(last));
        MemFolder(Rc::new(RefCell::new(disk)))
    }

    /// True once it has stopped.
    pub(super) fn has_stopped(&self) -> bool {
        self.0.borrow().steps == usize::MAX
    }

    /// Number of changes of names that a crash may lose.
    pub(super) fn loose_names(&self) -> usize {
        self.0.borrow().since.len()
    }

    /// What a crash leaves: of the changes of names those whose bit is set, of those of bytes what `keep` keeps.
    pub(super) fn crash(&self, names: u32, mut keep: impl FnMut() -> bool) -> MemFolder {
        let mut disk = self.0.borrow().clone();
        disk.now = disk.durable.clone();
        for (bit, change) in disk.since.iter().enumerate() {
            if names & (1 << bit) != 0 {
                change.apply(&mut disk.now);
            }
        }
        for inode in &mut disk.inodes {
            inode.now = inode.durable.clone();
            for change in &inode.since {
                if keep() {
                    change.apply(&mut inode.now);
                }
            }
        }
        disk.settle();
        (disk.steps, disk.last) = (0, None);
        MemFolder(Rc::new(RefCell::new(disk)))
    }

    /// The names and bytes of all files.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.0.borrow();
        let bytes =
            |(name, inode): (&String, &usize)| (name.clone(), disk.inodes[*inode].now.clone());
        disk.now.iter().map(bytes).collect()
    }

    /// Puts a durable file there.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut disk = self.0.borrow_mut();
        let inode = disk.link(name);
        disk.inodes[inode].now = bytes.to_vec();
        disk.settle();
    }
}

impl Disk {
    /// Everything is durable.
    fn settle(&mut self) {
        self.durable = self.now.clone();
        self.since.clear();
        for inode in &mut self.inodes {
            inode.durable = inode.now.clone();
            inode.since.clear();
        }
    }
}

struct MemFile {
    disk: Rc<RefCell<Disk>>,
    inode: usize,
}

impl DeltaFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        let disk = self.disk.borrow();
        disk.alive()?;
        Ok(disk.inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk.borrow();
        disk.alive()?;
        let bytes = &disk.inodes[self.inode].now;
        let rest = bytes.get(at as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let change = Bytes::Write(at as usize, buf.to_vec());
        self.disk.borrow_mut().change(self.inode, change)?;
        Ok(buf.len())
    }

    fn zero_at(&self, at: u64, len: u64, _: bool) -> io::Result<()> {
        let end = self.len()?;
        let len = len.min(end.saturating_sub(at));
        let change = Bytes::Write(at as usize, vec![0; len as usize]);
        self.disk.borrow_mut().change(self.inode, change)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let change = Bytes::Len(len as usize);
        self.disk.borrow_mut().change(self.inode, change)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.borrow_mut().sync(self.inode)
    }
}

impl Folder for MemFolder {
    fn path(&self) -> &Path {
        Path::new("bundle")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let disk = self.0.borrow();
        disk.alive()?;
        Ok(disk.now.keys().cloned().collect())
    }

    fn read(&self, name: &str, _: usize) -> io::Result<Vec<u8>> {
        let disk = self.0.borrow();
        let inode = disk.inode(name)?;
        Ok(disk.inodes[inode].now.clone())
    }

    fn write(&self, name: &str, bytes: &[u8], _: &str) -> io::Result<()> {
        self.unlink(name)?;
        self.0.borrow_mut().step()?;
        let inode = self.0.borrow_mut().link(name);
        self.0
            .borrow_mut()
            .change(inode, Bytes::Write(0, bytes.to_vec()))
    }

    fn sync_file(&self, name: &str) -> io::Result<()> {
        let inode = self.0.borrow().inode(name)?;
        self.0.borrow_mut().sync(inode)
    }

    fn create(&self, name: &str) -> Result<Box<dyn DeltaFile>, ToolError> {
        let failed = ToolError::io(Path::new(name), "create");
        if self.0.borrow().now.contains_key(name) {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        self.0.borrow_mut().step().map_err(failed)?;
        let inode = self.0.borrow_mut().link(name);
        let disk = Rc::clone(&self.0);
        Ok(Box::new(MemFile { disk, inode }))
    }

    fn open(&self, file: &Path, _: bool) -> Result<Box<dyn DeltaFile>, ToolError> {
        let failed = ToolError::io(file, "open");
        let name = plain_name(file).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let inode = self.0.borrow().inode(name).map_err(failed)?;
        let disk = Rc::clone(&self.0);
        Ok(Box::new(MemFile { disk, inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.step()?;
        let inode = disk.inode(from)?;
        let change = Names::Rename(from.to_owned(), to.to_owned(), inode);
        change.apply(&mut disk.now);
        disk.since.push(change);
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.step()?;
        if disk.now.remove(name).is_some() {
            disk.since.push(Names::Unlink(name.to_owned()));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.0.borrow_mut();
        disk.step()?;
        disk.durable = disk.now.clone();
        disk.since.clear();
        Ok(())
    }
}

/// The name that `path` has in a folder.
pub(super) fn name_of(path: &Path) -> String {
    plain_name(path).expect("a plain name").to_owned()
}
