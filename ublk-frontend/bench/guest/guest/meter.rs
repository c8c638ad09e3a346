//! What something costs: instructions of the whole guest, or time.
//!
//! With `-icount shift=0` the guest's time stamp counter is the number of instructions that its processor has executed, plus
//! the time that it slept. So that it never sleeps, a thread of the lowest class (`SCHED_IDLE`) spins whenever there is
//! nothing else to do; it counts its rounds of three instructions each, and they are taken off:
//!
//! ```text
//!   cost = counter's difference - 3 x rounds
//! ```
//! What is left is every instruction of client, server and kernel, the timer interrupts (one in 4 million instructions) and
//! the switches to and from the spinner included, for every row alike. [`Meter::check`] measures what is known.
//! The two instructions that read counters and all `unsafe` code of this program stand here.

use std::arch::asm;
use std::arch::x86_64::_rdtsc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::trouble::{Trouble, demand};
use crate::rows::Quantity;

/// Instructions of the loop in `spin`.
const ROUND: u64 = 3;
/// Turns of the loop that is known, two instructions each.
const KNOWN: u64 = 10_000_000;

/// The spinner's counter and switch.
#[derive(Debug, Default)]
struct Spinner {
    rounds: AtomicU64,
    on: AtomicBool,
}

/// See the module.
#[derive(Debug)]
pub(crate) enum Meter {
    /// Instructions.
    Instructions(Running),
    /// Nanoseconds.
    Time,
}

/// A spinner's thread.
#[derive(Debug)]
pub(crate) struct Running {
    spinner: Arc<Spinner>,
    thread: std::thread::Thread,
}

impl Meter {
    /// A meter of this quantity.
    pub(crate) fn new(quantity: Quantity) -> Result<Meter, Trouble> {
        if quantity == Quantity::Iops {
            return Ok(Meter::Time);
        }
        let spinner = Arc::new(Spinner::default());
        let theirs = Arc::clone(&spinner);
        let thread = std::thread::Builder::new().name("spinner".to_owned());
        let thread = thread.spawn(move || {
            demote();
            loop {
                while !theirs.on.load(Ordering::Acquire) {
                    std::thread::park();
                }
                spin(&theirs);
            }
        })?;
        Ok(Meter::Instructions(Running {
            spinner,
            thread: thread.thread().clone(),
        }))
    }

    /// The cost of something: instructions or nanoseconds. `warm` is done before, and not counted.
    pub(crate) fn measure<T>(
        &self,
        mut warm: impl FnMut() -> Result<T, Trouble>,
        mut work: impl FnMut() -> Result<T, Trouble>,
    ) -> Result<u64, Trouble> {
        match self {
            Meter::Time => {
                warm()?;
                let began = Instant::now();
                work()?;
                Ok(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
            }
            Meter::Instructions(running) => {
                let switch = On::new(running);
                // Long enough for the spinner to be where it counts.
                std::thread::sleep(Duration::from_millis(5));
                warm()?;
                let before = running.now();
                let result = work();
                let after = running.now();
                drop(switch);
                result?;
                let spun = (after.1 - before.1) * ROUND;
                Ok((after.0 - before.0).saturating_sub(spun))
            }
        }
    }

    /// Measures a loop of a known number of instructions, and doing nothing. What was found, in words.
    pub(crate) fn check(&self) -> Result<String, Trouble> {
        if let Meter::Time = self {
            return Ok("time is the wall's".to_owned());
        }
        let nothing = || Ok(());
        let counted = self.measure(nothing, || {
            known();
            Ok(())
        })?;
        let wait = Duration::from_millis(100);
        let idle = self.measure(nothing, || {
            std::thread::sleep(wait);
            Ok(())
        })?;
        let wrong = counted.abs_diff(2 * KNOWN) as f64 / (2 * KNOWN) as f64;
        let share = idle as f64 / wait.as_nanos() as f64;
        let found = format!(
            "a loop of {} instructions counts as {counted}; of {} instructions spent waiting, {idle} are not the spinner's",
            2 * KNOWN,
            wait.as_nanos()
        );
        demand(wrong < 0.02 && share < 0.02, || {
            format!("instructions are not counted: {found}")
        })?;
        Ok(found)
    }
}

impl Running {
    /// Counter and rounds.
    fn now(&self) -> (u64, u64) {
        // SAFETY: reads a counter; every x86-64 processor has it and Linux lets programs read it.
        let counter = unsafe { _rdtsc() };
        (counter, self.spinner.rounds.load(Ordering::Relaxed))
    }
}

/// The spinner spins as long as this lives.
struct On<'a>(&'a Running);

impl On<'_> {
    fn new(running: &Running) -> On<'_> {
        running.spinner.on.store(true, Ordering::Release);
        running.thread.unpark();
        On(running)
    }
}

impl Drop for On<'_> {
    fn drop(&mut self) {
        self.0.spinner.on.store(false, Ordering::Release);
    }
}

/// Counts until it is switched off.
fn spin(spinner: &Spinner) {
    // SAFETY: adds to one atomic that this thread alone writes, and reads another, as plain aligned accesses of their own
    // size do; both outlive the loop. Nothing else is touched but the flags.
    unsafe {
        asm!(
            "2:",
            "inc qword ptr [{rounds}]",
            "cmp byte ptr [{on}], 0",
            "jne 2b",
            rounds = in(reg) spinner.rounds.as_ptr(),
            on = in(reg) spinner.on.as_ptr(),
            options(nostack),
        );
    }
}

/// Two instructions a turn.
fn known() {
    // SAFETY: counts a register of its own down to zero.
    unsafe {
        asm!(
            "2:",
            "dec {turns}",
            "jnz 2b",
            turns = inout(reg) KNOWN => _,
            options(nomem, nostack),
        );
    }
}

/// Only runs when nobody else wants to.
fn demote() {
    let lowest = libc::sched_param { sched_priority: 0 };
    // SAFETY: reads the structure, and changes how the calling thread is scheduled.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const lowest) };
    assert_eq!(done, 0, "SCHED_IDLE: {}", std::io::Error::last_os_error());
}
