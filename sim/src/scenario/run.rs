//! Plays a scenario on a world, with its disk, its model and its checkers.
//!
//! A line that cannot be what it says (`expect`, `ended`, `waits`, `mapped`, an I/O that is not there) is a failure of the
//! checker `scenario`: the core did something else than the author thought.

use std::path::Path;

use model::op::Value;

use crate::check::failure;
use crate::profile::Profile;
use crate::report::{Failure, RunStats};
use crate::scenario::{Place, Scenario, ScenarioError, Step, Wanted};
use crate::tape::Tape;
use crate::world::World;
use crate::world::stage::Stage;

/// Plays a scenario file.
///
/// # Errors
/// It cannot be read, or something is wrong.
pub fn run_file(path: &Path) -> Result<RunStats, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(ScenarioError::Io)?;
    run(&Scenario::parse(&text)?)
}

/// Plays a scenario.
///
/// # Errors
/// Something is wrong.
pub fn run(scenario: &Scenario) -> Result<RunStats, ScenarioError> {
    run_in(&mut World::new(Profile::Tiny), scenario)
}

/// Plays a scenario in a world that is there already; it may be logging.
///
/// # Errors
/// Something is wrong.
pub fn run_in(world: &mut World, scenario: &Scenario) -> Result<RunStats, ScenarioError> {
    let mut tape = match scenario.seed {
        Some(seed) => Tape::from_seed(seed),
        None => Tape::replay(Vec::new()),
    };
    let mut stage = Stage::new(
        world,
        &mut tape,
        &scenario.shape,
        &scenario.lowers,
        &scenario.top,
    );
    let mut at = None;
    let mut result = Ok(());
    for line in &scenario.steps {
        at = Some(line.number);
        result = play(&mut stage, &line.step);
        if result.is_err() {
            break;
        }
        stage.verify();
    }
    if result.is_ok() {
        at = None;
        result = stage.end();
    }
    stage
        .finish(result)
        .map_err(|failure| ScenarioError::Failed { line: at, failure })
}

fn play(stage: &mut Stage<'_>, step: &Step) -> Result<(), Failure> {
    match step {
        Step::Submit(from, op) => stage.submit(*from, *op),
        Step::Ended(from, wanted) => match stage.ended(*from)? {
            Some(end) if end == *wanted => Ok(()),
            found => Err(wrong(format!("ended {found:?}, not {wanted:?}"))),
        },
        Step::Waits(from) => match stage.ended(*from)? {
            None => Ok(()),
            Some(end) => Err(wrong(format!("does not wait: ended {end:?}"))),
        },
        Step::Deliver(pick, ending) => stage.deliver(*pick, *ending),
        Step::DeliverAll => stage.deliver_all(),
        Step::Turn(queue) => stage.turn(*queue),
        Step::Settle => stage.settle(),
        Step::Tick(passed) => stage.tick(*passed),
        Step::Suspend(on) => stage.suspend(*on),
        Step::Close(power) => stage.close(*power),
        Step::Kill => stage.kill(),
        Step::Switch(switch, trouble) => stage.switch(*switch, *trouble),
        Step::Track(track) => stage.track(*track),
        Step::Copies(copies) => stage.on_copies(copies),
        Step::Cut(survivor) => stage.cut(*survivor),
        Step::Expect { start, len, wanted } => {
            (*start..start + len).try_for_each(|sector| expect(stage, sector, wanted))
        }
        Step::Mapped(sector, wanted) => {
            let top = stage.top_level();
            let found = match stage.level_of(*sector)? {
                None => Place::No,
                Some(level) if level == top => Place::Top,
                Some(level) => Place::Lower(level),
            };
            if found == *wanted {
                return Ok(());
            }
            Err(wrong(format!(
                "sector {sector} is mapped {found:?}, not {wanted:?}"
            )))
        }
    }
}

fn expect(stage: &mut Stage<'_>, sector: u64, wanted: &[Wanted]) -> Result<(), Failure> {
    let found = stage.look(sector)?;
    let base = stage.initial(sector);
    let value = |wanted: &Wanted| match wanted {
        Wanted::Write(number) => Value::of(*number, sector),
        Wanted::Zero => Value::ZERO,
        Wanted::Base => base,
    };
    if wanted.iter().any(|wanted| value(wanted) == found) {
        return Ok(());
    }
    let found = match found {
        Value::ZERO => "zeros".to_owned(),
        found if found == base => "what was there in the beginning".to_owned(),
        found => format!("write {}", found.write()),
    };
    Err(wrong(format!(
        "sector {sector} holds {found}, not {wanted:?}"
    )))
}

fn wrong(message: String) -> Failure {
    failure("scenario", message)
}
