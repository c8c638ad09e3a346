//! Two adjacent images below the top become one while the disk is in use.
//!
//! ```text
//!   lock "change" ─▶ marks ─▶ server lends the image that is written ─▶ clusters are copied, users go on ─▶ it steps aside for a
//!        moment ─▶ one of the two leaves the chain ─▶ next server
//! ```
//! Why the disk may go on while its own files are written: its core has read their indexes when it was opened, and never again.
//! * **Down**, the lower file is written: clusters that the upper one has, over those of the lower or into free space. The core's
//!   index leads past the upper one for none of them, and never will: a cluster that some image has is not un-mapped in the top. The
//!   other clusters stay where they are. (Growing the lower file would move some: that is done before, with the server aside.)
//! * **Up**, the upper file is written: clusters that it lacks go into free space. The core goes on reading them in the lower file.
//! * The server keeps its lock of the written file and shares it with nobody. It is asked after each step: with a server that
//!   is gone the copying ends. No next server begins before this command has ended.
//! * Cut at any time, the chain is the old one and shows the same; the next server reads what was copied, or does not: the image
//!   above has it, too. A file that is still marked as in use is sound, and the same command once more ends it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ploop_core::control::files::{ControlError, Merge, Source, grow};
use ploop_core::load::{load, sniff};
use ploop_core::units::Sectors;

use super::merge_up::{no_server, tell_left};
use super::refused;
use super::snapshot::stands_on;
use super::tell::question;
use super::topology::Change;
use crate::bundle::descriptor::Temporary;
use crate::bundle::folder::Lock;
use crate::bundle::live::{self, Pair as Snapshots};
use crate::bundle::{Bundle, RealFolder};
use crate::files::{RealFile, child, id_of, sync_folder_of};
use crate::tool::ToolError;
use crate::tool::change::{bundle_of, must_be_free};
use crate::tool::load::name_of;
use crate::tool::output::complain;
use crate::tool::progress;
use crate::ublk::report::Report;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Record};

/// Clusters between two looks at the server.
const STEP: u32 = 64;

/// Two images, one right above the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Number of the lower one; 0 is the oldest.
    pub(super) level: usize,
    pub(super) lower: PathBuf,
    pub(super) upper: PathBuf,
    /// The lower one is a raw disk.
    raw: bool,
    /// The clusters go up.
    pub(super) up: bool,
    /// What they are in a bundle.
    snapshots: Option<Snapshots>,
}

/// What was copied while the disk went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Clusters.
    pub(super) clusters: u64,
    /// Requests of the disk's users that ended meanwhile.
    pub(super) requests: u64,
}

/// Requests that a server has ended.
pub(super) fn ended(now: &Report) -> u64 {
    let began: u64 = now.counters.requests.values().sum();
    began.saturating_sub(now.counters.in_flight)
}

/// What is held of a bundle from the marks to the end.
pub(super) type Held = Option<(RealFolder, Lock)>;

fn failed(error: ControlError) -> ToolError {
    refused(error.to_string())
}

impl Pair {
    /// The image of this number and the one above it.
    pub(super) fn of(record: &Record, level: usize, up: bool) -> Result<Pair, ToolError> {
        let (Some(lower), Some(upper)) = (record.images.get(level), record.images.get(level + 1))
        else {
            return Err(refused(format!(
                "device {}: there is no image below",
                record.id
            )));
        };
        let is_image = sniff(&RealFile::open_look(lower)?).map_err(ToolError::io(lower, "read"))?;
        let snapshots = match &record.bundle {
            None => None,
            Some(bundle) => {
                let tree = Bundle::read(&RealFolder::new(bundle))?.tree;
                let chain = tree.chain(tree.top());
                let guid = |level: usize| chain.get(level).map(|node| node.guid);
                let (Some(lower), Some(upper)) = (guid(level), guid(level + 1)) else {
                    return Err(refused(format!("{}: was changed", bundle.display())));
                };
                let forward = up;
                Some(Snapshots {
                    lower,
                    upper,
                    forward,
                })
            }
        };
        let pair = Pair {
            level,
            lower: lower.clone(),
            upper: upper.clone(),
            raw: !is_image || (level == 0 && record.raw_base),
            up,
            snapshots,
        };
        pair.must_be_possible(record)?;
        Ok(pair)
    }

