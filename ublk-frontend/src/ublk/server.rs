//! The life of a device and its server.
//!
//! ```text
//!   open image ─▶ ADD_DEV │ START_USER_RECOVERY ─▶ queues ─▶ START_DEV │ END_USER_RECOVERY ─▶ ready
//!                                                                                              │
//!      exit, device stays ◀─ close image ◀─ drain ◀── QUIESCE_DEV ◀── quiesce ◀───────────────┤
//!      exit, device gone ◀─ DEL_DEV ◀─ close image ◀─ drain ◀── STOP_DEV ◀── signal, stop ◀───┘
//! ```
//! * The queues serve until STOP_DEV has returned: it waits for the requests in flight.
//! * Flags and parameters are compared with what the kernel gave back; what is missing is an error, or for zero copy
//!   (`auto`) a note.
//! * A panic, or a ring that fails, ends the process: the kernel sees it and keeps the disk for `recover`.

use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ploop_core::drive::DeltaFile;
use ploop_core::units::{Millis, QueueId, Sectors};
use ploop_core::{Actions, CloseError, ControlIo, Failure, Options, WriteBack};
use rustix::event::{PollFd, PollFlags, poll};

use crate::files::RealFile;
use crate::ring::counters::Counters;
use crate::ring::mailbox::{Letter, Mailboxes};
use crate::ring::memory::Memory;
use crate::ring::open::{Chain, Opened, open};
use crate::ring::queue::{Queue, Shared};
use crate::ring::step::{Guest, failure};
use crate::ring::ticker::Ticker;
use crate::tool::ToolError;
use crate::tool::output::complain;
use crate::ublk::ctrl::{Control, CtrlError, char_node, disk_node};
use crate::ublk::front::{Alarm, UblkFront};
use crate::ublk::shape::{Shape, difference};
use crate::ublk::socket::{self, Answer, Question, Report};
use crate::ublk::state::{Folder, Lock, NoSpace, Record};
use crate::ublk::sys::{self, DevInfo, state};
use crate::ublk::{namespace, notify};

/// How long the kernel may take to make a node, and an old server to let go of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between attempts to write where there was no space.
const RETRY: Millis = Millis(250);
/// How long requests in flight may take when the disk is quiesced, in milliseconds.
const QUIESCE_MS: u64 = 30_000;

/// Whether the guest's own pages are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ZeroCopy {
    /// If the kernel can.
    Auto,
    /// Or not at all.
    On,
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

/// Serves until told to end. `ready` is called when the disk can be used, with its number and what the user should know.
pub fn serve(
    folder: &Folder,
    task: Task,
    ready: impl FnOnce(u32, &[String]) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    end_on_panic();
    let signals = signals().map_err(|error| refused(format!("signals: {error}")))?;
    if let Err(error) = namespace::enter() {
        complain("warning", format!("no mount namespace of its own: {error}"));
    }
    let is_new = matches!(task, Task::Add(..));
    let mut server = Server::start(folder, task, signals)?;
    let announced = server.remember().and_then(|()| {
        if let Err(error) = namespace::let_go() {
            complain("warning", format!("mounts stay in use: {error}"));
        }
        ready(server.record.id, &server.notes)
    });
    if let Err(error) = announced {
        if is_new {
            // The first error is the one to tell.
            let _ = server.finish(End::Remove { force: true });
        }
        return Err(error);
    }
    // Nobody may listen, and the service works all the same.
    let _ = notify::tell(&format!(
        "READY=1\nSTATUS=serving {}",
        disk_node(server.record.id).display()
    ));
    server.attend()
}

/// A panic in any thread ends the process, as an error that the kernel and systemd see.
fn end_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        std::process::abort();
    }));
}

/// Becomes readable when the process is told to end.
fn signals() -> io::Result<UnixStream> {
    let (read, write) = UnixStream::pair()?;
    read.set_nonblocking(true)?;
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    Ok(read)
}

fn refused(why: impl Into<String>) -> ToolError {
    ToolError::Refused(why.into())
}

fn driver(error: CtrlError) -> ToolError {
    ToolError::Refused(error.to_string())
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The device goes.
    Remove { force: bool },
    /// The device stays, for the next server.
    Keep,
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
    symlink_folder: Option<File>,
    _lock: Lock,
}

