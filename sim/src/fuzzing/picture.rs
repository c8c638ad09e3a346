//! Images as a fuzzer draws them: each field is right by default, a little wrong, or anything at all.
//!
//! Built from the description of the format, not by the core's code: an image that only our own writer would make
//! proves little about our reader.

use arbitrary::Arbitrary;
use model::image::{HEADER, SECTOR};

/// Most bytes of a file that is drawn.
const MOST_BYTES: u64 = 1 << 18;
const EXTENSION_MAGIC: u64 = 0xAB23_4CEF_23DC_EA87;
const BITMAP_MAGIC: u64 = 0x2038_5FAE_252C_B34A;

/// A stack of files and what is done to it.
#[derive(Debug, Arbitrary)]
pub(super) struct Scene {
    /// Below the top.
    pub(super) base: Base,
    /// The image.
    pub(super) top: Top,
    /// Bytes of a metadata page, as a power of two: 512 to 4096.
    pub(super) page: u8,
    /// Preallocation in clusters.
    pub(super) prealloc: u8,
    /// Index write-back is immediate.
    pub(super) immediate: bool,
    /// Sectors that the file system has left.
    pub(super) space: u16,
    /// What is done to the disk.
    pub(super) script: Vec<Step>,
}

/// What lies below the top.
#[derive(Debug, Arbitrary)]
pub(super) enum Base {
    None,
    Raw { bytes: u16 },
    Image(Picture),
}

/// The image.
#[derive(Debug, Arbitrary)]
pub(super) enum Top {
    File(Vec<u8>),
    Picture(Picture),
}

/// An operation on the disk, in sectors. Positions are taken modulo the size.
#[derive(Debug, Arbitrary)]
pub(super) enum Step {
    Read {
        start: u32,
        len: u8,
    },
    Write {
        start: u32,
        len: u8,
        fua: bool,
    },
    WriteCluster {
        start: u32,
    },
    Zeroes {
        start: u32,
        len: u8,
        fua: bool,
        unmap: bool,
    },
    Discard {
        start: u32,
        len: u16,
    },
    Flush,
    Tick {
        millis: u8,
    },
}

/// An image, field by field.
#[derive(Debug, Arbitrary)]
pub(super) struct Picture {
    v1: bool,
    cluster: Cluster,
    size: Size,
    entries: Entries,
    data_off: DataOff,
    in_use: Mark,
    flags: u8,
    extension: Extension,
    bat: Vec<(u8, Target)>,
    len: Len,
    /// (position, xor) on the first bytes of the file.
    scratches: Vec<(u16, u8)>,
}

#[derive(Debug, Arbitrary)]
enum Cluster {
    Small(u8),
    Power(u8),
    Any(u32),
}

#[derive(Debug, Arbitrary)]
enum Size {
    Sectors(u16),
    Any(u64),
}

#[derive(Debug, Arbitrary)]
enum Entries {
    Exact,
    More(u8),
    Fewer(u8),
    Any(u32),
}

#[derive(Debug, Arbitrary)]
enum DataOff {
    Lowest,
    Aligned,
    Zero,
    Later(u8),
    Any(u32),
}

#[derive(Debug, Arbitrary)]
enum Mark {
    Closed,
    Closed21,
    Dirty,
    Any(u32),
}

/// Where an entry points.
#[derive(Debug, Arbitrary)]
enum Target {
    /// Behind all others so far.
    Next,
    /// That many clusters behind the start of data.
    Cluster(u8),
    Sector(u16),
    Any(u32),
}

/// Where the file ends.
#[derive(Debug, Arbitrary)]
enum Len {
    /// With its last cluster.
    Whole,
    Plus(u16),
    Minus(u16),
}

#[derive(Debug, Arbitrary)]
enum Extension {
    None,
    At(u64),
    Cluster {
        features: Vec<Feature>,
        wrong_sum: bool,
    },
}

#[derive(Debug, Arbitrary)]
enum Feature {
    Bitmap {
        granularity: u8,
        other_size: Option<u64>,
        l1: Vec<L1>,
    },
    Other {
        magic: u64,
        necessary: bool,
        data: Vec<u8>,
        size: Option<u32>,
    },
}

#[derive(Debug, Arbitrary)]
enum L1 {
    Clean,
    Dirty,
    Next,
    Any(u64),
}

impl Scene {
    /// A file on its own, and a few operations.
    pub(super) fn of_file(file: &[u8]) -> Scene {
        let step = |start| Step::Write {
            start,
            len: 3,
            fua: false,
        };
        Scene {
            base: Base::None,
            top: Top::File(file.to_vec()),
            page: 3,
            prealloc: 2,
            immediate: false,
            space: 4096,
            script: vec![
                step(0),
                step(u32::MAX / 2),
                Step::WriteCluster { start: 0 },
                Step::Flush,
                Step::Discard { start: 0, len: 64 },
                Step::Zeroes {
                    start: 7,
                    len: 9,
                    fua: true,
                    unmap: true,
                },
            ],
        }
    }
}

