//! Other devices under the harness: the worked example, a plain device with one mistake after another, scenarios.

use std::io;
use std::path::Path;

use sim::face::{self, Device, File, OnFiles, replay, run};
use sim::report::Class;
use sim::scenario::{Scenario, ScenarioError};

#[path = "../../examples/naive_device.rs"]
#[expect(dead_code, reason = "an example has a main function")]
mod naive_device;
mod places;
mod qemu;

use naive_device::Thin;

/// All scenarios of the corpus, by name.
fn corpus() -> Vec<(String, Scenario)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/scenarios");
    let entries = std::fs::read_dir(folder).expect("corpus/scenarios");
    let mut all: Vec<(String, Scenario)> = entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            let name = path.file_stem().expect("a name").to_string_lossy();
            let scenario = Scenario::parse(&text);
            (
                name.into_owned(),
                scenario.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            )
        })
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn the_naive_device_of_the_example_is_found_out() {
    let report = run::<Thin<false>>(0..2000);
    let case = report.case.as_ref().expect("found");
    assert_eq!(case.found.class, Class::Wrong);
    let shown = report.to_string();
    println!("{shown}");
    assert!(shown.contains(&format!("FOUND with seed {}", case.seed)));
    assert!(shown.contains("POWER CUT"), "{shown}");
    let (before, after) = case.size.expect("made small");
    assert!(after.operations <= 4 && after.operations <= before.operations);

    let (again, story) = replay::<Thin<false>>(&case.tape);
    assert_eq!(again, Err(case.failure.clone()));
    assert_eq!(story, case.story);
    let seed = run::<Thin<false>>(case.seed..case.seed + 1);
    assert_eq!(seed.case.map(|case| case.found), Some(case.found.clone()));
}

#[test]
fn its_ordered_variant_survives() {
    let report = run::<Thin<true>>(0..2000);
    println!("{report}");
    assert!(report.is_good(), "{report}");
    let sum = report.summary.totals.sum();
    assert!(sum.crashes > 1000 && sum.complete_cuts > 500);
}

/// Sectors of a disk are sectors of a file; with a mistake, by number.
struct Plain<const MISTAKE: u8> {
    file: File,
    poisoned: bool,
}

const FLUSH_WITHOUT_SYNC: u8 = 1;
const SYNC_TRIED_AGAIN: u8 = 2;
const PANIC_ON_ERROR: u8 = 3;
const DIRTY_IS_REFUSED: u8 = 4;
const OFF_BY_ONE: u8 = 5;
const BUFFER_NOT_FILLED: u8 = 6;
const SHORT_IS_ENOUGH: u8 = 7;
const FAILS_WITHOUT_REASON: u8 = 8;
const CHECKER_COMPLAINS: u8 = 9;

/// Behind the sectors: a mark that is there while the device is open.
const MARK: u64 = 4000 * 512;

impl<const MISTAKE: u8> Device for Plain<MISTAKE> {
    fn read(&mut self, start: u64, into: &mut [u8]) -> io::Result<()> {
        if MISTAKE == BUFFER_NOT_FILLED {
            return self.file.read_at(start * 512, into).map(drop);
        }
        self.file.read_all_at(start * 512, into)
    }

    fn write(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        if MISTAKE == FAILS_WITHOUT_REASON && start == 7 {
            return Err(io::Error::other("seven"));
        }
        let start = start + u64::from(MISTAKE == OFF_BY_ONE && start > 20);
        let written = if MISTAKE == SHORT_IS_ENOUGH {
            self.file.write_at(start * 512, from).map(drop)
        } else {
            self.file.write_all_at(start * 512, from)
        };
        if MISTAKE == PANIC_ON_ERROR {
            written.expect("a write never fails");
            return Ok(());
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        if MISTAKE == FLUSH_WITHOUT_SYNC {
            return Ok(());
        }
        if self.poisoned {
            return Err(io::Error::other("a sync failed before"));
        }
        let synced = self.file.sync();
        self.poisoned = synced.is_err() && MISTAKE != SYNC_TRIED_AGAIN;
        synced
    }
}

impl<const MISTAKE: u8> OnFiles for Plain<MISTAKE> {
    const NAME: &'static str = "plain";
    const LIMIT: u64 = 1 << 16;

