//! Stacks of any sizes: what core and model make of where a level's disk ends.
//!
//! Checkers: `chain` (refused exactly if a lower delta reaches further than one above it, but for what lies behind the end of
//! the disk in its last cluster; and that is found by who would bring it to light), `refused` (what is refused is not written),
//! `content` (core and model read the same; behind the old end of a disk that has grown there are zeros).

use super::draw::{self, Wish};
use super::grow::geometry;
use super::judge::{self, Bytes};
use super::merge::{draw_size, raw_file};
use super::{Stats, no_calls};
use crate::check::failure;
use crate::disk::fault::FaultPlan;
use crate::disk::{BlockingFile, Power, SimFile};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::image::{Image, Level, read_sector};
use model::op::Value;
use ploop_core::Options;
use ploop_core::control::files::{Merge, Source, check_nested, grow};
use ploop_core::delta::{LoadedDelta, chain};
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::load;
use ploop_core::units::{Sector, Sectors};

/// A stack of files, bottom to top.
struct Stack {
    files: Vec<SimFile>,
    sizes: Vec<u64>,
    raw: bool,
    cluster: u64,
    /// What it shows.
    content: Vec<Value>,
}

/// One stack.
///
/// # Errors
/// What a checker found.
pub fn run(tape: &mut Tape) -> Result<Stats, Failure> {
    let mut stack = Stack::draw(tape);
    let deltas = stack.load()?;
    let (top, lowers) = stack.sizes.split_last().expect("a top");
    let clusters = |size: &u64| size.div_ceil(stack.cluster);
    let in_order = |pair: &[u64]| pair[0].min(*top) <= pair[1].min(*top);
    let fits = lowers.iter().all(|size| clusters(size) <= clusters(top))
        && stack.sizes.windows(2).all(in_order);
    let nested = lowers.iter().all(|size| size <= top);
    for write in [false, true] {
        let valid = chain::validate(&deltas, write);
        if valid.is_ok() != fits {
            let message = format!("{:?}, to be written: {write}: {valid:?}", stack.sizes);
            return Err(failure("chain", message));
        }
    }
    if check_nested(&deltas[..lowers.len()], Sectors(*top)).is_ok() != nested {
        return Err(failure("chain", format!("{:?}: would grow", stack.sizes)));
    }
    if fits {
        stack.read(deltas)?;
    }
    if !fits || !nested {
        stack.merge_nothing(tape)?;
        return Ok(Stats::default());
    }
    stack.grow(tape)?;
    Ok(Stats {
        runs: 1,
        ..Stats::default()
    })
}

impl Stack {
    fn draw(tape: &mut Tape) -> Stack {
        let cluster = [2, 3, 4, 1][tape.index(Kind::Geometry, 4)];
        let most = 1 + u64::from(tape.choose(Kind::Geometry, 6));
        let levels = 2 + tape.choose(Kind::Geometry, 2);
        let raw = tape.choose(Kind::Geometry, 4) == 3;
        let (mut files, mut sizes, mut content) = (Vec::new(), Vec::new(), Vec::new());
        for level in 0..levels {
            let less = match tape.choose(Kind::Geometry, 3) {
                _ if level + 1 == levels => 0,
                2 => u64::from(tape.choose(Kind::Geometry, most as u32)),
                _ => 0,
            };
            let size = draw_size(most - less, cluster, tape);
            let (file, values) = if raw && level == 0 {
                raw_file(size, tape)
            } else {
                let wish = Wish {
                    cluster,
                    size,
                    mapped: 4,
                    write: 1 + level,
                };
                let drawn = draw::image(&wish, tape);
                let mut file = SimFile::new();
                file.reset_bytes(geometry(tape), &drawn.bytes);
                (file, drawn.values)
            };
            lay_over(&mut content, &values, cluster as usize);
            files.push(file);
            sizes.push(size);
        }
        let top = sizes[sizes.len() - 1];
        content.resize(top as usize, Value::ZERO);
        Stack {
            files,
            sizes,
            raw,
            cluster,
            content,
        }
    }

