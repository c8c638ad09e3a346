//! A thin device under the harness, in less than a hundred lines: `naive` has a bug, `ordered` has not.
//!
//! A table at the front says where in the file each guest cluster is (0: nowhere, it reads as zeros); new clusters go to
//! the end. The naive one writes a table entry before its cluster is synced: after a power cut the entry may name a place
//! beyond the end of the file, and the next new cluster goes to the same place. The ordered one syncs the cluster first.
//!
//! `cargo run --release -p sim --example naive_device [DEVICE] [SEED | A..B | FILE.tape | SCENARIO.txt]`; without
//! arguments it shows that the one is found and the other is not.

use std::io;
use std::process::ExitCode;

use sim::face::{self, Device, File, OnFiles, entry};

const CLUSTER: u64 = 4;
const BYTES: usize = 512 * CLUSTER as usize;
/// The table: one sector, for up to 64 clusters.
const TABLE: usize = 512;

pub(crate) struct Thin<const ORDERED: bool> {
    file: File,
    table: [u64; 64],
}

impl<const ORDERED: bool> Device for Thin<ORDERED> {
    fn read(&mut self, start: u64, into: &mut [u8]) -> io::Result<()> {
        let first = (start / CLUSTER) as usize;
        for (place, part) in self.table[first..].iter().zip(into.chunks_mut(BYTES)) {
            match *place {
                0 => part.fill(0),
                place => self.file.read_all_at(place, part)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        let first = (start / CLUSTER) as usize;
        for (cluster, part) in (first..).zip(from.chunks(BYTES)) {
            if self.table[cluster] != 0 {
                self.file.write_all_at(self.table[cluster], part)?;
                continue;
            }
            let end = self.file.len()?.next_multiple_of(TABLE as u64);
            self.file.write_all_at(end, part)?;
            if ORDERED {
                self.file.sync()?;
            }
            let entry = end.to_le_bytes();
            self.file.write_all_at(8 * cluster as u64, &entry)?;
            self.table[cluster] = end;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

impl<const ORDERED: bool> OnFiles for Thin<ORDERED> {
    const NAME: &'static str = if ORDERED { "ordered" } else { "naive" };
    const BLOCK: u64 = CLUSTER;
    const FAULTS: bool = false;

    fn create(files: &[File], _sectors: u64) -> io::Result<()> {
        files[0].write_all_at(0, &[0; TABLE])
    }

    fn open(files: &[File]) -> io::Result<Self> {
        let (file, mut bytes) = (files[0].clone(), [0; TABLE]);
        file.read_all_at(0, &mut bytes)?;
        let (entries, _) = bytes.as_chunks();
        let table = std::array::from_fn(|cluster| u64::from_le_bytes(entries[cluster]));
        Ok(Thin { file, table })
    }
}

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        return face::main(&[entry::<Thin<false>>(), entry::<Thin<true>>()]);
    }
    let naive = face::run::<Thin<false>>(0..2000);
    let ordered = face::run::<Thin<true>>(0..2000);
    print!("{naive}{ordered}");
    if naive.case.is_some() && ordered.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
