//! Runs what is to be run, one after the other, with panics caught.

use super::catch::catch;
use crate::profile::Profile;
use crate::report::{Class, Failure, RunStats};
use crate::search::{Hunt, Kept, Way};
use crate::tape::{Choice, Span, Tape, Watch};
use crate::world::World;
use std::sync::{Arc, Mutex, PoisonError};

/// Something that runs on a tape: a [`World`], or in a test something that fails on demand.
pub trait Subject {
    /// One run. It must depend on the tape alone, not on what ran before.
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure>;

    /// The trace hash of the last run, as far as it came: for one that panicked.
    fn last_trace(&self) -> u64 {
        0
    }
}

/// One run, with panics caught: they are failures with the trace until there.
pub fn attempt(subject: &mut dyn Subject, tape: &mut Tape) -> Result<RunStats, Failure> {
    match catch(|| subject.run(tape)) {
        Ok(result) => result,
        Err(panicked) => Err(Failure {
            trace: subject.last_trace(),
            ..panicked
        }),
    }
}

impl Subject for World {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        World::run(self, tape)
    }

    fn last_trace(&self) -> u64 {
        World::last_trace(self)
    }
}

/// Makes a subject of a profile; with `true`, one that goes wrong and has to be flagged.
pub type Make = fn(Profile, bool) -> Box<dyn Subject>;

/// The subjects of a campaign: worlds.
#[must_use]
pub fn world(profile: Profile, canary: bool) -> Box<dyn Subject> {
    let mut world = World::new(profile);
    world.set_canary(canary);
    Box::new(world)
}

/// Worlds on an honest disk, or on one that lies about its syncs, canaries or not.
#[must_use]
pub fn world_on(lies: bool) -> Make {
    match lies {
        false => world,
        true => |profile, _| world(profile, true),
    }
}

/// Subjects of all profiles, made when needed and kept, and a tape.
pub struct Runner {
    make: Make,
    canary: bool,
    subjects: Vec<(Profile, Box<dyn Subject>)>,
    tape: Tape,
    /// Where it is said what tape a run is made of.
    made_of: Option<Arc<Mutex<Option<Kept>>>>,
}

impl Runner {
    /// A runner of subjects, or of canaries.
    #[must_use]
    pub fn new(make: Make, canary: bool) -> Runner {
        Runner {
            make,
            canary,
            subjects: Vec::new(),
            tape: Tape::from_seed(0),
            made_of: None,
        }
    }

    /// From now on says there what tape the run at hand is made of: it may never end.
    pub(super) fn say_made_of(&mut self, place: Arc<Mutex<Option<Kept>>>) {
        self.made_of = Some(place);
    }

    fn note_made_of(&self, kept: Option<&Kept>) {
        if let Some(place) = &self.made_of {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            *place = kept.cloned();
        }
    }

    /// The run of a seed.
    pub fn run(&mut self, profile: Profile, seed: u64) -> Result<RunStats, Failure> {
        self.tape.restart(seed);
        self.run_this(profile)
    }

    /// From the next run on: notes what runs look like, or no longer does; with `states`, the states of their worlds, too.
    pub fn watch(&mut self, on: bool, states: bool) {
        self.tape.watch(on, states);
    }

    /// What the last run looked like, if anybody watched.
    #[must_use]
    pub fn seen(&self) -> Option<&Watch> {
        self.tape.watch_of_run()
    }

    /// Who watches, or watched an earlier run: to be told what is known.
    pub fn watched(&mut self) -> Option<&mut Watch> {
        self.tape.watched()
    }

