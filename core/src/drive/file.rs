//! The one trait through which bytes are reached: real files in the frontend, the simulated disk in `sim`.

use std::io;

/// One file of a delta chain. Positional I/O only; `&self`, because several queues share it.
///
/// Offsets and lengths are in bytes. Implementations retry interruptions themselves. A read may be short; 0 means end
/// of file.
pub trait DeltaFile {
    /// Length of the file in bytes.
    fn len(&self) -> io::Result<u64>;
    /// True if the file has no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buf.len()` bytes at `at`; returns how many (0 = at or beyond the end).
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize>;
    /// Writes up to `buf.len()` bytes at `at`; returns how many.
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize>;
    /// Makes `len` bytes at `at` read as zeros without changing the length. `punch`: space may be given back.
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()>;
    /// True if [`DeltaFile::zero_at`] would give space back that `len` bytes at `at` take, even if they read as zeros. False
    /// where nobody can tell, or where space is never given back: zeros are as good as a hole there.
    fn takes_space(&self, at: u64, len: u64) -> io::Result<bool> {
        let _ = (at, len);
        Ok(false)
    }
    /// Sets the length. New bytes read as zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes data, holes and length durable (fdatasync).
    fn sync(&self) -> io::Result<()>;
}

/// Reads exactly `buf.len()` bytes at `at`, filling with zeros what lies beyond the end. Returns the bytes that were
/// really there.
pub fn read_padded(file: &dyn DeltaFile, at: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(at + done as u64, &mut buf[done..])? {
            0 => break,
            n => done += n,
        }
    }
    buf[done..].fill(0);
    Ok(done)
}
