//! The guests of this run, and the board that their results are pinned to.

use std::collections::BTreeMap;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use sim::scenario::table::{self, Column};

use super::parts::gather;
use super::qemu_tools::Tools;
use super::vm::{Failure, Machine, PARALLEL, Vm, lost_timer};
use super::{Missing, exported, initramfs};
use crate::guest::disks::DISKS;
use crate::line::{Line, Verdict};
use crate::steps::{Kernel, STEPS};

/// Processors of a guest; the tests of four queues want one each.
const PROCESSORS: u32 = 4;
/// How long a guest may take in all.
const LIMIT: Duration = Duration::from_secs(1500);
/// How long a guest may take to say its first word.
const FIRST_WORD: Duration = Duration::from_secs(60);
/// How often a guest that says nothing is booted.
const BOOTS: u32 = 3;
/// The test that judges the guest as a whole.
const WHOLE: &str = "guest";
/// The step whose results stand in a table with those of others.
const SCENARIOS: &str = "scenarios";
/// The test that judges the images that it handed out.
const IMAGES: &str = "qemu-img-check";

/// Names of the tests of a kernel.
pub(super) fn tests(kernel: Kernel) -> impl Iterator<Item = String> {
    let steps = STEPS
        .iter()
        .filter(move |step| step.kernels.contains(&kernel));
    steps
        .map(|step| step.name.to_owned())
        .chain([WHOLE, IMAGES].map(str::to_owned))
}

type Results = BTreeMap<String, Result<String, String>>;

#[derive(Default)]
struct Board {
    results: Mutex<BTreeMap<Kernel, Results>>,
    changed: Condvar,
}

impl Board {
    fn results(&self) -> MutexGuard<'_, BTreeMap<Kernel, Results>> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pin(&self, kernel: Kernel, test: &str, result: Result<String, String>) {
        self.results()
            .entry(kernel)
            .or_default()
            .entry(test.to_owned())
            .or_insert(result);
        self.changed.notify_all();
    }
}

/// See the module.
pub(super) struct Guests {
    chosen: Vec<(Kernel, String)>,
    board: Arc<Board>,
    started: Once,
}

impl Guests {
    /// Guests for these tests. Nothing runs yet.
    pub(super) fn new(chosen: Vec<(Kernel, String)>) -> Guests {
        Guests {
            chosen,
            board: Arc::default(),
            started: Once::new(),
        }
    }

