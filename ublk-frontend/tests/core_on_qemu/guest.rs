//! A guest: carries operations out on a disk of ours, or on an image through `qemu-io`, and keeps what the disk must
//! hold from then on.

use std::path::{Path, PathBuf};

use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::load::{load, load_raw, sniff};
use ploop_core::units::{Millis, Sector, Sectors};
use ploop_core::{Failure, Options, WriteBack};
use ublk_frontend::files::RealFile;

use crate::Dice;
use crate::support::{noise, qemu, tool};

const SECTOR: u64 = 512;

/// An operation; positions and lengths in sectors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Write {
        start: u64,
        len: u64,
        fua: bool,
    },
    Zeroes {
        start: u64,
        len: u64,
        fua: bool,
        unmap: bool,
    },
    Discard {
        start: u64,
        len: u64,
    },
    Flush,
    Tick,
    Reopen,
}

/// See the module.
pub(crate) struct Guest {
    dir: PathBuf,
    chain: Vec<String>,
    options: Options,
    pub(crate) cluster: u64,
    pub(crate) size: u64,
    /// What the disk holds.
    pub(crate) holds: Vec<u8>,
    /// The clusters do not start at multiples of the file system's blocks.
    pub(crate) packed: bool,
    disk: Option<Disk>,
    dice: Dice,
    now: u64,
}

/// Opens a chain of files, oldest first; the top for writing.
pub(crate) fn open(dir: &Path, chain: &[String], options: Options) -> Disk {
    let mut deltas = Vec::new();
    let mut files: Vec<Box<dyn DeltaFile>> = Vec::new();
    for (level, name) in chain.iter().enumerate() {
        let path = dir.join(name);
        let top = level + 1 == chain.len();
        let file = if top && options.write {
            RealFile::open_write(&path)
        } else {
            RealFile::open_read(&path)
        }
        .expect("opens");
        let raw = level == 0 && !sniff(&file).expect("reads");
        let loaded = if raw {
            load_raw(&file, name)
        } else {
            load(&file, name)
        };
        deltas.push(loaded.expect("loads"));
        files.push(Box::new(file));
    }
    Disk::open(deltas, files, options).expect("a disk")
}

/// Some options, all of them right.
pub(crate) fn some_options(dice: &mut Dice) -> Options {
    let write_back = match dice.roll(3) {
        0 => WriteBack::Immediate,
        1 => WriteBack::Delayed(Millis(0)),
        _ => WriteBack::Delayed(Millis(50)),
    };
    Options {
        write_back,
        prealloc: Sectors(dice.pick(&[0, 1, 1000, 8192, 262_144])),
        ..Options::default()
    }
}

impl Guest {
    /// For a chain of files, oldest first, whose disk has `size` sectors and holds zeros.
    pub(crate) fn new(dir: &Path, chain: &[&str], cluster: u64, size: u64, seed: u64) -> Guest {
        let mut dice = Dice::new(seed);
        Guest {
            dir: dir.to_owned(),
            chain: chain.iter().map(ToString::to_string).collect(),
            options: some_options(&mut dice),
            cluster,
            size,
            holds: vec![0; (size * SECTOR) as usize],
            packed: false,
            disk: None,
            dice,
            now: 0,
        }
    }

    fn top(&self) -> &str {
        self.chain.last().expect("not empty")
    }

    pub(crate) fn disk(&mut self) -> &mut Disk {
        let Guest {
            dir,
            chain,
            options,
            disk,
            ..
        } = self;
        disk.get_or_insert_with(|| open(dir, chain, *options))
    }

    fn range(start: u64, len: u64) -> std::ops::Range<usize> {
        (start * SECTOR) as usize..((start + len) * SECTOR) as usize
    }

