//! A file in memory that counts its changes and has a full file system behind it.

use ploop_core::drive::DeltaFile;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

/// A file of at most so many bytes. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    bytes: Rc<RefCell<Vec<u8>>>,
    changes: Rc<Cell<u64>>,
    most: u64,
}

impl Memory {
    /// A file of these bytes that may grow to `most`.
    pub(super) fn new(bytes: Vec<u8>, most: u64) -> Memory {
        Memory {
            bytes: Rc::new(RefCell::new(bytes)),
            changes: Rc::default(),
            most,
        }
    }

    /// What is in it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.bytes.borrow().clone()
    }

    /// How often something tried to change it.
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    fn change(&self, end: u64) -> io::Result<()> {
        self.changes.set(self.changes.get() + 1);
        if end > self.most {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

impl DeltaFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.bytes.borrow();
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| bytes.get(at..))
            .unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let end = at.saturating_add(buf.len() as u64);
        self.change(end)?;
        let mut bytes = self.bytes.borrow_mut();
        if (bytes.len() as u64) < end {
            bytes.resize(end as usize, 0);
        }
        bytes[at as usize..end as usize].copy_from_slice(buf);
        Ok(buf.len())
    }

    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        self.change(0)?;
        let mut bytes = self.bytes.borrow_mut();
        let whole = bytes.len() as u64;
        let (start, end) = (at.min(whole), at.saturating_add(len).min(whole));
        bytes[start as usize..end as usize].fill(0);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(len)?;
        self.bytes.borrow_mut().resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
