//! Edits of copied files: fields by their names, slots, bytes, lengths; which files are opened, and how.

use ploop_core::Options;
use ploop_core::format::Version;

use crate::report::Failure;
use crate::scenario::copies::odd::Odd;
use crate::scenario::copies::{Closed, wrong};

/// Where a header names the extension, and where the BAT begins.
const EXT_OFF: u64 = 56;
const BAT: u64 = 64;
/// Of the extension's cluster: what the checksum covers begins here.
const SUMMED: usize = 24;
const SECTOR: u64 = 512;

/// What lies where a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The file itself.
    File,
    /// The extension's cluster.
    Extension,
}

/// A number in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it is counted from.
    pub area: Area,
    /// Byte.
    pub at: u64,
    /// Bytes.
    pub width: usize,
}

const fn header(at: u64, width: usize) -> Field {
    Field {
        area: Area::File,
        at,
        width,
    }
}

const fn extension(at: u64, width: usize) -> Field {
    Field {
        area: Area::Extension,
        at,
        width,
    }
}

/// Fields by name.
const NAMES: [(&str, Field); 19] = [
    ("type", header(16, 4)),
    ("sectors", header(28, 4)),
    ("entries", header(32, 4)),
    ("size", header(36, 8)),
    ("in-use", header(44, 4)),
    ("data-off", header(48, 4)),
    ("flags", header(52, 4)),
    ("ext-off", header(EXT_OFF, 8)),
    ("ext-magic", extension(0, 8)),
    ("ext-md5", extension(8, 8)),
    ("feature", extension(24, 8)),
    ("feature-flags", extension(32, 8)),
    ("feature-size", extension(40, 4)),
    ("bitmap-size", extension(48, 8)),
    ("granularity", extension(72, 4)),
    ("l1-size", extension(76, 4)),
    ("bat", header(BAT, 4)),
    ("l1", extension(80, 8)),
    ("ext", extension(0, 8)),
];

impl Field {
    /// The field of this name. `index`: as in `bat[3]`, `l1[0]`; of `ext` it is the byte.
    #[must_use]
    pub fn named(name: &str, index: Option<u64>) -> Option<Field> {
        let (_, field) = NAMES.iter().find(|(known, _)| *known == name)?;
        let step = match name {
            "bat" => 4,
            "l1" => 8,
            "ext" => 1,
            _ => 0,
        };
        if index.is_some() != (step > 0) {
            return None;
        }
        let at = field.at + step * index.unwrap_or(0);
        Some(Field { at, ..*field })
    }
}

/// What a field becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// This.
    Is(u64),
    /// So much more; or less.
    More(i64),
    /// What this slot of the BAT holds.
    Slot(u64),
}

/// A file of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which of the copies, 0 the lowest.
    pub file: usize,
    /// Opened as a raw one.
    pub raw: bool,
}

/// An edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// What follows is of this level. In the beginning it is the top.
    Of(usize),
    /// A field of a file.
    Field(Field, Amount),
    /// The magic: of a version, or of none.
    Version(Option<Version>),
    /// Bytes of the file.
    Bytes(u64, Vec<u8>),
    /// The length of the file; what is new is zeros.
    Length(Amount),
    /// The checksum of the extension stays as it is.
    Stale,
    /// These files are opened, bottom to top.
    Chain(Vec<Link>),
    /// An option of the open, by its name.
    Option(&'static str, u64),
    /// The slots that a killed device kept: those of the file, but this one.
    Kept(u32, u32),
    /// A write takes so many bytes at the most, the next one so many, ..., and from the first on again.
    Writes(Vec<usize>),
    /// All of the file takes space.
    Dense,
}

/// Copies that were edited.
#[derive(Clone, Debug)]
pub(super) struct Edited {
    pub(super) files: Vec<Vec<u8>>,
    pub(super) raw: bool,
    pub(super) chain: Vec<Link>,
    pub(super) options: Options,
    pub(super) kept: Vec<(u32, u32)>,
    /// What the files are like.
    pub(super) odd: Odd,
    /// The file that was edited last.
    pub(super) level: usize,
    /// As the files were before.
    pub(super) before: Vec<Vec<u8>>,
}

fn number(bytes: &[u8], at: u64, width: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let mut whole = [0; 8];
    whole[..width].copy_from_slice(bytes.get(at..at.checked_add(width)?)?);
    Some(u64::from_le_bytes(whole))
}

