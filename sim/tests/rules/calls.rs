//! Which calls the operations on files make: no more than needed, and none that begins inside a sector.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use ploop_core::control::files::{Compact, SlotMove, grow, update_index};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::units::{Clu, DstClu, Sector, Sectors};
use ploop_core::{Device, Options, load};

use crate::sparse::{Picture, Sparse};

const CLUSTER: u32 = 8;

/// Notes where each write begins, and counts syncs. It takes so many bytes of a call, and cannot zero.
#[derive(Clone, Debug)]
struct Noted {
    file: Sparse,
    most: usize,
    writes: Rc<RefCell<Vec<u64>>>,
    syncs: Rc<Cell<usize>>,
}

impl Noted {
    fn new(file: &Sparse, most: usize) -> Noted {
        Noted {
            file: file.clone(),
            most,
            writes: Rc::default(),
            syncs: Rc::default(),
        }
    }

    fn count(&self) -> usize {
        self.writes.borrow().len()
    }
}

impl DeltaFile for Noted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.writes.borrow_mut().push(at);
        self.file.write_at(at, &buf[..buf.len().min(self.most)])
    }
    fn zero_at(&self, _at: u64, _len: u64, _punch: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.syncs.set(self.syncs.get() + 1);
        self.file.sync()
    }
}

/// 1024 slots; the first host clusters of the data area are those of these slots, and so many free ones follow.
fn image(slots: &[u32], free: u32) -> Sparse {
    // Header and BAT: 4160 bytes.
    let hosts = (2..).zip(slots).map(|(host, &slot)| (slot, host));
    Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: CLUSTER,
        entries: 1024,
        file: u64::from(CLUSTER) * (2 + slots.len() as u64 + u64::from(free)),
        slots: &hosts.collect::<Vec<_>>(),
    })
}

/// Writes of the BAT when these slots are pointed elsewhere, besides those of mark and copies.
fn bat_writes(slots: &[u32]) -> usize {
    let count = slots.len() as u32;
    let file = Noted::new(&image(slots, count), usize::MAX);
    let moves: Vec<SlotMove> = (2..)
        .zip(slots)
        .map(|(host, &slot)| SlotMove {
            clu: Clu(slot),
            from: DstClu(host),
            to: DstClu(host + count),
        })
        .collect();
    update_index(&file, "image", &moves).expect("moved");
    let table = u64::from(2 * CLUSTER) * 512;
    let writes = file.writes.borrow();
    // The mark is set and cleared.
    writes.iter().filter(|&&at| at < table).count() - 2
}

#[test]
fn slots_of_one_sector_and_the_next_are_one_write() {
    // The header's sector has 112 slots, the ones behind it 128.
    assert_eq!(bat_writes(&[3]), 1, "[size]");
    assert_eq!(bat_writes(&[3, 4, 111]), 1, "[size]");
    assert_eq!(bat_writes(&[111, 112, 240]), 1, "[size]");
    assert_eq!(bat_writes(&[111, 240]), 2, "[size] a sector between them");
    assert_eq!(bat_writes(&[3, 1000, 1023]), 2, "[size]");
}

#[test]
fn no_sector_is_put_together_from_two_writes() {
    for most in [512, 700, 1024, 4095] {
        let file = Noted::new(&image(&[5], 1), most);
        file.file.put(u64::from(2 * CLUSTER) * 512, &[9; 4096]);
        file.file.put(u64::from(3 * CLUSTER) * 512, &[9; 4096]);
        let step = SlotMove {
            clu: Clu(5),
            from: DstClu(2),
            to: DstClu(3),
        };
        update_index(&file, "image", &[step]).expect("moved");
        let writes = file.writes.borrow();
        let inside: Vec<&u64> = writes.iter().filter(|&&at| at % 512 != 0).collect();
        assert!(inside.is_empty(), "[linear] {most} at most: {inside:?}");
    }
}

#[test]
fn zeros_are_written_in_large_pieces() {
    let file = Noted::new(&image(&[], 0), usize::MAX);
    grow(&file, "image", Sectors(u64::from(80_000 * CLUSTER))).expect("grown");
    // 312 KiB of new BAT in pieces of 16 KiB; mark, header, the sector where the old BAT ended.
    assert!((20..30).contains(&file.count()), "[size] {}", file.count());
}

