//! The last service to a device whose server was killed and gets no successor: what the dead server had acknowledged and
//! not written is written, and the image is closed. No request is served.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, mpsc};
use std::thread;

use ploop_core::units::{QueueId, Tag};
use ploop_core::{Failure, Options, Request};

use crate::ring::mailbox::Letter;
use crate::ring::queue::Link;
use crate::ring::step::Guest;
use crate::ring::{Front, Memory, Queue};
use crate::tool::ToolError;
use crate::ublk::closing;
use crate::ublk::map::NewMap;
use crate::ublk::server::refused;
use crate::ublk::setup::{follow_bundle, open_images, share};
use crate::ublk::state::{Folder, Record};

/// Brings no request.
struct Nobody;

impl Front for Nobody {
    fn file(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    fn guest(&self) -> Guest {
        Guest::Memory
    }
    fn begin(&mut self, _: &mut Link<'_>) -> io::Result<()> {
        Ok(())
    }
    fn came(&mut self, _: u32, _: i32, _: &mut Link<'_>) -> Option<(Tag, Request)> {
        None
    }
    fn ended(&mut self, _: Tag, _: Result<(), Failure>, _: &mut Link<'_>) {}
    fn is_idle(&self) -> bool {
        true
    }
}

/// Writes back what the dead server of `record` has left, and closes its image.
///
/// # Errors
/// The image cannot be opened with what was left, or not be written. Nothing of what was left is lost then.
pub fn write_back(folder: &Folder, record: &Record) -> Result<(), ToolError> {
    if record.read_only {
        return Ok(());
    }
    let mut record = record.clone();
    follow_bundle(&mut record)?;
    let record = &record;
    let map = NewMap::open(folder, record, false)?;
    let opened = open_images(record, map.survives(), false, &|_| Ok(()))?;
    let shared = Arc::new(share(record, opened)?);
    let (tell, told) = mpsc::channel();
    let serving = {
        let shared = Arc::clone(&shared);
        let depth = record.depth;
        let request = record.request_bytes;
        thread::spawn(move || -> io::Result<()> {
            let cluster = shared.device.geometry().cluster.bytes();
            let page = Options::default().page_bytes;
            let queue = Memory::new(depth, request, cluster, page)
                .and_then(|memory| Queue::new(QueueId(0), depth, shared, memory, Nobody))?;
            // The one who asks waits for this.
            let _ = tell.send(());
            queue.run()
        })
    };
    if told.recv().is_err() {
        return Err(match serving.join() {
            Ok(Err(error)) => refused(format!("io_uring: {error}")),
            _ => refused("the queue has ended early"),
        });
    }
    shared.ticker.give_up();
    let closed = closing::close(&shared, false);
    shared.mail.send_all(|| Letter::End);
    match serving.join() {
        Ok(served) => served.map_err(|error| refused(format!("io_uring: {error}")))?,
        Err(_) => return Err(refused("the queue's thread panicked")),
    }
    closed
}
