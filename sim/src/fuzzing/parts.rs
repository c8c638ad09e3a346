//! Files that do what they are asked in parts, late, or not at all. A session on them ends, and what was said to be written
//! is there.
//!
//! A panic begins with the checker's name in brackets, as in `open`.

use super::memory::Memory;
use super::open::{self, Files};
use super::picture::Scene;
use model::image::SECTOR;
use ploop_core::control::files::grow;
use ploop_core::delta::{LoadedDelta, chain};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::error::LoadError;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{CloseError, load};
use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// So many bytes are read or written at once, no more.
    Parts(usize),
    /// The same, but every second time three times as many.
    Uneven(usize),
    /// It cannot make zeros.
    NoZeros(ErrorKind),
    /// It becomes longer, and says that it has no space.
    Late,
    /// It becomes no longer. The second half of the disk is discarded, or the first.
    Full { second: bool },
    /// Syncs fail.
    NoSync,
    /// Somebody has cut it, and its length does not tell.
    Cut(u64),
}

/// A file with a flaw that begins when the session does.
#[derive(Clone, Debug)]
struct Flawed {
    file: Memory,
    flaw: Rc<Cell<Option<Flaw>>>,
    calls: Rc<Cell<usize>>,
}

impl Flawed {
    fn new(file: Memory, flaw: Rc<Cell<Option<Flaw>>>) -> Flawed {
        Flawed {
            file,
            flaw,
            calls: Rc::default(),
        }
    }