    fn create(files: &[File], sectors: u64) -> io::Result<()> {
        files[0].set_len(sectors * 512)
    }

    fn open(files: &[File]) -> io::Result<Self> {
        let file = files[0].clone();
        if MISTAKE == DIRTY_IS_REFUSED {
            let mut mark = [0; 512];
            file.read_all_at(MARK, &mut mark)?;
            if mark[0] != 0 {
                return Err(io::Error::other("not closed"));
            }
            file.write_all_at(MARK, &[1; 512])?;
        }
        let poisoned = false;
        Ok(Plain { file, poisoned })
    }

    fn close(mut self) -> io::Result<()> {
        self.flush()?;
        if MISTAKE == DIRTY_IS_REFUSED {
            self.file.write_all_at(MARK, &[0; 512])?;
            self.file.sync()?;
        }
        Ok(())
    }

    fn check(files: &[File]) -> Result<(), String> {
        let len = files[0].len().map_err(|error| error.to_string())?;
        if MISTAKE == CHECKER_COMPLAINS {
            return Err(format!("{len} bytes are not what it should be"));
        }
        Ok(())
    }
}

#[test]
fn a_plain_device_without_a_mistake_survives_faults() {
    let report = run::<Plain<0>>(0..1500);
    println!("{report}");
    assert!(report.is_good(), "{report}");
    assert!(report.summary.totals.sum().faults.total() > 100);
}

/// Who finds a mistake.
fn found<const MISTAKE: u8>() -> (Class, &'static str) {
    let report = run::<Plain<MISTAKE>>(0..3000);
    let case = report
        .case
        .unwrap_or_else(|| panic!("mistake {MISTAKE} was not found"));
    println!("{case}");
    let (again, _) = replay::<Plain<MISTAKE>>(&case.tape);
    assert_eq!(
        again.map_err(|failure| failure.trace),
        Err(case.failure.trace)
    );
    (case.found.class, case.found.checker)
}

#[test]
fn each_mistake_is_found_by_the_checker_for_it() {
    assert_eq!(found::<FLUSH_WITHOUT_SYNC>(), (Class::Wrong, "durable"));
    assert_eq!(found::<SYNC_TRIED_AGAIN>().0, Class::Wrong);
    assert_eq!(found::<PANIC_ON_ERROR>(), (Class::Panic, "panic"));
    assert_eq!(found::<DIRTY_IS_REFUSED>(), (Class::Wrong, "open"));
    assert_eq!(found::<OFF_BY_ONE>().0, Class::Wrong);
    assert_eq!(found::<BUFFER_NOT_FILLED>().0, Class::Wrong);
    assert_eq!(found::<SHORT_IS_ENOUGH>().0, Class::Wrong);
    assert_eq!(found::<FAILS_WITHOUT_REASON>(), (Class::Wrong, "outcome"));
    assert_eq!(found::<CHECKER_COMPLAINS>(), (Class::Wrong, "check"));
}

#[test]
fn scenarios_run_on_another_device() {
    let (mut cuts, mut images, mut demands) = (0, 0, 0);
    for (name, scenario) in corpus() {
        let played =
            face::play::<Plain<0>>(&scenario).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(face::play::<Plain<0>>(&scenario).expect("again"), played);
        cuts += played.cuts;
        images += played.images;
        demands += played.demands;
    }
    println!("{cuts} cuts, {images} crash images, {demands} demands");
    assert!(cuts >= 20 && images >= 100 && demands >= 8);
    let text = "q0.t0 write 4\nq0.t0 flush\ncut keep-none\n";
    let scenario = Scenario::parse(text).expect("a scenario");
    match face::play::<Plain<FLUSH_WITHOUT_SYNC>>(&scenario) {
        Err(ScenarioError::Failed { line, failure }) => {
            assert_eq!((line, failure.checker), (Some(3), "durable"));
        }
        other => panic!("{other:?}"),
    }
}
