//! Calls on one file: whole or failed, and every error with the name of the file and what was being done.

use std::io::ErrorKind;

use super::error::ControlError;
use crate::drive::file::{DeltaFile, read_padded};
use crate::units::{SECTOR_BYTES, Sector, Sectors};

/// Bytes of zeros written at a time where the file cannot zero a range.
const ZEROS: usize = 16 << 10;

/// A file and its name.
#[derive(Clone, Copy)]
pub(super) struct Io<'a> {
    pub(super) file: &'a dyn DeltaFile,
    pub(super) name: &'a str,
}

impl std::fmt::Debug for Io<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Io<'_> {
    /// The error that a call failed with.
    fn failed(&self, what: &'static str) -> impl FnOnce(std::io::Error) -> ControlError {
        let file = self.name.to_owned();
        move |source| ControlError::Io { file, what, source }
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> Result<u64, ControlError> {
        self.file.len().map_err(self.failed("the file's length"))
    }

    /// Reads; zeros beyond the end.
    pub(super) fn read(
        &self,
        at: u64,
        into: &mut [u8],
        what: &'static str,
    ) -> Result<(), ControlError> {
        read_padded(self.file, at, into).map_err(self.failed(what))?;
        Ok(())
    }

    /// Writes all of it, in sectors: one that was written in part is written again from its beginning, so that no
    /// sector is put together from two calls, unless there is no other way.
    pub(super) fn write(
        &self,
        at: u64,
        bytes: &[u8],
        what: &'static str,
    ) -> Result<(), ControlError> {
        let (mut done, mut again) = (0, false);
        while done < bytes.len() {
            let written = match self.file.write_at(at + done as u64, &bytes[done..]) {
                Ok(0) => return Err(self.failed(what)(ErrorKind::WriteZero.into())),
                Ok(n) => done + n,
                Err(source) => return Err(self.failed(what)(source)),
            };
            let torn = ((at + written as u64) % SECTOR_BYTES) as usize;
            let whole = written.saturating_sub(torn).max(done);
            if written >= bytes.len() || (again && whole == done) {
                (done, again) = (written, false);
            } else {
                (done, again) = (whole, whole == done);
            }
        }
        Ok(())
    }

    /// Makes sectors read as zeros that lie inside the file.
    pub(super) fn zero(
        &self,
        at: Sector,
        len: Sectors,
        what: &'static str,
    ) -> Result<(), ControlError> {
        if len.0 == 0 {
            return Ok(());
        }
        match self.file.zero_at(at.bytes(), len.bytes(), false) {
            Err(source) if source.kind() == ErrorKind::Unsupported => {}
            done => return done.map_err(self.failed(what)),
        }
        let zeros = [0; ZEROS];
        let (mut at, end) = (at.bytes(), at.after(len).bytes());
        while at < end {
            let piece = (end - at).min(ZEROS as u64);
            self.write(at, &zeros[..piece as usize], what)?;
            at += piece;
        }
        Ok(())
    }

    /// Sets the length, if it is not that long already.
    pub(super) fn extend(&self, sectors: u64, what: &'static str) -> Result<(), ControlError> {
        let bytes = sectors.saturating_mul(SECTOR_BYTES);
        if self.len()? >= bytes {
            return Ok(());
        }
        self.file.set_len(bytes).map_err(self.failed(what))
    }

    /// Makes the file shorter.
    pub(super) fn cut(&self, bytes: u64, what: &'static str) -> Result<(), ControlError> {
        self.file.set_len(bytes).map_err(self.failed(what))
    }

    /// Makes the length that is there durable with the next sync, even if an earlier sync of it failed: the file becomes
    /// longer, and as long as before. A file that cannot become longer has had its length all along.
    pub(super) fn assert_len(&self) -> Result<(), ControlError> {
        const WHAT: &str = "setting the file's length anew";
        let len = self.len()?;
        match self.file.set_len(len.saturating_add(SECTOR_BYTES)) {
            Err(_) => Ok(()),
            Ok(()) => self.cut(len, WHAT),
        }
    }

    /// Gives the space of sectors back that lie inside the file. Not every file can.
    pub(super) fn punch(&self, at: Sector, len: Sectors) -> Result<(), ControlError> {
        match self.file.zero_at(at.bytes(), len.bytes(), true) {
            Err(source) if source.kind() == ErrorKind::Unsupported => Ok(()),
            done => done.map_err(self.failed("giving space back")),
        }
    }

    /// As [`Io::punch`]; where the file cannot do that, they become zeros.
    pub(super) fn punch_or_zero(&self, at: Sector, len: Sectors) -> Result<(), ControlError> {
        const WHAT: &str = "giving space back";
        match self.file.zero_at(at.bytes(), len.bytes(), true) {
            Err(source) if source.kind() == ErrorKind::Unsupported => self.zero(at, len, WHAT),
            done => done.map_err(self.failed(WHAT)),
        }
    }

    /// True if a punch of these sectors would give space back.
    pub(super) fn takes_space(&self, at: Sector, len: Sectors) -> Result<bool, ControlError> {
        let taken = self.file.takes_space(at.bytes(), len.bytes());
        taken.map_err(self.failed("looking for holes"))
    }

    /// Makes everything so far durable.
    pub(super) fn sync(&self, what: &'static str) -> Result<(), ControlError> {
        self.file.sync().map_err(self.failed(what))
    }
}
