//! The threads of the queues.

use std::fs::File;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use ploop_core::Options;
use ploop_core::units::QueueId;

use crate::ring::memory::Memory;
use crate::ring::queue::{Queue, Shared};
use crate::ring::step::Guest;
use crate::tool::ToolError;
use crate::tool::output::complain;
use crate::ublk::ctrl::Control;
use crate::ublk::front::{Alarm, UblkFront};
use crate::ublk::server::refused;
use crate::ublk::state::Record;

/// Starts the queues. Each has its ring and its memory when this returns.
pub(super) fn spawn(
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
