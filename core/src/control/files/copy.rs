//! Copies clusters from place to place. Memory: one piece, however large clusters are.

use super::error::ControlError;
use super::io::Io;
use crate::units::{Sector, Sectors};

/// Bytes copied at a time.
const PIECE: u64 = 1 << 20;

/// The buffer through which clusters are copied.
#[derive(Debug, Default)]
pub(super) struct Copier(Vec<u8>);

impl Copier {
    /// Copies the first `there` sectors at `from` to `to`, and makes the rest of `len` sectors zeros. What lies beyond
    /// the end of the source is zeros too.
    pub(super) fn copy(
        &mut self,
        (source, from): (Io<'_>, Sector),
        (target, to): (Io<'_>, Sector),
        there: Sectors,
        len: Sectors,
    ) -> Result<(), ControlError> {
        let (there, len) = (there.bytes(), len.bytes());
        let mut done = 0;
        while done < len {
            let step = (len - done).min(PIECE);
            let data = there.saturating_sub(done).min(step) as usize;
            self.0.resize(step as usize, 0);
            self.0[data..].fill(0);
            source.read(
                from.bytes() + done,
                &mut self.0[..data],
                "reading a cluster to copy it",
            )?;
            target.write(to.bytes() + done, &self.0, "writing the copy of a cluster")?;
            done += step;
        }
        Ok(())
    }

    /// True if `len` sectors read as zeros.
    pub(super) fn is_zero(
        &mut self,
        source: Io<'_>,
        at: Sector,
        len: Sectors,
    ) -> Result<bool, ControlError> {
        self.pieces(len, |piece, offset| {
            source.read(at.bytes() + offset, piece, "reading a cluster")?;
            Ok(piece.iter().all(|&byte| byte == 0))
        })
    }

    /// True if `len` sectors are the same in two places of a file.
    pub(super) fn is_same(
        &mut self,
        file: Io<'_>,
        (one, other): (Sector, Sector),
        len: Sectors,
    ) -> Result<bool, ControlError> {
        self.pieces(len, |piece, offset| {
            let mut second = vec![0; piece.len()];
            file.read(one.bytes() + offset, piece, "reading a cluster")?;
            file.read(other.bytes() + offset, &mut second, "reading a cluster")?;
            Ok(*piece == *second)
        })
    }

    /// Goes through `len` sectors piece by piece as long as it is true.
    fn pieces(
        &mut self,
        len: Sectors,
        mut check: impl FnMut(&mut [u8], u64) -> Result<bool, ControlError>,
    ) -> Result<bool, ControlError> {
        let (mut done, len) = (0, len.bytes());
        while done < len {
            let step = (len - done).min(PIECE);
            self.0.resize(step as usize, 0);
            if !check(&mut self.0, done)? {
                return Ok(false);
            }
            done += step;
        }
        Ok(true)
    }
}
