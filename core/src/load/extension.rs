//! Reads the format extension: is it sound, and which clusters does it take?
//!
//! * Its clusters are in no BAT entry. Whatever is wrong with it, each cluster that it may occupy stays reserved, so
//!   that damage never turns a bitmap into free space; only a BAT entry for the same cluster is believed more.
//! * It counts only in an image closed as "v2.1". Otherwise its clusters are found in the same way, but nothing about
//!   them is a problem: software that did not know it may have written since.
//! * The cluster is read in pieces, however large the image says it is.

use zerocopy::{FromZeros, IntoBytes};

use crate::delta::ExtensionState;
use crate::drive::file::{DeltaFile, read_padded};
use crate::error::{Field, Problem, Rule, Value};
use crate::format::extension::{self as ext, BitmapHead, ExtensionHead, FeatureHead};
use crate::format::{Header, InUse, Layout};
use crate::load::image::inside;
use crate::load::report::{Report, Stop, reading};
use crate::load::used::Used;
use crate::units::{DstClu, Sector, Sectors};

/// Bytes read at a time.
const PIECE: usize = 4096;

/// Reads the extension of an image whose BAT is in `used`; adds its clusters there, and returns them sorted.
pub(super) fn read(
    file: &dyn DeltaFile,
    file_len: u64,
    header: &Header,
    layout: &Layout,
    used: &mut Used,
    report: &mut Report,
) -> Result<(ExtensionState, Vec<DstClu>), Stop> {
    if header.ext_off.0 == 0 {
        return Ok((ExtensionState::None, Vec::new()));
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
        unknown: None,
    };
    reader.cluster()?;
    let state = reader.state();
    let mut reserved = reader.reserved;
    reserved.sort_unstable();
    Ok((state, reserved))
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
    unknown: Option<u64>,
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
            (false, _, _) => ExtensionState::Ignored { why: mark },
            (true, Some(why), _) => ExtensionState::Damaged { why },
            (true, None, Some(feature)) => ExtensionState::ReadOnly { feature },
            (true, None, None) => ExtensionState::Valid,
        }
    }

    fn damaged(&mut self, field: Field, value: impl Into<u64>, rule: Rule) {
        self.damaged_by(Problem::new(field, value, rule));
    }

    fn damaged_by(&mut self, problem: Problem) {
        if self.vouched() {
            self.report.note(problem);
            self.damage.get_or_insert(problem);
        }
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
            }
        }
    }

    fn cluster(&mut self) -> Result<(), Stop> {
        let at = self.header.ext_off;
        if !self.plausible(at) || !inside(at, self.layout.cluster, self.file_len) {
            self.damaged(Field::ExtensionOffset, at.0, Rule::ExtensionInFile);
        }
        if !self.plausible(at) {
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
        if self.vouched() {
            self.check_head()?;
        }
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

    /// Gives `piece` the bytes of the cluster from `pos` to its end, until it returns false.
    fn pieces(&self, pos: u64, mut piece: impl FnMut(&[u8]) -> bool) -> Result<(), Stop> {
        let mut buf = [0; PIECE];
        let (mut pos, end) = (pos, self.layout.cluster_bytes());
        while pos < end {
            let len = (end - pos).min(PIECE as u64) as usize;
            self.bytes(pos, &mut buf[..len])?;
            if !piece(&buf[..len]) {
                break;
            }
            pos += len as u64;
        }
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
        let mut sum = md5::Context::new();
        self.pieces(size_of::<ExtensionHead>() as u64, |piece| {
            sum.consume(piece);
            true
        })?;
        if sum.finalize().0 != head.md5 {
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
        self.l1_table(pos + head_len, l1_size.min(fitting))
    }

    fn l1_table(&mut self, pos: u64, entries: u32) -> Result<(), Stop> {
        let mut buf = [0; PIECE];
        let mut index = 0;
        while index < entries {
            let count = (entries - index).min(PIECE as u32 / 8);
            let piece = &mut buf[..count as usize * 8];
            self.bytes(pos + u64::from(index) * 8, piece)?;
            for (offset, bytes) in (0u32..).zip(piece.as_chunks::<8>().0) {
                self.l1_entry(index + offset, u64::from_le_bytes(*bytes));
            }
            index += count;
        }
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
        }
    }
}
