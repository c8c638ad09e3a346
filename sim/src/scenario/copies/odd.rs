//! Files that are not quite like others: a write takes only a part of what it is given, or there are no holes.

use std::cell::Cell;
use std::io;

use ploop_core::drive::DeltaFile;

/// What files are like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Odd {
    /// Bytes that a write takes at the most, in turn. Empty: all.
    pub(super) writes: Vec<usize>,
    /// Everything takes space, also what reads as zeros.
    pub(super) dense: bool,
}

/// The same, and whose turn it is.
#[derive(Debug)]
pub(super) struct Turns {
    odd: Odd,
    turn: Cell<usize>,
}

/// A file that is like this.
#[derive(Debug)]
pub(super) struct OddFile<'a, F> {
    file: &'a F,
    turns: &'a Turns,
}

impl Odd {
    pub(super) fn is_plain(&self) -> bool {
        *self == Odd::default()
    }

    pub(super) fn turns(&self) -> Turns {
        Turns {
            odd: self.clone(),
            turn: Cell::new(0),
        }
    }
}

impl Turns {
    /// How much of so many bytes the next write takes.
    pub(super) fn next(&self, len: usize) -> usize {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        match self.odd.writes.len() {
            0 => len,
            count => len.min(self.odd.writes[turn % count]),
        }
    }

    pub(super) fn is_dense(&self) -> bool {
        self.odd.dense
    }
}

impl<'a, F> OddFile<'a, F> {
    pub(super) fn new(file: &'a F, turns: &'a Turns) -> OddFile<'a, F> {
        OddFile { file, turns }
    }
}

impl<F: DeltaFile> DeltaFile for OddFile<'_, F> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.file.write_at(at, &buf[..self.turns.next(buf.len())])
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.file.zero_at(at, len, punch)
    }
    fn takes_space(&self, _at: u64, _len: u64) -> io::Result<bool> {
        Ok(self.turns.is_dense())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
