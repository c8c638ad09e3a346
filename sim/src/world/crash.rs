//! The power cut: crash images opened, checked, read and compared; one of them lives on.

use ploop_core::Device;

use crate::check::failure;
use crate::check::image::{Expected, Left};
use crate::check::in_use::Mark;
use crate::profile::Profile;
use crate::report::Failure;
use crate::tape::Kind;
use crate::world::{Run, World};

impl Run<'_> {
    /// The power is cut now.
    pub(super) fn cut(&mut self, device: &Device) -> Result<(), Failure> {
        let left = if self.mark == Mark::Durable {
            Left::Marked
        } else {
            Left::Either
        };
        if self.cycle > 0 && self.mark != Mark::Durable {
            self.stats.recovery_crashes += 1;
        }
        self.cut_with(device, left)
    }

    pub(super) fn cut_with(&mut self, device: &Device, left: Left) -> Result<(), Failure> {
        self.stats.crashes += 1;
        self.trace.push(0x74 << 56);
        self.say(|run| {
            format!(
                "power cut, {} changes pending; {} in flight",
                run.world.top.pending(),
                run.world.flights.len()
            )
        });
        let _ = device;
        self.world.model.crash();
        self.enumerate(left)?;
        self.sample(left)?;
        let world = &mut *self.world;
        let report = world.top.crash(self.tape);
        self.stats.torn_rounds += u64::from(report.torn_meta > 0);
        self.trace.push(
            u64::from(report.survived) << 32
                | u64::from(report.lost) << 16
                | u64::from(report.torn),
        );
        self.say(|_| format!("  survived: {report:?}"));
        self.judge(left)?;
        let world = &mut *self.world;
        let restarted = world.model.restart(&world.images.seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))
    }

    /// Judges the top file as it is now.
    pub(super) fn judge(&mut self, left: Left) -> Result<(), Failure> {
        let World {
            top,
            images,
            content,
            model,
            ..
        } = &mut *self.world;
        let expected = Expected {
            below: &content.below,
            layout: &self.layout,
            left,
            model,
        };
        images.judge(top.view(), expected)?;
        self.judged();
        Ok(())
    }

    /// Counts an image that was judged.
    fn judged(&mut self) {
        self.stats.crash_images += 1;
        self.stats.sectors_compared += self.world.images.seen.len() as u64;
    }

    /// Small runs now and then: all images that a crash here can leave, up to a cap.
    fn enumerate(&mut self, left: Left) -> Result<(), Failure> {
        let cap = match self.world.profile {
            Profile::Tiny => 200,
            Profile::Default | Profile::Faults => 100,
            Profile::Big => 0,
        };
        if cap == 0 || self.tape.choose(Kind::Crash, 24) != 23 {
            return Ok(());
        }
        let World {
            top,
            images,
            content,
            model,
            ..
        } = &mut *self.world;
        let expected = Expected {
            below: &content.below,
            layout: &self.layout,
            left,
            model,
        };
        let mut list = top.crash_images(cap);
        while list.advance() {
            images.judge(list.view(), expected)?;
            self.stats.crash_images += 1;
            self.stats.sectors_compared += images.seen.len() as u64;
        }
        Ok(())
    }

    /// A few drawn images besides the one that lives on.
    fn sample(&mut self, left: Left) -> Result<(), Failure> {
        let extra = if self.world.profile == Profile::Tiny {
            0
        } else {
            self.tape.choose(Kind::Crash, 4)
        };
        for _ in 0..extra {
            let World {
                top,
                spare,
                images,
                content,
                model,
                ..
            } = &mut *self.world;
            spare.copy_from(top);
            let report = spare.crash(self.tape);
            let expected = Expected {
                below: &content.below,
                layout: &self.layout,
                left,
                model,
            };
            images.judge(spare.view(), expected)?;
            self.stats.torn_rounds += u64::from(report.torn_meta > 0);
            self.judged();
        }
        Ok(())
    }
}
