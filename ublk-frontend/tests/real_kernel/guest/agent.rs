//! Runs the steps that the host chose (`PLOOP_STEPS`), one after the other, and prints a result line for each.
//!
//! A step that takes longer than it may is told with what every process waits for, and the guest ends: nothing that ran
//! after it would mean anything.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::trouble::{Outcome, Trouble};
use super::{disks, server, sys};
use crate::line::{Line, Verdict};
use crate::steps::{STEPS, Step};

pub(crate) fn main() -> ExitCode {
    let chosen = std::env::var("PLOOP_STEPS").unwrap_or_default();
    println!(
        "Linux {}",
        std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
    );
    if let Err(trouble) = disks::prepare() {
        println!("the guest's disks: {trouble}");
        return ExitCode::FAILURE;
    }
    for name in chosen.split(',').filter(|name| !name.is_empty()) {
        let Some(step) = STEPS.iter().find(|step| step.name == name) else {
            println!("there is no step {name}");
            return ExitCode::FAILURE;
        };
        if !run(step) {
            println!("{}", Line::GaveUp);
            return ExitCode::FAILURE;
        }
    }
    println!("{}", Line::Done);
    ExitCode::SUCCESS
}

/// Runs a step. False: it hangs.
fn run(step: &'static Step) -> bool {
    println!("{}", Line::Begin(step.name.to_owned()));
    let began = Instant::now();
    let (report, result) = channel();
    let thread = std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(step.run);
        // The agent may have given up.
        let _ = report.send(outcome);
    });
    let outcome: Outcome = match result.recv_timeout(Duration::from_secs(step.limit)) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) | Err(RecvTimeoutError::Disconnected) => Err("it panicked, see the log".into()),
        Err(RecvTimeoutError::Timeout) => {
            sys::print_waiting();
            let found = format!("it hangs: not done after {} s", step.limit);
            println!(
                "{}",
                Line::End(
                    step.name.to_owned(),
                    Verdict::Failed,
                    began.elapsed().as_secs_f64(),
                    found
                )
            );
            return false;
        }
    };
    let _ = thread.join();
    let (verdict, found) = match outcome {
        Ok(found) => (Verdict::Ok, found),
        Err(Trouble::NotOffered(why)) => (Verdict::NotOffered, why),
        Err(Trouble::Failed(why)) => (Verdict::Failed, why),
    };
    println!(
        "{}",
        Line::End(
            step.name.to_owned(),
            verdict,
            began.elapsed().as_secs_f64(),
            found
        )
    );
    server::clean_up();
    true
}