/// An image being laid out.
struct Layout {
    v1: bool,
    cluster: u64,
    entries: u64,
    data_start: u64,
    /// First sector that nobody has yet.
    next: u64,
    /// Clusters of bitmaps: where, and how many bits are in use.
    bits: Vec<(u64, u64)>,
}

impl Layout {
    /// The entry for a place, in the format's unit.
    fn entry(&self, sector: u64) -> u32 {
        (if self.v1 {
            sector
        } else {
            sector / self.cluster.max(1)
        }) as u32
    }

    fn take(&mut self) -> u64 {
        let sector = self.next;
        self.next = self.next.saturating_add(self.cluster);
        sector
    }
}

impl Picture {
    /// Cluster size in sectors.
    pub(super) fn cluster(&self) -> u64 {
        match self.cluster {
            Cluster::Small(n) => 1 + u64::from(n % 24),
            Cluster::Power(n) => 1 << (n % 8),
            Cluster::Any(n) => u64::from(n),
        }
    }

    /// The file. `cluster` is its cluster size in sectors.
    pub(super) fn build(&self, cluster: u64) -> Vec<u8> {
        let size = match self.size {
            Size::Sectors(n) => u64::from(n % 700),
            Size::Any(n) => n,
        };
        let exact = size.div_ceil(cluster.max(1));
        let entries = match self.entries {
            Entries::Exact => exact,
            Entries::More(n) => exact.saturating_add(u64::from(n)),
            Entries::Fewer(n) => exact.saturating_sub(u64::from(n)),
            Entries::Any(n) => u64::from(n),
        };
        let entries = entries.min(u64::from(u32::MAX));
        let table = (HEADER + 4 * entries).div_ceil(SECTOR);
        let aligned = table.next_multiple_of(cluster.max(1));
        let lowest = if self.v1 { table } else { aligned };
        let (data_off, data_start) = match self.data_off {
            DataOff::Lowest => (lowest, lowest),
            DataOff::Aligned => (aligned, aligned),
            DataOff::Zero => (0, lowest),
            DataOff::Later(n) => (lowest + u64::from(n), lowest + u64::from(n)),
            DataOff::Any(n) => (u64::from(n), lowest),
        };
        let mut layout = Layout {
            v1: self.v1,
            cluster,
            entries,
            data_start,
            next: data_start,
            bits: Vec::new(),
        };
        let bat = self.entries(&mut layout);
        let (ext_off, extension) = self.lay_extension(&mut layout, size);
        let mut file = self.header(&layout, size, data_off, ext_off);
        self.lay_out(&mut file, &layout, &bat);
        layout
            .bits
            .iter()
            .for_each(|&bits| cut_bits(&mut file, &layout, bits));
        let end = ext_off
            .checked_mul(SECTOR)
            .and_then(|at| at.checked_add(extension.len() as u64));
        if let Some(end) = end.filter(|&end| end <= file.len() as u64) {
            let end = end as usize;
            file[end - extension.len()..end].copy_from_slice(&extension);
        }
        for &(at, flip) in &self.scratches {
            let at = usize::from(at) % 1024;
            if let Some(byte) = file.get_mut(at) {
                *byte ^= flip;
            }
        }
        file
    }

    /// (slot, entry).
    fn entries(&self, layout: &mut Layout) -> Vec<(u64, u32)> {
        let mut bat = Vec::new();
        for (slot, target) in &self.bat {
            let entry = match *target {
                Target::Next => {
                    let sector = layout.take();
                    layout.entry(sector)
                }
                Target::Cluster(n) => layout.entry(
                    layout
                        .data_start
                        .saturating_add(u64::from(n % 32).saturating_mul(layout.cluster)),
                ),
                Target::Sector(n) => layout.entry(u64::from(n)),
                Target::Any(n) => n,
            };
            bat.push((u64::from(*slot) % layout.entries.max(1), entry));
        }
        bat
    }

