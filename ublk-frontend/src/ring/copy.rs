//! Copy on write: a cluster of a lower file into the top one, through a piece of memory.
//!
//! ```text
//!   per piece:  read the lower file ──short: again──▶ zeros behind what it has ──▶ write ──short: again──▶ next piece
//!               └─ it ends before what was to be copied ──▶ Short (what is behind it in the top is done)
//! ```

use ploop_core::units::SECTOR_BYTES;
use ploop_core::{Failure, IoOp, Outcome};

use crate::raw::Place;
use crate::ring::step::{Next, State, Step, Tools, clip, file_of};

impl Step {
    /// The next piece of a copy: bytes of it, and how many of them come from the lower file.
    fn copy_step(&self, piece: u64) -> Option<(u64, u64)> {
        let IoOp::Copy { from_len, len, .. } = &self.op else {
            return None;
        };
        let step = (len.bytes() - self.done).min(piece);
        Some((step, from_len.bytes().saturating_sub(self.done).min(step)))
    }

    pub(super) fn copy_piece(&mut self, tools: &mut Tools<'_>) -> Next {
        match self.copy_step(tools.memory.copy_bytes()) {
            Some((0, _)) => Next::Ended(Outcome::Done),
            Some((_, 0)) => self.copy_write(0, tools),
            _ => self.ask_copy_read(0, tools),
        }
    }

    pub(super) fn ask_copy_read(&mut self, got: u64, tools: &mut Tools<'_>) -> Next {
        let Some((_, there)) = self.copy_step(tools.memory.copy_bytes()) else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        let IoOp::Copy { level, from, .. } = self.op else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        self.state = State::CopyRead { got };
        let into = Place::Memory(self.piece_at() + got as usize);
        let at = from.bytes() + self.done + got;
        tools
            .ring
            .read(file_of(level), at, clip(there - got), into, self.word);
        Next::Asked
    }

    pub(super) fn copy_read(&mut self, got: u64, bytes: u64, tools: &mut Tools<'_>) -> Next {
        let got = got + bytes;
        let there = self
            .copy_step(tools.memory.copy_bytes())
            .map_or(0, |(_, there)| there);
        if got >= there || (got % SECTOR_BYTES != 0 && got.next_multiple_of(SECTOR_BYTES) >= there)
        {
            return self.copy_write(got.min(there), tools);
        }
        if bytes == 0 || got % SECTOR_BYTES != 0 {
            // The lower file ends before what was to be copied.
            return Next::Ended(Outcome::Short { bytes: self.done });
        }
        self.ask_copy_read(got, tools)
    }

    /// The lower file's bytes are there; the rest of the piece becomes zeros.
    fn copy_write(&mut self, got: u64, tools: &mut Tools<'_>) -> Next {
        let Some((step, _)) = self.copy_step(tools.memory.copy_bytes()) else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        let at = self.piece_at() + got as usize;
        tools.ring.arena().zero(at, (step - got) as usize);
        self.copy_written(0, step, tools)
    }

    pub(super) fn copy_written(&mut self, put: u64, len: u64, tools: &mut Tools<'_>) -> Next {
        if put >= len {
            self.done += len;
            return self.copy_piece(tools);
        }
        let IoOp::Copy { to_level, to, .. } = self.op else {
            return Next::Ended(Outcome::Failed(Failure::Io));
        };
        self.state = State::CopyWrite { put, len };
        let from = Place::Memory(self.piece_at() + put as usize);
        let at = to.bytes() + self.done + put;
        tools.ring.write(
            file_of(to_level),
            at,
            clip(len - put),
            from,
            false,
            self.word,
        );
        Next::Asked
    }
}
