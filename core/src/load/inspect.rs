//! The lenient reader's result: for `check` and for salvage.

use std::ops::Range;

use crate::delta::{Body, LoadedDelta, chain};
use crate::drive::file::DeltaFile;
use crate::error::{Kind, LoadError, Problem, Rule};
use crate::format::InUse;
use crate::load::report::Report;
use crate::load::{bat, image};
use crate::units::{DstClu, Sector, Sectors};

/// Everything that is to be said about an image whose geometry can be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The image, damage left out: damaged entries are 0 (of two entries for one cluster, the later one); a wrong start
    /// of data is the lowest possible one; a wrong number of entries is the right one, if the rest of the header tells it;
    /// a virtual size beyond the BAT ends with it. Its header is as on disk.
    pub delta: LoadedDelta,
    /// The first thousand problems, in the order found. Being in use is not one of them.
    pub problems: Vec<Problem>,
    /// Why the image, even if it is sound, is refused for writing; the first reason.
    pub read_only: Option<Problem>,
    /// Number of all problems.
    pub problem_count: u64,
    /// Header fields contradict each other, and nothing tells which is right: what was read may be misplaced.
    pub unsure: bool,
    /// How the image was left.
    pub in_use: InUse,
    /// Mapped entries (after damage was left out).
    pub allocated: u32,
    /// Mapped entries that do not follow their predecessor in the file.
    pub fragmented: u32,
    /// Grid clusters of the data area that belong to nobody, ascending; the last one may be cut by the end of the file.
    pub leaked: Vec<Range<DstClu>>,
    /// The sector behind the last cluster that belongs to somebody; if there is none, [`crate::format::Layout::least_end`].
    pub image_end: Sector,
}

impl Inspection {
    /// Number of leaked clusters.
    #[must_use]
    pub fn leaked_clusters(&self) -> u64 {
        self.leaked
            .iter()
            .map(|range| u64::from(range.end.0.saturating_sub(range.start.0)))
            .sum()
    }

    /// True if the mapping itself is damaged: [`crate::load::load`] refuses this image.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.rule.kind() == Kind::Corrupt)
    }

    /// True if the format extension is damaged, not just more than is kept here: nobody can read it, and QEMU refuses to
    /// open the image for reading.
    #[must_use]
    pub fn extension_is_damaged(&self) -> bool {
        self.problems.iter().any(|problem| {
            problem.rule.kind() == Kind::Extension && problem.rule != Rule::BitmapLimit
        })
    }
}

/// Reads an image and collects what is wrong with it. Fails only if the file cannot be read, is no image, or is so
/// damaged that not even its geometry can be trusted.
pub fn inspect(file: &dyn DeltaFile, name: &str) -> Result<Inspection, LoadError> {
    let mut report = Report::lenient();
    let read = image::read(file, &mut report).map_err(|stop| stop.in_file(name))?;
    let (problems, problem_count) = match report {
        Report::Strict => (Vec::new(), 0),
        Report::Lenient { problems, count } => (problems, count),
    };
    let layout = &read.image.layout;
    let (allocated, fragmented) = bat::fragments(layout, &read.image.bat);
    let in_file = layout
        .hosts_touching(Sector(0), Sectors::covering(read.file_len))
        .end;
    Ok(Inspection {
        problems,
        problem_count,
        unsure: read.unsure,
        read_only: chain::check_writable(&read.image).err(),
        in_use: read.image.header.in_use,
        allocated,
        fragmented,
        leaked: read.used.gaps(layout.first_host().0..in_file),
        image_end: read.used.end().unwrap_or(layout.least_end()),
        delta: LoadedDelta {
            name: name.to_owned(),
            file_len: read.file_len,
            body: Body::Expanded(Box::new(read.image)),
        },
    })
}
