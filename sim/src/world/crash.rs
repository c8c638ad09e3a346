//! The power cut: crash images opened, checked, read and compared; one of them lives on.

use ploop_core::format::Layout;

use crate::check::failure;
use crate::check::image::{Expected, Images, Left};
use crate::check::in_use::Mark;
use crate::disk::{CrashReport, Effect, SimFile, SyncEffect};
use crate::profile::Profile;
use crate::report::Failure;
use crate::tape::{Event, Kind, Tape};
use crate::world::flight::Flight;
use crate::world::log::Happening;
use crate::world::{Run, World};

/// Which of the crash images lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivor {
    /// The tape says.
    Drawn,
    /// Everything submitted reached the medium, in order of submission, but what a failed sync gave up.
    KeepAll,
    /// Only what is durable.
    KeepNone,
    /// One drawn with this seed.
    Seed(u64),
}

/// The parts of a world that judge an image, and the files that hold one.
struct Judging<'a> {
    top: &'a mut SimFile,
    spare: &'a mut SimFile,
    images: &'a mut Images,
    expected: Expected<'a>,
}

impl World {
    fn judging<'a>(&'a mut self, layout: &'a Layout, left: Left) -> Judging<'a> {
        Judging {
            top: &mut self.top,
            spare: &mut self.spare,
            images: &mut self.images,
            expected: Expected {
                below: &self.content.below,
                kept: &self.content.kept,
                since: &self.content.since,
                layout,
                left,
                model: &self.model,
                closed: self.closed.as_ref(),
            },
        }
    }
}

impl Run<'_> {
    /// The power is cut now.
    pub(super) fn cut(&mut self, survivor: Survivor) -> Result<(), Failure> {
        let left = self.left();
        if self.cycle > 0 && self.mark != Mark::Durable {
            self.stats.recovery_crashes += 1;
        }
        self.cut_with(left, survivor)
    }

    /// What the in-use mark of an image must be if the power is cut now.
    fn left(&self) -> Left {
        if self.mark == Mark::Durable {
            Left::Marked
        } else {
            Left::Either
        }
    }

    pub(super) fn cut_with(&mut self, left: Left, survivor: Survivor) -> Result<(), Failure> {
        self.fall();
        match self.enumerate {
            Some(cap) => self.judge_all(left, cap)?,
            None => self.judge_some(left)?,
        }
        self.live_on(left, survivor)
    }

    /// The power is off.
    pub(super) fn fall(&mut self) {
        self.stats.crashes += 1;
        self.trace.push(0x74 << 56);
        self.tape.begin(Event::Cut);
        self.note(|run| Happening::Cut {
            pending: run.world.top.pending(),
            in_flight: run.world.flights.iter().map(Flight::io).collect(),
        });
        self.world.model.crash();
    }

    /// Counts a crash image in which a round is torn apart.
    pub(super) fn tore(&mut self, torn: bool) {
        let real = torn && self.shape.is_real();
        self.stats.torn_rounds += u64::from(torn);
        self.stats.torn_real_rounds += u64::from(real);
    }

    /// The top file becomes one of the images that the cut may leave; it is examined, and the model goes on from it.
    fn live_on(&mut self, left: Left, survivor: Survivor) -> Result<(), Failure> {
        let report = self.crash_top(survivor);
        self.tore(report.torn_meta > 0);
        self.trace.push(
            u64::from(report.survived) << 32
                | u64::from(report.lost) << 16
                | u64::from(report.torn),
        );
        self.note(|_| Happening::Survived(report));
        self.judge(left)?;
        let world = &mut *self.world;
        world.content.since.next(&world.images.seen);
        let restarted = world.model.restart(&world.images.seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))
    }

    fn crash_top(&mut self, survivor: Survivor) -> CrashReport {
        // Zeros for ever: of each question the simplest answer, which keeps what is durable and nothing else.
        let mut simple = Tape::replay(Vec::new());
        let world = &mut *self.world;
        match survivor {
            Survivor::Drawn => world.top.crash(self.tape),
            Survivor::KeepNone => world.top.crash(&mut simple),
            Survivor::Seed(seed) => world.top.crash(&mut Tape::from_seed(seed)),
            Survivor::KeepAll => {
                for id in world.flights.iter().filter_map(|flight| flight.change()) {
                    world.top.complete(id, Effect::Done, &mut simple);
                }
                let sync = world.top.submit_sync();
                world.top.complete_sync(sync, SyncEffect::Done, &mut simple);
                world.top.crash(&mut simple)
            }
        }
    }

    /// Judges the top file as it is now.
    pub(super) fn judge(&mut self, left: Left) -> Result<(), Failure> {
        let judging = self.world.judging(&self.layout, left);
        judging.images.judge(judging.top.view(), judging.expected)?;
        self.judged();
        Ok(())
    }

    /// Counts an image that was judged.
    fn judged(&mut self) {
        self.stats.crash_images += 1;
        self.stats.sectors_compared += self.world.images.seen.len() as u64;
    }

    /// All images that a crash here can leave, up to a cap.
    fn judge_all(&mut self, left: Left, cap: u64) -> Result<(), Failure> {
        let Judging {
            top,
            images,
            expected,
            ..
        } = self.world.judging(&self.layout, left);
        let mut list = top.crash_images(cap);
        if list.distinct() <= u128::from(cap) {
            self.stats.complete_cuts += 1;
        }
        while list.advance() {
            images.judge(list.view(), expected)?;
            self.stats.crash_images += 1;
            self.stats.sectors_compared += images.seen.len() as u64;
        }
        Ok(())
    }

    /// Small runs now and then: all images, up to a cap. Large ones: a few drawn images besides the one that lives on.
    fn judge_some(&mut self, left: Left) -> Result<(), Failure> {
        let (cap, every) = match self.world.profile {
            Profile::Tiny => (200, 48),
            Profile::Default | Profile::Faults => (100, 24),
            Profile::Big => (0, 1),
        };
        if cap > 0 && self.tape.choose(Kind::Crash, every) == every - 1 {
            self.judge_all(left, cap)?;
        }
        let extra = if self.world.profile == Profile::Tiny {
            0
        } else {
            self.tape.choose(Kind::Crash, 4)
        };
        for _ in 0..extra {
            let judging = self.world.judging(&self.layout, left);
            judging.spare.copy_from(judging.top);
            let report = judging.spare.crash(self.tape);
            judging
                .images
                .judge(judging.spare.view(), judging.expected)?;
            self.tore(report.torn_meta > 0);
            self.judged();
        }
        Ok(())
    }
}
