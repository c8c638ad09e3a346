//! The files behind a device: what a read returns now, and through [`watch`](super::watch) what a power cut could leave.
//!
//! Each operation of the core is checked when it is handed out: it lies inside the file, only the top is changed, and
//! nothing is changed before the in-use mark is durable (I21, I31). [`Disk::check_index`] is I26 and I27.

use super::core::format::InUse;
use super::core::units::{Level, Sectors};
use super::core::{Buf, IoOp};
use super::image::{BAT, Image, SECTOR, decode, encode, le32, shown};
use super::watch::{Cell, Cover, Ios};
use model::op::Value;

/// Byte position of the in-use mark.
const MARK: usize = 44;

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk {
    files: Vec<Vec<u8>>,
    /// Clusters: sectors, and guest clusters.
    cluster: u64,
    clusters: u64,
    /// What lower deltas say, by guest sector.
    lower: Vec<Value>,
    pub(crate) ios: Ios,
    sectors: Vec<Cell<Value>>,
    slots: Vec<Cell<u32>>,
    length: Cell<u64>,
    mark: Cell<u32>,
}

impl Disk {
    pub(crate) fn new(image: &Image) -> Disk {
        let top = image.files.last().expect("a file");
        let slot = |clu| le32(top, BAT + 4 * clu as usize);
        let length = (top.len() / SECTOR) as u64;
        Disk {
            cluster: image.cluster,
            clusters: image.clusters,
            lower: image.below(),
            ios: Ios::default(),
            sectors: (0..length).map(|at| Cell::new(decode(top, at))).collect(),
            slots: (0..image.clusters)
                .map(|clu| Cell::new(slot(clu)))
                .collect(),
            length: Cell::new(length),
            mark: Cell::new(le32(top, MARK)),
            files: image.files.clone(),
        }
    }

    /// The top file.
    pub(crate) fn top(&self) -> &[u8] {
        self.files.last().expect("a file")
    }

    fn is_top(&self, level: Level) -> bool {
        usize::from(level.0) + 1 == self.files.len()
    }

    /// An I/O is handed out. `written`: what the guest buffer holds.
    pub(crate) fn begin(&mut self, op: &IoOp, written: &dyn Fn(Buf, u64) -> Value) -> usize {
        let io = self.ios.begin();
        if let IoOp::SetLen { level, len } = op {
            assert!(self.is_top(*level) && len.bytes() >= self.top().len() as u64);
            self.length.change(io, len.0);
            let behind = self.sectors.len() as u64;
            for _ in behind..len.0 {
                self.sectors.push(Cell::new(Value::ZERO));
            }
        }
        if let IoOp::WriteIndex {
            level, at, image, ..
        } = op
        {
            assert!(self.is_top(*level));
            let at = *at as usize;
            assert!(at + image.len() <= self.top().len(), "index behind the end");
            if at == 0 {
                self.mark.change(io, le32(image, MARK));
            }
            for clu in 0..self.clusters {
                let slot = BAT + 4 * clu as usize;
                if (at..at + image.len()).contains(&slot) {
                    self.slots[clu as usize].change(io, le32(image, slot - at));
                }
            }
        }
        self.for_each_sector(op, written, &mut |disk, sector, value| {
            let len = disk.top().len() / SECTOR;
            assert!(
                sector < len as u64,
                "{op:?} behind the end, {len} sectors (I2)"
            );
            disk.sectors[sector as usize].change(io, value);
        });
        let changes = !matches!(
            op,
            IoOp::Read { .. } | IoOp::ReadHole { .. } | IoOp::WriteIndex { .. } | IoOp::Sync { .. }
        );
        assert!(
            !changes || self.mark.is(InUse::InUse.raw()),
            "{op:?} before the in-use mark is durable (I31)"
        );
        io
    }

    /// What a write or a copy puts into the sectors of the top.
    pub(crate) fn values(&mut self, op: &IoOp, written: &dyn Fn(Buf, u64) -> Value) -> Vec<Value> {
        let mut values = Vec::new();
        if matches!(op, IoOp::Write { .. } | IoOp::Copy { .. }) {
            self.for_each_sector(op, written, &mut |_, _, value| values.push(value));
        }
        values
    }

