//! A journal of everything that a server does to its files: what was written where, and when.
//!
//! One line a record, appended by one call each, so that the file is in order whoever writes, and whole lines stay when the
//! server is killed:
//!
//! ```text
//!   open LEVEL DEV:INO PATH             a file of the chain, oldest first, is opened
//!   + ID LEVEL NS write AT LEN HASH...  a write goes out: bytes, a hash for each 512; `fua` instead of `write` if it is
//!                                       durable when it ends
//!   + ID LEVEL NS zero AT LEN           a hole is punched, or a range becomes zeros
//!   + ID LEVEL NS len BYTES             the length is set
//!   + ID LEVEL NS sync                  what has ended becomes durable
//!   - ID NS RESULT                      it has ended: bytes, 0, or an errno with a minus
//! ```
//! * `+` stands in the journal before the kernel is asked, `-` after it has answered: the true times lie between.
//! * ID: process and number. NS: nanoseconds since the server has opened the journal.
//! * Reads are not told. What other programs write is not seen.
//! * Whole sectors: a write of a part of one is told with the rest of it, as it was read just before.
//! * A journal that cannot be written is given up, with one line of complaint: it ends with a line `lost`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::FileId;
use crate::tool::output::complain;

mod read;

pub use read::{Id, Record, TraceError, read};

/// Bytes that one hash stands for.
pub const SECTOR: usize = 512;

/// What is done to a file.
#[derive(Clone, Copy, Debug)]
pub enum What<'a> {
    /// A write of whole sectors.
    Write {
        /// First byte.
        at: u64,
        /// All of them.
        bytes: &'a [u8],
        /// Durable when it ends.
        fua: bool,
    },
    /// A write of memory that this process cannot see.
    Unseen {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// A range becomes zeros; the length stays.
    Zero {
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// The length is set.
    SetLen {
        /// In bytes.
        len: u64,
    },
    /// What has ended becomes durable.
    Sync,
}

/// See the module.
#[derive(Debug)]
pub struct Trace {
    file: File,
    began: Instant,
    next: AtomicU64,
    lost: AtomicBool,
}

/// Something that was told and has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "its end is to be told"]
pub struct Told(u64);

/// What a sector holds, in short: 0 for zeros and for nothing else. Sectors that differ in one word never have the same.
#[must_use]
pub fn digest(sector: &[u8]) -> u64 {
    let (words, rest) = sector.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&last));
    let (mut hash, mut any) = (0, 0);
    for word in words {
        let word = u64::from_le_bytes(*word);
        any |= word;
        hash = mix(hash ^ word);
    }
    match (any, hash) {
        (0, _) => 0,
        (_, 0) => 1,
        (_, hash) => hash,
    }
}

/// A bijection that spreads every bit.
fn mix(word: u64) -> u64 {
    let word = (word ^ word >> 29).wrapping_mul(0x9e6c_63d0_876a_3f6b);
    let word = (word ^ word >> 32).wrapping_mul(0xd1b5_4a32_d192_ed03);
    (word ^ word >> 27).wrapping_add(0x632b_e59b_d9b4_e019)
}

impl Trace {
    /// Opens a journal, or goes on with one.
    ///
    /// # Errors
    /// If the file cannot be opened for appending.
    pub fn open(path: &Path) -> io::Result<Arc<Trace>> {
        let mut options = File::options();
        let file = options.append(true).create(true).mode(0o600).open(path)?;
        Ok(Arc::new(Trace {
            file,
            began: Instant::now(),
            next: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        }))
    }

    /// A file of the chain was opened.
    pub fn opened(&self, level: usize, id: FileId, path: &Path) {
        self.line(&format!(
            "open {level} {}:{} {}\n",
            id.dev,
            id.ino,
            path.display()
        ));
    }

    /// Something is about to be asked of the kernel.
    pub fn begin(&self, level: usize, what: What<'_>) -> Told {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut line = format!("+ {} {level} {} ", self.id(number), self.nanoseconds());
        let _ = match what {
            What::Write { at, bytes, fua } => {
                let word = if fua { "fua" } else { "write" };
                let mut written = write!(line, "{word} {at} {}", bytes.len());
                for sector in bytes.chunks(SECTOR) {
                    written = written.and(write!(line, " {:x}", digest(sector)));
                }
                written
            }
            What::Unseen { at, len } => write!(line, "unseen {at} {len}"),
            What::Zero { at, len } => write!(line, "zero {at} {len}"),
            What::SetLen { len } => write!(line, "len {len}"),
            What::Sync => write!(line, "sync"),
        };
        line.push('\n');
        self.line(&line);
        Told(number)
    }

    /// The kernel has answered: bytes, 0, or an errno with a minus.
    pub fn end(&self, told: Told, result: i64) {
        let id = self.id(told.0);
        self.line(&format!("- {id} {} {result}\n", self.nanoseconds()));
    }

    fn id(&self, number: u64) -> String {
        format!("{}.{number}", std::process::id())
    }

    fn nanoseconds(&self) -> u128 {
        self.began.elapsed().as_nanos()
    }

    /// One call, so that lines of several threads do not mix.
    fn line(&self, line: &str) {
        if self.lost.load(Ordering::Relaxed) {
            return;
        }
        let why = match (&self.file).write(line.as_bytes()) {
            Ok(bytes) if bytes == line.len() => return,
            Ok(_) => "no space".to_owned(),
            Err(error) => error.to_string(),
        };
        if !self.lost.swap(true, Ordering::Relaxed) {
            complain("error", format!("the trace of I/O is given up: {why}"));
            // Behind what may be a part of a line.
            let _ = (&self.file).write(b"\nlost\n");
        }
    }
}

#[cfg(test)]
mod tests;
