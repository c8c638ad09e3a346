//! Two adjacent deltas become one: clusters are copied from one file into the other until one of them is not needed.
//!
//! ```text
//!   forward:  clusters that only the lower has are copied into the upper; then the caller drops the lower
//!   backward: clusters of the upper are copied over those of the lower;   then the caller drops the upper
//!
//!   new ──step──▶ mark ▶ [up to n clusters copied ─sync▶ their slots] ──step──▶ ... ──▶ last slots ─sync▶ mark cleared
//! ```
//! * A cluster of the upper hides the lower's, so what the two show together is the same at every moment, cut or not,
//!   as long as both stay in the chain. **Backward changes what the lower shows by itself**: from the first step on it
//!   is nobody's base but this upper's until the merge has ended.
//! * A slot is written after a sync of the cluster that it names, and of the file's length.
//! * Made anew after a crash, an error or [`Merge::cancel`], a merge goes on with what is missing: forward skips what
//!   the upper has; backward copies all of it again, which changes nothing.
//! * Where the lower's disk is smaller, what lies behind its end is zeros. Backward it is grown first, which moves
//!   clusters ([`grow`](super::grow)): then nobody may be reading its file by an old BAT. In all other cases the file
//!   that is not written, and clusters that were mapped before, stay where they are.
//! * A raw lower holds all clusters up to its end. Forward, those of zeros are left out: there is nothing below.

use super::copy::Copier;
use super::edit::Edit;
use super::error::{ControlError, Refusal};
use super::grow::{grow, space_after};
use super::io::Io;
use super::nested::check_nested;
use super::space::Space;
use super::steps::{Progress, Steps, Work};
use crate::delta::{LoadedDelta, chain};
use crate::drive::file::DeltaFile;
use crate::error::{Field, Problem, Rule};
use crate::format::Layout;
use crate::load;
use crate::units::{Clu, Sector, Sectors};

/// A delta file that takes part in a merge.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file.
    pub file: &'a dyn DeltaFile,
    /// Its name, for messages.
    pub name: &'a str,
    /// A raw file, without header and BAT.
    pub raw: bool,
}

/// A merge on its way. Dropped before its end, it leaves sound files, one of them marked as in use.
#[derive(Debug)]
pub struct Merge<'a> {
    job: Job<'a>,
    steps: Steps,
}

#[derive(Debug)]
struct Job<'a> {
    from: Giver<'a>,
    into: Taker<'a>,
    forward: bool,
    copier: Copier,
    /// The next guest cluster to look at.
    next: u32,
}

impl<'a> Merge<'a> {
    /// A merge into the upper file.
    ///
    /// # Errors
    /// If the two do not fit together, or one of them is not sound. Nothing was written.
    pub fn forward(lower: Source<'a>, upper: Source<'a>) -> Result<Merge<'a>, ControlError> {
        let pair = Pair::load(lower, upper)?;
        let into = Edit::open(upper.file, upper.name)?;
        let from = Giver::new(lower, &pair.lower, into.layout.cluster);
        Ok(Merge::new(from, Taker::image(into), true))
    }

    /// A merge into the lower file.
    ///
    /// # Errors
    /// If the two do not fit together, or one of them is not sound, or there are more clusters than entries can name: nothing
    /// was written. Or if the lower could not be grown to the size of the upper.
    pub fn backward(lower: Source<'a>, upper: Source<'a>) -> Result<Merge<'a>, ControlError> {
        let pair = Pair::load(lower, upper)?;
        let layout = pair.upper_layout(upper)?;
        pair.check_room(lower, &layout)?;
        let into = if lower.raw {
            Taker::Raw {
                io: lower.io(),
                cluster: layout.cluster,
                size: layout.size,
            }
        } else {
            let lower_size = pair.lower.expanded().map(|image| image.layout.size);
            if lower_size.is_some_and(|size| size < layout.size) {
                grow(lower.file, lower.name, layout.size)?;
            }
            Taker::image(Edit::open(lower.file, lower.name)?)
        };
        let from = Giver::new(upper, &pair.upper, layout.cluster);
        Ok(Merge::new(from, into, false))
    }

    fn new(from: Giver<'a>, into: Taker<'a>, forward: bool) -> Merge<'a> {
        let job = Job {
            from,
            into,
            forward,
            copier: Copier::default(),
            next: 0,
        };
        let wanted = (0..job.from.clusters).filter(|&clu| job.is_wanted(Clu(clu)));
        let steps = Steps::new(wanted.count() as u64);
        Merge { job, steps }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.steps.progress
    }

    /// Goes on with up to `most` clusters. When nothing is left, everything is made durable and the mark is cleared.
    ///
    /// # Errors
    /// If a file failed. The merge is over; a new one goes on.
    pub fn step(&mut self, most: u32) -> Result<Progress, ControlError> {
        self.steps.step(&mut self.job, most)
    }

    /// Ends the merge early, cleanly.
    ///
    /// # Errors
    /// If the file failed.
    pub fn cancel(mut self) -> Result<(), ControlError> {
        self.steps.cancel(&mut self.job)
    }
}