impl<'a> Server<'a> {
    fn start(folder: &'a Folder, task: Task, signals: UnixStream) -> Result<Server<'a>, ToolError> {
        let mut control = Control::open().map_err(driver)?;
        let features = control.features().map_err(driver)?;
        let (mut record, mut wish, is_new) = match task {
            Task::Add(record, zero_copy) => (*record, zero_copy, true),
            Task::Recover(record) if record.zero_copy => (*record, ZeroCopy::On, false),
            Task::Recover(record) => (*record, ZeroCopy::Off, false),
        };
        let opened = open(&chain(&record), options(&record))?;
        let mut notes = opened.notes.clone();
        if wish == ZeroCopy::Auto {
            wish = ZeroCopy::On;
            let needed = sys::F_SUPPORT_ZERO_COPY | sys::F_AUTO_BUF_REG;
            if features & needed != needed {
                wish = ZeroCopy::Off;
                notes.push("this kernel has no zero copy (Linux 6.16): data is copied".into());
            }
        }
        record.zero_copy = wish == ZeroCopy::On;
        let shape = Shape {
            geometry: opened.device.geometry(),
            read_only: record.read_only,
            block: opened.block,
            lends_pages: record.zero_copy && opened.direct,
        };
        if is_new {
            record.request_bytes = shape.request_bytes();
            record.block = shape.block;
            add(&mut control, &mut record, features)?;
        } else {
            check_same(&record, &shape)?;
        }
        let started = Server::begin(
            folder,
            &mut control,
            record.clone(),
            shape,
            opened,
            is_new,
            &mut notes,
        );
        let parts = match started {
            Ok(parts) => parts,
            Err(error) => {
                if is_new {
                    // The reason of the failure is told, not that of the clean-up.
                    let _ = control.stop(record.id);
                    let _ = control.del_async(record.id);
                }
                return Err(error);
            }
        };
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
            symlink_folder: None,
            _lock: parts.lock,
        })
    }

    fn begin(
        folder: &Folder,
        control: &mut Control,
        mut record: Record,
        shape: Shape,
        opened: Opened,
        is_new: bool,
        notes: &mut Vec<String>,
    ) -> Result<Parts, ToolError> {
        let id = record.id;
        let lock = lock(folder, id)?;
        if is_new {
            set_params(control, id, &shape)?;
        } else {
            take_over(control, &record)?;
        }
        let node = open_node(&char_node(id))?;
        let direct = opened.direct;
        let shared = Arc::new(share(&record, opened)?);
        let alarm = Alarm::new(record.queues).map_err(|e| refused(format!("eventfd: {e}")))?;
        let alarm = Arc::new(alarm);
        let threads = spawn(control, &record, &shared, &node, &alarm, notes)?;
        let pid = std::process::id();
        let started = match is_new {
            true => control.start(id, pid),
            false => control.end_recovery(id, pid),
        };
        started.map_err(driver)?;
        record.pid = pid;
        let path = folder.file(id, "sock");
        let listener = socket::listen(&path).map_err(ToolError::io(&path, "listen at"))?;
        Ok(Parts {
            record,
            direct,
            shared,
            alarm,
            threads,
            node,
            listener,
            lock,
        })
    }

    /// Writes down what it serves, and gives the disk its other name.
    fn remember(&mut self) -> Result<(), ToolError> {
        self.folder.save(&self.record)?;
        if let Some(link) = &self.record.symlink {
            let failed = ToolError::io(link, "make the link");
            let folder = crate::files::folder_of(link);
            self.symlink_folder = Some(File::open(folder).map_err(&failed)?);
            let disk = disk_node(self.record.id);
            if std::fs::read_link(link).is_ok_and(|to| to.starts_with("/dev/")) {
                // Left by a server that was killed.
                std::fs::remove_file(link).map_err(&failed)?;
            }
            std::os::unix::fs::symlink(disk, link).map_err(&failed)?;
        }
        Ok(())
    }

    /// Answers questions until it is to end, and ends.
    fn attend(mut self) -> Result<(), ToolError> {
        let (end, asker) = self.wait()?;
        let result = self.finish(end);
        if let Some(asker) = asker {
            asker.answer(&match &result {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Refused(error.to_string()),
            });
        }
        result
    }

    fn wait(&mut self) -> Result<(End, Option<socket::Asker>), ToolError> {
        loop {
            let mut fds = [
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(&self.alarm, PollFlags::IN),
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
            Question::Quiesce => match self.control.quiesce(self.record.id, QUIESCE_MS) {
                Ok(()) => Ok(End::Keep),
                Err(error) => no(error.to_string()),
            },
            Question::Resize { .. } => no(
                "the image cannot be grown while it is in use, in this version: the mapping core has no grow yet"
                    .into(),
            ),
        }
    }

    fn report(&self) -> Report {
        let device = &self.shared.device;
        let (geometry, stats) = (device.geometry(), device.stats());
        let flags = sys::FLAGS
            .iter()
            .filter(|(bit, _)| self.record.flags & bit != 0);
        Report {
            id: self.record.id,
            device: disk_node(self.record.id),
            pid: self.record.pid,
            images: self.record.images.clone(),
            size: geometry.size.bytes(),
            cluster_size: geometry.cluster.bytes(),
            block_size: self.shape.block,
            read_only: self.record.read_only,
            direct: self.direct,
            zero_copy: self.record.zero_copy,
            queues: self.record.queues,
            depth: self.record.depth,
            flags: flags.map(|(_, name)| (*name).to_owned()).collect(),
            flush_delay_ms: self.record.flush_delay_ms,
            mapped_clusters: stats.mapped,
            free_clusters: stats.free,
            dirty_pages: stats.dirty_pages,
            sync_failed: stats.poisoned,
            waits_for_space: device.is_starving(),
            mapping_bytes: stats.bytes,
            counters: crate::ring::Summary::of(self.shared.counters.iter()),
        }
    }

    /// No more requests, everything written back, the image closed, the device removed or left.
    fn finish(&mut self, end: End) -> Result<(), ToolError> {
        let id = self.record.id;
        // Nobody can listen any more but systemd.
        let _ = notify::tell("STOPPING=1");
        if let End::Remove { .. } = end {
            // A request that waits for space would hold the stop up.
            self.shared.ticker.give_up();
            self.control.stop(id).map_err(driver)?;
        }
        let closed = self.close();
        self.shared.mail.send_all(|| Letter::End);
        for thread in self.threads.drain(..) {
            // A thread that panicked has ended the process.
            let _ = thread.join();
        }
        self.node = None;
        if let End::Remove { force } = end {
            let gone = match force {
                true => self.control.del_async(id).or_else(|_| self.control.del(id)),
                false => self.control.del(id),
            };
            gone.map_err(driver)?;
            if let (Some(folder), Some(link)) = (&self.symlink_folder, &self.record.symlink)
                && let Some(name) = link.file_name()
            {
                let _ = rustix::fs::unlinkat(folder, name, rustix::fs::AtFlags::empty());
            }
            self.folder.forget(id);
        }
        closed
    }

    /// Waits until nothing is in flight, and closes the image.
    fn close(&self) -> Result<(), ToolError> {
        let device = &self.shared.device;
        let mut out = Actions::new();
        device.suspend(&mut out);
        self.post(&mut out);
        let quiesced = loop {
            match device.try_quiesce() {
                Some(quiesced) => break quiesced,
                None => self.shared.mail.send(QueueId(0), Letter::Turn),
            }
            thread::sleep(Duration::from_millis(1));
        };
        let Some(top) = self.shared.files.last() else {
            return Ok(());
        };
        // The close writes a few bytes that are aligned to nothing.
        let _ = top.set_direct(false);
        let closed = quiesced.close(&mut Closing(top));
        quiesced.shut(&mut out);
        self.post(&mut out);
        closed.map_err(|error: CloseError| {
            refused(format!(
                "{}: {error}",
                crate::tool::load::name_of(top.path())
            ))
        })
    }

    fn post(&self, out: &mut Actions) {
        for action in out.drain() {
            self.shared.mail.send(action.queue, Letter::Action(action));
        }
    }
}

