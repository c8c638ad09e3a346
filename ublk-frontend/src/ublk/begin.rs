//! From opened images to a disk that is served: map, parameters or take-over, queues, start, socket.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::files::child;
use crate::ring::open::Opened;
use crate::ring::queue::Shared;
use crate::tool::ToolError;
use crate::ublk::ctrl::{Control, char_node};
use crate::ublk::front::Alarm;
use crate::ublk::map::NewMap;
use crate::ublk::server::{driver, refused};
use crate::ublk::shape::Shape;
use crate::ublk::socket;
use crate::ublk::state::{Folder, Lock, Record};
use crate::ublk::{setup, workers};

/// Everything that is needed before the kernel is told.
pub(super) struct Ready {
    pub(super) record: Record,
    pub(super) shape: Shape,
    pub(super) opened: Opened,
    /// Held already if a device is recovered.
    pub(super) lock: Option<Lock>,
    pub(super) map: NewMap,
}

impl Ready {
    /// From a device without a disk to a disk that is served.
    pub(super) fn begin(
        self,
        folder: &Folder,
        control: &mut Control,
        notes: &mut Vec<String>,
    ) -> Result<Parts, ToolError> {
        let Ready {
            mut record,
            shape,
            opened,
            lock,
            map,
        } = self;
        let id = record.id;
        let is_new = lock.is_none();
        let lock = match lock {
            Some(lock) => lock,
            None => setup::lock(folder, id)?,
        };
        map.keep(folder, id)?;
        let pid = std::process::id();
        if is_new {
            // Before the kernel shows a disk: if this process is killed, others know whose it is.
            record.pid = pid;
            folder.save(&record)?;
        }
        if is_new {
            setup::set_params(control, id, &shape)?;
        } else {
            setup::take_over(control, &record)?;
        }
        let node = setup::open_node(&char_node(id))?;
        let direct = opened.direct;
        let mut shared = setup::share(&record, opened)?;
        let again = lock.again().map_err(|e| refused(format!("lock: {e}")))?;
        shared.held.push(again);
        let shared = Arc::new(shared);
        let alarm = Alarm::new(record.queues).map_err(|e| refused(format!("eventfd: {e}")))?;
        let alarm = Arc::new(alarm);
        let threads = workers::spawn(control, &record, &shared, &node, &alarm, notes)?;
        if !is_new {
            // From the first request on the map counts.
            record.closed = false;
            record.pid = pid;
            folder.save(&record)?;
        }
        if let (Some(top), false) = (shared.files.last(), record.read_only) {
            // Whoever starts a server knows of it: the record says that this is the top, or a person did.
            child::forget(top).map_err(ToolError::io(top.path(), "write"))?;
        }
        let started = match is_new {
            true => control.start(id, pid),
            false => control.end_recovery(id, pid),
        };
        started.map_err(driver)?;
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
}

/// What `begin` made.
pub(super) struct Parts {
    pub(super) record: Record,
    pub(super) direct: bool,
    pub(super) shared: Arc<Shared>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) threads: Vec<JoinHandle<()>>,
    pub(super) node: Arc<File>,
    pub(super) listener: UnixListener,
    pub(super) lock: Lock,
}
