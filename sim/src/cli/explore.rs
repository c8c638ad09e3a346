//! `sim explore`: configurations explored completely, with all crash images at each moment.

use super::USAGE;
use super::args::ExploreArguments;
use crate::campaign::catch;
use crate::campaign::clock::thread_cpu;
use crate::explorer::{Crashes, Effort, Explored, configurations, explore, sick};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Line<'a> {
    configuration: &'a str,
    complete: bool,
    traces: u64,
    executions: u64,
    sleep_blocked: u64,
    independent: u64,
    events: u64,
    longest: usize,
    final_states: usize,
    crashes: Crashes,
    cpu_seconds: f64,
    executions_per_s: f64,
    failure: Option<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    message: &'a str,
    execution: u64,
    /// For `--schedule`.
    schedule: String,
}

/// The command. 2 if a configuration fails.
pub(super) fn run(arguments: &ExploreArguments, out: &mut dyn Write) -> io::Result<u8> {
    let Some(wanted) = &arguments.config else {
        return list(arguments.json, out);
    };
    let healthy = configurations().filter(|known| wanted == "all" || wanted == known.name);
    let sick = sick().filter(|known| wanted == known.name);
    let names: Vec<&str> = healthy.chain(sick).map(|known| known.name).collect();
    if names.is_empty() {
        eprintln!("sim: no configuration {wanted:?}: `sim explore` lists them");
        return Ok(USAGE);
    }
    let effort = Effort {
        limit: arguments.limit.unwrap_or(u64::MAX),
        crashes: !arguments.bare,
        schedule: arguments.schedule.clone().map(|schedule| schedule.0),
    };
    let mut code = 0;
    for name in names {
        let before = thread_cpu();
        // The panic of an execution is told once, with its story.
        let explored = match catch(|| explore(name, &effort)) {
            Ok(Some(explored)) => explored,
            Ok(None) => continue,
            Err(failure) => {
                eprintln!("sim: {name}: {failure}");
                return Ok(failure.class.exit_code());
            }
        };
        let seconds = thread_cpu().saturating_sub(before).as_secs_f64();
        if explored.receipt.failure.is_some() {
            code = 2;
        }
        if let Some(event) = explored.receipt.strayed {
            eprintln!(
                "sim: {name}: this schedule is of another program: it cannot be followed at event {event}"
            );
            code = code.max(USAGE);
        }
        if arguments.json {
            serde_json::to_writer(&mut *out, &line(name, &explored, seconds))?;
            writeln!(out)?;
        } else {
            tell(name, &explored, seconds, out)?;
        }
    }
    Ok(code)
}

fn list(json: bool, out: &mut dyn Write) -> io::Result<u8> {
    for known in configurations() {
        if json {
            serde_json::to_writer(&mut *out, known.name)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{:<32} {}", known.name, known.about)?;
        }
    }
    if !json {
        writeln!(out, "\nwith a mistake made on purpose, not among `all`:")?;
        for known in sick() {
            writeln!(out, "{:<32} {}", known.name, known.about)?;
        }
    }
    Ok(0)
}

fn line<'a>(name: &'a str, explored: &'a Explored, seconds: f64) -> Line<'a> {
    let receipt = &explored.receipt;
    Line {
        configuration: name,
        complete: receipt.complete,
        traces: receipt.distinct(),
        executions: receipt.executions,
        sleep_blocked: receipt.sleep_blocked,
        independent: receipt.independent,
        events: receipt.events,
        longest: receipt.longest,
        final_states: explored.states.len(),
        crashes: explored.crashes,
        cpu_seconds: seconds,
        executions_per_s: receipt.executions as f64 / seconds.max(1e-9),
        failure: receipt.failure.as_ref().map(|failure| Told {
            message: &failure.message,
            execution: failure.execution,
            schedule: written(&failure.schedule),
        }),
    }
}

/// A schedule as it is given on the command line.
fn written(schedule: &[u8]) -> String {
    schedule.iter().map(u8::to_string).collect()
}

fn tell(name: &str, explored: &Explored, seconds: f64, out: &mut dyn Write) -> io::Result<()> {
    let (receipt, crashes) = (&explored.receipt, &explored.crashes);
    writeln!(out, "{name}: {receipt}")?;
    writeln!(
        out,
        "  {} final states, {} events, {seconds:.3} s, {:.0} executions/s",
        explored.states.len(),
        receipt.events,
        receipt.executions as f64 / seconds.max(1e-9)
    )?;
    if crashes.moments > 0 {
        writeln!(
            out,
            "  crash images: {} nominal, {} distinct, {} visited; {} of {} moments known, {} images unread",
            crashes.nominal,
            crashes.distinct,
            crashes.visited,
            crashes.known_moments,
            crashes.moments,
            crashes.unread
        )?;
    }
    if let Some(failure) = &receipt.failure {
        writeln!(out, "  {}", failure.message)?;
        write!(out, "{}", failure.story)?;
        let again = written(&failure.schedule);
        writeln!(out, "  again: sim explore {name} --schedule {again}")?;
    }
    Ok(())
}
