//! Checkers on an image of the top file, as a crash or a close left it.
//!
//! * `open`: the core's own loader takes it (a crash never makes a refused image).
//! * `image`: the model's fsck finds nothing: no alias, nothing outside the data area (I1, I2, I26, I27), a sound
//!   header (I6), the in-use mark where it must be (I31), and after a clean close no leak at the end (I3) and nothing owed (I5).
//! * `durable`: every sector holds what the model allows (I24, I25, I28, I30).

use model::disk::Model;
use model::fsck;
use model::fsck::Fsck;
use model::image::{Image, ImageBytes, InUse};
use model::op::Value;
use ploop_core::delta::LoadedDelta;
use ploop_core::format::Layout;
use ploop_core::load;

use crate::check::bitmaps::{Knows, Since};
use crate::check::extension::{self, Kept};
use crate::check::failure;
use crate::disk::View;
use crate::report::Failure;

/// The model's view of a simulated file. The metadata is copied out once: it is read entry by entry.
struct Bytes<'a> {
    view: View<'a>,
    meta: &'a [u8],
}

impl ImageBytes for Bytes<'_> {
    fn len(&self) -> u64 {
        self.view.len_bytes()
    }
    fn read(&self, at: u64, buf: &mut [u8]) {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        if let Some(bytes) = self.meta.get(from..from.saturating_add(buf.len())) {
            return buf.copy_from_slice(bytes);
        }
        let done = self.view.read_bytes(at, buf);
        buf[done..].fill(0);
    }
}

/// What is known about how the image was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The power was cut; the mark must be there.
    Marked,
    /// The power was cut while the mark was being set or cleared, or before.
    Either,
    /// Closed cleanly: no mark, no leak.
    Closed,
}

/// Memory of the checkers, and what they read.
#[derive(Debug, Default)]
pub struct Images {
    fsck: Fsck,
    meta: Vec<u8>,
    /// What the image reads as, per guest sector.
    pub seen: Vec<Value>,
}

/// What an image is held against.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// What the lower levels show, per guest sector.
    pub below: &'a [Value],
    /// What of it must never change.
    pub kept: &'a Kept,
    /// What its dirty bitmaps must have marked.
    pub since: &'a Since,
    /// The layout of the image.
    pub layout: &'a Layout,
    /// How it was left.
    pub left: Left,
    /// What may stand in each sector.
    pub model: &'a Model,
    /// The power was cut while the image was being closed: what may stand there if everything was durable. An image
    /// that says that it is closed must hold no less.
    pub closed: Option<&'a Model>,
}

impl Images {
    /// Opens, checks, reads and compares an image.
    pub fn judge(&mut self, view: View<'_>, expected: Expected<'_>) -> Result<(), Failure> {
        let loaded = load::load(&view, "top")
            .map_err(|error| failure("open", format!("the loader refuses the image: {error}")))?;
        let mut meta = std::mem::take(&mut self.meta);
        meta.resize(expected.layout.data_start.bytes() as usize, 0);
        let there = view.read_bytes(0, &mut meta);
        meta.truncate(there);
        let result = self.check(&Bytes { view, meta: &meta }, &loaded, expected);
        self.meta = meta;
        result
    }

    fn check(
        &mut self,
        bytes: &Bytes<'_>,
        loaded: &LoadedDelta,
        expected: Expected<'_>,
    ) -> Result<(), Failure> {
        let report = self.fsck.check(bytes);
        if let Some(problem) = report.problems.first() {
            return Err(failure("image", format!("fsck: {problem}")));
        }
        let knows = expected.since.knows;
        check_left(report, expected.left, knows)?;
        let (ext_off, in_use) = (report.header.map_or(0, |h| h.ext_off), report.in_use());
        // A close may have saved bitmaps, also one without a change.
        let closing = expected.left == Left::Closed
            || expected.closed.is_some()
            || in_use == Some(InUse::Closed21);
        if !(expected.kept.loose || closing && knows != Knows::Nobody) {
            extension::check_image(&bytes.view, ext_off, expected.kept)?;
        }
        self.read(bytes, expected.below, expected.layout.cluster.0);
        expected.since.check(bytes, in_use, loaded, &self.seen)?;
        let judged = expected.model.check_all_after_crash(&self.seen);
        judged.map_err(|violation| failure("durable", violation.to_string()))?;
        let closed = expected
            .closed
            .filter(|_| matches!(in_use, Some(InUse::Closed | InUse::Closed21)));
        let judged = closed.map_or(Ok(()), |model| model.check_all_after_crash(&self.seen));
        judged.map_err(|violation| {
            let message = format!("marked as closed, but not all is durable (I31): {violation}");
            failure("durable", message)
        })
    }