impl Work for Job<'_> {
    fn name(&self) -> &str {
        self.into.io().name
    }

    fn begin(&mut self) -> Result<(), ControlError> {
        self.check_room()?;
        self.into.begin()
    }

    fn work(&mut self, most: u32) -> Result<(u64, bool), ControlError> {
        let done = self.copy(most)?;
        Ok((done, self.next >= self.from.clusters))
    }

    fn end(&mut self) -> Result<(), ControlError> {
        self.into.end(self.forward)
    }
}

impl Job<'_> {
    /// Refuses what entries could not name in the end, while nothing is written.
    fn check_room(&mut self) -> Result<(), ControlError> {
        // What zeros there are in a raw file is looked at only if it matters.
        if self.has_room(false)? || (self.from.raw && self.has_room(true)?) {
            return Ok(());
        }
        Err(no_host(&self.from.layout, self.name()))
    }

    fn has_room(&mut self, leave_zeros_out: bool) -> Result<bool, ControlError> {
        let mut new = 0;
        for clu in (0..self.from.clusters).map(Clu) {
            let Some((at, there)) = self.from.place(clu).filter(|_| !self.into.has(clu)) else {
                continue;
            };
            let zero = leave_zeros_out && self.copier.is_zero(self.from.io, at, there)?;
            new += u64::from(!zero);
        }
        Ok(match &self.into {
            Taker::Image { space, .. } => space.has(new),
            Taker::Raw { .. } => true,
        })
    }

    fn is_wanted(&self, clu: Clu) -> bool {
        self.from.place(clu).is_some() && !(self.forward && self.into.has(clu))
    }

    /// Copies up to `most` clusters, and writes their slots. How many it were.
    fn copy(&mut self, most: u32) -> Result<u64, ControlError> {
        let (mut slots, mut left) = (Vec::new(), most);
        while left > 0 && self.next < self.from.clusters {
            let clu = Clu(self.next);
            self.next += 1;
            let Some((at, there)) = self.from.place(clu).filter(|_| self.is_wanted(clu)) else {
                continue;
            };
            left -= 1;
            if self.forward && self.from.raw && self.copier.is_zero(self.from.io, at, there)? {
                continue;
            }
            let place = self.into.place(clu)?;
            let there = Sectors(there.0.min(place.inside.0));
            self.copier.copy(
                (self.from.io, at),
                (self.into.io(), place.at),
                there,
                place.len,
            )?;
            slots.extend(place.entry.map(|entry| (clu.0, entry)));
        }
        self.into.publish(&slots)?;
        Ok(u64::from(most - left))
    }
}

impl<'a> Source<'a> {
    fn io(&self) -> Io<'a> {
        Io {
            file: self.file,
            name: self.name,
        }
    }

    fn load(&self) -> Result<LoadedDelta, ControlError> {
        Ok(if self.raw {
            load::load_raw(self.file, self.name)?
        } else {
            load::load(self.file, self.name)?
        })
    }
}

