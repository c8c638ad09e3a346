//! The life of a device and its server.
//!
//! ```text
//!   open image ─▶ ADD_DEV │ START_USER_RECOVERY ─▶ queues ─▶ START_DEV │ END_USER_RECOVERY ─▶ ready
//!                                                                                              │
//!      exit, device stays ◀─ close image ◀─ drain ◀── QUIESCE_DEV ◀── quiesce ◀───────────────┤
//!      exit, device stays ◀─ close image ◀─ drain ◀────────────────── step aside ◀────────────┤
//!      exit, device gone ◀─ DEL_DEV ◀─ close image ◀─ drain ◀── STOP_DEV ◀── signal, stop ◀───┘
//! ```
//! * The queues serve until STOP_DEV has returned: it waits for the requests in flight.
//! * Flags and parameters are compared with what the kernel gave back; what is missing is an error, or for zero copy
//!   (`auto`) a note.
//! * A panic, or a ring that fails, ends the process: the kernel sees it and keeps the disk for `recover`.

use std::fs::File;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use ploop_core::units::{Level, QueueId};
use rustix::event::{PollFd, PollFlags, poll};

use crate::ring::mailbox::Letter;
use crate::ring::queue::Shared;
use crate::tool::ToolError;
use crate::tool::output::complain;
use crate::ublk::begin::Ready;
use crate::ublk::ctrl::{Control, CtrlError, disk_node};
use crate::ublk::front::Alarm;
use crate::ublk::lent::Lent;
use crate::ublk::link::Link;
use crate::ublk::map::NewMap;
use crate::ublk::report::{self, Report};
use crate::ublk::retell::{self, Retell};
use crate::ublk::shape::Shape;
use crate::ublk::socket::{self, Answer, Question};
use crate::ublk::state::{Folder, Lock, Record};
use crate::ublk::sys::{self, state};
use crate::ublk::{closing, namespace, notify, setup, signals};

mod words;

/// How long requests in flight may take when the disk is quiesced, in milliseconds.
const QUIESCE_MS: u64 = 30_000;

/// What is done to a link.
const MAKE_LINK: &str = "make the link";

/// Whether the guest's own pages are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ZeroCopy {
    /// If the kernel can.
    Auto,
    /// Or not at all.
    On,
    /// Or not at all; the server lends the pages of each request itself, as it has to on Linux 6.15.
    ByHand,
    /// Data is copied once more.
    Off,
}

/// What to serve.
#[derive(Clone, Debug)]
pub enum Task {
    /// A new device. `id` is `u32::MAX` for any; pid, flags, `zero_copy` and the like are filled in.
    Add(Box<Record>, ZeroCopy),
    /// A device whose server is gone.
    Recover(Box<Record>),
}

/// Serves until told to end. `ready` is called when the disk can be used, with what it is and what the user should know.
///
/// `allowed` is asked about a new device when its images are locked: what was decided before that may not be true any more.
pub fn serve(
    folder: &Folder,
    task: Task,
    allowed: impl Fn(&Record) -> Result<(), ToolError>,
    ready: impl FnOnce(&Report, &[String]) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let signals = signals::pipe().map_err(|error| refused(format!("signals: {error}")))?;
    // The queues say whether this works; it is theirs and the last sync's.
    let _ = rustix::process::configure_io_flusher_behavior(true);
    if let Err(error) = namespace::enter() {
        complain("warning", format!("no mount namespace of its own: {error}"));
    }
    let is_new = matches!(task, Task::Add(..));
    let mut server = Server::start(folder, task, &allowed, signals)?;
    let announced = server.remember(is_new).and_then(|()| {
        if let Err(error) = namespace::let_go() {
            complain("warning", format!("mounts stay in use: {error}"));
        }
        ready(&server.report(), &server.notes)
    });
    if let Err(error) = announced {
        if is_new {
            // The first error is the one to tell.
            let _ = server.finish(End::Remove { force: true });
        }
        return Err(error);
    }
    let node = disk_node(server.record.id);
    let ready = format!("READY=1\nSTATUS=serving {}", node.display());
    server.systemd.tell(&ready);
    server.attend()
}