    /// Puts what one level maps over what the levels below it show, with the model's naive reader.
    pub fn lay_over(&mut self, view: View<'_>, raw: bool, cluster: u64, content: &mut [Value]) {
        let bytes = Bytes { view, meta: &[] };
        let mut values = std::mem::take(&mut self.seen);
        let size = content.len() as u64;
        let mut put = |content: &mut [Value], at: u64, start: u64, end: u64| {
            values.clear();
            view.read_values(at, end - start, &mut values);
            content[start as usize..end as usize].copy_from_slice(&values);
        };
        if raw {
            put(content, 0, 0, size.min(view.len_sectors()));
        } else if let Ok(image) = Image::open(&bytes) {
            let size = size.min(image.header().size_sectors);
            let mut start = 0;
            while start < size {
                if let Some(at) = image.lookup(start) {
                    // What lies behind this level's disk is zeros.
                    let end = (start + cluster).min(content.len() as u64);
                    content[start as usize..end as usize].fill(Value::ZERO);
                    put(content, at, start, end.min(size));
                }
                start += cluster;
            }
        }
        self.seen = values;
    }

    /// Reads the image with the model's naive reader.
    fn read(&mut self, bytes: &Bytes<'_>, below: &[Value], cluster: u64) {
        self.seen.clear();
        let Ok(image) = Image::open(bytes) else {
            return;
        };
        let size = below.len() as u64;
        let mut start = 0;
        while start < size {
            let end = (start + cluster).min(size);
            match image.lookup(start) {
                Some(at) => bytes.view.read_values(at, end - start, &mut self.seen),
                None => self
                    .seen
                    .extend_from_slice(&below[start as usize..end as usize]),
            }
            start = end;
        }
    }
}

fn ends_in_leak(report: &fsck::Report) -> bool {
    let cluster = report.header.map_or(1, |header| header.cluster_sectors);
    report
        .leaks
        .last()
        .is_some_and(|leak| leak.sector + leak.clusters * cluster >= report.file_sectors)
}

fn check_left(report: &fsck::Report, left: Left, knows: Knows) -> Result<(), Failure> {
    let in_use = report.in_use();
    match left {
        Left::Closed if knows == Knows::Device && in_use != Some(InUse::Closed21) => Err(failure(
            "bitmaps",
            format!("closed, but marked {in_use:?}: the dirty bitmaps are lost"),
        )),
        Left::Marked if in_use != Some(InUse::Dirty) => Err(failure(
            "image",
            format!("the in-use mark is lost (I31): {in_use:?}"),
        )),
        Left::Closed if !matches!(in_use, Some(InUse::Closed | InUse::Closed21)) => Err(failure(
            "image",
            format!("closed, but marked {in_use:?} (I31)"),
        )),
        // No image has a damaged one at first; a close that was cut may leave one, and the next open forgets it.
        Left::Closed if report.extension == fsck::Extension::Damaged => Err(failure(
            "image",
            "closed, with a format extension that nobody can read".to_owned(),
        )),
        // Free clusters between used ones are holes to be used again; behind the last one they are a leak.
        Left::Closed if report.tail_bytes == 0 && ends_in_leak(report) => Err(failure(
            "image",
            format!(
                "closed, but the file ends in free clusters (I3): {:?}",
                report.leaks
            ),
        )),
        _ => Ok(()),
    }
}
