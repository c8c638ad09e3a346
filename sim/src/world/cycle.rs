//! A power cycle: events until everything has ended, or the power is cut.

use model::op::{Kind as OpKind, Op};
use ploop_core::units::{Millis, QueueId, Tag};
use ploop_core::{Device, Origin};

use crate::report::Failure;
use crate::tape::{Event, Kind, Label};
use crate::world::close::Within;
use crate::world::crash::Survivor;
use crate::world::log::Happening;
use crate::world::{Power, Run, hang};

/// More events than any run needs.
const MOST_EVENTS: u32 = 200_000;
/// What an event may be.
const EVENTS: [Event; 6] = [
    Event::Submit,
    Event::Deliver,
    Event::Turn,
    Event::Tick,
    Event::Suspend,
    Event::Copy,
];

/// How a power cycle ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// The server is killed after so many events.
    KillAfter(u32),
    /// Cut after so many events.
    CutAfter(u32),
    /// The chain is changed after so many events.
    SwitchAfter(u32),
    /// Close; something may happen within it.
    Close(Within),
}

/// How it did end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// With a clean close, a power cut, or a file that could not be made durable.
    Down,
    /// It did not: the server is to be killed now.
    Killed,
    /// It did not: the chain is to be changed now.
    Switched,
    /// It did not: the device goes on as it was.
    GoesOn,
}

