//! The control plane's operations on files: a power cut in every call, with its crash images, and a fault at every I/O.
//! Images and sizes are drawn; seeds are fixed.

mod bitmaps;
mod compact;
mod grow;
mod live;
mod merge;
mod refused;
mod repair;
mod session;

use sim::disk::SimFile;
use sim::disk::fault::FaultKind;
use sim::fuzzing::control::{Drill, Ground, Stats};
use sim::tape::Tape;
use std::ops::Range;

/// Most crash images of one cut.
const MOST_IMAGES: u64 = 64;

/// Cuts the power in every call of the drills of these seeds.
fn cut_everywhere<D: Drill>(
    seeds: Range<u64>,
    draw: impl Fn(&mut Tape) -> (D, Vec<SimFile>),
) -> Stats {
    let mut all = Stats::default();
    for seed in seeds {
        let mut tape = Tape::from_seed(seed);
        let (drill, files) = draw(&mut tape);
        let mut ground = Ground::new(&drill, &mut tape, MOST_IMAGES);
        let done = ground.cut_everywhere(&files);
        all.add(&ground.stats);
        done.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    println!("cuts: {all:?}");
    all
}

/// Every fault at every I/O.
fn fail_everywhere<D: Drill>(
    seeds: Range<u64>,
    draw: impl Fn(&mut Tape) -> (D, Vec<SimFile>),
) -> Stats {
    let mut all = Stats::default();
    for seed in seeds {
        for (kind, refusals) in [
            (FaultKind::Io, 0),
            (FaultKind::Short, 0),
            (FaultKind::Nothing, 0),
            (FaultKind::NoSpace, 1),
            (FaultKind::NoSpace, 3),
            (FaultKind::Unsupported, 0),
        ] {
            let mut tape = Tape::from_seed(seed);
            let (drill, files) = draw(&mut tape);
            let mut ground = Ground::new(&drill, &mut tape, MOST_IMAGES);
            let done = ground.fail_everywhere(&files, kind, refusals);
            all.add(&ground.stats);
            done.unwrap_or_else(|failure| panic!("seed {seed}, {}: {failure}", kind.name()));
        }
    }
    println!("faults: {all:?}");
    all
}
