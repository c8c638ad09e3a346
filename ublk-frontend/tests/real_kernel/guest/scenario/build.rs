//! The files of a scenario, scaled, and the options that its device is added with.

use std::path::{Path, PathBuf};

use model::op::Value;
use ploop_core::units::Sectors;
use ploop_core::{NoSpace, WriteBack};
use sim::disk::SimFile;
use sim::scenario::Scenario;
use sim::world::chain::{self, Content, Level};
use sim::world::shape::Shape;

use super::super::disks;
use super::super::trouble::Trouble;
use super::SCALE;

/// What a scenario's device is made of.
pub(super) struct Built {
    /// Images, bottom to top.
    pub(super) images: Vec<PathBuf>,
    /// What the chain reads as.
    pub(super) content: Vec<Value>,
    /// Options of `add`, but the delay of write-back.
    words: String,
    /// That, in milliseconds.
    pub(super) delay: u64,
}

impl Built {
    /// Options of `add`.
    pub(super) fn options(&self) -> String {
        format!("{} --flush-delay {}ms", self.words, self.delay)
    }
}

/// The scenario's shape on a real device: larger clusters, real pages.
fn scaled(shape: &Shape) -> Shape {
    let mut shape = shape.clone();
    shape.cluster *= SCALE;
    shape.size *= SCALE;
    shape.options.prealloc = Sectors(shape.options.prealloc.0 * SCALE);
    shape.options.page_bytes = 4096;
    shape.options.granule = 512;
    shape
}

/// The levels below the top on a real device: those that are shorter disks are so in proportion.
fn scaled_lowers(lowers: &[Level]) -> Vec<Level> {
    let mut lowers = lowers.to_vec();
    for level in &mut lowers {
        if let Level::Image(plan) = level {
            plan.size = plan.size.map(|size| size * SCALE);
        }
    }
    lowers
}

/// Writes the files.
pub(super) fn build(scenario: &Scenario) -> Result<Built, Trouble> {
    let shape = scaled(&scenario.shape);
    let (mut lowers, mut top) = (Vec::new(), SimFile::new());
    let mut content = Content::default();
    chain::build(
        &shape,
        &scaled_lowers(&scenario.lowers),
        &scenario.top,
        &mut lowers,
        &mut top,
        &mut content,
    );
    let folder = disks::folder("scenario")?;
    let mut images = Vec::new();
    for (level, file) in lowers.iter().chain([&top]).enumerate() {
        let kind = if level == 0 && shape.raw_base {
            "raw"
        } else {
            "hdd"
        };
        let path = folder.join(format!("{level}.{kind}"));
        write(file, &path)?;
        images.push(path);
    }
    Ok(Built {
        images,
        content: content.all,
        words: words(&shape),
        delay: match shape.options.write_back {
            WriteBack::Delayed(delay) => delay.0,
            WriteBack::Immediate => 0,
        },
    })
}

fn write(file: &SimFile, path: &Path) -> std::io::Result<()> {
    let mut bytes = vec![0; file.len_bytes() as usize];
    file.view().read_bytes(0, &mut bytes);
    std::fs::write(path, bytes)
}

fn words(shape: &Shape) -> String {
    let fail = match shape.options.no_space {
        NoSpace::Fail => " --no-space fail",
        NoSpace::Wait { .. } => "",
    };
    format!(
        "--queues {} --depth {}{fail}",
        shape.options.queues, shape.options.depth
    )
}
