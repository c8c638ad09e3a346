//! How a queue's memory is divided: guest buffers, pieces for copies, pieces for index images, zeros.
//!
//! ```text
//!   | guest: depth × request size | copy: 4 × piece | index: 32 × page | zeros, never written |
//! ```
//! * Everything starts at a multiple of 4096, so that direct I/O can use it.
//! * Pieces are handed out and given back; who finds none waits in the flight table. Nothing is allocated later.

use std::io;
use std::rc::Rc;

use crate::raw::Arena;

/// Copies under way at once on one queue.
const COPIES: usize = 4;
/// Index writes under way at once on one queue.
const INDEXES: usize = 32;
/// Most bytes of a copy in one go.
const COPY_BYTES: u64 = 1 << 20;
/// Bytes of zeros written at a time where the file system can neither punch nor zero.
pub const ZEROS: u32 = 64 << 10;

const ALIGN: usize = 4096;

/// A piece of memory that is lent.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a piece must be given back"]
pub struct Piece {
    /// First byte in the arena.
    pub at: usize,
    kind: Kind,
}

impl Piece {
    /// Keeps it for ever. Where it is.
    #[must_use]
    pub fn keep(self) -> usize {
        self.at
    }

    /// What it is for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of a cluster.
    Copy,
    /// An image of a metadata page.
    Index,
}

/// The memory of one queue.
#[derive(Debug)]
pub struct Memory {
    arena: Rc<Arena>,
    /// Bytes of one guest buffer; 0 if the guest's memory is not ours.
    request: usize,
    copy: usize,
    zeros: usize,
    copies: Vec<Piece>,
    indexes: Vec<Piece>,
}

impl Memory {
    /// For `depth` guest buffers of `request` bytes (0 with zero copy), clusters of `cluster` bytes, and metadata pages
    /// of `page` bytes.
    pub fn new(depth: u16, request: u32, cluster: u64, page: u32) -> io::Result<Memory> {
        let request = (request as usize).next_multiple_of(ALIGN);
        let copy = (cluster.min(COPY_BYTES) as usize).next_multiple_of(ALIGN);
        let page = (page as usize).next_multiple_of(ALIGN);
        let mut end = usize::from(depth) * request;
        let mut pieces = |count: usize, len: usize, kind| -> Vec<Piece> {
            let first = end;
            end += count * len;
            let at = |i| Piece {
                at: first + i * len,
                kind,
            };
            // The last is taken first.
            (0..count).rev().map(at).collect()
        };
        let copies = pieces(COPIES, copy, Kind::Copy);
        let indexes = pieces(INDEXES, page, Kind::Index);
        Ok(Memory {
            arena: Rc::new(Arena::new(end + ZEROS as usize)?),
            request,
            copy,
            zeros: end,
            copies,
            indexes,
        })
    }

    /// The memory itself.
    #[must_use]
    pub fn arena(&self) -> &Rc<Arena> {
        &self.arena
    }

    /// Where the guest buffer of a tag begins.
    #[must_use]
    pub fn guest(&self, tag: u16) -> usize {
        usize::from(tag) * self.request
    }

    /// Bytes of a guest buffer.
    #[must_use]
    pub fn guest_bytes(&self) -> usize {
        self.request
    }

    /// Where [`ZEROS`] zeros are.
    #[must_use]
    pub fn zeros(&self) -> usize {
        self.zeros
    }

    /// Bytes of a copy piece.
    #[must_use]
    pub fn copy_bytes(&self) -> u64 {
        self.copy as u64
    }

    /// A piece, if one is left.
    pub fn take(&mut self, kind: Kind) -> Option<Piece> {
        self.pool(kind).pop()
    }

    /// A piece comes back.
    pub fn give(&mut self, piece: Piece) {
        self.pool(piece.kind).push(piece);
    }

    fn pool(&mut self, kind: Kind) -> &mut Vec<Piece> {
        match kind {
            Kind::Copy => &mut self.copies,
            Kind::Index => &mut self.indexes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_disjoint_and_inside() {
        let mut memory = Memory::new(3, 5000, 3 << 20, 512).expect("memory");
        let mut parts: Vec<(usize, usize)> = (0..3).map(|tag| (memory.guest(tag), 8192)).collect();
        for (kind, len) in [(Kind::Copy, 1 << 20), (Kind::Index, 4096)] {
            while let Some(piece) = memory.take(kind) {
                parts.push((piece.at, len));
                assert_eq!(piece.kind, kind);
            }
        }
        parts.push((memory.zeros(), ZEROS as usize));
        assert_eq!(parts.len(), 3 + COPIES + INDEXES + 1);
        parts.sort_unstable();
        for pair in parts.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
        }
        assert!(parts.iter().all(|(at, _)| at % ALIGN == 0));
        let (at, len) = parts[parts.len() - 1];
        assert!(at + len <= memory.arena().size());
    }

    #[test]
    fn pieces_come_back() {
        let mut memory = Memory::new(1, 0, 65536, 4096).expect("memory");
        let taken: Vec<Piece> = std::iter::from_fn(|| memory.take(Kind::Copy)).collect();
        assert_eq!(taken.len(), COPIES);
        for piece in taken {
            memory.give(piece);
        }
        assert!(memory.take(Kind::Copy).is_some());
        assert_eq!(memory.copy_bytes(), 65536);
    }
}
