//! The last words of a server to its image: nothing in flight, everything written back, the mark cleared.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use ploop_core::drive::DeltaFile;
use ploop_core::units::{QueueId, Sector, Sectors};
use ploop_core::{Actions, CloseError, ControlIo, Failure};

use crate::files::RealFile;
use crate::ring::mailbox::Letter;
use crate::ring::queue::Shared;
use crate::ring::step::failure;
use crate::tool::ToolError;
use crate::tool::load::name_of;
use crate::ublk::server::refused;

/// Waits until nothing is in flight, and closes the image. The queues must be serving, and must get no requests.
///
/// `stays`: the device does, and so do its users. What is held back is not answered: the kernel issues it again to the
/// next server.
pub(crate) fn close(shared: &Shared, stays: bool) -> Result<(), ToolError> {
    shared.leaving.store(stays, Ordering::Release);
    let mut out = Actions::new();
    shared.device.suspend(&mut out);
    post(shared, &mut out);
    let quiesced = loop {
        match shared.device.try_quiesce() {
            Some(quiesced) => break quiesced,
            None => shared.mail.send(QueueId(0), Letter::Turn),
        }
        thread::sleep(Duration::from_millis(1));
    };
    let Some(top) = shared.files.last() else {
        return Ok(());
    };
    // The close writes a few bytes that are aligned to nothing.
    let _ = top.set_direct(false);
    let closed = quiesced.close(&mut Closing(top));
    if !stays {
        quiesced.shut(&mut out);
        post(shared, &mut out);
    }
    closed.map_err(|error: CloseError| refused(format!("{}: {error}", name_of(top.path()))))
}

fn post(shared: &Shared, out: &mut Actions) {
    for action in out.drain() {
        shared.mail.send(action.queue, Letter::Action(action));
    }
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

    fn punch(&mut self, at: Sector, len: Sectors) -> Result<(), Failure> {
        match self.0.zero_at(at.bytes(), len.bytes(), true) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => done.map_err(|error| failed(&error)),
        }
    }

    /// The close cuts what was preallocated. A file that is shorter was cut by somebody else: to make it longer would
    /// pass zeros off as what was there.
    fn set_len(&mut self, len: Sectors) -> Result<(), Failure> {
        if self.0.len().map_err(|error| failed(&error))? < len.bytes() {
            return Err(Failure::Io);
        }
        self.0.set_len(len.bytes()).map_err(|error| failed(&error))
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.0.sync().map_err(|_| Failure::Io)
    }
}
