//! A server ends without a close, because not everything could be made durable, and another one opens what it left: no power
//! was lost, so it sees what a failed sync has left in the page cache, and a power cut would take it back.
//!
//! ```text
//!   not durable ──▶ process gone ──▶ settled (or the power cut in it) ──▶ what is read now is durable ──▶ opened
//! ```
//! * What was not flushed may be gone, as in a power cut; what was must be there.
//! * Clean pages are evicted when the kernel likes. Here it likes to at once, with guest data: a core without guest bytes
//!   cannot make durable what a failed sync gave up. The table it can.

use ploop_core::control::files::settle;
use ploop_core::delta::LoadedDelta;
use ploop_core::load;

use crate::check::failure;
use crate::check::image::Left;
use crate::disk::fault::FaultPlan;
use crate::disk::{BlockingFile, Power as Supply};
use crate::report::Failure;
use crate::tape::Kind;
use crate::world::Run;

impl Run<'_> {
    /// The server is gone. The file is settled, and judged.
    pub(super) fn leave(&mut self) -> Result<(), Failure> {
        self.say(|_| "left as it is, not durable".to_owned());
        self.stats.left += 1;
        self.trace.push(0x76 << 56);
        self.world.model.crash();
        self.world.top.evict_lost_data();
        let calls = match self.tape.choose(Kind::Crash, 4) {
            3 => Some(self.tape.choose(Kind::Crash, 6)),
            _ => None,
        };
        if self.settle_top(calls)?.is_none() {
            self.say(|_| "the power is cut while it is settled".to_owned());
            self.stats.recovery_crashes += 1;
            self.world.top.crash(self.tape);
        }
        self.judge(Left::Either)?;
        let world = &mut *self.world;
        let restarted = world.model.restart(&world.images.seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))?;
        world.content.since.next(&world.images.seen);
        // What was read is all there is now, whatever happens.
        world.spare.copy_from(&world.top);
        world.spare.crash(self.tape);
        std::mem::swap(&mut world.spare, &mut world.top);
        let judged = self.judge(Left::Either);
        std::mem::swap(&mut self.world.spare, &mut self.world.top);
        judged
    }

    /// Settles the top, as whoever opens it does; `None` if the power was lost.
    pub(super) fn settle_top(
        &mut self,
        calls: Option<u32>,
    ) -> Result<Option<LoadedDelta>, Failure> {
        let refused = |error: String| failure("open", error);
        let mut loaded =
            load::load(&self.world.top, "top").map_err(|error| refused(error.to_string()))?;
        let mut none = FaultPlan::none();
        let supply = Supply::new(self.tape, &mut none, calls);
        let settled = settle(
            &BlockingFile::new(&mut self.world.top, &supply),
            &mut loaded,
        );
        match settled {
            Ok(_) => {
                self.world.top.forget_lost();
                Ok(Some(loaded))
            }
            Err(_) if supply.is_lost() => Ok(None),
            Err(error) => Err(refused(format!("cannot be settled: {error}"))),
        }
    }
}
