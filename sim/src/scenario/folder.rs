//! Real files to run a scenario's operations on: a folder, one file a level, through the system's page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ploop_core::drive::DeltaFile;

use crate::scenario::Files;

/// Zeros are written so many at once.
const PIECE: usize = 1 << 16;

/// Files of a folder: `level-0`, `level-1`, ...
#[derive(Clone, Debug)]
pub struct FolderFiles {
    folder: PathBuf,
    overwrite: bool,
}

impl FolderFiles {
    /// Files of this folder, which must be there. Unless `overwrite`, no file is touched that is there already.
    #[must_use]
    pub fn new(folder: PathBuf, overwrite: bool) -> FolderFiles {
        FolderFiles { folder, overwrite }
    }

    fn path(&self, level: usize) -> PathBuf {
        self.folder.join(format!("level-{level}"))
    }
}

impl Files for FolderFiles {
    fn create(&mut self, level: usize, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true);
        if self.overwrite {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        options.open(self.path(level))?.write_all_at(bytes, 0)
    }

    fn open(&self, level: usize) -> io::Result<Box<dyn DeltaFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(level))?;
        Ok(Box::new(PlainFile(file)))
    }
}

/// A file whose holes are zeros that take up space: nothing here asks the system for more than reads and writes.
#[derive(Debug)]
struct PlainFile(File);

impl DeltaFile for PlainFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.0.write_at(buf, at)
    }

    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        let end = self.len()?.min(at.saturating_add(len));
        let zeros = [0; PIECE];
        let mut at = at;
        while at < end {
            let part = PIECE.min(usize::try_from(end - at).unwrap_or(PIECE));
            self.0.write_all_at(&zeros[..part], at)?;
            at += part as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }
}
