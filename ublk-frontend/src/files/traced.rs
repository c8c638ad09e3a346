//! A file that tells a journal what is done to it. See [`Trace`].

use std::io;
use std::sync::Arc;

use ploop_core::drive::DeltaFile;

use super::RealFile;
use super::trace::{SECTOR, Trace, What};

/// Who is told, and which file of the chain this is.
#[derive(Clone, Debug)]
pub(super) struct Witness {
    trace: Arc<Trace>,
    level: usize,
}

fn errno(error: &io::Error) -> i64 {
    -i64::from(error.raw_os_error().unwrap_or(libc::EIO))
}

impl RealFile {
    /// From now on every change of the file is told. `level`: its place in the chain.
    pub fn trace(&mut self, trace: Arc<Trace>, level: usize) {
        trace.opened(level, self.id(), self.path());
        self.witness = Some(Witness { trace, level });
    }

    /// Who is told, if anybody is.
    #[must_use]
    pub fn traced(&self) -> Option<&Arc<Trace>> {
        self.witness.as_ref().map(|witness| &witness.trace)
    }

    /// Does something that has no partial result, and tells.
    pub(super) fn told<T>(
        &self,
        what: What<'_>,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let Some(Witness { trace, level }) = &self.witness else {
            return act();
        };
        let told = trace.begin(*level, what);
        let done = act();
        trace.end(told, done.as_ref().map_or_else(errno, |_| 0));
        done
    }

    /// Writes, and tells of whole sectors.
    pub(super) fn told_write(
        &self,
        at: u64,
        buf: &[u8],
        act: impl FnOnce() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let Some(Witness { trace, level }) = &self.witness else {
            return act();
        };
        let sector = SECTOR as u64;
        let before = (at % sector) as usize;
        let whole = (before + buf.len()).next_multiple_of(SECTOR);
        let fua = false;
        let told = match whole == buf.len() {
            true => trace.begin(
                *level,
                What::Write {
                    at,
                    bytes: buf,
                    fua,
                },
            ),
            false => {
                let mut bytes = vec![0; whole];
                let at = at - before as u64;
                // Behind the end there are zeros.
                self.read_at(at, &mut bytes)?;
                bytes[before..before + buf.len()].copy_from_slice(buf);
                let bytes = &bytes;
                trace.begin(*level, What::Write { at, bytes, fua })
            }
        };
        let done = act();
        let bytes = |done: &usize| match *done == buf.len() {
            true => whole as i64,
            false => (before + done) as i64,
        };
        trace.end(told, done.as_ref().map_or_else(errno, bytes));
        done
    }
}