    /// Calls `f` for each data sector of the top that the operation sets.
    fn for_each_sector(
        &mut self,
        op: &IoOp,
        written: &dyn Fn(Buf, u64) -> Value,
        f: &mut dyn FnMut(&mut Disk, u64, Value),
    ) {
        match op {
            IoOp::Write {
                level,
                at,
                len,
                buf,
                ..
            } => {
                assert!(self.is_top(*level), "{op:?} to a lower delta (I21)");
                for i in 0..len.0 {
                    f(self, at.0 + i, written(*buf, i));
                }
            }
            IoOp::Zero { level, at, len, .. } | IoOp::PunchHole { level, at, len } => {
                assert!(self.is_top(*level), "{op:?} to a lower delta (I21)");
                for i in 0..len.0 {
                    f(self, at.0 + i, Value::ZERO);
                }
            }
            IoOp::Copy {
                level,
                from,
                from_len,
                to_level,
                to,
                len,
            } => {
                assert!(self.is_top(*to_level), "{op:?} to a lower delta (I21)");
                for i in 0..len.0 {
                    let value = if i < from_len.0 {
                        decode(&self.files[usize::from(level.0)], from.0 + i)
                    } else {
                        Value::ZERO
                    };
                    f(self, to.0 + i, value);
                }
            }
            _ => {}
        }
    }

    /// Carries an operation out; for a read, `into` gets (sector of the buffer, value).
    pub(crate) fn apply(
        &mut self,
        op: &IoOp,
        written: &dyn Fn(Buf, u64) -> Value,
        into: &mut dyn FnMut(Buf, u64, Value),
    ) {
        match op {
            IoOp::Read {
                level,
                at,
                len,
                zero_tail,
                buf,
            } => {
                for i in 0..len.0 {
                    let value = decode(&self.files[usize::from(level.0)], at.0 + i);
                    into(*buf, i, value);
                }
                for i in len.0..len.0 + zero_tail.0 {
                    into(*buf, i, Value::ZERO);
                }
            }
            IoOp::ReadHole { len, buf } => {
                for i in 0..len.0 {
                    into(*buf, i, Value::ZERO);
                }
            }
            IoOp::SetLen { len, .. } => self.resize(len.bytes() as usize),
            IoOp::WriteIndex { at, image, .. } => self.put(*at as usize, image),
            _ => self.for_each_sector(op, written, &mut |disk, sector, value| {
                disk.put(sector as usize * SECTOR, &encode(value));
            }),
        }
    }