impl Run<'_> {
    /// Goes on until the power is cut, the device is closed or the server is to be killed. `budget`: operations that may
    /// still be submitted in this power cycle.
    pub(super) fn power_cycle(
        &mut self,
        device: &Device,
        budget: &mut u32,
    ) -> Result<Over, Failure> {
        let plan = match self.power {
            Power::Drawn => self.draw_plan(),
            Power::CutAfter(events) if self.cycle == 0 => Plan::CutAfter(events),
            Power::CutInClose(calls) if self.cycle == 0 => Plan::Close(Within::Cut(calls)),
            Power::Lasts | Power::CutAfter(_) | Power::CutInClose(_) => {
                Plan::Close(Within::Nothing)
            }
        };
        let mut events = 0;
        loop {
            if plan == Plan::CutAfter(events) {
                self.cut(Survivor::Drawn)?;
                return Ok(Over::Down);
            }
            if plan == Plan::KillAfter(events) {
                self.kills -= 1;
                return Ok(Over::Killed);
            }
            if plan == Plan::SwitchAfter(events) {
                self.switches -= 1;
                return Ok(Over::Switched);
            }
            events += 1;
            if events > MOST_EVENTS {
                return Err(hang(format!(
                    "{events} events and no end\n{}",
                    device.dump()
                )));
            }
            if !self.event(device, budget)? {
                break;
            }
        }
        let within = match plan {
            Plan::Close(within) => within,
            // A cut that was asked for after so many events, and there were fewer: there is none.
            Plan::CutAfter(_) if self.power != Power::Drawn => Within::Nothing,
            Plan::CutAfter(_) => {
                self.cut(Survivor::Drawn)?;
                return Ok(Over::Down);
            }
            Plan::KillAfter(_) => {
                self.kills -= 1;
                return Ok(Over::Killed);
            }
            Plan::SwitchAfter(_) => {
                self.switches -= 1;
                // So that the next device has something to do.
                *budget += 2;
                return Ok(Over::Switched);
            }
        };
        self.read_all(device)?;
        let over = self.close(device, within)?;
        if over == Over::Killed {
            self.kills -= 1;
            // So that the next server has something to do.
            *budget += 2;
        }
        Ok(over)
    }

    fn draw_plan(&mut self) -> Plan {
        self.tape.begin(Event::Plan);
        let most = 6 * self.swarm.budget;
        if self.kills > 0 && self.tape.choose(Kind::Crash, 4) != 0 {
            return match self.tape.choose(Kind::Crash, 6) {
                5 => Plan::Close(Within::Kill(self.tape.choose(Kind::Crash, 6))),
                _ => Plan::KillAfter(self.tape.choose(Kind::Crash, most)),
            };
        }
        if self.switches > 0 && self.tape.choose(Kind::Crash, 4) != 0 {
            return Plan::SwitchAfter(self.tape.choose(Kind::Crash, most));
        }
        match self.tape.choose(Kind::Crash, 8) {
            0..=2 => Plan::Close(Within::Nothing),
            3 => Plan::Close(Within::Cut(self.tape.choose(Kind::Crash, 6))),
            // Soon after the start: while the mark is being set.
            4 => Plan::CutAfter(self.tape.choose(Kind::Crash, 10)),
            _ => Plan::CutAfter(self.tape.choose(Kind::Crash, most)),
        }
    }

    /// One event. False: everything has ended.
    fn event(&mut self, device: &Device, budget: &mut u32) -> Result<bool, Failure> {
        if *budget > 0 && self.tape.stops() {
            *budget = 0;
        }
        self.tape.begin(Event::Any);
        let mut weights = self.swarm.events;
        if *budget == 0 {
            weights[0] = 0;
        }
        if self.world.flights.is_empty() {
            weights[1] = 0;
        }
        if !self.owes_turn {
            weights[2] = 0;
        }
        if weights[0] + weights[1] + weights[2] == 0 {
            return self.idle(device);
        }
        if self.tape.is_curious() {
            self.tell(&weights, *budget);
        }
        match self.tape.weighted_event(Kind::Event, &weights, &EVENTS) {
            0 => {
                // All tags busy: what is under way goes on, or a tape of zeros would never end.
                if self.submit_some(device)? {
                    *budget -= 1;
                    self.stats.steps += 1;
                    self.owes_turn = true;
                } else if !self.world.flights.is_empty() {
                    self.deliver_some(device)?;
                    self.owes_turn = true;
                } else if self.owes_turn {
                    self.turn(device)?;
                } else {
                    return self.idle(device);
                }
            }
            1 => {
                self.deliver_some(device)?;
                self.owes_turn = true;
            }
            2 => self.turn(device)?,
            3 => {
                let later = 1 + self.tape.choose(Kind::Time, 60);
                self.tick(device, Millis(self.now.0 + u64::from(later)))?;
            }
            4 => {
                self.stats.suspends += u64::from(!self.suspended);
                self.suspend_or_resume(device)?;
            }
            _ => self.copy_some(device),
        }
        Ok(true)
    }

    /// Nothing is in flight, nothing can be submitted: turn, then time, then it must be over.
    pub(super) fn idle(&mut self, device: &Device) -> Result<bool, Failure> {
        self.turn(device)?;
        if !self.world.flights.is_empty() {
            return Ok(true);
        }
        if self.suspended {
            self.suspend_or_resume(device)?;
            return Ok(true);
        }
        if self.active() == 0 {
            return Ok(false);
        }
        // What still waits, waits for time or for space; space returns, since refusals are counted.
        self.tick(device, Millis(self.now.0 + 1000))?;
        self.turn(device)?;
        if self.world.flights.is_empty() && self.active() > 0 && !device.is_starving() {
            let waiting: Vec<String> = self
                .world
                .tags
                .iter()
                .filter_map(|tag| tag.active)
                .map(|(_, op)| format!("{op:?}"))
                .collect();
            return Err(hang(format!(
                "nothing in flight, nothing due, but waited for: {}\n{}",
                waiting.join(", "),
                device.dump()
            )));
        }
        Ok(true)
    }

    pub(super) fn turn(&mut self, device: &Device) -> Result<(), Failure> {
        let queue = self.some_queue();
        self.turn_on(device, queue)
    }

    pub(super) fn turn_on(&mut self, device: &Device, queue: QueueId) -> Result<(), Failure> {
        self.owes_turn = false;
        self.stats.steps += 1;
        self.trace.push(0x70 << 56 | u64::from(queue.0));
        self.tape.name(|| Label {
            event: Event::Turn,
            queue: Some(queue.0),
            ..Label::default()
        });
        self.note(|_| Happening::Turn(queue.0));
        device.turn(queue, &mut self.world.out);
        self.carry_out()?;
        self.watch(device);
        Ok(())
    }

    pub(super) fn tick(&mut self, device: &Device, now: Millis) -> Result<(), Failure> {
        self.now = now;
        self.stats.steps += 1;
        self.owes_turn = true;
        self.trace.push(0x71 << 56 | now.0);
        self.tape.name(|| Event::Tick.into());
        self.note(|_| Happening::Tick(now.0));
        device.tick(now, &mut self.world.out);
        self.carry_out()?;
        self.watch(device);
        Ok(())
    }

    pub(super) fn suspend_or_resume(&mut self, device: &Device) -> Result<(), Failure> {
        self.stats.steps += 1;
        self.owes_turn = true;
        self.trace.push(0x72 << 56 | u64::from(self.suspended));
        self.suspended = !self.suspended;
        let event = [Event::Resume, Event::Suspend][usize::from(self.suspended)];
        self.tape.name(|| event.into());
        self.note(|run| Happening::Suspend(run.suspended));
        if self.suspended {
            device.suspend(&mut self.world.out);
        } else {
            device.resume(&mut self.world.out);
        }
        self.carry_out()?;
        self.watch(device);
        Ok(())
    }

    /// Delivers everything, in order, until nothing is in flight.
    pub(super) fn drain(&mut self, device: &Device) -> Result<(), Failure> {
        for _ in 0..MOST_EVENTS {
            self.tape.begin(Event::Any);
            self.turn(device)?;
            if self.world.flights.is_empty() {
                return Ok(());
            }
            while !self.world.flights.is_empty() {
                self.tape.begin(Event::Any);
                self.deliver_some(device)?;
            }
        }
        Err(hang(format!("I/O without end\n{}", device.dump())))
    }

    /// Reads the whole disk as a client, and checks the core's own invariants.
    pub(super) fn read_all(&mut self, device: &Device) -> Result<(), Failure> {
        self.world.faults.cease();
        self.tape.begin(Event::Read);
        let op = Op {
            kind: OpKind::Read,
            start: 0,
            len: self.shape.size,
        };
        self.submit(
            device,
            Origin {
                queue: QueueId(0),
                tag: Tag(0),
            },
            op,
        )?;
        self.drain(device)?;
        if self.active() > 0 {
            return Err(hang(format!(
                "a read of the whole disk does not end\n{}",
                device.dump()
            )));
        }
        device.verify();
        if self.copy.is_some() {
            // The tag of the read just made.
            let seen = std::mem::take(&mut self.world.tags[0].buffer);
            return self.compare_copy(device, &seen);
        }
        Ok(())
    }
}
