//! Plays one scenario; what each line becomes is told in the folder's head.

use std::sync::Arc;
use std::time::Duration;

use model::fsck::fsck;
use model::image::{ImageBytes, InUse};
use model::op::{End, Kind, Op, Value};
use ploop_core::units::Sectors;
use rustix::io::Errno;
use sim::scenario::{Scenario, Step, Wanted};
use sim::world::chain::Owner;
use sim::world::stage::Ending;
use sim::world::trouble::Trouble as SimTrouble;

use ublk_frontend::files::RealFile;

use super::super::buffer::Buffer;
use super::super::judge::{Judge, values};
use super::super::server::{self, Device};
use super::super::target::{SECTOR, Target};
use super::super::trouble::{During, Trouble, demand};
use super::build::{Built, build};
use super::clients::Clients;
use super::{SCALE, Tally};

/// See the module.
pub(super) struct Play<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) built: Built,
    pub(super) judge: Arc<Judge>,
    /// Sectors of the disk now.
    pub(super) size: u64,
    pub(super) clients: Clients,
    pub(super) up: Option<(Device, Arc<Target>)>,
    /// The author's expectations still hold.
    pub(super) as_written: bool,
    /// Somebody has tried to change the disk since it was added.
    pub(super) changed: bool,
    /// Snapshots that were taken.
    pub(super) snapshots: u32,
    tally: Tally,
}

impl<'a> Play<'a> {
    /// Builds the files.
    pub(super) fn new(scenario: &'a Scenario) -> Result<Play<'a>, Trouble> {
        let built = build(scenario)?;
        let judge = Arc::new(Judge::new(&built.content));
        Ok(Play {
            scenario,
            built,
            clients: Clients::new(Arc::clone(&judge)),
            judge,
            size: scenario.shape.size * SCALE,
            up: None,
            as_written: true,
            changed: false,
            snapshots: 0,
            tally: Tally::default(),
        })
    }

    /// Plays it.
    pub(super) fn run(mut self) -> Result<Tally, Trouble> {
        for line in &self.scenario.steps {
            self.line(&line.step)
                .during(format!("line {}", line.number))?;
        }
        self.settle_and_read()?;
        self.close()?;
        self.settle_and_read().during("opened anew")?;
        self.close()?;
        Ok(self.tally)
    }

    fn line(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Submit(from, op) => {
                let op = Op {
                    start: op.start * SCALE,
                    len: op.len * SCALE,
                    ..*op
                };
                self.changed |= !matches!(op.kind, Kind::Read | Kind::Flush);
                self.tally.operations += 1;
                let (path, target) = self.target()?;
                self.clients.submit(&path, &target, *from, op)
            }
            Step::Settle => self.clients.settle(),
            Step::Tick(passed) => {
                std::thread::sleep(Duration::from_millis(passed.0));
                Ok(())
            }
            Step::Ended(from, end) => {
                let found = self.clients.wait(*from)?;
                if !self.as_written {
                    return self.leave_out("ended");
                }
                let wanted = match end {
                    End::Ok => Ok(()),
                    End::Io => Err(Errno::IO),
                    End::NoSpace => Err(Errno::NOSPC),
                };
                self.tally.demands += 1;
                demand(found == Some(wanted), || {
                    format!("ended {found:?}, not {wanted:?}")
                })
            }
            Step::Expect { start, len, wanted } => {
                if !self.as_written {
                    return self.leave_out("expect");
                }
                self.clients.settle()?;
                self.tally.demands += 1;
                self.expect(*start * SCALE, *len * SCALE, wanted)
            }
            Step::Deliver(_, ending) => {
                self.as_written &= matches!(ending, Ending::Done);
                self.leave_out(if matches!(ending, Ending::Done) {
                    "deliver"
                } else {
                    "fault"
                })
            }
            Step::DeliverAll => self.leave_out("deliver"),
            Step::Turn(_) => self.leave_out("turn"),
            Step::Waits(_) => self.leave_out("waits"),
            Step::Mapped(..) => self.leave_out("mapped"),
            Step::Suspend(_) => {
                self.as_written = false;
                self.leave_out("suspend")
            }
            Step::Close(None) => {
                self.clients.settle()?;
                self.target()?;
                self.close()
            }
            Step::Close(Some(_)) | Step::Cut(_) | Step::Kill => self.kill(),
            Step::Switch(switch, trouble) => {
                if *trouble != SimTrouble::None {
                    self.leave_out("trouble in a change")?;
                }
                self.change(switch)
            }
            Step::Copies(_) => self.closed_and_left_out("copy"),
            Step::Track(_) => self.leave_out("track"),
        }
    }