/// Both deltas, loaded, and known to fit together.
struct Pair {
    lower: LoadedDelta,
    upper: LoadedDelta,
}

impl Pair {
    fn load(lower: Source<'_>, upper: Source<'_>) -> Result<Pair, ControlError> {
        let chain = [lower.load()?, upper.load()?];
        chain::validate(&chain, false)?;
        check_nested(&chain[..1], chain[1].size())?;
        for (delta, source) in chain.iter().zip([lower, upper]) {
            let header = delta.expanded().map(|image| image.header);
            if let Some(header) = header.filter(|header| header.is_converting()) {
                let problem = Problem::new(Field::Flags, header.flags, Rule::NotConverting);
                return Err(problem.refuse(source.name).into());
            }
        }
        let [lower, upper] = chain;
        Ok(Pair { lower, upper })
    }

    /// Refuses a lower that would have to grow, and that would be too large then.
    fn check_room(&self, lower: Source<'_>, layout: &Layout) -> Result<(), ControlError> {
        let grows = self.lower.expanded();
        if grows.is_none_or(|image| image.layout.size >= layout.size) {
            return Ok(());
        }
        let space = space_after(lower.file, lower.name, layout.size)?;
        match space.has(self.new_clusters()) {
            true => Ok(()),
            false => Err(no_host(layout, lower.name)),
        }
    }

    /// Clusters that the upper has and the lower has not.
    fn new_clusters(&self) -> u64 {
        fn bat(delta: &LoadedDelta) -> &[u32] {
            delta.expanded().map_or(&[], |image| &image.bat)
        }
        let lower = bat(&self.lower);
        let there = |clu| lower.get(clu).is_some_and(|&entry| entry != 0);
        let upper = bat(&self.upper).iter().enumerate();
        upper
            .filter(|&(clu, &entry)| entry != 0 && !there(clu))
            .count() as u64
    }

    fn upper_layout(&self, upper: Source<'_>) -> Result<Layout, ControlError> {
        match self.upper.expanded() {
            Some(image) => Ok(image.layout),
            None => Err(Problem::new(Field::Level, 1u32, Rule::RawIsBase)
                .refuse(upper.name)
                .into()),
        }
    }
}

/// A cluster behind everything that entries can name.
fn no_host(layout: &Layout, name: &str) -> ControlError {
    let at = layout.entry_sector(u32::MAX);
    Refusal::NoHost { at }.of(name)
}

/// The delta that gives its clusters.
#[derive(Debug)]
struct Giver<'a> {
    io: Io<'a>,
    raw: bool,
    /// Guest clusters that it may have.
    clusters: u32,
    layout: Layout,
    bat: Vec<u32>,
}

impl<'a> Giver<'a> {
    fn new(source: Source<'a>, delta: &LoadedDelta, cluster: Sectors) -> Giver<'a> {
        let io = source.io();
        match delta.expanded() {
            Some(image) => Giver {
                io,
                raw: false,
                clusters: image.layout.entries,
                layout: image.layout,
                bat: image.bat.clone(),
            },
            None => {
                // The rules of a chain bound it by the entries of the upper.
                let clusters = u32::try_from(delta.entries(cluster)).unwrap_or(u32::MAX);
                let layout = Layout {
                    version: crate::format::Version::V2,
                    cluster,
                    entries: clusters,
                    size: Sectors::covering(delta.file_len),
                    data_start: Sector(0),
                    phase: Sectors::ZERO,
                };
                Giver {
                    io,
                    raw: true,
                    clusters,
                    layout,
                    bat: Vec::new(),
                }
            }
        }
    }

    /// Where a cluster is, and how many sectors of it are the disk's.
    fn place(&self, clu: Clu) -> Option<(Sector, Sectors)> {
        let at = if self.raw {
            Sector(u64::from(clu.0) * self.layout.cluster.0)
        } else {
            let entry = *self.bat.get(clu.0 as usize)?;
            if entry == 0 {
                return None;
            }
            self.layout.entry_sector(entry)
        };
        Some((at, self.layout.guest_len(clu)))
    }
}

/// The delta that takes clusters in.
#[derive(Debug)]
enum Taker<'a> {
    Image {
        edit: Box<Edit<'a>>,
        space: Space,
    },
    Raw {
        io: Io<'a>,
        cluster: Sectors,
        size: Sectors,
    },
}

