//! Reads the format extension: is it sound, and which clusters does it take?
//!
//! * Its clusters are in no BAT entry. Whatever is wrong with it, each cluster that it may occupy stays reserved, so
//!   that damage never turns a bitmap into free space; only a BAT entry for the same cluster is believed more.
//! * It counts only in an image closed as "v2.1": software that did not know it may have written since. Otherwise its clusters
//!   are found in the same way, and damage is told all the same, for others read it whatever the mark says (QEMU does not
//!   open an image with a damaged one for reading); but nobody looks at the bits.
//! * The cluster is read in pieces, however large the image says it is, and no further than the file goes. So are the
//!   bitmaps: their tables have an entry for thousands of BAT entries, and their bits take memory as far as they are not
//!   all alike.
//! * Bitmaps are taken only if all of the extension is sound. A necessary feature is obeyed if magic and checksum are right,
//!   whatever the mark says.

use zerocopy::{FromZeros, IntoBytes};

use crate::delta::ExtensionState;
use crate::drive::file::{DeltaFile, read_padded};
use crate::error::{Field, Problem, Rule, Value};
use crate::format::bitmap::{MAX_BITS, bits_of};
use crate::format::extension::{self as ext, BitmapHead, ExtensionHead, FeatureHead};
use crate::format::{DirtyBitmap, Header, InUse, Layout};
use crate::load::image::inside;
use crate::load::report::{Report, Stop, reading};
use crate::load::used::Used;
use crate::units::{DstClu, Sector, Sectors};

/// Bytes read at a time.
const PIECE: u64 = 4096;
/// Bytes that the file may lack of the cluster for its sum to be looked at.
const MOST_MISSING: u64 = 64 << 20;
/// Bytes of a bitmap read at a time.
const BITS_PIECE: u64 = 64 << 10;

/// What is in an extension.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) state: ExtensionState,
    /// Its clusters, sorted.
    pub(super) reserved: Vec<DstClu>,
    pub(super) bitmaps: Vec<DirtyBitmap>,
    /// A part of it is behind the end of the file, or in a guest's cluster.
    pub(super) astray: bool,
}

/// Reads the extension of an image whose BAT is in `used`; adds its clusters there.
pub(super) fn read(
    file: &dyn DeltaFile,
    file_len: u64,
    header: &Header,
    layout: &Layout,
    used: &mut Used,
    report: &mut Report,
) -> Result<Found, Stop> {
    if header.ext_off.0 == 0 {
        return Ok(Found::default());
    }
    let mut reader = Reader {
        file,
        file_len,
        header,
        layout,
        used,
        report,
        reserved: Vec::new(),
        damage: None,
        astray: false,
        summed: false,
        unknown: None,
        foreign: None,
        tables: Vec::new(),
        bits: 0,
        buf: vec![0; layout.cluster_bytes().min(PIECE) as usize],
    };
    reader.cluster()?;
    let bitmaps = reader.bitmaps()?;
    let given_up = header.is_dirty() && reader.damage.is_some();
    let (state, astray) = (reader.state(), reader.astray || given_up);
    let mut reserved = reader.reserved;
    reserved.sort_unstable();
    Ok(Found {
        state,
        reserved,
        bitmaps,
        astray,
    })
}

struct Reader<'a> {
    file: &'a dyn DeltaFile,
    file_len: u64,
    header: &'a Header,
    layout: &'a Layout,
    used: &'a mut Used,
    report: &'a mut Report,
    reserved: Vec<DstClu>,
    damage: Option<Problem>,
    astray: bool,
    /// Magic and checksum are right: somebody meant what stands there.
    summed: bool,
    /// An unknown feature that is necessary, and one that is not.
    unknown: Option<u64>,
    foreign: Option<u64>,
    /// The bitmaps, still without their bits.
    tables: Vec<(DirtyBitmap, Vec<u64>)>,
    /// Bits of all of them.
    bits: u64,
    /// For a piece of the cluster: no longer than that.
    buf: Vec<u8>,
}