#[test]
fn bytes_behind_a_bat_that_stays_are_nobodys_business() {
    let sparse = image(&[3], 0);
    // The disk ends inside its last cluster; a word behind the last slot.
    sparse.put(36, &(1024 * u64::from(CLUSTER) - 5).to_le_bytes());
    let behind = 64 + 4 * 1024;
    sparse.put(behind, &[0xab; 4]);
    grow(&sparse, "image", Sectors(1024 * u64::from(CLUSTER) - 2)).expect("grown");
    let mut found = [0; 4];
    sparse.read_at(behind, &mut found).expect("read");
    assert_eq!(found, [0xab; 4], "[size]");
}

#[test]
fn a_file_is_empty_if_it_has_no_bytes() {
    assert!(Sparse::default().is_empty().expect("a length"), "[size]");
    assert!(!image(&[], 0).is_empty().expect("a length"), "[size]");
}

#[test]
fn options_that_make_no_sense_are_refused_by_name() {
    let open = |options| {
        let delta = load::load(&image(&[], 0), "image").expect("a sound image");
        let opened = Device::open(vec![delta], options);
        opened.err().map(|error| error.to_string())
    };
    let sound = Options::default();
    assert_eq!(open(sound), None, "[open]");
    let refused = |name: &str, options: Options| {
        let said = open(options).unwrap_or_default();
        assert!(said.contains(name), "[refused] {name}: {said:?}");
    };
    let depth = Options { depth: 0, ..sound };
    refused("depth", depth);
    let queues = Options { queues: 0, ..sound };
    refused("queues", queues);
    for page_bytes in [0, 64, 1 << 19] {
        let page = Options {
            page_bytes,
            granule: 64,
            ..sound
        };
        refused("page_bytes", page);
    }
    let granule = Options {
        granule: 0,
        ..sound
    };
    refused("granule", granule);
    // The driver has one request at a time, whatever it is told.
    let none = Options {
        depth: 0,
        queues: 0,
        ..sound
    };
    let sparse = image(&[], 0);
    let delta = load::load(&sparse, "image").expect("a sound image");
    Disk::open(vec![delta], vec![Box::new(sparse)], none).expect("opened");
}

#[test]
fn pages_say_what_they_take() {
    let bytes = |entries: u32| {
        let sparse = Sparse::image(Picture {
            version: Sparse::VERSION,
            cluster: CLUSTER,
            entries,
            file: 8192,
            slots: &[],
        });
        let delta = load::load(&sparse, "image").expect("a sound image");
        let file = Box::new(sparse);
        let disk = Disk::open(vec![delta], vec![file], Options::default()).expect("opened");
        disk.device().stats().bytes
    };
    let more = bytes(110_000) - bytes(10_000);
    // Nine bytes a slot, and what a page has.
    assert!((900_000..1_000_000).contains(&more), "[size] {more}");
}

#[test]
fn a_compaction_that_is_cancelled_is_closed() {
    let sparse = image(&[5, 6, 7, 8], 0);
    // The first two clusters are free, and the other two are to go there.
    for slot in [5, 6] {
        sparse.put(64 + 4 * slot, &[0; 4]);
    }
    let in_use = || {
        let delta = load::load(&sparse, "image").expect("a sound image");
        delta.expanded().expect("an image").header.is_dirty()
    };
    let mut work = Compact::new(&sparse, "image").expect("begun");
    work.step(1).expect("marked, and one of them moved");
    assert!(in_use(), "[open]");
    work.cancel().expect("cancelled");
    assert!(!in_use(), "[open]");
}

#[test]
fn a_close_with_nothing_to_cut_syncs_twice() {
    for (prealloc, syncs) in [(0, 2), (64, 3)] {
        let file = Noted::new(&image(&[], 0), usize::MAX);
        let delta = load::load(&file, "image").expect("a sound image");
        let options = Options {
            prealloc: Sectors(prealloc * u64::from(CLUSTER)),
            ..Options::default()
        };
        let boxed = Box::new(file.clone());
        let mut disk = Disk::open(vec![delta], vec![boxed], options).expect("opened");
        disk.write(Sector(9), &[1; 512], true).expect("written");
        disk.flush().expect("flushed");
        let before = file.syncs.get();
        disk.close().expect("closed");
        // Before the tail is cut, if there is one; before the mark is cleared, and after.
        assert_eq!(file.syncs.get() - before, syncs, "[size] {prealloc}");
    }
}

#[test]
fn a_chain_has_as_many_levels_as_deltas() {
    for levels in 1..4 {
        let files: Vec<Sparse> = (0..levels).map(|_| image(&[3], 0)).collect();
        let chain = files
            .iter()
            .map(|file| load::load(file, "image").expect("a sound image"));
        let chain = chain.collect();
        let device = Device::open(chain, Options::default()).expect("opened");
        assert_eq!(device.geometry().levels, levels, "[chain]");
    }
}
