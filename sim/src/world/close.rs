//! The clean close, and the power cut inside it.

use model::disk::Model;
use model::op::{End, Kind as OpKind, Op};
use ploop_core::units::Sectors;
use ploop_core::{CloseError, ControlIo, Device, Failure as CoreFailure};

use crate::check::failure;
use crate::check::image::Left;
use crate::check::in_use::Mark;
use crate::disk::{Change, Effect, SimFile, SyncEffect};
use crate::report::Failure;
use crate::tape::{Event, Tape};
use crate::world::crash::Survivor;
use crate::world::{Canary, Run, hang};

/// The top file as the control plane sees it.
struct Control<'a> {
    file: &'a mut SimFile,
    tape: &'a mut Tape,
    /// Calls until the power is cut.
    power: Option<u32>,
    cut: bool,
    lies: bool,
}

impl Control<'_> {
    /// True: this call is the one during which the power goes.
    fn goes(&mut self) -> Result<bool, CoreFailure> {
        if self.cut {
            return Err(CoreFailure::Io);
        }
        match &mut self.power {
            Some(0) => {
                self.cut = true;
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
            return Err(CoreFailure::Io);
        }
        self.file.complete(id, Effect::Done, self.tape);
        Ok(())
    }
}

impl ControlIo for Control<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), CoreFailure> {
        self.change(Change::Bytes { at, bytes })
    }
    fn set_len(&mut self, len: Sectors) -> Result<(), CoreFailure> {
        self.change(Change::SetLen { bytes: len.bytes() })
    }
    fn sync(&mut self) -> Result<(), CoreFailure> {
        let goes = self.goes()?;
        let id = self.file.submit_sync();
        if goes {
            return Err(CoreFailure::Io);
        }
        if !self.lies {
            self.file.complete_sync(id, SyncEffect::Done, self.tape);
        }
        Ok(())
    }
}

impl Run<'_> {
    /// Suspends, drains, closes. `power`: cut after so many calls.
    pub(super) fn close(&mut self, device: &Device, power: Option<u32>) -> Result<(), Failure> {
        self.say(|_| format!("close, power lasts for {power:?} calls"));
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
        let changed = self.mark != Mark::Unmarked;
        let lies = self.world.canary != Canary::Off;
        let world = &mut *self.world;
        let mut control = Control {
            file: &mut world.top,
            tape: self.tape,
            power,
            cut: false,
            lies,
        };
        let closed = quiesced.close(&mut control);
        let cut = control.cut;
        self.trace.push(0x73 << 56 | u64::from(closed.is_ok()));
        self.say(|_| format!("closed: {closed:?}"));
        match closed {
            Ok(()) => self.closed(if changed { Left::Closed } else { Left::Either }),
            Err(CloseError::Failed { .. }) if cut => {
                self.stats.recovery_crashes += 1;
                let mut closed = self.world.model.clone();
                flush(&mut closed)?;
                self.world.closed = Some(closed);
                let judged = self.cut_with(Left::Either, Survivor::Drawn);
                self.world.closed = None;
                judged
            }
            Err(CloseError::NotDurable { .. }) if !self.world.faults.untouched() => {
                self.cut(Survivor::Drawn)
            }
            Err(error) => Err(failure(
                "progress",
                format!("the close failed without a fault: {error}"),
            )),
        }
    }

    /// Everything is durable: the image reads as the disk did.
    fn closed(&mut self, left: Left) -> Result<(), Failure> {
        flush(&mut self.world.model)?;
        let world = &mut *self.world;
        if world.canary != Canary::Off {
            world.top.crash(self.tape);
        }
        self.judge(left)?;
        let world = &mut *self.world;
        world.model.crash();
        let restarted = world.model.restart(&world.images.seen);
        restarted.map_err(|violation| failure("durable", violation.to_string()))
    }
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
