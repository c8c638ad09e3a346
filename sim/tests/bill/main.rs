//! The bill: how many I/Os (and bytes) of which sort each scenario of the corpus costs, how many I/Os ended while its operations
//! waited, and which marks of the core it passes. The same of some drawn worlds, all together.
//!
//! * What is right and needless is wrong here: an I/O, a byte, a turn or a wait more than a scenario needed. The checkers of the
//!   engines judge answers and images only. What no scenario brings about is not seen here either (`corpus/mutants.md`).
//! * Whoever changes a bill says in the commit why it is not dearer, or why it must be.
//! * One test: the marks are the process's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use model::op::Kind;
use ploop_core::verify::{Mark, forget, unseen};
use ploop_core::{IoOp, Origin};
use sim::profile::Profile;
use sim::scenario::{Scenario, run_in};
use sim::tape::Tape;
use sim::world::World;
use sim::world::log::{Entry, Happening};

/// See the module.
#[derive(Debug, Default)]
struct Bill {
    /// I/Os that began and their bytes, by sort.
    ios: BTreeMap<&'static str, (u64, u64)>,
    /// By sort of operation: how many ended, and I/Os of anybody that ended while they waited.
    waits: BTreeMap<&'static str, (u64, u64)>,
    /// Ends of batches that had something to do.
    turns: u64,
}

fn sort_of(op: &IoOp) -> &'static str {
    match op {
        IoOp::Read { .. } => "read",
        IoOp::ReadHole { .. } => "hole",
        IoOp::Write { fua: false, .. } => "write",
        IoOp::Write { fua: true, .. } => "durable write",
        IoOp::Zero { .. } => "zero",
        IoOp::Copy { .. } => "copy",
        IoOp::SetLen { .. } => "length",
        IoOp::WriteIndex { .. } => "index",
        IoOp::PunchHole { .. } => "punch",
        IoOp::Sync { .. } => "sync",
    }
}

/// Bytes that are moved, or made zeros. The rest of a read that the file's end cuts is not read.
fn bytes_of(op: &IoOp) -> u64 {
    match op {
        IoOp::Read { len, .. }
        | IoOp::ReadHole { len, .. }
        | IoOp::Write { len, .. }
        | IoOp::Zero { len, .. }
        | IoOp::Copy { len, .. }
        | IoOp::PunchHole { len, .. } => len.bytes(),
        IoOp::WriteIndex { image, .. } => image.len() as u64,
        IoOp::SetLen { .. } | IoOp::Sync { .. } => 0,
    }
}

fn kind_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "read",
        Kind::Write { .. } => "write",
        Kind::WriteZeroes { .. } => "zeroes",
        Kind::Discard => "discard",
        Kind::Flush => "flush",
        Kind::Promote { .. } => "promote",
    }
}

impl Bill {
    fn add(&mut self, log: &[Entry]) {
        let mut ended = 0;
        let mut since: Vec<(Origin, u64)> = Vec::new();
        for entry in log {
            match &entry.what {
                Happening::Begin { op, .. } => {
                    let (count, bytes) = self.ios.entry(sort_of(op)).or_default();
                    *count += 1;
                    *bytes += bytes_of(op);
                }
                Happening::Deliver { .. } => ended += 1,
                Happening::Turn(_) => self.turns += 1,
                Happening::Submit { origin, again, .. } if !again => since.push((*origin, ended)),
                Happening::Finish { origin, op, .. } => {
                    let submitted = since.iter().position(|(from, _)| from == origin);
                    let Some((_, begun)) = submitted.map(|at| since.swap_remove(at)) else {
                        continue;
                    };
                    let (count, waited) = self.waits.entry(kind_of(op.kind)).or_default();
                    *count += 1;
                    *waited += ended - begun;
                }
                _ => {}
            }
        }
    }

    fn write(&self, name: &str, marks: &str, page: &mut String) {
        let ios = self.ios.iter();
        let ios = ios.map(|(sort, (count, bytes))| format!("{count} {sort} {bytes}"));
        let waits = self.waits.iter();
        let waits = waits.map(|(kind, (count, waited))| format!("{count} {kind} {waited}"));
        let (ios, waits): (Vec<String>, Vec<String>) = (ios.collect(), waits.collect());
        let _ = writeln!(page, "{name}");
        let _ = writeln!(page, "  began   {}; {} turns", ios.join(", "), self.turns);
        let _ = writeln!(page, "  waited  {}", waits.join(", "));
        let _ = writeln!(page, "  marks   {marks}");
    }
}

/// The marks that were passed since they were forgotten; of both ways, with which.
fn marks() -> String {
    let unseen: BTreeSet<String> = unseen().into_iter().collect();
    let names = Mark::ALL.iter().map(|mark| format!("{mark:?}"));
    // What is noted one way only has no `(false)`, whether it was passed or not.
    let both = ["FreshZeroDurable", "HoleReused", "FlushPages", "Promoted"];
    let others = both.map(|name| format!("{name} (false)"));
    let seen = names.chain(others).filter(|name| !unseen.contains(name));
    seen.collect::<Vec<String>>().join(" ")
}

fn scenario(path: &Path, world: &mut World, page: &mut String) {
    let text = std::fs::read_to_string(path).expect("a text");
    let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    forget();
    run_in(world, &scenario).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bill = Bill::default();
    bill.add(&world.take_log());
    let name = path.file_stem().and_then(|name| name.to_str());
    bill.write(name.unwrap_or_default(), &marks(), page);
}

fn drawn(profile: Profile, seeds: u64, page: &mut String) {
    let mut world = World::new(profile);
    world.set_logging(true);
    let mut bill = Bill::default();
    forget();
    for seed in 0..seeds {
        let run = world.run(&mut Tape::from_seed(seed));
        run.unwrap_or_else(|failure| panic!("profile {profile}, seed {seed}: {failure}"));
        bill.add(&world.take_log());
    }
    bill.write(
        &format!("profile {profile}, seeds 0..{seeds}"),
        &marks(),
        page,
    );
}

#[test]
fn nothing_costs_more_than_it_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/scenarios");
    let entries = std::fs::read_dir(&folder).expect("corpus/scenarios");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    let mut world = World::new(Profile::Tiny);
    world.set_logging(true);
    let mut page = String::new();
    for path in files {
        scenario(&path, &mut world, &mut page);
    }
    for (profile, seeds) in [
        (Profile::Tiny, 150),
        (Profile::Faults, 12),
        (Profile::Default, 12),
    ] {
        drawn(profile, seeds, &mut page);
    }
    insta::assert_snapshot!(page);
}