/// Where a cluster goes.
struct Target {
    at: Sector,
    /// Sectors of it that are the disk's.
    inside: Sectors,
    /// Sectors to be written.
    len: Sectors,
    /// Its new entry, if it had none.
    entry: Option<u32>,
}

impl<'a> Taker<'a> {
    fn image(edit: Edit<'a>) -> Taker<'a> {
        let first = edit.layout.first_host();
        let space = Space::new(edit.layout, &edit.bat, &edit.reserved, first);
        Taker::Image {
            edit: Box::new(edit),
            space,
        }
    }

    fn io(&self) -> Io<'a> {
        match self {
            Taker::Image { edit, .. } => edit.io,
            Taker::Raw { io, .. } => *io,
        }
    }

    fn has(&self, clu: Clu) -> bool {
        match self {
            Taker::Image { edit, .. } => edit.bat.get(clu.0 as usize) != Some(&0),
            Taker::Raw { .. } => true,
        }
    }

    fn begin(&mut self) -> Result<(), ControlError> {
        match self {
            Taker::Image { edit, .. } => edit.mark(),
            Taker::Raw { io, size, .. } => {
                let len = io.len()?;
                if len >= size.bytes() {
                    return Ok(());
                }
                io.extend(size.0, "extending the raw file")?;
                let synced = io.sync("the sync of the raw file's length");
                if synced.is_err() {
                    // What is seen of the length is not durable, and whoever tries again must see that. It has failed
                    // already: this may fail, too.
                    let _ = io.cut(len, "cutting the raw file");
                }
                synced
            }
        }
    }

    /// Where a cluster goes: over the one that is there, or to a free one.
    fn place(&mut self, clu: Clu) -> Result<Target, ControlError> {
        let (edit, space) = match self {
            Taker::Raw { cluster, size, .. } => {
                let at = Sector(u64::from(clu.0) * cluster.0);
                let len = Sectors(size.0.saturating_sub(at.0).min(cluster.0));
                return Ok(Target {
                    at,
                    inside: len,
                    len,
                    entry: None,
                });
            }
            Taker::Image { edit, space } => (edit, space),
        };
        let layout = edit.layout;
        let inside = layout.guest_len(clu);
        let (at, entry) = match edit.bat[clu.0 as usize] {
            0 => {
                let (host, entry) = space.take().ok_or_else(|| no_host(&layout, edit.io.name))?;
                let at = layout.host_sector(host);
                let end = at.after(layout.cluster);
                edit.io.extend(end.0, "extending the file")?;
                (at, Some(entry))
            }
            entry => (layout.entry_sector(entry), None),
        };
        Ok(Target {
            at,
            inside,
            len: layout.cluster,
            entry,
        })
    }

    /// Makes the copies durable, then writes their slots.
    fn publish(&mut self, slots: &[(u32, u32)]) -> Result<(), ControlError> {
        let Taker::Image { edit, .. } = self else {
            return Ok(());
        };
        if slots.is_empty() {
            return Ok(());
        }
        edit.io.sync("the sync of the copied clusters")?;
        for &(slot, entry) in slots {
            edit.bat[slot as usize] = entry;
        }
        edit.write_slots(slots.iter().map(|&(slot, _)| slot))
    }

    /// Makes everything durable and clears the mark. `keep`: the disk's content is the same.
    fn end(&mut self, keep: bool) -> Result<(), ControlError> {
        match self {
            Taker::Image { edit, .. } => edit.close(keep),
            Taker::Raw { io, .. } => io.sync("the sync of the merged file"),
        }
    }
}