    /// The run of a seed, as an engine wants it to go: of a hunt, if there is one, which learns what the run shows.
    pub fn run_way(
        &mut self,
        profile: Profile,
        seed: u64,
        way: Way,
        mut hunt: Option<&mut Hunt>,
    ) -> Result<RunStats, Failure> {
        let kept = match way {
            Way::Mutant => hunt.as_mut().and_then(|hunt| hunt.mutant(profile, seed)),
            Way::Chance | Way::Guided(_) => None,
        };
        self.note_made_of(kept.as_ref());
        match (way, kept) {
            (_, Some(kept)) => self.tape.restart_prefix(&kept.choices, &kept.spans, seed),
            (Way::Guided(policy), None) => self.tape.restart_guided(seed, policy),
            (Way::Chance | Way::Mutant, None) => self.tape.restart(seed),
        }
        let Some(hunt) = hunt else {
            return self.run_this(profile);
        };
        self.tape.note_spans();
        let stats = self.run_this(profile)?;
        if let Some(seen) = self.tape.watch_of_run() {
            hunt.learn(profile, seen, self.tape.choices(), self.tape.spans());
        }
        Ok(stats)
    }

    /// The run of a tape.
    pub fn run_tape(&mut self, profile: Profile, tape: Tape) -> Result<RunStats, Failure> {
        self.tape = tape;
        self.run_this(profile)
    }

    fn run_this(&mut self, profile: Profile) -> Result<RunStats, Failure> {
        let index = match self
            .subjects
            .iter()
            .position(|(known, _)| *known == profile)
        {
            Some(index) => index,
            None => {
                let subject = (self.make)(profile, self.canary);
                self.subjects.push((profile, subject));
                self.subjects.len() - 1
            }
        };
        let (subject, tape) = (&mut self.subjects[index].1, &mut self.tape);
        let result = attempt(&mut **subject, tape);
        if result.is_err() {
            // Whatever state it is in: it is not used again.
            self.subjects.swap_remove(index);
        }
        result
    }

    /// The choices of the last run.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        self.tape.choices()
    }

    /// Where the events of the last run begin, if its tape notes them.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        self.tape.spans()
    }

    /// The last run's tape, with the names of its events: it is run once more, in a fresh subject.
    #[must_use]
    pub fn named(&self, profile: Profile) -> Vec<Span> {
        let mut tape = Tape::replay_spans(self.choices(), self.spans());
        tape.note_spans();
        // The result is known.
        let _ = catch(|| (self.make)(profile, self.canary).run(&mut tape));
        if tape.choices() == self.choices() {
            tape.spans().to_vec()
        } else {
            Vec::new()
        }
    }

    /// The share of a replayed tape's choices that were asked for, in percent.
    #[must_use]
    pub fn alignment(&self) -> f64 {
        self.tape.alignment()
    }

    /// Choices of the last run's tape that answered other questions than they did when it was recorded.
    #[must_use]
    pub fn misaligned(&self) -> u64 {
        self.tape.misaligned()
    }

    /// Runs the last run's tape in a fresh subject. An error if that differs.
    pub fn confirm(
        &self,
        profile: Profile,
        result: &Result<RunStats, Failure>,
    ) -> Result<(), Failure> {
        let mut tape = Tape::replay_spans(self.choices(), self.spans());
        let again = attempt(&mut *(self.make)(profile, self.canary), &mut tape);
        let same = match (result, &again) {
            // A backtrace may differ: it shows who called.
            (Err(a), Err(b)) => {
                (a.class, a.checker, a.trace, a.message.lines().next())
                    == (b.class, b.checker, b.trace, b.message.lines().next())
            }
            (a, b) => a == b,
        };
        let to_the_letter = tape.choices() == self.choices() && tape.spans() == self.spans();
        if same && tape.misaligned() == 0 && to_the_letter {
            return Ok(());
        }
        let describe = |result: &Result<RunStats, Failure>| match result {
            Ok(stats) => format!("passed, trace {:016x}, {} steps", stats.trace, stats.steps),
            Err(failure) => format!("{failure}, trace {:016x}", failure.trace),
        };
        Err(Failure {
            class: Class::Wrong,
            checker: "determinism",
            message: format!(
                "NOT DETERMINISTIC: the same tape went differently in a fresh world\n  first: {}\n  again: {}\n  \
                 {} choices, then {}, {} of them misaligned",
                describe(result),
                describe(&again),
                self.choices().len(),
                tape.choices().len(),
                tape.misaligned(),
            ),
            trace: result
                .as_ref()
                .map_or_else(|failure| failure.trace, |stats| stats.trace),
        })
    }
}
