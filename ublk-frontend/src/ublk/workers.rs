//! The threads of the queues.

use std::fs::File;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use ploop_core::Options;
use ploop_core::units::QueueId;
use rustix::thread::CpuSet;

use crate::ring::memory::Memory;
use crate::ring::queue::{Queue, Shared};
use crate::ring::step::Guest;
use crate::tool::ToolError;
use crate::tool::output::complain;
use crate::ublk::ctrl::Control;
use crate::ublk::front::{Alarm, Lent, UblkFront};
use crate::ublk::server::refused;
use crate::ublk::state::Record;
use crate::ublk::sys;

/// What a thread needs.
struct Worker {
    queue: u16,
    depth: u16,
    request_bytes: u32,
    guest: Guest,
    lent: Lent,
    cpus: Option<CpuSet>,
    shared: Arc<Shared>,
    node: Arc<File>,
    alarm: Arc<Alarm>,
}

impl Worker {
    /// The ring and the memory. True if the thread is marked as a server of block I/O.
    fn prepare(self) -> io::Result<(Queue<UblkFront>, bool)> {
        // Best effort: more CPUs than needed cost speed only.
        if let Some(cpus) = &self.cpus {
            let _ = rustix::thread::sched_setaffinity(None, cpus);
        }
        let is_flusher = rustix::process::configure_io_flusher_behavior(true).is_ok();
        let cluster = self.shared.device.geometry().cluster.bytes();
        let own = match self.guest {
            Guest::Fixed => 0,
            Guest::Memory => self.request_bytes,
        };
        let (depth, bytes) = (self.depth, self.request_bytes);
        let memory = Memory::new(depth, own, cluster, Options::default().page_bytes)?;
        let lent = self.lent;
        let front = UblkFront::new(self.node, self.queue, depth, bytes, lent, self.alarm);
        let queue = Queue::new(QueueId(self.queue), depth, self.shared, memory, front)?;
        Ok((queue, is_flusher))
    }

    /// The life of the thread: says that it is prepared, waits for the word, asks for requests, says so, serves.
    fn live(self, go: &mpsc::Receiver<()>, tell: mpsc::Sender<io::Result<bool>>) {
        let alarm = Arc::clone(&self.alarm);
        let (mut queue, is_flusher) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                // Whoever started us waits for this.
                let _ = tell.send(Err(error));
                return;
            }
        };
        let _ = tell.send(Ok(is_flusher));
        if go.recv().is_err() {
            return;
        }
        let begun = queue.begin();
        let failed = begun.is_err();
        let _ = tell.send(begun.map(|()| true));
        drop(tell);
        if failed {
            return;
        }
        if let Err(error) = queue.serve() {
            complain("error", format!("io_uring: {error}"));
        }
        alarm.ring();
    }
}

/// Starts the queues. Each has asked for requests when this returns.
///
/// All ask at the same moment, when each has what it needs: Linux 6.12 does not survive that a server is killed when some
/// of its queues have asked and others have not, and the next one takes over.
pub(super) fn spawn(
    control: &mut Control,
    record: &Record,
    shared: &Arc<Shared>,
    node: &Arc<File>,
    alarm: &Arc<Alarm>,
    notes: &mut Vec<String>,
) -> Result<Vec<JoinHandle<()>>, ToolError> {
    let (mut threads, mut words) = (Vec::new(), Vec::new());
    let (tell, told) = mpsc::channel();
    for queue in 0..record.queues {
        let worker = Worker {
            queue,
            depth: record.depth,
            request_bytes: record.request_bytes,
            guest: match record.zero_copy {
                true => Guest::Fixed,
                false => Guest::Memory,
            },
            lent: match record.zero_copy {
                true if record.flags & sys::F_AUTO_BUF_REG == 0 => Lent::ByHand,
                true => Lent::ByKernel,
                false => Lent::No,
            },
            cpus: control.affinity(record.id, queue).ok(),
            shared: Arc::clone(shared),
            node: Arc::clone(node),
            alarm: Arc::clone(alarm),
        };
        let (word, go) = mpsc::channel();
        words.push(word);
        let tell = tell.clone();
        let named = thread::Builder::new().name(format!("queue {queue}"));
        let thread = named.spawn(move || worker.live(&go, tell));
        threads.push(thread.map_err(|e| refused(format!("thread: {e}")))?);
    }
    drop(tell);
    let hear = || -> Result<bool, ToolError> {
        let mut all = true;
        for _ in 0..record.queues {
            let outcome = told.recv().map_err(|_| refused("a queue has died"))?;
            all &= outcome.map_err(|e| refused(format!("a queue cannot be set up: {e}")))?;
        }
        Ok(all)
    };
    let is_flusher = hear()?;
    for word in words {
        // One that is gone will be missed below.
        let _ = word.send(());
    }
    hear()?;
    if !is_flusher {
        notes.push("not marked as a server of block I/O (CAP_SYS_RESOURCE): memory reclaim may wait for it".into());
    }
    Ok(threads)
}
