//! Files that fail at any call: no panic, no wrong answer, nothing lost that was said to be durable, and the image always
//! opens again.

use std::collections::BTreeSet;

use super::*;

/// Odds of a fault at a call, 1 in this many; 0 = none.
type Odds = Rc<std::cell::Cell<u64>>;

/// A file that fails now and then; what fails may have happened in part.
#[derive(Clone)]
struct Failing {
    file: Memory,
    odds: Odds,
    rng: Rc<RefCell<Rng>>,
}

impl Failing {
    fn roll(&self, n: u64) -> u64 {
        self.rng.borrow_mut().below(n)
    }

    fn fails(&self) -> bool {
        self.odds.get() != 0 && self.roll(self.odds.get()) == 0
    }

    /// Some whole sectors of `len` bytes: a sector is never torn.
    fn part_of(&self, len: u64) -> u64 {
        self.roll(len / SECTOR_BYTES + 1) * SECTOR_BYTES
    }

    fn error(&self) -> io::Error {
        match self.roll(4) {
            0 => io::ErrorKind::StorageFull.into(),
            1 => io::ErrorKind::FileTooLarge.into(),
            2 => io::ErrorKind::Unsupported.into(),
            _ => io::Error::other("the disk is ill"),
        }
    }
}

impl DeltaFile for Failing {
    fn len(&self) -> io::Result<u64> {
        if self.fails() {
            return Err(self.error());
        }
        self.file.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        if !self.fails() {
            return self.file.read_at(at, buf);
        }
        match self.roll(3) {
            0 => Err(self.error()),
            _ => {
                let len = 1 + self.roll(buf.len() as u64) as usize;
                self.file.read_at(at, &mut buf[..len])
            }
        }
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        if !self.fails() {
            return self.file.write_at(at, buf);
        }
        let len = self.part_of(buf.len() as u64) as usize;
        let done = self.file.write_at(at, &buf[..len])?;
        match self.roll(3) {
            0 => Err(self.error()),
            _ => Ok(done),
        }
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        if !self.fails() {
            return self.file.zero_at(at, len, punch);
        }
        self.file.zero_at(at, self.part_of(len), punch)?;
        Err(self.error())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let happens = !self.fails();
        if happens || self.roll(2) == 0 {
            self.file.set_len(len)?;
        }
        if happens { Ok(()) } else { Err(self.error()) }
    }
    fn sync(&self) -> io::Result<()> {
        if self.fails() {
            return Err(self.error());
        }
        Ok(())
    }
}

/// What a sector may hold: the first byte of its content; a sector is all the same byte.
type Values = Vec<BTreeSet<u8>>;

struct Run {
    rng: Rng,
    files: Vec<Failing>,
    odds: Odds,
    options: Options,
    disk: Disk,
    /// What a read may return.
    live: Values,
    /// What may be left when the process dies.
    durable: Values,
}

impl Run {
    fn new(version: Version, cluster: u64, sectors: u64, levels: usize, seed: u64) -> Run {
        let mut rng = Rng(seed);
        let odds = Odds::default();
        let shared = Rc::new(RefCell::new(Rng(seed ^ 0xABCD)));
        let files: Vec<Failing> = (0..levels)
            .map(|_| Failing {
                file: image(version, cluster, sectors),
                odds: odds.clone(),
                rng: shared.clone(),
            })
            .collect();
        let write_back = match rng.below(2) {
            0 => WriteBack::Immediate,
            _ => WriteBack::Delayed(Millis(50)),
        };
        let options = Options {
            write_back,
            prealloc: Sectors(cluster * rng.below(4)),
            ..Options::default()
        };
        let zeros: Values = vec![BTreeSet::from([0]); sectors as usize];
        let mut run = Run {
            disk: start(&files[..1], options),
            rng,
            files,
            odds,
            options,
            live: zeros.clone(),
            durable: zeros,
        };
        // The lower levels get data, without faults, while each is the top.
        for level in 0..levels {
            run.disk = start(&run.files[..=level], options);
            if level + 1 < levels {
                run.steps(8);
                run.disk.close().expect("closes");
                run.durable = run.live.clone();
            }
        }
        run
    }

    fn restart(&mut self) {
        self.odds.set(0);
        self.disk = start(&self.files, self.options);
    }