    fn resize(&mut self, len: usize) {
        self.files.last_mut().expect("a file").resize(len, 0);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.files.last_mut().expect("a file")[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// The end of an I/O is about to be delivered. `applied`: it was carried out, whether it succeeded or not.
    pub(crate) fn end(&mut self, io: usize, op: &IoOp, ok: bool, applied: bool) {
        self.ios.end(io, applied);
        match op {
            IoOp::Sync { .. } if ok => self.settle(Cover::Sync(io)),
            IoOp::Sync { .. } => self.ios.lose(io),
            IoOp::Write { fua: true, .. } if ok => self.settle(Cover::Own(io)),
            _ => {}
        }
    }

    /// An I/O did only what `done` says, of `op`.
    pub(crate) fn cut(&mut self, io: usize, op: &IoOp, done: &IoOp) {
        let mut reached = Vec::new();
        self.for_each_sector(done, &|_, _| Value::ZERO, &mut |_, sector, _| {
            reached.push(sector);
        });
        self.for_each_sector(op, &|_, _| Value::ZERO, &mut |disk, sector, _| {
            if !reached.contains(&sector) {
                disk.sectors[sector as usize].not_reached(io);
            }
        });
        if let (IoOp::WriteIndex { at, image, .. }, IoOp::WriteIndex { image: written, .. }) =
            (op, done)
        {
            let (from, to) = (*at as usize + written.len(), *at as usize + image.len());
            for (clu, slot) in self.slots.iter_mut().enumerate() {
                if (from..to).contains(&(BAT + 4 * clu)) {
                    slot.not_reached(io);
                }
            }
            if (from..to).contains(&MARK) {
                self.mark.not_reached(io);
            }
        }
    }

    fn settle(&mut self, cover: Cover) {
        let ios = &self.ios;
        self.sectors
            .iter_mut()
            .for_each(|cell| cell.settle(ios, cover));
        self.slots
            .iter_mut()
            .for_each(|cell| cell.settle(ios, cover));
        self.length.settle(ios, cover);
        self.mark.settle(ios, cover);
    }

    /// After a power cut right now the image can be opened, and no two slots name the same host (I2, I26, I27).
    pub(crate) fn check_index(&self) {
        let shortest = self.length.possible().min().unwrap_or(0);
        let mut owners: Vec<Option<usize>> = vec![None; self.sectors.len() / self.cluster as usize];
        for (clu, slot) in self.slots.iter().enumerate() {
            for host in slot.possible().filter(|&host| host != 0) {
                assert!(
                    (u64::from(host) + 1) * self.cluster <= shortest,
                    "a power cut could leave slot {clu} = {host} in a file of {shortest} sectors (I26)"
                );
                let owner = owners[host as usize].get_or_insert(clu);
                assert!(
                    *owner == clu,
                    "a power cut could leave host {host} to slots {owner} and {clu} (I27)"
                );
            }
        }
    }

    /// Everything that guest sector `sector` could read as after a power cut right now. May name a value twice.
    pub(crate) fn after_power_cut(&self, sector: u64, f: &mut dyn FnMut(Value)) {
        let (clu, within) = (sector / self.cluster, sector % self.cluster);
        for host in self.slots[clu as usize].possible() {
            if host == 0 {
                f(self.lower[sector as usize]);
            } else {
                let at = u64::from(host) * self.cluster + within;
                self.sectors[at as usize].possible().for_each(&mut *f);
            }
        }
    }

    /// A power cut right now would lose nothing of what the disk reads as.
    pub(crate) fn is_durable(&self) -> bool {
        let sure = |sector: u64| {
            let (mut first, mut same) = (None, true);
            self.after_power_cut(sector, &mut |value| {
                same &= *first.get_or_insert(value) == value;
            });
            same
        };
        (0..self.cluster * self.clusters).all(sure) && self.mark.possible().count() == 1
    }

    /// Sectors of a cluster.
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster
    }

    /// The files, oldest first.
    pub(crate) fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// What the lower deltas say about a guest sector.
    pub(crate) fn lower(&self, sector: u64) -> Value {
        self.lower[sector as usize]
    }

    /// What a sector reads as by the tables of the files.
    pub(crate) fn shows(&self, sector: u64) -> Option<Value> {
        let all = shown(&self.files, self.cluster, self.clusters);
        all.get(sector as usize).copied()
    }

    /// The entry that the top's BAT has for a guest cluster.
    pub(crate) fn slot(&self, clu: u64) -> u32 {
        le32(self.top(), BAT + 4 * clu as usize)
    }

    /// An operation of the control plane: done when this returns.
    pub(crate) fn control(&mut self, change: Control<'_>) {
        let io = self.ios.begin();
        match change {
            Control::Write(at, bytes) => {
                let end = at as usize + bytes.len();
                self.resize(end.max(self.top().len()));
                self.put(at as usize, bytes);
                if at == 0 {
                    self.mark.change(io, le32(bytes, MARK));
                }
            }
            Control::SetLen(len) => {
                self.length.change(io, len);
                self.resize(len as usize * SECTOR);
            }
            Control::Sync => {}
        }
        self.ios.end(io, true);
        if matches!(change, Control::Sync) {
            self.settle(Cover::Sync(io));
        }
    }
}

/// The part of an operation that a short end did, and its bytes; `None` for what cannot be short. `keep` is in sectors, or
/// for an index write in granules of 16 bytes; it is cut to less than the whole.
pub(crate) fn first_part(op: &IoOp, keep: u64) -> Option<(IoOp, u64)> {
    let mut part = op.clone();
    let sectors = match &mut part {
        IoOp::Read { len, zero_tail, .. } => {
            *zero_tail = Sectors(0);
            len
        }
        IoOp::Write { len, .. } | IoOp::Zero { len, .. } => len,
        IoOp::Copy { len, from_len, .. } => {
            from_len.0 = from_len.0.min(keep % len.0);
            len
        }
        IoOp::WriteIndex { image, .. } => {
            let bytes = keep as usize * 16 % image.len();
            *image = image[..bytes].into();
            return Some((part, bytes as u64));
        }
        _ => return None,
    };
    sectors.0 = keep % sectors.0.max(1);
    let bytes = sectors.bytes();
    Some((part, bytes))
}

/// Which bytes of the top an I/O is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// They change: in flight, or in the end.
    pub(crate) changes: bool,
    /// It is handed out; else it ended.
    pub(crate) begins: bool,
    /// Something is durable now.
    pub(crate) durable: bool,
}

impl Reach {
    /// Of an operation that is handed out, or ended; `None`: nothing of the top.
    pub(crate) fn of(op: &IoOp, top: Level, begins: bool) -> Option<Reach> {
        let (from, to, changes, durable) = match op {
            IoOp::ReadHole { .. } => return None,
            // What it returns is decided when it ends.
            IoOp::Read { level, .. } if begins || *level != top => return None,
            IoOp::Read { at, len, .. } => (at.bytes(), at.after(*len).bytes(), false, false),
            IoOp::Write { at, len, fua, .. } => {
                (at.bytes(), at.after(*len).bytes(), true, *fua && !begins)
            }
            IoOp::Zero { at, len, .. }
            | IoOp::PunchHole { at, len, .. }
            | IoOp::Copy { to: at, len, .. } => (at.bytes(), at.after(*len).bytes(), true, false),
            IoOp::WriteIndex { at, image, .. } => (*at, *at + image.len() as u64, true, false),
            IoOp::SetLen { .. } => (0, u64::MAX, true, false),
            IoOp::Sync { .. } => (0, u64::MAX, true, !begins),
        };
        Some(Reach {
            from,
            to,
            changes,
            begins,
            durable,
        })
    }
}

/// See [`Disk::control`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Control<'a> {
    Write(u64, &'a [u8]),
    SetLen(u64),
    Sync,
}