    /// Waits for the result of a test; boots the guests when it is the first one that is asked for.
    pub(super) fn result(&self, kernel: Kernel, test: &str) -> Result<String, String> {
        self.started.call_once(|| self.start());
        let mut results = self.board.results();
        loop {
            if let Some(result) = results.get(&kernel).and_then(|of| of.get(test)) {
                return result.clone();
            }
            results = self
                .board
                .changed
                .wait(results)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn start(&self) {
        for kernel in Kernel::ALL {
            let steps = STEPS.iter().map(|step| step.name);
            let of_guest = |step: &&str| self.chosen.contains(&(kernel, (*step).to_owned()));
            let wanted: Vec<&str> = steps.filter(of_guest).collect();
            if !self.chosen.iter().any(|(of, _)| *of == kernel) {
                continue;
            }
            let (steps, board) = (wanted.join(","), Arc::clone(&self.board));
            std::thread::spawn(move || {
                // Whoever waits must not wait for ever.
                let whole = catch_unwind(AssertUnwindSafe(|| run(kernel, &steps, &board)));
                let whole =
                    whole.unwrap_or_else(|_| Err("the test's own program panicked".to_owned()));
                // Whoever has no result now has the guest's.
                for test in tests(kernel) {
                    let result = match &whole {
                        Err(why) => Err(why.clone()),
                        Ok(found) if test == WHOLE => Ok(found.clone()),
                        Ok(_) => Err("the guest did not run this step".to_owned()),
                    };
                    board.pin(kernel, &test, result);
                }
            });
        }
    }
}

/// Where everything is kept.
pub(super) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-kernel")
}

fn run(kernel: Kernel, steps: &str, board: &Board) -> Result<String, String> {
    let folder = cache().join(format!("run-{}", kernel.name()));
    let began = Instant::now();
    let mut linux = String::new();
    for boot in 1.. {
        let (vm, release) = prepare(kernel, steps, &folder).map_err(|Missing(what)| {
            format!("no guest: {what} (needs Debian packages once; PLOOP_SKIP_REAL_KERNEL=1 leaves these tests out)")
        })?;
        println!("{}: Linux {release}", kernel.name());
        linux = release;
        let (mut before, mut rows) = (Duration::ZERO, Column::new());
        let each = |line, used: Duration| {
            if let Line::Begin(_) = line {
                before = used;
            }
            // What fails then is not the step's.
            let is_failure = matches!(line, Line::End(_, Verdict::Failed, ..));
            if is_failure && boot < BOOTS && lost_timer(&folder) {
                return;
            }
            pin(kernel, line, used.saturating_sub(before), &mut rows, board);
        };
        match vm.watch(LIMIT, each) {
            Ok(()) => break,
            Err(Failure::Silent) if boot < BOOTS => println!(
                "{}: the guest never said anything, it is booted again; its console: {}",
                kernel.name(),
                folder.join("console.log").display()
            ),
            Err(Failure::LostTimer) if boot < BOOTS => println!(
                "{}: the emulated machine lost a timer, as its kernel says, and the guest is booted again: {}",
                kernel.name(),
                folder.join("console.log").display()
            ),
            Err(Failure::LostTimer) => return Err("the emulated machine lost a timer".to_owned()),
            Err(Failure::Silent) => return Err(format!("{BOOTS} guests never said anything")),
            Err(Failure::Other(what)) => return Err(what),
        }
    }
    let images = Tools::find(&cache())
        .map_err(|Missing(why)| format!("no qemu-img: {why}"))
        .and_then(|tools| exported::check(&folder.join("exports"), &folder, &tools));
    if images.is_ok() {
        // Nobody will look at them: hundreds of megabytes.
        for (disk, _) in DISKS {
            let _ = std::fs::remove_file(folder.join(disk));
        }
    }
    board.pin(kernel, IMAGES, images.map(|names| names.join(" ")));
    Ok(format!(
        "Linux {linux}, {:.0} s",
        began.elapsed().as_secs_f64()
    ))
}

/// Pins a step's result to the board. `used`: of this machine's processors, since it began; `rows`: what came of
/// scenarios so far.
fn pin(kernel: Kernel, line: Line, used: Duration, rows: &mut Column, board: &Board) {
    let (step, verdict, seconds, found) = match line {
        Line::End(step, verdict, seconds, found) => (step, verdict, seconds, found),
        Line::Row(scenario, cell) => {
            rows.insert(scenario, cell);
            return;
        }
        Line::Begin(_) | Line::Done | Line::GaveUp => return,
    };
    let used = used.as_secs_f64();
    let found = format!("{seconds:.1} s ({used:.1} s of processor), {found}");
    let result = match verdict {
        Verdict::Ok if step == SCENARIOS => in_the_table(rows).map(|()| found),
        Verdict::Ok => Ok(found),
        Verdict::NotOffered if may_lack(kernel, &step) => Ok(format!("NOT OFFERED: {found}")),
        Verdict::NotOffered => Err(format!("not offered, and it must be: {found}")),
        Verdict::Failed => Err(found),
    };
    board.pin(kernel, &step, result);
}

/// What came of each scenario is what the table of all players says.
fn in_the_table(rows: &Column) -> Result<(), String> {
    // Two guests may write it.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/scenarios.md");
    table::check(&file, &[("/dev/ublkbN", rows.clone())])
}

/// What is known to be missing: from a kernel, or from the device itself.
fn may_lack(kernel: Kernel, step: &str) -> bool {
    matches!((kernel, step), (Kernel::V6_12, "quiesce"))
}

/// A guest, and which kernel it has.
fn prepare(kernel: Kernel, steps: &str, folder: &Path) -> Result<(Vm, String), Missing> {
    std::fs::create_dir_all(cache())?;
    let parts = {
        // Two runs of the tests, and two guests, fetch one after the other.
        let lock = File::create(cache().join("lock"))?;
        lock.lock()?;
        gather(&cache(), kernel)?
    };
    let initramfs = initramfs::pack(&parts, &[])?;
    let machine = Machine {
        processors: PROCESSORS,
        model: "qemu64",
        time: &PARALLEL,
        first_word: FIRST_WORD,
        disks: &DISKS,
        steps,
    };
    let vm = Vm::boot(&parts, &initramfs, folder, &machine)?;
    Ok((vm, parts.release))
}