    /// Random requests. A failed one may have happened in any sector, or not.
    fn steps(&mut self, count: u64) {
        let sectors = self.live.len() as u64;
        for step in 0..count {
            let start = self.rng.below(sectors);
            let len = 1 + self.rng.below((sectors - start).min(20));
            let range = start as usize..(start + len) as usize;
            let fua = self.rng.below(4) == 0;
            let value = match self.rng.below(10) {
                0..=3 => Some(1 + self.rng.below(255) as u8),
                4 | 5 => Some(0),
                6 | 7 => {
                    let mut data = vec![0xEE; (len * SECTOR_BYTES) as usize];
                    if self.disk.read(Sector(start), &mut data).is_ok() {
                        is_legal(&data, &self.live[range]);
                    }
                    continue;
                }
                8 => {
                    if self.disk.flush().is_ok() {
                        self.durable = self.live.clone();
                    }
                    continue;
                }
                _ => {
                    self.disk.tick(Millis(step * 20));
                    continue;
                }
            };
            let value = value.unwrap_or(0);
            let (discards, unmap) = (self.rng.below(3) == 0, self.rng.below(2) == 0);
            let (at, long) = (Sector(start), Sectors(len));
            let result = match (value, discards) {
                (0, true) => self.disk.discard(at, long),
                (0, false) => self.disk.write_zeroes(at, long, fua, unmap),
                (byte, _) => {
                    let data = vec![byte; (len * SECTOR_BYTES) as usize];
                    self.disk.write(at, &data, fua)
                }
            };
            let certain = result.is_ok() && !(value == 0 && discards);
            for sector in range {
                if certain {
                    self.live[sector].clear();
                }
                self.live[sector].insert(value);
                if certain && fua {
                    self.durable[sector].clear();
                }
                self.durable[sector].insert(value);
            }
            self.disk.device().verify();
        }
    }

    /// All of the disk, without faults.
    fn all(&mut self) -> Vec<u8> {
        self.odds.set(0);
        let mut all = vec![0xEE; self.live.len() * SECTOR_BYTES as usize];
        self.disk.read(Sector(0), &mut all).expect("reads");
        all
    }
}

fn start(files: &[Failing], options: Options) -> Disk {
    let chain = files
        .iter()
        .map(|file| load::load(file, "memory").expect("loads"))
        .collect();
    let boxed = files
        .iter()
        .map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>)
        .collect();
    Disk::open(chain, boxed, options).expect("opens")
}

#[track_caller]
fn is_legal(data: &[u8], values: &[BTreeSet<u8>]) {
    for (index, (sector, values)) in data.chunks(512).zip(values).enumerate() {
        let mixed = sector.iter().any(|byte| !values.contains(byte));
        assert!(
            !mixed,
            "sector {index} holds {}, not one of {values:?}",
            sector[0]
        );
    }
}

#[test]
fn any_call_may_fail_at_any_time() {
    for seed in 0..400 {
        let (version, cluster, sectors) = [
            (Version::V2, 1, 40),
            (Version::V2, 4, 61),
            (Version::V1, 3, 50),
            (Version::V2, 8, 64),
        ][seed as usize % 4];
        let levels = 1 + seed as usize % 3;
        let mut run = Run::new(version, cluster, sectors, levels, seed);
        for round in 0..6 {
            run.odds.set([30, 6, 100][round % 3]);
            run.steps(30);
            let all = run.all();
            is_legal(&all, &run.live);
            let poisoned = run.disk.device().stats().poisoned;
            match round % 3 {
                // The process dies.
                0 => {
                    run.restart();
                    let all = run.all();
                    is_legal(&all, &run.durable);
                    let found = all.chunks(512).map(|sector| BTreeSet::from([sector[0]]));
                    run.live = found.collect();
                    run.durable = run.live.clone();
                }
                // The files are well again: so is the disk, unless a sync has failed.
                1 => {
                    assert_eq!(run.disk.flush().is_ok(), !poisoned);
                    if !poisoned {
                        run.durable = run.live.clone();
                    }
                    assert_eq!(run.disk.close().is_ok(), !poisoned);
                    run.restart();
                    let all = run.all();
                    is_legal(&all, &run.durable);
                    let found = all.chunks(512).map(|sector| BTreeSet::from([sector[0]]));
                    run.live = found.collect();
                    run.durable = run.live.clone();
                }
                // Even the close fails. What it says is true.
                _ => {
                    run.odds.set(4);
                    if run.disk.close().is_ok() || run.disk.close().is_ok() {
                        run.durable = run.live.clone();
                        let top = run.files.last().expect("a file");
                        assert_eq!(top.file.0.borrow()[44..48], [0; 4]);
                    }
                    run.restart();
                    let all = run.all();
                    is_legal(&all, &run.durable);
                    let found = all.chunks(512).map(|sector| BTreeSet::from([sector[0]]));
                    run.live = found.collect();
                    run.durable = run.live.clone();
                }
            }
        }
    }
}