impl Reader<'_> {
    fn vouched(&self) -> bool {
        self.header.in_use == InUse::ClosedV21
    }

    fn state(&self) -> ExtensionState {
        let mark = Problem::new(
            Field::InUse,
            self.header.in_use.raw(),
            Rule::ExtensionVouched,
        );
        match (self.vouched(), self.damage, self.unknown) {
            // Whatever else is wrong, and whoever closed the image, or did not.
            (_, _, Some(feature)) if self.summed => ExtensionState::ReadOnly { feature },
            (false, _, _) => ExtensionState::Ignored { why: mark },
            (true, Some(why), _) => ExtensionState::Damaged { why },
            (true, None, Some(feature)) => ExtensionState::ReadOnly { feature },
            (true, None, None) => match self.foreign {
                Some(feature) => ExtensionState::Foreign { feature },
                None => ExtensionState::Valid,
            },
        }
    }

    fn damaged(&mut self, field: Field, value: impl Into<u64>, rule: Rule) {
        self.damaged_by(Problem::new(field, value, rule));
    }

    fn damaged_by(&mut self, problem: Problem) {
        self.report.note(problem);
        self.damage.get_or_insert(problem);
    }

    /// True if a cluster at `at` begins in the data area, inside the file.
    fn plausible(&self, at: Sector) -> bool {
        at >= self.layout.data_start && inside(at, Sectors(1), self.file_len)
    }

    /// Reserves the host clusters that a cluster at `at` shares a sector with, unless they are taken.
    fn reserve(&mut self, at: Sector) {
        for host in self.layout.hosts_touching(at, self.layout.cluster) {
            let start = self.layout.host_sector(DstClu(host));
            let free = self.plausible(start) && !self.used.touches(start);
            if free && self.used.claim(start).is_ok() {
                self.reserved.push(DstClu(host));
            } else {
                self.astray = true;
            }
        }
    }

    fn cluster(&mut self) -> Result<(), Stop> {
        let at = self.header.ext_off;
        if !self.plausible(at) || !inside(at, self.layout.cluster, self.file_len) {
            self.damaged(Field::ExtensionOffset, at.0, Rule::ExtensionInFile);
        }
        if !self.plausible(at) {
            self.astray = true;
            return Ok(());
        }
        if self.layout.host_at(at).is_none() {
            self.damaged(Field::ExtensionOffset, at.0, Rule::ExtensionOnGrid);
        }
        let mapped = self.used.touches(at);
        self.reserve(at);
        if mapped {
            // What stands there is (at least in part) a guest's data: nothing in it is to be understood.
            self.damaged(Field::ExtensionOffset, at.0, Rule::ExtensionUnmapped);
            return Ok(());
        }
        self.check_head()?;
        self.features()
    }

    /// Reads `buf.len()` bytes at byte `pos` of the extension's cluster.
    fn bytes(&self, pos: u64, buf: &mut [u8]) -> Result<(), Stop> {
        read_padded(
            self.file,
            self.header.ext_off.bytes().saturating_add(pos),
            buf,
        )
        .map_err(|source| reading("the format extension", source))?;
        Ok(())
    }

    /// Bytes of the cluster that are in the file.
    fn there(&self) -> u64 {
        let behind = self.file_len.saturating_sub(self.header.ext_off.bytes());
        self.layout.cluster_bytes().min(behind)
    }

    /// Gives `piece` the bytes of the cluster from `pos` to its end, or to that of the file, until it returns false.
    fn pieces(&mut self, pos: u64, mut piece: impl FnMut(&[u8]) -> bool) -> Result<(), Stop> {
        let mut buf = std::mem::take(&mut self.buf);
        let (mut pos, end) = (pos, self.there());
        while pos < end {
            let len = (end - pos).min(PIECE) as usize;
            self.bytes(pos, &mut buf[..len])?;
            if !piece(&buf[..len]) {
                break;
            }
            pos += len as u64;
        }
        self.buf = buf;
        Ok(())
    }

    fn check_head(&mut self) -> Result<(), Stop> {
        let mut head = ExtensionHead::new_zeroed();
        self.bytes(0, head.as_mut_bytes())?;
        if head.magic.get() != ext::MAGIC {
            self.damaged(
                Field::Extension("magic"),
                head.magic.get(),
                Rule::ExtensionMagic,
            );
        }
        // What the file does not have reads as zeros. That is damage already, and GiBs of them are not summed up for it.
        let mut missing = self.layout.cluster_bytes() - self.there();
        if missing > MOST_MISSING {
            return Ok(());
        }
        let mut sum = md5::Context::new();
        self.pieces(size_of::<ExtensionHead>() as u64, |piece| {
            sum.consume(piece);
            true
        })?;
        while missing > 0 {
            let len = missing.min(PIECE);
            sum.consume(&[0; PIECE as usize][..len as usize]);
            missing -= len;
        }
        let sound = sum.finalize().0 == head.md5;
        self.summed = sound && head.magic.get() == ext::MAGIC;
        if !sound {
            self.damaged_by(Problem {
                field: Field::Extension("checksum"),
                value: Value::Bytes(head.md5),
                rule: Rule::ExtensionChecksum,
            });
        }
        Ok(())
    }

    fn features(&mut self) -> Result<(), Stop> {
        let end = self.layout.cluster_bytes();
        let mut pos = size_of::<ExtensionHead>() as u64;
        while pos + size_of::<FeatureHead>() as u64 <= end {
            let mut head = FeatureHead::new_zeroed();
            self.bytes(pos, head.as_mut_bytes())?;
            if head.magic.get() == 0 {
                return self.end_of_list(pos);
            }
            let data = pos + size_of::<FeatureHead>() as u64;
            let len = u64::from(head.data_size.get());
            if data + len > end {
                break;
            }
            if head.magic.get() == ext::DIRTY_BITMAP {
                self.bitmap(data, len)?;
            } else if head.flags.get() & ext::NECESSARY != 0 {
                self.unknown.get_or_insert(head.magic.get());
            } else {
                self.foreign.get_or_insert(head.magic.get());
            }
            pos = data + len.next_multiple_of(8);
        }
        self.damaged(
            Field::Extension("feature list"),
            pos,
            Rule::ExtensionFeatureList,
        );
        Ok(())
    }

    fn end_of_list(&mut self, pos: u64) -> Result<(), Stop> {
        let mut zeros = true;
        self.pieces(pos, |piece| {
            zeros = piece.iter().fold(0, |any, &byte| any | byte) == 0;
            zeros
        })?;
        if !zeros {
            self.damaged(
                Field::Extension("feature list"),
                pos,
                Rule::ExtensionFeatureList,
            );
        }
        Ok(())
    }

    /// A dirty bitmap: `len` bytes at byte `pos` of the cluster.
    fn bitmap(&mut self, pos: u64, len: u64) -> Result<(), Stop> {
        let head_len = size_of::<BitmapHead>() as u64;
        if len < head_len {
            self.damaged(
                Field::Extension("dirty bitmap"),
                len,
                Rule::ExtensionFeatureList,
            );
            return Ok(());
        }
        let mut head = BitmapHead::new_zeroed();
        self.bytes(pos, head.as_mut_bytes())?;
        let (size, granularity, l1_size) =
            (head.size.get(), head.granularity.get(), head.l1_size.get());
        if size != self.header.size.0 {
            self.damaged(
                Field::Extension("dirty bitmap size"),
                size,
                Rule::BitmapSize,
            );
        }
        // An empty table is how `ploop` writes a bitmap that was just started.
        if !granularity.is_power_of_two() {
            self.damaged(
                Field::Extension("granularity"),
                granularity,
                Rule::BitmapGranularity,
            );
        } else if l1_size != 0
            && u64::from(l1_size) != ext::l1_entries(size, granularity, self.layout.cluster_bytes())
        {
            self.damaged(Field::Extension("L1 size"), l1_size, Rule::BitmapL1Size);
        }
        let fitting = ((len - head_len) / 8) as u32;
        if l1_size > fitting {
            self.damaged(Field::Extension("L1 size"), l1_size, Rule::BitmapL1Size);
        }
        self.note_bitmap(&head);
        self.l1_table(pos + head_len, l1_size.min(fitting))
    }

    /// Notes a bitmap of which nothing is wrong so far; its table comes next.
    fn note_bitmap(&mut self, head: &BitmapHead) {
        if !self.vouched() || self.damage.is_some() {
            return;
        }
        let size = Sectors(head.size.get());
        let bits = bits_of(size, head.granularity.get());
        self.bits = self.bits.saturating_add(bits);
        let bitmap = DirtyBitmap::new(head.id, size, head.granularity.get());
        match bitmap.filter(|_| self.bits <= MAX_BITS && self.tables.len() < ext::MAX_BITMAPS) {
            Some(bitmap) => self.tables.push((bitmap, Vec::new())),
            None => self.damaged(
                Field::Extension("dirty bitmap size"),
                bits,
                Rule::BitmapLimit,
            ),
        }
    }

    /// Reads the bits of the bitmaps, if nothing is wrong with any of them.
    fn bitmaps(&mut self) -> Result<Vec<DirtyBitmap>, Stop> {
        let mut done = Vec::new();
        for (mut bitmap, table) in std::mem::take(&mut self.tables) {
            if self.damage.is_some() {
                return Ok(Vec::new());
            }
            for (index, value) in (0u32..).zip(table) {
                self.read_bits(&mut bitmap, index, value)?;
            }
            done.push(bitmap);
        }
        Ok(if self.damage.is_some() {
            Vec::new()
        } else {
            done
        })
    }

    /// Reads the part of a bitmap that a sound L1 entry tells of.
    fn read_bits(&mut self, bitmap: &mut DirtyBitmap, index: u32, value: u64) -> Result<(), Stop> {
        let cluster = self.layout.cluster_bytes();
        let first = u64::from(index) * cluster;
        let bytes = bitmap.bits().div_ceil(8).saturating_sub(first).min(cluster);
        match value {
            0 => return Ok(()),
            1 => {
                bitmap.set(first * 8, (first + bytes) * 8);
                return Ok(());
            }
            _ => {}
        }
        let mut buf = vec![0; bytes.min(BITS_PIECE) as usize];
        let mut at = 0;
        while at < bytes {
            let piece = &mut buf[..(bytes - at).min(BITS_PIECE) as usize];
            read_padded(self.file, Sector(value).bytes().saturating_add(at), piece)
                .map_err(|source| reading("a dirty bitmap", source))?;
            if !bitmap.take(first + at, piece) {
                self.damaged(Field::L1(index), value, Rule::BitmapTail);
                return Ok(());
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn l1_table(&mut self, pos: u64, entries: u32) -> Result<(), Stop> {
        let mut buf = std::mem::take(&mut self.buf);
        let mut index = 0;
        while index < entries {
            let count = (entries - index).min(buf.len() as u32 / 8);
            let piece = &mut buf[..count as usize * 8];
            self.bytes(pos + u64::from(index) * 8, piece)?;
            for (offset, bytes) in (0u32..).zip(piece.as_chunks::<8>().0) {
                let value = u64::from_le_bytes(*bytes);
                self.l1_entry(index + offset, value);
                if self.damage.is_none()
                    && let Some((_, table)) = self.tables.last_mut()
                {
                    table.push(value);
                }
            }
            index += count;
        }
        self.buf = buf;
        Ok(())
    }

    /// An L1 entry: 0 = all clean, 1 = all dirty, else the sector of a cluster of the bitmap.
    fn l1_entry(&mut self, index: u32, value: u64) {
        if value <= 1 {
            return;
        }
        let at = Sector(value);
        let sound = self.plausible(at)
            && inside(at, self.layout.cluster, self.file_len)
            && self.layout.host_at(at).is_some()
            && !self.used.touches(at);
        if !sound {
            self.damaged(Field::L1(index), value, Rule::BitmapL1Entry);
        }
        if self.plausible(at) {
            self.reserve(at);
        } else {
            self.astray = true;
        }
    }
}