    pub(super) fn leave_out(&mut self, what: &'static str) -> Result<(), Trouble> {
        *self.tally.left_out.entry(what).or_default() += 1;
        Ok(())
    }

    /// The device, added if it is not there.
    pub(super) fn target(&mut self) -> Result<(std::path::PathBuf, Arc<Target>), Trouble> {
        if self.up.is_none() {
            let images: Vec<_> = self
                .built
                .images
                .iter()
                .map(|image| image.as_path())
                .collect();
            let device = server::add(&self.built.options(), &images)?;
            let target = Arc::new(device.open()?);
            let (size, wanted) = (target.sectors()?, self.size);
            demand(size == wanted, || {
                format!("the device has {size} sectors, not {wanted}")
            })?;
            self.up = Some((device, target));
        }
        let (device, target) = self.up.as_ref().ok_or("no device")?;
        Ok((device.path.clone(), Arc::clone(target)))
    }

    fn settle_and_read(&mut self) -> Result<(), Trouble> {
        self.clients.settle()?;
        let (_, target) = self.target()?;
        self.judge.read_everything(&target, self.size)
    }

    fn expect(&mut self, start: u64, len: u64, wanted: &[Wanted]) -> Result<(), Trouble> {
        let (_, target) = self.target()?;
        let mut buffer = Buffer::new((len * SECTOR) as usize);
        let op = Op {
            kind: Kind::Read,
            start,
            len,
        };
        self.judge
            .perform(&target, op, &mut buffer)?
            .during(format!("{op:?}"))?;
        for (sector, found) in (start..).zip(values(buffer.part((len * SECTOR) as usize))) {
            let is = |wanted: &Wanted| match wanted {
                Wanted::Write(number) => Value::of(*number, sector) == found,
                Wanted::Zero => Value::ZERO == found,
                Wanted::Base => {
                    let base = self.built.content.get(sector as usize);
                    base.copied().unwrap_or(Value::ZERO) == found
                }
            };
            demand(wanted.iter().any(is), || {
                format!("sector {sector} holds {found:?}, not {wanted:?}")
            })?;
        }
        Ok(())
    }

    /// The device goes, its image grows, and the next one is larger.
    pub(super) fn grow(&mut self, more: u64) -> Result<(), Trouble> {
        self.clients.settle()?;
        self.target()?;
        self.close()?;
        let top = self.built.images.last().ok_or("no image")?;
        let file = RealFile::open_write(top).map_err(|error| error.to_string())?;
        let size = Sectors(self.size + more);
        let grown = ploop_core::control::files::grow(&file, &top.display().to_string(), size);
        grown.map_err(|error| error.to_string())?;
        self.judge.grow(more);
        self.size += more;
        self.changed = true;
        Ok(())
    }

    fn kill(&mut self) -> Result<(), Trouble> {
        self.clients.settle()?;
        let (_, target) = self.target()?;
        let (device, _) = self.up.as_ref().ok_or("no device")?;
        device.kill()?;
        device.recover()?;
        self.judge.read_everything(&target, self.size)?;
        self.as_written = false;
        self.tally.kills += 1;
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), Trouble> {
        if let Some((device, target)) = self.up.take() {
            drop(target);
            device.del()?;
        }
        let top = self.built.images.last().ok_or("no image")?;
        let bytes = std::fs::read(top)?;
        let report = fsck(&bytes as &dyn ImageBytes);
        if let Some(problem) = report.problems.first() {
            return Err(format!("model::fsck: {problem}").into());
        }
        // "v2.1" vouches for dirty bitmaps that were kept right.
        let closed = match report.in_use() {
            Some(InUse::Closed21) => report.header.is_some_and(|header| header.ext_off != 0),
            mark => mark == Some(InUse::Closed),
        };
        demand(!self.changed || closed, || {
            format!("closed, but marked {:?}", report.in_use())
        })?;
        let leaks = server::check_killed(top)?;
        if self.tally.kills == 0 {
            // Free clusters of the beginning that nobody has needed.
            let free = |owner: &&Owner| matches!(owner, Owner::Free);
            let free = self.scenario.top.hosts.iter().filter(free).count() as u64;
            // A ragged end is a part of one.
            let free = free + u64::from(self.scenario.top.ragged);
            demand(leaks <= free, || {
                format!("{leaks} lost clusters, {free} in the beginning")
            })?;
        } else {
            self.tally.leaks = leaks;
        }
        self.tally.closes += 1;
        Ok(())
    }
}
