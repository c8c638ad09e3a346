//! A merge below the top while the disk goes on: whoever has read the indexes before it began, and never again, sees the same
//! after every call, also when the merge is cut and begun again beside him.

use std::cell::{Cell, RefCell};
use std::io;

use ploop_core::control::files::{Merge as CoreMerge, Source};
use ploop_core::delta::LoadedDelta;
use ploop_core::drive::DeltaFile;
use ploop_core::load::{load, load_raw};
use ploop_core::units::{Clu, Sector, Sectors};
use sim::disk::SimFile;
use sim::fuzzing::control::Merge;
use sim::tape::Tape;

/// Bytes of two files, one of them written.
struct Disk {
    files: [RefCell<Vec<u8>>; 2],
    calls: Cell<u64>,
}

/// One of them, and what is looked at after each change.
struct Watched<'a> {
    disk: &'a Disk,
    number: usize,
    look: &'a dyn Fn(),
}

impl DeltaFile for Watched<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.files[self.number].borrow().len() as u64)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.disk.files[self.number].borrow();
        let rest = bytes.get(at as usize..).unwrap_or(&[]);
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        let (at, end) = (at as usize, at as usize + buf.len());
        let mut bytes = self.disk.files[self.number].borrow_mut();
        let len = bytes.len().max(end);
        bytes.resize(len, 0);
        bytes[at..end].copy_from_slice(buf);
        drop(bytes);
        (self.look)();
        Ok(buf.len())
    }

    fn zero_at(&self, at: u64, len: u64, _punch: bool) -> io::Result<()> {
        let mut bytes = self.disk.files[self.number].borrow_mut();
        let whole = bytes.len();
        bytes[(at as usize).min(whole)..((at + len) as usize).min(whole)].fill(0);
        drop(bytes);
        (self.look)();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.files[self.number]
            .borrow_mut()
            .resize(len as usize, 0);
        (self.look)();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What a reader sees whose indexes are these.
fn content(disk: &Disk, chain: &[LoadedDelta; 2], cluster: Sectors) -> Vec<u8> {
    let Some(top) = chain[1].expanded() else {
        panic!("the upper one is an image")
    };
    let mut all = Vec::new();
    for clu in (0..top.layout.entries).map(Clu) {
        let mut bytes = vec![0; top.layout.guest_len(clu).bytes() as usize];
        let place = |level: usize| match chain[level].expanded() {
            Some(image) => {
                let entry = image.bat.get(clu.0 as usize).copied().unwrap_or(0);
                let len = image.layout.guest_len(clu);
                (entry != 0).then(|| (image.layout.entry_sector(entry), len))
            }
            None => {
                let at = Sector(u64::from(clu.0) * cluster.0);
                let len = Sectors(Sectors::covering(chain[0].file_len).0.saturating_sub(at.0));
                (len.0 > 0).then_some((at, len))
            }
        };
        let found = [1, 0]
            .iter()
            .find_map(|&level| Some((level, place(level)?)));
        if let Some((level, (at, len))) = found {
            let file = disk.files[level].borrow();
            let most = (len.bytes() as usize).min(bytes.len());
            let rest = file.get(at.bytes() as usize..).unwrap_or(&[]);
            let n = most.min(rest.len());
            bytes[..n].copy_from_slice(&rest[..n]);
        }
        all.extend(bytes);
    }
    all
}

fn watch(seed: u64, draw: impl Fn(&mut Tape) -> (Merge, Vec<SimFile>)) -> u64 {
    let mut tape = Tape::from_seed(seed);
    let (drill, files) = draw(&mut tape);
    if drill.grows && !drill.forward && !drill.raw {
        // It would have to grow: that is done before, while nobody reads it.
        return 0;
    }
    let bytes = |file: &SimFile| {
        let view = file.view();
        let mut bytes = vec![0; view.len_bytes() as usize];
        view.read_bytes(0, &mut bytes);
        RefCell::new(bytes)
    };
    let disk = Disk {
        files: [bytes(&files[0]), bytes(&files[1])],
        calls: Cell::new(0),
    };
    let nobody = || {};
    let file = |number, look| Watched {
        disk: &disk,
        number,
        look,
    };
    let lower = match drill.raw {
        true => load_raw(&file(0, &nobody), "lower"),
        false => load(&file(0, &nobody), "lower"),
    };
    let upper = load(&file(1, &nobody), "upper").expect("sound");
    let cluster = upper.expanded().expect("an image").layout.cluster;
    let chain = [lower.expect("sound"), upper];
    let before = content(&disk, &chain, cluster);
    let look = || {
        disk.calls.set(disk.calls.get() + 1);
        let now = content(&disk, &chain, cluster);
        let at = before.iter().zip(&now).position(|(old, new)| old != new);
        assert_eq!(at, None, "seed {seed}, call {}", disk.calls.get());
    };
    let (lower, upper) = (file(0, &look), file(1, &look));
    let begin = || {
        let lower = Source {
            file: &lower,
            name: "lower",
            raw: drill.raw,
        };
        let upper = Source {
            file: &upper,
            name: "upper",
            raw: false,
        };
        match drill.forward {
            true => CoreMerge::forward(lower, upper),
            false => CoreMerge::backward(lower, upper),
        }
        .expect("fits")
    };
    // Killed, given up, and done at last; the reader has not looked at an index meanwhile.
    let mut merge = begin();
    merge.step(drill.step).expect("a step");
    drop(merge);
    let mut merge = begin();
    if !merge.step(drill.step).expect("a step").finished {
        merge.cancel().expect("given up");
    }
    let mut merge = begin();
    while !merge.step(drill.step).expect("a step").finished {}
    disk.calls.get()
}

#[test]
fn who_has_read_the_index_before_a_merge_sees_the_same_all_along() {
    let mut calls = 0;
    for seed in 500..900 {
        calls += watch(seed, Merge::draw_backward);
        calls += watch(seed, Merge::draw_forward);
    }
    assert!(calls > 5000, "{calls}");
}