/// Why a device is not removed.
#[must_use]
pub fn busy(id: u32) -> String {
    format!(
        "{} is in use: unmount it first, or give --force",
        disk_node(id).display()
    )
}

/// What `begin` made.
struct Parts {
    record: Record,
    direct: bool,
    shared: Arc<Shared>,
    alarm: Arc<Alarm>,
    threads: Vec<JoinHandle<()>>,
    node: Arc<File>,
    listener: UnixListener,
    lock: Lock,
}

fn chain(record: &Record) -> Chain {
    Chain {
        images: record.images.clone(),
        raw_base: record.raw_base,
        direct: record.direct,
    }
}

fn options(record: &Record) -> Options {
    Options {
        queues: record.queues,
        depth: record.depth,
        write: !record.read_only,
        write_back: match record.flush_delay_ms {
            0 => WriteBack::Immediate,
            ms => WriteBack::Delayed(Millis(ms)),
        },
        no_space: match record.no_space {
            NoSpace::Wait { .. } => ploop_core::NoSpace::Wait { retry: RETRY },
            NoSpace::Fail => ploop_core::NoSpace::Fail,
        },
        ..Options::default()
    }
}

fn share(record: &Record, opened: Opened) -> Result<Shared, ToolError> {
    let patience = match record.no_space {
        NoSpace::Wait { seconds } => seconds.map(Duration::from_secs),
        NoSpace::Fail => None,
    };
    let delay = Duration::from_millis(record.flush_delay_ms);
    let zero = Path::new("/dev/zero");
    Ok(Shared {
        device: opened.device,
        files: opened.files,
        zero: File::open(zero).map_err(ToolError::io(zero, "open"))?,
        mail: Mailboxes::new(record.queues).map_err(|e| refused(format!("eventfd: {e}")))?,
        ticker: Ticker::new(delay, patience),
        counters: (0..record.queues).map(|_| Counters::default()).collect(),
        broken: false.into(),
    })
}