    /// Where the extension is and what stands there.
    fn lay_extension(&self, layout: &mut Layout, size: u64) -> (u64, Vec<u8>) {
        let (features, wrong_sum) = match &self.extension {
            Extension::None => return (0, Vec::new()),
            Extension::At(sector) => return (*sector, Vec::new()),
            Extension::Cluster {
                features,
                wrong_sum,
            } => (features, *wrong_sum),
        };
        let at = layout.take();
        let bytes = (layout.cluster * SECTOR).min(1 << 16) as usize;
        let mut list = Vec::new();
        for feature in features.iter().take(8) {
            feature.write(layout, size, &mut list);
        }
        list.resize(bytes.saturating_sub(24), 0);
        let mut sum = md5::compute(&list).0;
        sum[0] ^= u8::from(wrong_sum);
        let mut raw = EXTENSION_MAGIC.to_le_bytes().to_vec();
        raw.extend(sum);
        raw.extend(list);
        (at, raw)
    }

    fn header(&self, layout: &Layout, size: u64, data_off: u64, ext_off: u64) -> Vec<u8> {
        let mut raw = if self.v1 {
            b"WithoutFreeSpace".to_vec()
        } else {
            b"WithouFreSpacExt".to_vec()
        };
        let in_use = match self.in_use {
            Mark::Closed => 0,
            Mark::Closed21 => 0x312E_3276,
            Mark::Dirty => 0x746F_6E59,
            Mark::Any(n) => n,
        };
        for field in [2, 16, 0, layout.cluster as u32, layout.entries as u32] {
            raw.extend(field.to_le_bytes());
        }
        raw.extend(size.to_le_bytes());
        for field in [in_use, data_off as u32, u32::from(self.flags)] {
            raw.extend(field.to_le_bytes());
        }
        raw.extend(ext_off.to_le_bytes());
        raw
    }

    /// BAT, data and end of the file.
    fn lay_out(&self, file: &mut Vec<u8>, layout: &Layout, bat: &[(u64, u32)]) {
        let whole = layout.next.saturating_mul(SECTOR);
        let len = match self.len {
            Len::Whole => whole,
            Len::Plus(n) => whole.saturating_add(u64::from(n)),
            Len::Minus(n) => whole.saturating_sub(u64::from(n)),
        };
        let len = len.min(MOST_BYTES) as usize;
        let data = ((layout.data_start.saturating_mul(SECTOR)).min(len as u64)) as usize;
        file.resize(data.max(file.len()), 0);
        for at in data..len {
            file.push(((at >> 9) as u8).wrapping_mul(31) ^ (at as u8) | 1);
        }
        file.truncate(len);
        for &(slot, entry) in bat {
            let at = (HEADER + 4 * slot) as usize;
            if let Some(place) = file.get_mut(at..at + 4) {
                place.copy_from_slice(&entry.to_le_bytes());
            }
        }
    }
}

/// Behind the bits in use there are zeros.
fn cut_bits(file: &mut [u8], layout: &Layout, (at, bits): (u64, u64)) {
    let (start, end) = (at.saturating_mul(SECTOR), at.saturating_add(layout.cluster));
    let end = end.saturating_mul(SECTOR).min(file.len() as u64) as usize;
    let first = start.saturating_add(bits / 8).min(end as u64) as usize;
    if let Some((byte, rest)) = file[first..end].split_first_mut() {
        *byte &= (1_u16 << (bits % 8)).wrapping_sub(1) as u8;
        rest.fill(0);
    }
}

impl Feature {
    fn write(&self, layout: &mut Layout, size: u64, list: &mut Vec<u8>) {
        let (magic, flags, data, said) = match self {
            Feature::Bitmap {
                granularity,
                other_size,
                l1,
            } => {
                let granularity = 1_u32 << (granularity % 16);
                let mut data = other_size.unwrap_or(size).to_le_bytes().to_vec();
                data.extend([7; 16]);
                data.extend(granularity.to_le_bytes());
                data.extend((l1.len() as u32).to_le_bytes());
                for (index, entry) in (0u64..).zip(l1) {
                    let entry = match entry {
                        L1::Clean => 0,
                        L1::Dirty => 1,
                        L1::Next => {
                            let (at, most) = (layout.take(), layout.cluster.saturating_mul(4096));
                            let bits = size.div_ceil(u64::from(granularity));
                            let bits = bits.saturating_sub(index.saturating_mul(most)).min(most);
                            layout.bits.push((at, bits));
                            at
                        }
                        L1::Any(n) => *n,
                    };
                    data.extend(entry.to_le_bytes());
                }
                (BITMAP_MAGIC, 0, data, None)
            }
            Feature::Other {
                magic,
                necessary,
                data,
                size,
            } => (*magic, u64::from(*necessary), data.clone(), *size),
        };
        list.extend(magic.to_le_bytes());
        list.extend(flags.to_le_bytes());
        list.extend(said.unwrap_or(data.len() as u32).to_le_bytes());
        list.extend([0; 4]);
        list.extend(&data);
        list.resize(list.len().next_multiple_of(8), 0);
    }
}