    /// What would keep the merge from its end is found before anything is copied.
    fn must_be_possible(&self, record: &Record) -> Result<(), ToolError> {
        let lower = self.lower.display();
        if self.up && self.raw {
            return Err(refused(format!(
                "{lower}: a raw disk would be copied whole, with all that was never written: --up is for images"
            )));
        }
        if let (Some(pair), Some(bundle)) = (self.snapshots, &record.bundle) {
            let tree = Bundle::read(&RealFolder::new(bundle))?.tree;
            let node = tree.get(pair.lower);
            let is_free = node.is_some_and(|node| {
                node.children.len() == 1 && node.temporary != Some(Temporary::Foreign)
            });
            if !is_free {
                return Err(refused(format!(
                    "{}: the snapshot {} is needed by others, or another program has begun to merge it",
                    bundle.display(),
                    pair.lower
                )));
            }
            return Ok(());
        }
        if self.up {
            return [&self.lower, &self.upper]
                .iter()
                .try_for_each(|image| can_be_marked(image));
        }
        // Nobody else may stand on what is about to be written.
        if let Some(file) = id_of(&self.lower) {
            must_be_free(&self.lower, &[file], Some(record.id))?;
        }
        let child = child::of(&self.lower);
        let child = child.map_err(ToolError::io(&self.lower, "read the attributes of"))?;
        let of_us = |child: &Path| {
            let id = id_of(child);
            id.is_some() && record.images.iter().any(|image| id_of(image) == id)
        };
        match child.filter(|child| !of_us(child)) {
            None => Ok(()),
            Some(child) => Err(refused(format!(
                "{lower}: {} stands on it, too",
                child.display()
            ))),
        }
    }

    /// The lower one would have to grow first, which moves clusters.
    pub(super) fn must_grow(&self) -> Result<Option<Sectors>, ToolError> {
        if self.up || self.raw {
            return Ok(None);
        }
        let (lower, upper) = (size_of(&self.lower)?, size_of(&self.upper)?);
        Ok(upper.filter(|_| lower < upper))
    }

    /// Grows the lower one; the server is aside.
    pub(super) fn grow(&self, change: &mut Change<'_>) -> Result<(), ToolError> {
        let mut held = None;
        self.mark(change.record(), &mut held)?;
        if let Some(size) = self.must_grow()? {
            let lower = RealFile::open_write(&self.lower)?;
            grow(&lower, &name_of(&self.lower), size).map_err(failed)?;
        }
        drop(held);
        match change.bundle() {
            Some(_) => change.commit_bundle(),
            None => change.commit(change.images().to_vec()),
        }
    }

    /// From now on nobody takes the file that is written for what it was.
    fn mark(&self, record: &Record, held: &mut Held) -> Result<(), ToolError> {
        if let (Some(pair), Some(bundle)) = (self.snapshots, &record.bundle) {
            let (at, lock) = bundle_of(bundle, Some(record.id))?;
            live::begin(&at, pair)?;
            *held = Some((at, lock));
            return Ok(());
        }
        if self.up {
            return Ok(());
        }
        let marked = child::of(&self.lower);
        let marked = marked.map_err(ToolError::io(&self.lower, "read the attributes of"))?;
        if marked.is_none() && child::can_be_marked(&self.lower) {
            let file = RealFile::open_look(&self.lower)?;
            child::mark(&file, &self.upper).map_err(ToolError::io(&self.lower, "mark"))?;
        }
        Ok(())
    }