/// Makes the device and compares what it became.
fn add(control: &mut Control, record: &mut Record, features: u64) -> Result<(), ToolError> {
    let must = sys::F_USER_RECOVERY | sys::F_USER_RECOVERY_REISSUE | sys::F_CMD_IOCTL_ENCODE;
    let zero_copy = match record.zero_copy {
        true => sys::F_SUPPORT_ZERO_COPY | sys::F_AUTO_BUF_REG,
        false => 0,
    };
    let may = sys::F_UPDATE_SIZE | sys::F_QUIESCE | sys::F_SAFE_STOP_DEV;
    let flags = must | zero_copy | (may & features);
    let mut info = DevInfo {
        nr_hw_queues: record.queues,
        queue_depth: record.depth,
        max_io_buf_bytes: record.request_bytes.max(4096),
        dev_id: record.id,
        ublksrv_pid: -1,
        flags,
        ..DevInfo::default()
    };
    control.add(&mut info).map_err(driver)?;
    let missing: Vec<&str> = sys::FLAGS
        .iter()
        .filter(|(bit, _)| flags & bit & !info.flags != 0)
        .map(|(_, name)| *name)
        .collect();
    let other = (info.nr_hw_queues, info.queue_depth) != (record.queues, record.depth)
        || info.max_io_buf_bytes < record.request_bytes;
    if !missing.is_empty() || other {
        let _ = control.del(info.dev_id);
        return Err(refused(match missing.is_empty() {
            false => format!("this kernel's ublk driver cannot do {}", missing.join(", ")),
            true => format!(
                "asked for {} queues of {}, got {} of {}",
                record.queues, record.depth, info.nr_hw_queues, info.queue_depth
            ),
        }));
    }
    record.id = info.dev_id;
    record.flags = info.flags;
    Ok(())
}

fn set_params(control: &mut Control, id: u32, shape: &Shape) -> Result<(), ToolError> {
    let asked = shape.params();
    control.set_params(id, &asked).map_err(driver)?;
    let got = control.params(id).map_err(driver)?;
    match difference(&asked, &got) {
        None => Ok(()),
        Some(what) => Err(refused(format!(
            "this kernel's ublk driver did not take the disk's shape: {what}"
        ))),
    }
}

/// The image must still be the disk that the kernel knows.
fn check_same(record: &Record, shape: &Shape) -> Result<(), ToolError> {
    if (shape.request_bytes(), shape.block) == (record.request_bytes, record.block) {
        return Ok(());
    }
    Err(refused(format!(
        "the image has changed: requests of {} bytes in blocks of {}, not {} in blocks of {}",
        shape.request_bytes(),
        shape.block,
        record.request_bytes,
        record.block
    )))
}

