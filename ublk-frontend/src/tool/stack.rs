//! A disk as it stands in one file or a stack of them, for reading: which sectors of which file hold what.
//!
//! Level 0 is the oldest file. A guest sector is looked for from the top down, by clusters: the newest level whose BAT has
//! the cluster has all of it, and hides the levels below also where its own disk ends inside the cluster. Where no level
//! has it, or a level on the way down ends before it, the disk reads as zeros. The files are open read-only as long as the
//! stack lives.

use ploop_core::delta::{Body, LoadedDelta};
use ploop_core::drive::file::read_padded;
use ploop_core::units::{Sector, Sectors};

use super::ToolError;
use crate::files::RealFile;

/// A file and what the loader found in it.
#[derive(Debug)]
pub struct StackedFile {
    /// The file, open for reading.
    pub file: RealFile,
    /// Its mapping.
    pub delta: LoadedDelta,
}

/// Files that make up one disk, oldest first; never empty.
#[derive(Debug)]
pub struct Stack {
    levels: Vec<StackedFile>,
    size: Sectors,
    /// Cluster size of the images; `None` if there is only a raw file.
    cluster: Option<Sectors>,
}

/// Where a range of the disk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In no file: zeros.
    Hole,
    /// In the file of this level (0 = oldest), from this sector on.
    At {
        /// Index into the stack.
        level: usize,
        /// Sector of that file.
        sector: Sector,
    },
}

/// A range of the disk that stands in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First guest sector.
    pub start: Sector,
    /// Number of guest sectors; not 0.
    pub len: Sectors,
    /// Where it is.
    pub place: Place,
}

impl Extent {
    /// The guest sector behind it.
    #[must_use]
    pub fn end(&self) -> Sector {
        self.start.after(self.len)
    }

    /// This and `next` as one extent, if they follow each other on the disk and in the file.
    fn joined(&self, next: &Extent) -> Option<Extent> {
        let follows = match (self.place, next.place) {
            (Place::Hole, Place::Hole) => true,
            (
                Place::At {
                    level: a,
                    sector: from,
                },
                Place::At {
                    level: b,
                    sector: to,
                },
            ) => a == b && from.after(self.len) == to,
            _ => false,
        };
        (follows && self.end() == next.start).then_some(Extent {
            len: Sectors(self.len.0 + next.len.0),
            ..*self
        })
    }
}

impl Stack {
    /// A stack of loaded files, oldest first. They must form a valid chain.
    ///
    /// `None` if there is no file.
    #[must_use]
    pub fn new(levels: Vec<StackedFile>) -> Option<Stack> {
        let top = &levels.last()?.delta;
        let size = top.size();
        let cluster = top.expanded().map(|image| image.layout.cluster);
        Some(Stack {
            levels,
            size,
            cluster,
        })
    }

    /// Size of the disk.
    #[must_use]
    pub fn size(&self) -> Sectors {
        self.size
    }

    /// The files, oldest first.
    #[must_use]
    pub fn levels(&self) -> &[StackedFile] {
        &self.levels
    }

    /// Cluster size of the images; `None` for a raw file alone.
    #[must_use]
    pub fn cluster(&self) -> Option<Sectors> {
        self.cluster
    }

    /// All extents of the disk in order, each as long as it can be.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        let mut pieces = self.pieces(Sector(0), Sector(self.size.0)).peekable();
        std::iter::from_fn(move || {
            let mut extent = pieces.next()?;
            while let Some(longer) = pieces.peek().and_then(|next| extent.joined(next)) {
                extent = longer;
                pieces.next();
            }
            Some(extent)
        })
    }

    /// Reads guest sectors from `start` on into `buf`, whose length is a multiple of 512; what is no data is zeros.
    /// Returns false, with `buf` untouched, if nothing stands there.
    pub fn read(&self, start: Sector, buf: &mut [u8]) -> Result<bool, ToolError> {
        let end = start.after(Sectors::whole_in(buf.len() as u64));
        let mut found = false;
        for extent in self.pieces(start, end) {
            let Place::At { level, sector } = extent.place else {
                continue;
            };
            let file = &self.levels[level].file;
            let failed = ToolError::io(file.path(), "read");
            let (from, to) = (sector.bytes(), sector.after(extent.len).bytes());
            let Some(data) = file.next_data(from..to).map_err(&failed)? else {
                continue;
            };
            if !found {
                buf.fill(0);
                found = true;
            }
            let offset = extent.start.since(start).bytes() + (data - from);
            let part = &mut buf[offset as usize..][..(to - data) as usize];
            read_padded(file, data, part).map_err(&failed)?;
        }
        Ok(found)
    }

    /// The extents between two sectors, cut at clusters.
    fn pieces(&self, start: Sector, end: Sector) -> impl Iterator<Item = Extent> + '_ {
        let mut at = start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let cluster_end = match self.cluster {
                Some(cluster) => Sector(
                    (at.0 / cluster.0)
                        .saturating_add(1)
                        .saturating_mul(cluster.0),
                ),
                None => end,
            };
            let extent = self.locate(at, cluster_end.min(end).since(at));
            at = extent.end();
            Some(extent)
        })
    }

    /// What stands at `start`, up to `len` sectors; the range does not cross a cluster.
    fn locate(&self, start: Sector, len: Sectors) -> Extent {
        let mut end = Sector(self.size.0);
        for (level, stacked) in self.levels.iter().enumerate().rev() {
            end = end.min(Sector(stacked.delta.size().0));
            let Some(sector) = mapped(&stacked.delta, start) else {
                continue;
            };
            if start >= end {
                break;
            }
            return Extent {
                start,
                len: len.min(end.since(start)),
                place: Place::At { level, sector },
            };
        }
        Extent {
            start,
            len,
            place: Place::Hole,
        }
    }
}

/// Where a file holds a guest sector, going by its BAT alone; a raw file has all of them.
fn mapped(delta: &LoadedDelta, start: Sector) -> Option<Sector> {
    match &delta.body {
        Body::Raw => Some(start),
        Body::Expanded(image) => {
            let cluster = image.layout.cluster;
            let index = usize::try_from(start.0 / cluster.0).ok()?;
            let entry = *image.bat.get(index).filter(|entry| **entry != 0)?;
            let inside = Sectors(start.0 % cluster.0);
            Some(image.layout.entry_sector(entry).after(inside))
        }
    }
}
