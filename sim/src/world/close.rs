//! The clean close, and the power cut or the end of the server inside it.

use model::disk::Model;
use model::op::{End, Kind as OpKind, Op};
use ploop_core::format::InUse;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{CloseError, ControlIo, Device, Failure as CoreFailure};

use crate::check::bitmaps::Knows;
use crate::check::failure;
use crate::check::image::Left;
use crate::check::in_use::Mark;
use crate::disk::{Change, Effect, SimFile, SyncEffect};
use crate::report::Failure;
use crate::tape::{Event, Kind, Tape};
use crate::world::crash::Survivor;
use crate::world::cycle::Over;
use crate::world::{Canary, Run, hang};

/// What happens in a close, after so many calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Within {
    /// Nothing.
    Nothing,
    /// The power is cut.
    Cut(u32),
    /// The server is killed.
    Kill(u32),
    /// Nothing, and the disk goes on afterwards: requests that are held back stay.
    Switch,
}

/// The top file as the control plane sees it.
struct Control<'a> {
    file: &'a mut SimFile,
    tape: &'a mut Tape,
    /// Calls until it happens.
    left: Option<u32>,
    kills: bool,
    /// It has happened.
    over: bool,
    /// The header was written, perhaps in part.
    wrote: bool,
    lies: bool,
}

impl Control<'_> {
    /// True: this call is the one during which it happens.
    fn goes(&mut self) -> Result<bool, CoreFailure> {
        if self.over {
            return Err(CoreFailure::Io);
        }
        match &mut self.left {
            Some(0) => {
                self.over = true;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn change(&mut self, change: Change<'_>) -> Result<(), CoreFailure> {
        let goes = self.goes()?;
        let id = self.file.submit(change);
        if goes {
            if self.kills {
                // A call that a signal ends is made or not made: a length is never cut in part.
                let mut nothing = Tape::replay(Vec::new());
                match self.tape.choose(Kind::Crash, 2) {
                    0 => self.file.complete(id, Effect::Done, self.tape),
                    _ => self.file.complete(id, Effect::Failed, &mut nothing),
                }
            }
            return Err(CoreFailure::Io);
        }
        self.file.complete(id, Effect::Done, self.tape);
        Ok(())
    }
}

impl ControlIo for Control<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), CoreFailure> {
        self.wrote |= !self.over;
        self.change(Change::Bytes { at, bytes })
    }
    fn punch(&mut self, at: Sector, len: Sectors) -> Result<(), CoreFailure> {
        self.change(Change::Zero {
            at: at.0,
            len: len.0,
        })
    }
    fn set_len(&mut self, len: Sectors) -> Result<(), CoreFailure> {
        self.change(Change::SetLen { bytes: len.bytes() })
    }
    fn sync(&mut self) -> Result<(), CoreFailure> {
        let goes = self.goes()?;
        let id = self.file.submit_sync();
        // Left in flight by a power cut.
        if !self.lies && (!goes || self.kills) {
            let unheard = goes && self.tape.choose(Kind::Crash, 2) == 1;
            let effect = if unheard {
                SyncEffect::Nothing
            } else {
                SyncEffect::Done
            };
            self.file.complete_sync(id, effect, self.tape);
        }
        if goes { Err(CoreFailure::Io) } else { Ok(()) }
    }
}

impl Run<'_> {
    /// Suspends, drains, closes.
    pub(super) fn close(&mut self, device: &Device, within: Within) -> Result<Over, Failure> {
        self.say(|_| format!("close, within it: {within:?}"));
        self.tape.begin(Event::Close);
        self.suspended = true;
        device.suspend(&mut self.world.out);
        self.carry_out()?;
        self.drain(device)?;
        let Some(quiesced) = device.try_quiesce() else {
            return Err(hang(format!(
                "suspended and drained, but not quiescent (I35, I37)\n{}",
                device.dump()
            )));
        };
        // An image that somebody has left in use is closed for him.
        let changed = self.mark != Mark::Unmarked || bears_mark(&self.world.top);
        let lies = self.world.canary != Canary::Off;
        let world = &mut *self.world;
        let mut control = Control {
            file: &mut world.top,
            tape: self.tape,
            left: match within {
                Within::Nothing | Within::Switch => None,
                Within::Cut(calls) | Within::Kill(calls) => Some(calls),
            },
            kills: matches!(within, Within::Kill(_)),
            over: false,
            wrote: false,
            lies,
        };
        let closed = quiesced.close(&mut control);
        let Control { over, wrote, .. } = control;
        self.trace.push(0x73 << 56 | u64::from(closed.is_ok()));
        self.say(|_| format!("closed: {closed:?}"));
        match closed {
            Ok(()) => {
                let left = if changed { Left::Closed } else { Left::Either };
                self.settled(left)?;
                if within != Within::Switch {
                    self.end_of_all()?;
                }
            }
            Err(CloseError::Failed { .. }) if over && matches!(within, Within::Kill(_)) => {
                if wrote {
                    self.mark = Mark::Unmarked;
                }
                // What it had saved of dirty bitmaps may or may not be there.
                self.world.content.kept.loose |= self.world.content.since.knows != Knows::Nobody;
                return Ok(Over::Killed);
            }
            Err(CloseError::Failed { .. }) if over => {
                self.stats.close_crashes += 1;
                let mut closed = self.world.model.clone();
                flush(&mut closed)?;
                self.world.closed = Some(closed);
                let judged = self.cut_with(Left::Either, Survivor::Drawn);
                self.world.closed = None;
                judged?;
            }
            Err(CloseError::NotDurable { .. })
                if within == Within::Switch && !self.world.faults.untouched() =>
            {
                return Ok(Over::GoesOn);
            }
            Err(CloseError::NotDurable { .. }) if !self.world.faults.untouched() => {
                match self.tape.choose(Kind::Crash, 2) {
                    0 => self.cut(Survivor::Drawn)?,
                    _ => self.leave()?,
                }
            }
            Err(error) => {
                return Err(failure(
                    "progress",
                    format!("the close failed without a fault: {error}"),
                ));
            }
        }
        Ok(Over::Down)
    }

    /// Everything is durable: the image reads as the disk did.
    fn settled(&mut self, left: Left) -> Result<(), Failure> {
        flush(&mut self.world.model)?;
        let world = &mut *self.world;
        if world.canary != Canary::Off {
            world.top.crash(self.tape);
        }
        self.judge(left)?;
        let world = &mut *self.world;
        world.content.since.next(&world.images.seen);
        Ok(())
    }

    /// The power is off, and what the image that was judged last shows is all that is left.
    fn end_of_all(&mut self) -> Result<(), Failure> {
        let world = &mut *self.world;
        world.model.crash();
        let restarted = world.model.restart(&world.images.seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))
    }
}

/// True if the file says that it is in use.
fn bears_mark(file: &SimFile) -> bool {
    let mut field = [0; 4];
    let there = file.view().read_bytes(44, &mut field);
    there == 4 && InUse::from_raw(u32::from_le_bytes(field)) == InUse::InUse
}

/// Everything acknowledged is durable.
fn flush(model: &mut Model) -> Result<(), Failure> {
    let op = Op {
        kind: OpKind::Flush,
        start: 0,
        len: 0,
    };
    let flush = model.submit(op, 0);
    let judged = model.complete(flush, End::Ok, &[]);
    judged.map_err(|violation| failure("durable", violation.to_string()))
}