/// Tells the driver that a new server is here, as soon as the old one has let go.
fn take_over(control: &mut Control, record: &Record) -> Result<(), ToolError> {
    let info = control.info(record.id).map_err(driver)?;
    if info.state == state::LIVE && process_lives(info.ublksrv_pid) {
        return Err(refused(format!(
            "device {} is served by process {}",
            record.id, info.ublksrv_pid
        )));
    }
    let until = Instant::now() + PATIENCE;
    loop {
        match control.start_recovery(record.id) {
            Ok(()) => break,
            Err(error) if error.errno() == Some(libc::EBUSY) && Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(driver(error)),
        }
    }
    let info = control.info(record.id).map_err(driver)?;
    let same = (info.nr_hw_queues, info.queue_depth, info.flags)
        == (record.queues, record.depth, record.flags);
    if !same {
        return Err(refused(format!(
            "device {} is not the one of the record: {info:?}",
            record.id
        )));
    }
    Ok(())
}

fn process_lives(pid: i32) -> bool {
    let pid = rustix::process::Pid::from_raw(pid);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

fn lock(folder: &Folder, id: u32) -> Result<Lock, ToolError> {
    // Whoever only looks holds the lock for a moment.
    for _ in 0..50 {
        if let Some(lock) = folder.lock(id)? {
            return Ok(lock);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(refused(format!("device {id} has a server already")))
}

/// Opens the node of a new device, which may take a moment to appear, or to be let go of.
fn open_node(path: &Path) -> Result<Arc<File>, ToolError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => return Ok(Arc::new(file)),
            Err(error) if Instant::now() >= until => {
                return Err(ToolError::io(path, "open")(error));
            }
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Starts the queues. Each has its ring and its memory when this returns.
fn spawn(
    control: &mut Control,
    record: &Record,
    shared: &Arc<Shared>,
    node: &Arc<File>,
    alarm: &Arc<Alarm>,
    notes: &mut Vec<String>,
) -> Result<Vec<JoinHandle<()>>, ToolError> {
    let mut threads = Vec::new();
    let (tell, told) = mpsc::channel();
    for queue in 0..record.queues {
        let affinity = control.affinity(record.id, queue).ok();
        let (shared, node, alarm, tell) = (
            Arc::clone(shared),
            Arc::clone(node),
            Arc::clone(alarm),
            tell.clone(),
        );
        let (depth, bytes) = (record.depth, record.request_bytes);
        let guest = match record.zero_copy {
            true => Guest::Fixed,
            false => Guest::Memory,
        };
        let body = move || {
            // Best effort: more CPUs than needed cost speed only.
            if let Some(cpus) = affinity {
                let _ = rustix::thread::sched_setaffinity(None, &cpus);
            }
            let flusher = rustix::process::configure_io_flusher_behavior(true);
            let made = (|| -> io::Result<Queue<UblkFront>> {
                let cluster = shared.device.geometry().cluster.bytes();
                let own = if guest == Guest::Fixed { 0 } else { bytes };
                let memory = Memory::new(depth, own, cluster, Options::default().page_bytes)?;
                let front = UblkFront::new(node, queue, depth, bytes, guest, Arc::clone(&alarm))?;
                Queue::new(QueueId(queue), depth, shared, memory, front)
            })();
            match made {
                Err(error) => {
                    // The receiver waits for every queue.
                    let _ = tell.send(Err(error));
                }
                Ok(queue) => {
                    let _ = tell.send(Ok(flusher.is_ok()));
                    drop(tell);
                    if let Err(error) = queue.run() {
                        complain("error", format!("io_uring: {error}"));
                    }
                    alarm.ring();
                }
            }
        };
        let named = thread::Builder::new().name(format!("queue {queue}"));
        threads.push(
            named
                .spawn(body)
                .map_err(|e| refused(format!("thread: {e}")))?,
        );
    }
    drop(tell);
    let mut is_flusher = true;
    for outcome in told {
        is_flusher &= outcome.map_err(|e| refused(format!("a queue cannot be set up: {e}")))?;
    }
    if !is_flusher {
        notes.push("not marked as a server of block I/O (CAP_SYS_RESOURCE): memory reclaim may wait for it".into());
    }
    Ok(threads)
}

/// The control plane's view of the top file.
struct Closing<'a>(&'a RealFile);

fn failed(error: &io::Error) -> Failure {
    failure(error.raw_os_error().unwrap_or(libc::EIO))
}

impl ControlIo for Closing<'_> {
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        self.0
            .write_all_at(at, bytes)
            .map_err(|error| failed(&error))
    }

    fn set_len(&mut self, len: Sectors) -> Result<(), Failure> {
        self.0.set_len(len.bytes()).map_err(|error| failed(&error))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.0.sync().map_err(|_| Failure::Io)
    }
}
