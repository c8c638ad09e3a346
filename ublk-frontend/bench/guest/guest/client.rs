//! I/Os on an open device, so many under way at once, and the comparison of what was read with what must be there.
//!
//! One io_uring, the file in its table, memory of huge pages: what the client does for an I/O is little and the same for
//! every row. What is written stands in memory beforehand, and what is read is compared afterwards, so neither costs
//! anything while an I/O is measured.

use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;

use ublk_frontend::raw::{Arena, Buffers, Completion, FileIndex, Place, Ring};

use super::random::Random;
use super::trouble::{During, Trouble, demand};
use crate::rows::MAPPED;

const DEVICE: FileIndex = FileIndex(0);
/// The word of a flush.
const FLUSH: u64 = u64::MAX >> 1;
/// Bytes compared at a time.
const PIECE: usize = 1 << 20;

/// Some I/Os.
pub(crate) struct Plan<'a> {
    /// Write; or read.
    pub(crate) write: bool,
    /// Bytes of each.
    pub(crate) size: u64,
    /// How many are under way at once.
    pub(crate) depth: u64,
    /// On the disk, and in the content.
    pub(crate) places: &'a [(u64, u64)],
    /// A flush when all have ended.
    pub(crate) flush: bool,
}

/// What the client keeps for all rows: the content of the mapped part, and as much memory to read into.
#[derive(Clone)]
pub(crate) struct Content {
    arena: Rc<Arena>,
}

impl Content {
    /// Content that a seed decides.
    pub(crate) fn new(seed: u64) -> Result<Content, Trouble> {
        let arena = Arena::new(2 * MAPPED as usize)?;
        let mut random = Random::new(seed);
        let mut piece = vec![0; PIECE];
        for at in (0..MAPPED as usize).step_by(PIECE) {
            for word in piece.chunks_exact_mut(8) {
                word.copy_from_slice(&random.next().to_le_bytes());
            }
            arena.copy_in(at, &piece);
            // So that the memory is there.
            arena.zero(MAPPED as usize + at, PIECE);
        }
        Ok(Content {
            arena: Rc::new(arena),
        })
    }
}

/// See the module.
pub(crate) struct Client {
    ring: Ring,
    content: Content,
    completions: Vec<Completion>,
}

impl Client {
    /// A client of an open device.
    pub(crate) fn new(device: &File, content: &Content) -> Result<Client, Trouble> {
        let arena = Rc::clone(&content.arena);
        Ok(Client {
            ring: Ring::new(64, arena, &[device.as_fd()], Buffers::None)
                .during("the client's ring")?,
            content: content.clone(),
            completions: Vec::with_capacity(64),
        })
    }

    /// Does them all.
    pub(crate) fn run(&mut self, plan: &Plan<'_>) -> Result<(), Trouble> {
        let mut waiting = plan.places.iter();
        let mut under_way = 0;
        loop {
            while under_way < plan.depth
                && let Some(place) = waiting.next()
            {
                self.push(plan, *place);
                under_way += 1;
            }
            if under_way == 0 {
                break;
            }
            under_way -= self.wait(i32::try_from(plan.size).unwrap_or(0))?;
        }
        if plan.flush {
            self.ring.sync(DEVICE, FLUSH);
            while self.wait(0)? == 0 {}
        }
        Ok(())
    }

    fn push(&mut self, plan: &Plan<'_>, (at, content): (u64, u64)) {
        let len = plan.size as u32;
        if plan.write {
            let from = Place::Memory(content as usize);
            self.ring.write(DEVICE, at, len, from, false, at);
        } else {
            let into = Place::Memory((MAPPED + content) as usize);
            self.ring.read(DEVICE, at, len, into, at);
        }
    }

    /// Waits until some have ended, each with this result. How many.
    fn wait(&mut self, wanted: i32) -> Result<u64, Trouble> {
        self.ring.submit_and_wait()?;
        self.ring.reap(&mut self.completions);
        let ended = self.completions.len() as u64;
        let bad = self.completions.iter().find(|c| c.result != wanted);
        let bad = bad.map(|c| (c.data, c.result));
        self.completions.clear();
        demand(bad.is_none(), || {
            format!("an I/O (byte, result) did not do {wanted} bytes: {bad:?}")
        })?;
        Ok(ended)
    }

    /// Compares what these reads have read with what must be there, and forgets what was read.
    pub(crate) fn compare(&mut self, plan: &Plan<'_>) -> Result<u64, Trouble> {
        let (mut read, mut wanted) = (vec![0; plan.size as usize], vec![0; plan.size as usize]);
        let arena = &self.content.arena;
        let mut places = plan.places.to_vec();
        places.sort_unstable();
        places.dedup();
        for &(at, content) in &places {
            arena.copy_out((MAPPED + content) as usize, &mut read);
            arena.copy_out(content as usize, &mut wanted);
            demand(read == wanted, || {
                format!("what was read at byte {at} is not what was written")
            })?;
        }
        for &(_, content) in &places {
            arena.zero((MAPPED + content) as usize, plan.size as usize);
        }
        Ok(places.len() as u64 * plan.size)
    }
}