    fn load(&self) -> Result<Vec<LoadedDelta>, Failure> {
        let load = |(level, file): (usize, &SimFile)| match level {
            0 if self.raw => load::load_raw(file, "raw"),
            _ => load::load(file, "delta"),
        };
        let loaded: Result<_, _> = self.files.iter().enumerate().map(load).collect();
        loaded.map_err(|error| failure("open", error.to_string()))
    }

    /// The core reads what the model reads, and what was drawn.
    fn read(&self, deltas: Vec<LoadedDelta>) -> Result<(), Failure> {
        let views: Vec<_> = self.files.iter().map(SimFile::view).collect();
        judge::content(&views, self.raw, &self.content)?;
        let boxed = self.files.iter();
        let boxed = boxed.map(|file| Box::new(file.clone()) as Box<dyn DeltaFile>);
        let options = Options {
            write: false,
            ..Options::default()
        };
        let opened = Disk::open(deltas, boxed.collect(), options);
        let mut disk = opened.map_err(|error| failure("open", error.to_string()))?;
        let bytes: Vec<Bytes<'_>> = views.iter().map(|&view| Bytes(view)).collect();
        let mut levels: Vec<Level<'_>> = Vec::new();
        for (level, file) in bytes.iter().enumerate() {
            levels.push(if level == 0 && self.raw {
                Level::Raw(file)
            } else {
                Level::Image(Image::open(file).map_err(|why| failure("image", why.to_string()))?)
            });
        }
        for sector in 0..self.content.len() as u64 {
            let (mut core, mut model) = ([0xEE; 512], [0; 512]);
            let read = disk.read(Sector(sector), &mut core);
            read.map_err(|error| failure("content", format!("sector {sector}: {error:?}")))?;
            read_sector(&levels, sector, &mut model);
            if core != model {
                let message = format!("sector {sector} reads differently in core and model");
                return Err(failure("content", message));
            }
        }
        Ok(())
    }

    /// A lower that is larger is not merged, and neither file is written.
    fn merge_nothing(&mut self, tape: &mut Tape) -> Result<(), Failure> {
        let pair = self.files.len() - 2;
        if self.sizes[pair] <= self.sizes[pair + 1] {
            return Ok(());
        }
        let raw = self.raw && pair == 0;
        let cluster = self.cluster;
        for forward in [true, false] {
            let what = format!("merge, forward: {forward}, clusters of {cluster}");
            no_calls(&mut self.files[pair..], tape, &what, |files| {
                let source = |file, raw| Source {
                    file,
                    name: "delta",
                    raw,
                };
                let (lower, upper) = (source(files[0], raw), source(files[1], false));
                let mut merge = match forward {
                    true => Merge::forward(lower, upper)?,
                    false => Merge::backward(lower, upper)?,
                };
                merge.step(u32::MAX).map(drop)
            })?;
        }
        Ok(())
    }

    /// Behind the old end there are zeros, whatever the levels below have there.
    fn grow(&mut self, tape: &mut Tape) -> Result<(), Failure> {
        let more = 1 + tape.choose(Kind::Arg, 3 * self.cluster as u32);
        let size = self.content.len() + more as usize;
        let top = self.files.last_mut().expect("a top");
        let mut none = FaultPlan::none();
        let supply = Power::new(tape, &mut none, None);
        let grown = grow(
            &BlockingFile::new(top, &supply),
            "top",
            Sectors(size as u64),
        );
        grown.map_err(|error| failure("progress", format!("growing: {error}")))?;
        self.content.resize(size, Value::ZERO);
        self.read(self.load()?)
    }
}

/// Clusters of a level hide those below, also behind the level's end.
fn lay_over(content: &mut Vec<Value>, values: &[Option<Value>], cluster: usize) {
    content.resize(content.len().max(values.len()), Value::ZERO);
    for (start, own) in (0..).step_by(cluster).zip(values.chunks(cluster)) {
        if own.iter().all(Option::is_none) {
            continue;
        }
        let end = (start + cluster).min(content.len());
        content[start..end].fill(Value::ZERO);
        for (to, value) in content[start..].iter_mut().zip(own) {
            *to = value.unwrap_or_default();
        }
    }
}