pub(super) fn refused(why: impl Into<String>) -> ToolError {
    ToolError::Refused(why.into())
}

pub(super) fn driver(error: CtrlError) -> ToolError {
    ToolError::Refused(error.to_string())
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The device goes.
    Remove { force: bool },
    /// The device stays, for the next server; the kernel was told, and sends no more requests.
    Keep,
    /// The same, and the kernel finds out. The requests that it sends meanwhile are held back, and issued again.
    Aside,
}

impl End {
    fn device_stays(self) -> bool {
        !matches!(self, End::Remove { .. })
    }
}

struct Server<'a> {
    folder: &'a Folder,
    control: Control,
    record: Record,
    shape: Shape,
    direct: bool,
    notes: Vec<String>,
    shared: Arc<Shared>,
    alarm: Arc<Alarm>,
    threads: Vec<JoinHandle<()>>,
    node: Option<Arc<File>>,
    signals: UnixStream,
    listener: UnixListener,
    systemd: notify::Listener,
    link: Option<Link>,
    lent: Lent,
    retell: Option<Retell>,
    _lock: Lock,
}

impl<'a> Server<'a> {
    fn start(
        folder: &'a Folder,
        task: Task,
        allowed: &dyn Fn(&Record) -> Result<(), ToolError>,
        signals: UnixStream,
    ) -> Result<Server<'a>, ToolError> {
        let mut control = Control::open().map_err(driver)?;
        let features = control.features().map_err(driver)?;
        let (mut record, wish) = match &task {
            Task::Add(record, zero_copy) => ((**record).clone(), *zero_copy),
            Task::Recover(record) if record.zero_copy => {
                let wish = match record.flags & sys::F_AUTO_BUF_REG {
                    0 => ZeroCopy::ByHand,
                    _ => ZeroCopy::On,
                };
                ((**record).clone(), wish)
            }
            Task::Recover(record) => ((**record).clone(), ZeroCopy::Off),
        };
        let is_new = matches!(task, Task::Add(..));
        let mut notes = Vec::new();
        record.zero_copy = setup::decide_zero_copy(wish, features, &mut notes);
        if is_new {
            setup::cap_queues(&mut record, &mut notes);
        }
        // A server that was killed is gone when its lock is.
        let lock = match is_new {
            true => None,
            false => Some(setup::lock_unchanged(folder, record.id)?),
        };
        if !is_new {
            // It may have been changed while this one waited for the lock.
            let id = record.id;
            let now = folder.load(id)?;
            let now = now.ok_or_else(|| refused(format!("device {id}: its record is gone")))?;
            record = Record {
                zero_copy: record.zero_copy,
                ..now
            };
            setup::follow_bundle(&mut record)?;
        }
        let map = NewMap::open(folder, &record, is_new)?;
        let mut opened = setup::open_images(&record, map.survives(), is_new, allowed)?;
        let mut shape = setup::shape(&record, &opened);
        if !is_new {
            setup::fit_memory(&mut control, record.id, &mut opened, &mut shape)?;
        }
        notes.append(&mut opened.notes);
        if is_new {
            record.request_bytes = shape.request_bytes();
            record.block = shape.block;
            if let Some(link) = &record.symlink {
                // The disk is not to appear, and go again.
                Link::can_be_made(link, record.id).map_err(ToolError::io(link, MAKE_LINK))?;
            }
            let by_hand = wish == ZeroCopy::ByHand;
            setup::add(&mut control, &mut record, features, by_hand)?;
        } else {
            setup::check_same(&record, &shape)?;
        }
        let ready = Ready {
            record: record.clone(),
            shape,
            opened,
            lock,
            map,
        };
        let started = ready.begin(folder, &mut control, &mut notes);
        let parts = match started {
            Ok(parts) => parts,
            Err(error) => {
                if is_new {
                    // The reason of the failure is told, not that of the clean-up.
                    let _ = control.stop(record.id);
                    let _ = control.del_async(record.id);
                    folder.forget(record.id);
                }
                return Err(error);
            }
        };
        let retell = (!is_new)
            .then(|| retell::begin(&mut control, &parts.record, &shape, &mut notes))
            .flatten();
        Ok(Server {
            folder,
            control,
            record: parts.record,
            shape,
            direct: parts.direct,
            notes,
            shared: parts.shared,
            alarm: parts.alarm,
            threads: parts.threads,
            node: Some(parts.node),
            signals,
            listener: parts.listener,
            systemd: notify::Listener::from_env().unwrap_or_else(|error| {
                complain("warning", format!("NOTIFY_SOCKET: {error}"));
                notify::Listener::nobody()
            }),
            link: None,
            lent: Lent::default(),
            retell,
            _lock: parts.lock,
        })
    }

    /// Writes down what it serves, and gives the disk its other name.
    fn remember(&mut self, is_new: bool) -> Result<(), ToolError> {
        self.folder.save(&self.record)?;
        let Some(path) = &self.record.symlink else {
            return Ok(());
        };
        match Link::make(path, self.record.id) {
            Ok(link) => self.link = Some(link),
            Err(error) if is_new => return Err(ToolError::io(path, MAKE_LINK)(error)),
            // Whoever uses the disk has waited long enough.
            Err(error) => self
                .notes
                .push(format!("{}: cannot {MAKE_LINK}: {error}", path.display())),
        }
        Ok(())
    }

    /// Answers questions until it is to end, and ends.
    fn attend(mut self) -> Result<(), ToolError> {
        let (end, asker) = self.wait()?;
        let result = self.finish(end);
        let supervised = self.systemd.is_there();
        // Whoever asked may open the images at once. Where the device stays, the queues and their rings have them still, and do
        // nothing with them any more.
        if end.device_stays() && result.is_ok() {
            self.shared
                .files
                .iter()
                .for_each(|file| file.give_up_locks());
        }
        drop(self.shared);
        if let Some(asker) = asker {
            asker.answer(&match (&result, end) {
                (Ok(()), End::Aside) => Answer::Aside { supervised },
                (Ok(()), _) => Answer::Done,
                (Err(error), End::Aside) => Answer::NotClosed(error.to_string()),
                (Err(error), _) => Answer::Refused(error.to_string()),
            });
        }
        match end {
            End::Aside if supervised => Err(ToolError::SteppedAside),
            _ => result,
        }
    }

    fn wait(&mut self) -> Result<(End, Option<socket::Asker>), ToolError> {
        loop {
            let mut fds = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(&self.alarm, PollFlags::IN),
                PollFd::new(
                    self.retell.as_ref().map_or(&self.signals, Retell::done),
                    PollFlags::IN,
                ),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(refused(format!("poll: {errno}"))),
            }
            let woken = fds.each_ref().map(|fd| !fd.revents().is_empty());
            if self.shared.broken.load(Ordering::Acquire) {
                complain("error", "a queue has failed; the disk waits for `recover`");
                std::process::abort();
            }
            if woken[0] {
                return Ok((End::Remove { force: true }, None));
            }
            if woken[2] && self.alarm.is_over() {
                return Ok((self.who_took_it(), None));
            }
            if woken[3] && !woken[0] {
                // To its end, or not: it is not looked at again.
                if self.retell.take().is_some_and(Retell::succeeded) {
                    self.was_told();
                }
            }
            if woken[1]
                && let Ok((asker, question)) = socket::accept(&self.listener)
            {
                match self.consider(question) {
                    Ok(end) => return Ok((end, Some(asker))),
                    Err(answer) => asker.answer(&answer),
                }
            }
        }
    }

    /// The queues were told that there will be no request: somebody else has stopped or quiesced the disk.
    fn who_took_it(&mut self) -> End {
        match self.control.info(self.record.id) {
            Ok(info) if info.state != state::DEAD => End::Keep,
            _ => End::Remove { force: true },
        }
    }

    /// `Ok`: the server is to end. `Err`: an answer, and it goes on.
    fn consider(&mut self, question: Question) -> Result<End, Answer> {
        let no = |why: String| Err(Answer::Refused(why));
        match question {
            Question::Info => Err(Answer::Info(Box::new(self.report()))),
            Question::Stop { force: true } => Ok(End::Remove { force: true }),
            Question::Stop { force: false } => {
                self.end_retelling();
                if self.record.flags & sys::F_SAFE_STOP_DEV == 0 {
                    return Ok(End::Remove { force: false });
                }
                match self.control.try_stop(self.record.id) {
                    Ok(()) => Ok(End::Remove { force: false }),
                    Err(error) if error.errno() == Some(libc::EBUSY) => no(busy(self.record.id)),
                    Err(error) => no(error.to_string()),
                }
            }
            Question::Quiesce if self.record.flags & sys::F_QUIESCE == 0 => no(
                "this kernel cannot quiesce a disk (Linux 6.16); `kill -9` of the server and `recover` works everywhere"
                    .into(),
            ),
            Question::Quiesce if !self.end_retelling() => no(BEING_TOLD.into()),
            Question::Quiesce => match self.control.quiesce(self.record.id, QUIESCE_MS) {
                Ok(()) => Ok(End::Keep),
                Err(error) => no(error.to_string()),
            },
            Question::Promote { .. } if self.record.read_only => no("it is read-only".into()),
            Question::Promote { lowest } => {
                let begun = self.shared.promotion.start(&self.shared.device, Level(lowest));
                begun.map_err(Answer::Refused)?;
                self.shared.mail.send(QueueId(0), Letter::Own);
                Err(Answer::Done)
            }
            Question::StopPromoting => {
                self.shared.promotion.stop();
                Err(Answer::Done)
            }
            Question::Lend { .. } if self.record.read_only => no("it is read-only".into()),
            Question::Lend { level } => Err(self.lent.lend(&self.shared.files, level)),
            Question::Merged { done, total } => Err(self.lent.so_far(done, total)),
            Question::GiveBack => Err(self.lent.give_back(&self.shared.files)),
            Question::NoSpace(wish) => Err(self.set_no_space(wish)),
            Question::Told => {
                self.was_told();
                Err(Answer::Done)
            }
            Question::StepAside => {
                let device = &self.shared.device;
                if device.is_starving() {
                    return no("requests wait for space in the file system of the image".into());
                }
                if device.stats().poisoned {
                    return no("a sync has failed: remove the device and check the image".into());
                }
                // Its I/O would be held back, and the process could not end.
                match self.end_retelling() {
                    true => Ok(End::Aside),
                    false => no(BEING_TOLD.into()),
                }
            }
        }
    }

    fn report(&self) -> Report {
        let supervised = self.systemd.is_there();
        report::of(
            &self.record,
            &self.shape,
            self.direct,
            supervised,
            &self.shared,
            &self.lent,
        )
    }

    /// No more requests, everything written back, the image closed, the device removed or left.
    fn finish(&mut self, end: End) -> Result<(), ToolError> {
        let id = self.record.id;
        self.systemd.tell("STOPPING=1");
        if let End::Remove { .. } = end {
            // A request that waits for space would hold the stop up.
            self.shared.ticker.give_up();
            match self.control.stop(id) {
                // Somebody else has removed it under us: the image is closed all the same.
                Err(_) if self.alarm.is_over() => {}
                other => other.map_err(driver)?,
            }
        }
        let closed = closing::close(&self.shared, end.device_stays());
        self.shared.mail.send_all(|| Letter::End);
        for thread in self.threads.drain(..) {
            // The kernel may keep commands of a device that stays: they end with this process. A request that came meanwhile is
            // held back by the suspended core, and issued again to the next server.
            if let End::Remove { .. } = end {
                // A thread that panicked has ended the process.
                let _ = thread.join();
            }
        }
        self.node = None;
        if let End::Remove { force } = end {
            setup::remove(&mut self.control, id, !force).map_err(driver)?;
            if let Some(link) = &self.link {
                link.remove();
            }
            self.folder.forget(id);
        }
        closed
    }
}

const BEING_TOLD: &str = "the kernel is still being told what the disk is: ask again";

/// Why a device is not removed.
#[must_use]
pub fn busy(id: u32) -> String {
    format!(
        "{} is in use: unmount it first, or give --force",
        disk_node(id).display()
    )
}
