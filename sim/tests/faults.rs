//! Exhaustive: in a fixed set of small runs, a fault on the nth I/O for every n, and a power cut after every event, with
//! all crash images that it may leave.

use sim::disk::fault::{FaultKind, FaultPlan, IoKind};
use sim::profile::Profile;
use sim::report::RunStats;
use sim::tape::Tape;
use sim::world::{Power, Script, World};

/// The runs: tiny worlds of these seeds.
const SEEDS: std::ops::Range<u64> = 9_000..9_030;
/// Most crash images of one cut.
const MOST_IMAGES: u64 = 2_000;
/// No run is longer.
const MOST: u32 = 2_000;

/// Runs scripted by `script(n)` for n = 1, 2, ... until `untouched`. Returns how many there were.
fn until_untouched(
    seed: u64,
    script: impl Fn(u32) -> Script,
    untouched: impl Fn(&RunStats) -> bool,
    mut each: impl FnMut(&RunStats),
) -> u32 {
    let mut world = World::new(Profile::Tiny);
    let mut tape = Tape::from_seed(seed);
    for n in 1..MOST {
        tape.restart(seed);
        let stats = world
            .run_as(&mut tape, &script(n))
            .unwrap_or_else(|failure| panic!("seed {seed}, n = {n}: {failure}"));
        each(&stats);
        if untouched(&stats) {
            return n;
        }
    }
    panic!("seed {seed}: still touched after {MOST} runs");
}

fn faults_at_every_io(make: impl Fn(u32) -> FaultPlan, kind: FaultKind) {
    let (mut runs, mut faults) = (0, 0);
    for seed in SEEDS {
        let script = |n| Script {
            faults: Some(make(n)),
            power: Power::Lasts,
            enumerate: None,
        };
        let untouched = |stats: &RunStats| stats.faults.total() == 0;
        runs += until_untouched(seed, script, untouched, |stats| {
            let mut by_kind = stats.faults.iter();
            assert!(by_kind.all(|(_, fault, count)| fault == kind || count == 0));
            faults += stats.faults.total();
        });
    }
    println!("{}: {runs} runs, {faults} faults, complete", kind.name());
    assert!(faults >= 60, "{faults}");
}

#[test]
fn an_io_error_at_every_io() {
    faults_at_every_io(|n| FaultPlan::io_error_at(n, None), FaultKind::Io);
}

#[test]
fn an_io_error_at_every_sync_and_index_write() {
    for kind in [IoKind::Sync, IoKind::Index] {
        faults_at_every_io(|n| FaultPlan::io_error_at(n, Some(kind)), FaultKind::Io);
    }
}

#[test]
fn a_short_io_at_every_io() {
    faults_at_every_io(|n| FaultPlan::at(FaultKind::Short, n, 0), FaultKind::Short);
}

#[test]
fn a_zero_length_io_at_every_io() {
    faults_at_every_io(
        |n| FaultPlan::at(FaultKind::Nothing, n, 0),
        FaultKind::Nothing,
    );
}

#[test]
fn no_space_from_every_io_on() {
    for refusals in [1, 5] {
        faults_at_every_io(
            |n| FaultPlan::at(FaultKind::NoSpace, n, refusals),
            FaultKind::NoSpace,
        );
    }
}

/// A power cut at every `n`, all crash images; a second power cycle follows on one of them.
fn cut_everywhere(power: impl Fn(u32) -> Power) {
    let (mut runs, mut cuts, mut complete, mut images, mut sectors) = (0, 0, 0, 0, 0);
    for seed in SEEDS {
        let script = |n| Script {
            faults: Some(FaultPlan::none()),
            power: power(n - 1),
            enumerate: Some(MOST_IMAGES),
        };
        let untouched = |stats: &RunStats| stats.crashes == 0;
        runs += until_untouched(seed, script, untouched, |stats| {
            cuts += stats.crashes;
            complete += stats.complete_cuts;
            images += stats.crash_images;
            sectors += stats.sectors_compared;
        });
    }
    println!(
        "{runs} runs, {cuts} power cuts, of {complete} all crash images; {images} images, {sectors} sectors"
    );
    assert!(
        cuts >= 30 && complete * 10 >= cuts * 9,
        "{complete} of {cuts}"
    );
}

#[test]
fn a_power_cut_after_every_event_and_all_its_crash_images() {
    cut_everywhere(Power::CutAfter);
}

#[test]
fn a_power_cut_after_every_call_of_the_close_and_all_its_crash_images() {
    cut_everywhere(Power::CutInClose);
}