    /// Copies while the disk goes on. What is held is for [`Pair::end`].
    pub(super) fn copy(
        &self,
        folder: &Folder,
        record: &Record,
        interrupted: &AtomicBool,
        held: &mut Held,
    ) -> Result<Copied, ToolError> {
        // A disk that has no server is left as it is.
        told(record.id, question(folder, record.id, Question::Info)?)?;
        self.mark(record, held)?;
        let level = self.level + usize::from(self.up);
        let level = u8::try_from(level).map_err(|_| refused("too many images"))?;
        let copied = self.copy_lent(folder, record.id, level, interrupted);
        if copied.is_err() {
            // The error is the one to tell; a server that is gone has given up everything.
            let _ = question(folder, record.id, Question::GiveBack);
        }
        copied
    }

    fn copy_lent(
        &self,
        folder: &Folder,
        id: u32,
        level: u8,
        interrupted: &AtomicBool,
    ) -> Result<Copied, ToolError> {
        let (written, other) = match self.up {
            true => (&self.upper, &self.lower),
            false => (&self.lower, &self.upper),
        };
        let lent = told(id, question(folder, id, Question::Lend { level })?)?;
        let written = RealFile::open_lent(written)?;
        let file = written.id();
        let (dev, ino) = (file.dev, file.ino);
        if lent != (Answer::Lent { dev, ino }) {
            return Err(refused(format!(
                "{}: is another file than the one that device {id} has open",
                written.path().display()
            )));
        }
        if self.must_grow()?.is_some() {
            return Err(refused(format!(
                "{}: its disk is smaller: ask again",
                self.lower.display()
            )));
        }
        let other = RealFile::open_read(other)?;
        let (upper, lower) = match self.up {
            true => (&written, &other),
            false => (&other, &written),
        };
        let names = (name_of(&self.lower), name_of(&self.upper));
        let lower = Source {
            file: lower,
            name: &names.0,
            raw: self.raw,
        };
        let upper = Source {
            file: upper,
            name: &names.1,
            raw: false,
        };
        let mut merge = match self.up {
            true => Merge::forward(lower, upper),
            false => Merge::backward(lower, upper),
        }
        .map_err(failed)?;
        let bar = progress::clusters();
        let requests = || match told(id, question(folder, id, Question::Info)?)? {
            Answer::Info(now) => Ok(ended(&now)),
            other => Err(refused(format!("device {id}: a strange answer: {other:?}"))),
        };
        let before = requests()?;
        let mut now = merge.progress();
        loop {
            let (done, total) = (now.done, now.total);
            let word = Question::Merged { done, total };
            let going_on = question(folder, id, word).and_then(|answer| told(id, answer));
            let going_on = going_on.and_then(|_| match interrupted.load(Ordering::Relaxed) {
                true => Err(refused("interrupted: nothing is merged")),
                false => Ok(()),
            });
            if let Err(error) = going_on {
                if !now.finished {
                    // If that fails, the file keeps its mark.
                    let _ = merge.cancel();
                }
                return Err(error);
            }
            if now.finished {
                return Ok(Copied {
                    clusters: now.done,
                    requests: requests()?.saturating_sub(before),
                });
            }
            now = merge.step(STEP).map_err(failed)?;
            progress::show(&bar, now);
        }
    }

    /// One of the two leaves the chain. Everything is copied; the server is aside.
    pub(super) fn end(&self, change: &mut Change<'_>, held: &mut Held) -> Result<(), ToolError> {
        if let Some(pair) = self.snapshots {
            let Some((at, _lock)) = held.take() else {
                return Err(refused("the bundle was not locked"));
            };
            if let Some(file) = live::end(&at, pair)? {
                tell_left(&file);
            }
            return change.commit_bundle();
        }
        match self.up {
            true => drop_lower(change, self.level),
            false => self.drop_upper(change),
        }
    }

