//! Memory that O_DIRECT takes: it starts on a page.

const PAGE: usize = 4096;

/// A zeroed buffer.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` bytes.
    pub(crate) fn new(len: usize) -> Buffer {
        let memory = vec![0; len + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Buffer { memory, start, len }
    }

    /// The first `len` bytes.
    ///
    /// # Panics
    /// There are not so many.
    pub(crate) fn part(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.len, "{len} bytes of a buffer of {}", self.len);
        &mut self.memory[self.start..self.start + len]
    }
}
