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
use ploop_core::load;

use crate::check::{extension, failure};
use crate::disk::View;
use crate::report::Failure;
use crate::world::chain::Content;

/// The model's view of a simulated file.
struct Bytes<'a>(View<'a>);

impl ImageBytes for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len_bytes()
    }
    fn read(&self, at: u64, buf: &mut [u8]) {
        let done = self.0.read_bytes(at, buf);
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
    /// What the image reads as, per guest sector.
    pub seen: Vec<Value>,
}

impl Images {
    /// Opens, checks and reads an image that stands on the lower levels of `content`.
    pub fn examine(
        &mut self,
        view: View<'_>,
        content: &Content,
        cluster: u64,
        left: Left,
    ) -> Result<(), Failure> {
        if let Err(error) = load::load(&view, "top") {
            return Err(failure(
                "open",
                format!("the loader refuses the image: {error}"),
            ));
        }
        let bytes = Bytes(view);
        let report = self.fsck.check(&bytes);
        if let Some(problem) = report.problems.first() {
            return Err(failure("image", format!("fsck: {problem}")));
        }
        check_left(report, left)?;
        let ext_off = report.header.map_or(0, |header| header.ext_off);
        extension::examine(view, ext_off, &content.kept)?;
        self.read(&bytes, &content.below, cluster);
        Ok(())
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
                Some(at) => self
                    .seen
                    .extend((start..end).map(|sector| bytes.0.read_value(at + sector - start))),
                None => self
                    .seen
                    .extend_from_slice(&below[start as usize..end as usize]),
            }
            start = end;
        }
    }

    /// Compares what was read with what may have survived.
    pub fn compare(&self, model: &Model) -> Result<(), Failure> {
        model
            .check_all_after_crash(&self.seen)
            .map_err(|violation| failure("durable", violation.to_string()))
    }
}

fn ends_in_leak(report: &fsck::Report) -> bool {
    let cluster = report.header.map_or(1, |header| header.cluster_sectors);
    report
        .leaks
        .last()
        .is_some_and(|leak| leak.sector + leak.clusters * cluster >= report.file_sectors)
}

fn check_left(report: &fsck::Report, left: Left) -> Result<(), Failure> {
    let in_use = report.in_use();
    match left {
        Left::Marked if in_use != Some(InUse::Dirty) => Err(failure(
            "image",
            format!("the in-use mark is lost (I31): {in_use:?}"),
        )),
        Left::Closed if in_use != Some(InUse::Closed) => Err(failure(
            "image",
            format!("closed, but marked {in_use:?} (I31)"),
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
