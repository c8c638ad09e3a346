//! Bars on standard error for long work; nothing at all if that is no terminal.
//!
//! Work that goes in steps says how much there is to do, and has a bar. Of what the core does in one call nobody knows that
//! before; there the bytes of the file that pass are counted, and no end is promised.

use std::io;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ploop_core::control::files::Progress;
use ploop_core::drive::DeltaFile;

/// A bar that counts bytes.
#[must_use]
pub fn bytes(total: u64) -> ProgressBar {
    with_style(
        Some(total),
        "{bar:40} {percent:>3}% of {total_bytes}, {bytes_per_sec}, {eta} left",
    )
}

/// A bar that counts clusters, and whose length is known when the work has begun.
#[must_use]
pub fn clusters() -> ProgressBar {
    with_style(
        Some(0),
        "{bar:40} {percent:>3}% of {len} clusters, {eta} left",
    )
}

/// Does something with a file, and counts meanwhile what is read from it and written to it.
pub fn watched<T>(file: &dyn DeltaFile, work: impl FnOnce(&dyn DeltaFile) -> T) -> T {
    let bar = with_style(
        None,
        "{spinner} {bytes} read and written, {bytes_per_sec}, {elapsed}",
    );
    let done = work(&Watched { file, bar: &bar });
    bar.finish_and_clear();
    done
}

/// A file that moves a bar by every byte that is read, written or zeroed.
struct Watched<'a> {
    file: &'a dyn DeltaFile,
    bar: &'a ProgressBar,
}

impl DeltaFile for Watched<'_> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let done = self.file.read_at(at, buf)?;
        self.bar.inc(done as u64);
        Ok(done)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let done = self.file.write_at(at, buf)?;
        self.bar.inc(done as u64);
        Ok(done)
    }

    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.file.zero_at(at, len, punch)?;
        self.bar.inc(len);
        Ok(())
    }

    fn takes_space(&self, at: u64, len: u64) -> io::Result<bool> {
        self.file.takes_space(at, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Moves a bar.
pub fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    if progress.finished {
        bar.finish_and_clear();
    }
}

fn with_style(total: Option<u64>, shown: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(shown) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct Bytes(RefCell<Vec<u8>>);

    impl DeltaFile for Bytes {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.borrow().len() as u64)
        }

        fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
            let bytes = self.0.borrow();
            let there = &bytes[(at as usize).min(bytes.len())..];
            let len = there.len().min(buf.len());
            buf[..len].copy_from_slice(&there[..len]);
            Ok(len)
        }

        fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut()[at as usize..][..buf.len()].copy_from_slice(buf);
            Ok(buf.len())
        }

        fn zero_at(&self, at: u64, len: u64, _: bool) -> io::Result<()> {
            self.0.borrow_mut()[at as usize..][..len as usize].fill(0);
            Ok(())
        }

        fn takes_space(&self, at: u64, _: u64) -> io::Result<bool> {
            Ok(at < 50)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.borrow_mut().resize(len as usize, 0);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_watched_file_is_the_file_and_counts_what_really_passes() {
        let file = Bytes(RefCell::new(vec![7; 100]));
        let bar = ProgressBar::hidden();
        let watched = Watched {
            file: &file,
            bar: &bar,
        };
        let mut buf = [0; 64];
        assert_eq!(watched.read_at(90, &mut buf).expect("read"), 10);
        assert_eq!(bar.position(), 10);
        assert_eq!(watched.write_at(0, &[1; 5]).expect("written"), 5);
        watched.zero_at(5, 20, true).expect("zeroed");
        assert_eq!(bar.position(), 35);
        let takes = [0, 50].map(|at| watched.takes_space(at, 1).expect("told"));
        assert_eq!(takes, [true, false]);
        watched.set_len(200).expect("longer");
        watched.sync().expect("synced");
        assert_eq!(watched.len().expect("length"), 200);
        let bytes = file.0.into_inner();
        assert_eq!((bytes[4], bytes[5], bytes[24], bytes[25]), (1, 0, 0, 7));
    }
}
