//! A file as a device sees it: a handle that may be cloned and kept, with blocking calls.

use std::io;
use std::rc::Rc;

use ploop_core::drive::DeltaFile;

use crate::disk::{BlockingFile, Power};
use crate::face::bench::Shared;
use crate::tape::Kind;

/// A file on the simulated disk. Whatever is not synced may be lost in a power cut, sector by sector, in any order; a
/// call may fail, or do its work in part.
#[derive(Clone, Debug)]
pub struct File {
    bench: Shared,
    index: usize,
}

impl File {
    pub(super) fn new(bench: &Shared, index: usize) -> File {
        let bench = Rc::clone(bench);
        File { bench, index }
    }

    /// One of `0..n`, drawn from the run's tape: for a device whose own work may come in any order.
    #[must_use]
    pub fn choose(&self, n: u32) -> u32 {
        self.bench.borrow_mut().tape.choose(Kind::Order, n)
    }

    /// False if the power is gone: nobody hears any more what the device says.
    #[must_use]
    pub fn has_power(&self) -> bool {
        !self.bench.borrow().lost
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// The power is gone.
    pub fn len(&self) -> io::Result<u64> {
        self.call(|file| file.len())
    }

    /// True if there is nothing in it.
    ///
    /// # Errors
    /// The power is gone.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads at byte `at`; returns how many bytes, 0 at the end.
    ///
    /// # Errors
    /// A fault, or the power is gone.
    pub fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let len = into.len();
        let result = self.call(|file| file.read_at(at, into));
        self.told(&result, || format!("read {at}+{len}"));
        result
    }

    /// Reads all of `into`; zeros stand for what is beyond the end.
    ///
    /// # Errors
    /// As [`File::read_at`].
    pub fn read_all_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < into.len() {
            match self.read_at(at + done as u64, &mut into[done..])? {
                0 => {
                    into[done..].fill(0);
                    break;
                }
                part => done += part,
            }
        }
        Ok(())
    }

    /// Writes at byte `at`; returns how many bytes were written.
    ///
    /// # Errors
    /// A fault, or the power is gone. Any part may have been written.
    pub fn write_at(&self, at: u64, from: &[u8]) -> io::Result<usize> {
        let result = self.call(|file| file.write_at(at, from));
        self.told(&result, || format!("write {at}+{}", from.len()));
        result
    }

    /// Writes all of `from`, in several calls if one does less.
    ///
    /// # Errors
    /// As [`File::write_at`]; a call that wrote nothing at all is an error too.
    pub fn write_all_at(&self, at: u64, from: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < from.len() {
            match self.write_at(at + done as u64, &from[done..])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                part => done += part,
            }
        }
        Ok(())
    }

    /// Makes a range read as zeros, inside the length; whole sectors, in bytes. With `punch` its space is given back.
    ///
    /// # Errors
    /// A fault (the file may be unable to do this at all), no whole sectors, or the power is gone.
    pub fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        let result = self.call(|file| file.zero_at(at, len, punch));
        self.told(&result, || {
            format!("{} {at}+{len}", if punch { "punch" } else { "zero" })
        });
        result
    }

    /// Sets the length in bytes.
    ///
    /// # Errors
    /// A fault, or the power is gone.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let result = self.call(|file| file.set_len(len));
        self.told(&result, || format!("set length {len}"));
        result
    }

    /// Makes durable what was done before.
    ///
    /// # Errors
    /// A fault, or the power is gone. After a failed sync any part may be lost for ever, and no later sync helps.
    pub fn sync(&self) -> io::Result<()> {
        let result = if self.bench.borrow().lies {
            self.call(|file| file.len()).map(drop)
        } else {
            self.call(|file| file.sync())
        };
        self.told(&result, || "sync".to_owned());
        result
    }

    /// Carries out one call on the simulated disk.
    fn call<T>(&self, call: impl FnOnce(&BlockingFile<'_, '_>) -> io::Result<T>) -> io::Result<T> {
        let bench = &mut *self.bench.borrow_mut();
        if bench.lost {
            return Err(io::Error::other("power lost"));
        }
        let faults = bench.faults.injected().total();
        let power = Power::new(&mut bench.tape, &mut bench.faults, bench.left);
        let result = call(&BlockingFile::new(&mut bench.files[self.index], &power));
        let calls = power.calls();
        bench.lost = power.is_lost();
        bench.left = bench.left.map(|left| left.saturating_sub(calls));
        bench.calls += 1;
        if bench.faults.injected().total() > faults {
            bench.tape.name_fault();
        }
        bench
            .trace
            .push(u64::from(calls) << 1 | u64::from(result.is_ok()));
        result
    }

    fn told<T>(&self, result: &io::Result<T>, what: impl FnOnce() -> String) {
        let bench = &mut *self.bench.borrow_mut();
        let lost = bench.lost;
        let index = self.index;
        bench.tell(|| {
            let end = match result {
                Ok(_) => String::new(),
                Err(_) if lost => ": the power is cut".to_owned(),
                Err(error) => format!(": {error}"),
            };
            format!("      file {index}: {}{end}", what())
        });
    }
}