    fn check_end(&self, end: u64) -> io::Result<()> {
        match self.flaw.get() {
            Some(Flaw::Full { .. }) if end > self.file.len()? => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn most(&self, len: usize) -> usize {
        self.calls.set(self.calls.get() + 1);
        match self.flaw.get() {
            Some(Flaw::Uneven(most)) => len.min(most * [1, 3][self.calls.get() % 2]),
            Some(Flaw::Parts(most)) => len.min(most),
            _ => len,
        }
    }
}

impl DeltaFile for Flawed {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut most = self.most(buf.len());
        if let Some(Flaw::Cut(end)) = self.flaw.get() {
            most = most.min(end.saturating_sub(at) as usize);
        }
        self.file.read_at(at, &mut buf[..most])
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.check_end(at + buf.len() as u64)?;
        self.file.write_at(at, &buf[..self.most(buf.len())])
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        match self.flaw.get() {
            Some(Flaw::NoZeros(kind)) => Err(kind.into()),
            _ => self.file.zero_at(at, len, punch),
        }
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_end(len)?;
        self.file.set_len(len)?;
        match self.flaw.get() {
            Some(Flaw::Late) => Err(ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
    fn sync(&self) -> io::Result<()> {
        match self.flaw.get() {
            Some(Flaw::NoSync) => Err(ErrorKind::Other.into()),
            _ => self.file.sync(),
        }
    }
}

/// Every flaw, on the stack that was drawn.
pub(super) fn run(scene: &Scene, files: &Files, deltas: &[LoadedDelta]) {
    cut_header(files);
    grown_in_parts(files, deltas);
    let base = files
        .base
        .as_ref()
        .map_or(files.top.len(), |base| base.1.len());
    for flaw in [
        Flaw::Parts(700),
        Flaw::Parts(768),
        Flaw::NoZeros(ErrorKind::Unsupported),
        Flaw::NoZeros(ErrorKind::Other),
        Flaw::Late,
        Flaw::Full { second: false },
        Flaw::Full { second: true },
        Flaw::NoSync,
        Flaw::Cut(base as u64 / 2 / SECTOR * SECTOR),
    ] {
        session(scene, files, deltas, flaw);
    }
}

/// A header that is not there is a failure of the file, not damage.
fn cut_header(files: &Files) {
    let flaw = Rc::new(Cell::new(Some(Flaw::Cut(32))));
    let file = Memory::new(files.top.clone(), 0);
    let loaded = load::load(&Flawed::new(file, flaw), "image");
    let failed = matches!(loaded, Err(LoadError::Io { .. }));
    assert!(failed, "[parts] a header of 32 bytes: {loaded:?}");
}

/// Growing writes what it has to, however little is taken at once.
fn grown_in_parts(files: &Files, deltas: &[LoadedDelta]) {
    let Some(top) = deltas.last() else { return };
    let size = Sectors(top.size().0.saturating_add(1));
    for flaw in [Flaw::Uneven(300), Flaw::Uneven(100), Flaw::Parts(100)] {
        let most = (files.top.len() as u64).next_multiple_of(SECTOR) + (1 << 20);
        let file = Memory::new(files.top.clone(), most);
        let flaw = Rc::new(Cell::new(Some(flaw)));
        if grow(&Flawed::new(file.clone(), flaw), "image", size).is_ok() {
            let loaded = load::load(&file, "image").expect("what was grown is sound");
            assert_eq!(loaded.size(), size, "[parts] grown");
        }
    }
}

fn session(scene: &Scene, files: &Files, deltas: &[LoadedDelta], flaw: Flaw) {
    if chain::validate(deltas, true).is_err() {
        return;
    }
    let now = Rc::new(Cell::new(None));
    let flawed: Vec<Flawed> = open::open_files(files, 512)
        .into_iter()
        .map(|file| Flawed::new(file, now.clone()))
        .collect();
    let boxed = flawed.iter();
    let boxed = boxed.map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>);
    let options = open::options(scene, true, deltas);
    let Ok(mut disk) = Disk::open(deltas.to_vec(), boxed.collect(), options) else {
        return;
    };
    let (size, cluster) = {
        let geometry = disk.device().geometry();
        (geometry.size.0, geometry.cluster.0)
    };
    // The mark is made by then.
    if size == 0
        || disk
            .write(Sector(size - 1), &[0x3F; SECTOR as usize], true)
            .is_err()
    {
        return;
    }
    now.set(Some(flaw));
    let mut written = Vec::new();
    for clu in 0..(size / cluster.max(1)).min(6) {
        // Inside a cluster: what is around it is copied from below.
        let start = clu * cluster + u64::from(cluster > 3);
        let len = (cluster.saturating_sub(2)).clamp(1, 5);
        let bytes = vec![0x40 | clu as u8; (len * SECTOR) as usize];
        if disk.write(Sector(start), &bytes, clu % 2 == 0).is_ok() {
            written.push((start, bytes));
        }
    }
    for (start, bytes) in &written {
        let mut found = vec![0xEE; bytes.len()];
        let read = disk.read(Sector(*start), &mut found);
        let cut = matches!(flaw, Flaw::Cut(_));
        assert!(cut || read.is_ok(), "[parts] {flaw:?}: {read:?}");
        assert!(cut || found == *bytes, "[parts] {flaw:?}: sector {start}");
    }
    let mut all = vec![0xEE; (size.min(64) * SECTOR) as usize];
    let _ = disk.read(Sector(0), &mut all);
    let half = size.min(1 << 20) / 2;
    let start = if flaw == (Flaw::Full { second: true }) {
        size - half
    } else {
        0
    };
    let _ = disk.discard(Sector(start), Sectors(half));
    let flushed = disk.flush();
    let closed = disk.close();
    assert!(
        flushed.is_ok() || closed.is_err() || written.is_empty(),
        "[parts] {flaw:?}"
    );
    assert_eq!(disk.close(), closed, "[parts] {flaw:?}: closed again");
    if flaw == Flaw::NoSync && !written.is_empty() {
        let lost = matches!(closed, Err(CloseError::NotDurable { poisoned: true, .. }));
        assert!(lost, "[parts] a sync failed, and: {closed:?}");
    }
    // A part that ends inside a sector is finished at once. An index page that is short again and again is given up.
    if flaw == Flaw::Parts(700) {
        assert_eq!((flushed, closed), (Ok(()), Ok(())), "[parts] {flaw:?}");
    }
}