impl Edited {
    pub(super) fn new(closed: &Closed, edits: &[Edit]) -> Result<Edited, Failure> {
        let link = |file| Link {
            file,
            raw: closed.raw && file == 0,
        };
        let mut edited = Edited {
            files: closed.files.clone(),
            raw: closed.raw,
            chain: (0..closed.files.len()).map(link).collect(),
            options: closed.options,
            kept: Vec::new(),
            odd: Odd::default(),
            level: closed.files.len() - 1,
            before: closed.files.clone(),
        };
        let mut stale = edits.contains(&Edit::Stale);
        for edit in edits {
            stale |= matches!(edit, Edit::Field(field, _) if *field == extension(8, 8));
            edited.edit(edit).ok_or_else(|| {
                let files: Vec<usize> = edited.files.iter().map(Vec::len).collect();
                wrong(format!("no place for {edit:?} in files of {files:?} bytes"))
            })?;
        }
        let in_extension =
            |edit: &Edit| matches!(edit, Edit::Field(field, _) if field.area == Area::Extension);
        if !stale && edits.iter().any(in_extension) {
            edited.sum_up();
        }
        Ok(edited)
    }

    /// `None`: there is no such place.
    fn edit(&mut self, edit: &Edit) -> Option<()> {
        match edit {
            Edit::Of(level) => {
                self.level = *level;
                self.files.get(*level)?;
            }
            Edit::Field(field, amount) => {
                let at = field.at + self.start_of(field.area)?;
                let old = number(self.file(), at, field.width)?;
                let new = self.amount(*amount, old)?.to_le_bytes();
                let there = self.slice(at, field.width)?;
                there.copy_from_slice(&new[..field.width]);
            }
            Edit::Version(version) => {
                let magic: &[u8; 16] = match version {
                    Some(Version::V1) => b"WithoutFreeSpace",
                    Some(Version::V2) => b"WithouFreSpacExt",
                    None => b"no magic of ours",
                };
                self.slice(0, 16)?.copy_from_slice(magic);
            }
            Edit::Bytes(at, bytes) => self.slice(*at, bytes.len())?.copy_from_slice(bytes),
            Edit::Length(amount) => {
                let len = self.amount(*amount, self.file().len() as u64)?;
                let len = usize::try_from(len).ok().filter(|len| *len <= 1 << 22)?;
                self.files[self.level].resize(len, 0);
            }
            Edit::Stale => {}
            Edit::Chain(chain) => {
                chain.iter().try_for_each(|link| {
                    self.files.get(link.file)?;
                    Some(())
                })?;
                self.chain.clone_from(chain);
            }
            Edit::Option(name, value) => {
                let (options, small) = (&mut self.options, u32::try_from(*value).ok()?);
                match *name {
                    "queues" => options.queues = u16::try_from(small).ok()?,
                    "depth" => options.depth = u16::try_from(small).ok()?,
                    "page-bytes" => options.page_bytes = small,
                    _ => options.granule = small,
                }
            }
            Edit::Kept(slot, entry) => self.kept.push((*slot, *entry)),
            Edit::Writes(most) => self.odd.writes.clone_from(most),
            Edit::Dense => self.odd.dense = true,
        }
        Some(())
    }

    fn file(&self) -> &[u8] {
        &self.files[self.level]
    }

    fn slice(&mut self, at: u64, len: usize) -> Option<&mut [u8]> {
        let at = usize::try_from(at).ok()?;
        self.files[self.level].get_mut(at..at.checked_add(len)?)
    }

    fn start_of(&self, area: Area) -> Option<u64> {
        match area {
            Area::File => Some(0),
            Area::Extension => {
                let start = number(&self.before[self.level], EXT_OFF, 8)?;
                (start > 0).then_some(start * SECTOR)
            }
        }
    }

    fn amount(&self, amount: Amount, old: u64) -> Option<u64> {
        match amount {
            Amount::Is(new) => Some(new),
            Amount::More(more) => old.checked_add_signed(more),
            Amount::Slot(slot) => number(self.file(), BAT + 4 * slot, 4),
        }
    }

    /// The checksum of the extension is right again.
    fn sum_up(&mut self) {
        let cluster = number(&self.before[self.level], 28, 4).unwrap_or(1) * SECTOR;
        let Some(start) = self.start_of(Area::Extension) else {
            return;
        };
        if let Some(bytes) = self.slice(start, cluster as usize) {
            let sum = md5::compute(&bytes[SUMMED..]).0;
            bytes[8..SUMMED].copy_from_slice(&sum);
        }
    }
}