    /// Carries out one operation with the core.
    pub(crate) fn step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Write { start, len, fua } => {
                let seed = self.dice.roll(u64::MAX >> 12);
                let data = noise((len * SECTOR) as usize, seed);
                self.disk().write(Sector(start), &data, fua)?;
                self.holds[Guest::range(start, len)].copy_from_slice(&data);
            }
            Step::Zeroes {
                start,
                len,
                fua,
                unmap,
            } => {
                self.disk()
                    .write_zeroes(Sector(start), Sectors(len), fua, unmap)?;
                self.holds[Guest::range(start, len)].fill(0);
            }
            Step::Discard { start, len } => {
                self.disk().discard(Sector(start), Sectors(len))?;
                let mut now = vec![0xEE; (len * SECTOR) as usize];
                self.disk().read(Sector(start), &mut now)?;
                let held = &mut self.holds[Guest::range(start, len)];
                for (now, held) in now.chunks(512).zip(held.chunks(512)) {
                    let zero = now.iter().all(|&byte| byte == 0);
                    assert!(zero || now == held, "{step:?}: neither old data nor zeros");
                }
                held.copy_from_slice(&now);
            }
            Step::Flush => self.disk().flush()?,
            Step::Tick => {
                self.now += 30;
                let now = Millis(self.now);
                self.disk().tick(now);
            }
            Step::Reopen => {
                self.close();
                self.options = some_options(&mut self.dice);
            }
        }
        Ok(())
    }

    /// A range that likes the edges of clusters and of the disk.
    fn some_range(&mut self) -> (u64, u64) {
        let (cluster, size) = (self.cluster, self.size);
        let clusters = size.div_ceil(cluster);
        let clu = self.dice.roll(clusters) * cluster;
        let (start, len) = match self.dice.roll(4) {
            0 => (clu, cluster * (1 + self.dice.roll(2))),
            1 => (clu + self.dice.roll(cluster), 1 + self.dice.roll(cluster)),
            2 => (clu + self.dice.roll(cluster), 1 + self.dice.roll(8)),
            _ => (
                clu.saturating_sub(1 + self.dice.roll(cluster)),
                cluster + self.dice.roll(cluster) + 2,
            ),
        };
        let start = start.min(size - 1);
        (start, len.min(size - start))
    }

    /// Any operation.
    pub(crate) fn some_step(&mut self) -> Step {
        let (start, len) = self.some_range();
        let fua = self.dice.roll(5) == 0;
        match self.dice.roll(20) {
            0..=9 => Step::Write { start, len, fua },
            10..=12 => Step::Zeroes {
                start,
                len,
                fua,
                unmap: self.dice.roll(2) == 0,
            },
            13..=15 => Step::Discard { start, len },
            16 => Step::Flush,
            17 | 18 => Step::Tick,
            _ => Step::Reopen,
        }
    }

    /// Carries out `steps` random operations with the core; each has to work, and reads what it touched now and then.
    pub(crate) fn work(&mut self, steps: u32) {
        for _ in 0..steps {
            let step = self.some_step();
            self.step(step)
                .unwrap_or_else(|failure| panic!("{step:?}: {failure:?}"));
            if self.dice.roll(4) == 0 {
                let (start, len) = self.some_range();
                let mut data = vec![0xEE; (len * SECTOR) as usize];
                self.disk().read(Sector(start), &mut data).expect("reads");
                assert!(
                    data == self.holds[Guest::range(start, len)],
                    "after {step:?}: {start}+{len} differs"
                );
            }
        }
        if let Some(disk) = &self.disk {
            disk.device().verify();
        }
    }

    /// Everything, through the core.
    pub(crate) fn read_all(&mut self) -> Vec<u8> {
        let mut all = vec![0xEE; self.holds.len()];
        self.disk().read(Sector(0), &mut all).expect("reads");
        all
    }

    #[track_caller]
    pub(crate) fn holds_what_it_should(&mut self) {
        assert!(self.read_all() == self.holds, "the core reads other data");
    }

    /// Closes the image.
    #[track_caller]
    pub(crate) fn close(&mut self) {
        if let Some(mut disk) = self.disk.take() {
            disk.close().expect("closes");
        }
    }

    /// The process dies.
    pub(crate) fn kill(&mut self) {
        self.disk = None;
    }

    /// Random commands of `qemu-io` on the image (no chain), all in one run. Discards are of whole clusters: QEMU ignores
    /// others, altogether.
    pub(crate) fn qemu_works(&mut self, commands: u32, last: &[&str]) -> bool {
        assert!(self.disk.is_none() && self.chain.len() == 1);
        let mut words = vec!["-f".to_owned(), "parallels".to_owned()];
        for _ in 0..commands {
            let (start, len) = self.some_range();
            let (mut from, mut bytes) = (start * SECTOR, len * SECTOR);
            let pattern = 1 + self.dice.roll(255) as u8;
            let (command, value) = match self.dice.roll(6) {
                0 => ("write -z".to_owned(), 0),
                1 => {
                    let cluster = self.cluster * SECTOR;
                    let end = (from + bytes) / cluster * cluster;
                    from = from.next_multiple_of(cluster);
                    bytes = end.saturating_sub(from);
                    ("discard".to_owned(), 0)
                }
                2 => ("flush".to_owned(), 0),
                _ => (format!("write -P {pattern}"), pattern),
            };
            if command == "flush" {
                words.extend(["-c".to_owned(), command]);
            } else if bytes > 0 {
                words.extend(["-c".to_owned(), format!("{command} {from} {bytes}")]);
                self.holds[from as usize..(from + bytes) as usize].fill(value);
            }
        }
        for command in last {
            words.extend(["-c".to_owned(), (*command).to_owned()]);
        }
        words.push(self.top().to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if last.is_empty() {
            qemu::io_words(&self.dir, &words);
            return true;
        }
        qemu::io_may_die(&self.dir, &words)
    }

    /// QEMU finds nothing wrong with the closed image, nor do we (but where clusters do not lie on the file system's
    /// blocks, a hole keeps the blocks at its ends, and several holes in a row those between them: leaks), and the same disk in it and in a raw file of what it must hold.
    #[track_caller]
    pub(crate) fn qemu_agrees(&self) {
        assert!(self.disk.is_none());
        let dir = &self.dir;
        qemu::img_ok(dir, &format!("check -q -f parallels {}", self.top()));
        let ours = tool(dir, &format!("check {}", self.top())).code;
        let fine = ours == 0 || (ours == 3 && (self.packed || self.cluster % 8 != 0));
        assert!(fine, "our check says {ours}");
        self.qemu_reads_what_it_should();
    }

    /// The same disk in the chain, as QEMU reads it, and in a raw file of what it must hold.
    #[track_caller]
    pub(crate) fn qemu_reads_what_it_should(&self) {
        std::fs::write(self.dir.join("expected.raw"), &self.holds).expect("raw file");
        let chain = qemu::chain_options(&self.dir, &self.chain);
        qemu::img_ok(
            &self.dir,
            &format!("compare --image-opts {chain} driver=raw,file.filename=expected.raw"),
        );
    }
}