    /// The chain without the upper image, which the lower one has in it.
    fn drop_upper(&self, change: &mut Change<'_>) -> Result<(), ToolError> {
        let mut images = change.images().to_vec();
        let above = images.get(self.level + 2).cloned();
        let Some(above) = above.filter(|_| images.get(self.level) == Some(&self.lower)) else {
            return Err(refused("the images were changed by another command"));
        };
        {
            // Nobody else has them. All marks before the upper one leaves: neither is the disk at any time.
            let files = [
                RealFile::open_write(&self.lower)?,
                RealFile::open_write(&self.upper)?,
            ];
            for file in &files {
                if child::can_be_marked(file.path()) {
                    child::mark(file, &above).map_err(ToolError::io(file.path(), "mark"))?;
                }
            }
        }
        images.remove(self.level + 1);
        change.commit(images)?;
        let removed = std::fs::remove_file(&self.upper);
        if let Err(error) = removed.and_then(|()| sync_folder_of(&self.upper)) {
            let error = ToolError::io(&self.upper, "remove")(error);
            complain(
                "note",
                format_args!("merged, but it is still there: {error}: remove it"),
            );
        }
        Ok(())
    }
}

/// An answer that is no refusal.
fn told(id: u32, answer: Option<Answer>) -> Result<Answer, ToolError> {
    match answer {
        None => Err(no_server(id)),
        Some(Answer::Refused(why)) => Err(refused(format!("device {id}: {why}"))),
        Some(other) => Ok(other),
    }
}

fn size_of(image: &Path) -> Result<Option<Sectors>, ToolError> {
    let delta = load(&RealFile::open_look(image)?, &name_of(image))?;
    Ok(delta.expanded().map(|image| image.layout.size))
}

fn can_be_marked(image: &Path) -> Result<(), ToolError> {
    match child::can_be_marked(image) {
        true => Ok(()),
        false => Err(refused(format!(
            "{}: its file system has no extended attributes, so that it cannot be told from the disk of before",
            image.display()
        ))),
    }
}

/// The chain without an image whose clusters have gone up.
pub(super) fn drop_lower(change: &mut Change<'_>, level: usize) -> Result<(), ToolError> {
    let mut images = change.images().to_vec();
    let (Some(lower), Some(upper)) = (images.get(level).cloned(), images.get(level + 1).cloned())
    else {
        return Err(refused("there is no snapshot to merge"));
    };
    let is_oldest = level == 0;
    {
        let (top, below) = (RealFile::open_write(&upper)?, RealFile::open_read(&lower)?);
        let is_image = sniff(&below).map_err(ToolError::io(&lower, "read"))?;
        let raw = !is_image || (is_oldest && change.raw_base());
        let (upper_name, lower_name) = (name_of(&upper), name_of(&lower));
        let source = |file, name, raw| Source { file, name, raw };
        // Nothing, or what a raw image has in clusters that were never used.
        let mut merge = Merge::forward(
            source(&below, &lower_name, raw),
            source(&top, &upper_name, false),
        )
        .map_err(failed)?;
        let left = merge.progress().total;
        if left > 0 {
            complain(
                "note",
                format_args!("{left} clusters are copied while the disk waits"),
            );
        }
        while !merge.step(STEP).map_err(failed)?.finished {}
        drop(merge);
        // All marks before the lower image leaves: so the disk cannot be taken for another one at any time.
        child::remember_merged(&top, &lower).map_err(ToolError::io(&upper, "mark"))?;
        let marked = child::of(&lower).map_err(ToolError::io(&lower, "read the attributes of"))?;
        if marked.is_none() {
            child::mark(&below, &upper).map_err(ToolError::io(&lower, "mark"))?;
        }
    }
    if let Some(base) = level.checked_sub(1).and_then(|base| images.get(base)) {
        stands_on(base, &lower, &upper)?;
    }
    images.remove(level);
    change.commit_without_base(images, is_oldest)?;
    tell_left(&lower);
    Ok(())
}
