//! Commands that change the files under a served device: its server steps aside for them.
//!
//! ```text
//!   lock "change" ─▶ server drains, closes the image, leaves ─▶ files are changed ─▶ chain recorded ─▶ next server
//!        │             (the disk stays; its users wait)              (the chain that was opened once more)
//!        └── nobody else changes, adds, recovers or removes this device until then
//! ```
//! * To the kernel the server has died: so this works on every kernel, and requests go on where they were.
//! * The record is replaced in one step, when the new chain is whole and opens. If the command is killed, `recover` serves
//!   what is recorded: the old chain, or the new one.
//! * What a bundle has beside the disk that is served is merged without all this, under the bundle's lock alone
//!   (`rollback::beside`): so that lock is looked at before a server steps aside.
//! * A server of systemd is started again by systemd, which waits for the change; any other one by the command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::tell::question;
use super::{detach, folder, refused};
use crate::bundle::{Guid, snapshots};
use crate::files::child;
use crate::tool::ToolError;
use crate::tool::change::bundle_of;
use crate::tool::output::Output;
use crate::ublk::setup;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, Lock, Record};

/// How long systemd may take to start the next server. Then the command does.
const SYSTEMD: Duration = Duration::from_secs(20);
/// How long the next server may be on its way before a device is taken for one without.
const SOON: Duration = Duration::from_secs(2);
/// How long one may take that has begun.
const STARTING: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// A device whose server has stepped aside: its images are closed, and nobody has them.
#[derive(Debug)]
pub struct Change<'a> {
    folder: &'a Folder,
    record: Record,
    interrupted: Arc<AtomicBool>,
}

impl Change<'_> {
    /// The images, oldest first.
    #[must_use]
    pub fn images(&self) -> &[PathBuf] {
        &self.record.images
    }

    /// Number of the device.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.record.id
    }

    /// What is recorded of it now.
    #[must_use]
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The first image is a raw disk, whatever it looks like.
    #[must_use]
    pub fn raw_base(&self) -> bool {
        self.record.raw_base
    }

    /// Somebody wants the command to end: what takes long is given up.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The image that is written.
    pub fn top(&self) -> Result<&Path, ToolError> {
        let top = self.record.images.last();
        top.map(PathBuf::as_path)
            .ok_or_else(|| refused(format!("device {} has no image", self.record.id)))
    }

    /// From now on these are the images; they must be whole and durable. Also to be called when an image was changed and
    /// the list is the same.
    pub fn commit(&mut self, images: Vec<PathBuf>) -> Result<(), ToolError> {
        self.commit_record(|record| record.images = images)
    }

    /// From now on this is how they are served.
    pub(super) fn commit_record(
        &mut self,
        edit: impl FnOnce(&mut Record),
    ) -> Result<(), ToolError> {
        let mut record = self.record.clone();
        edit(&mut record);
        setup::try_images(&record)?;
        self.folder.save(&record)?;
        self.record = record;
        Ok(())
    }

    /// The same; if `oldest`, the first image has gone, which may have been a raw disk.
    pub(super) fn commit_without_base(
        &mut self,
        images: Vec<PathBuf>,
        oldest: bool,
    ) -> Result<(), ToolError> {
        self.record.raw_base &= !oldest;
        self.commit(images)
    }

    /// The bundle that is served, if it is one.
    pub(super) fn bundle(&self) -> Option<PathBuf> {
        self.record.bundle.clone()
    }

    /// The same after a change of the bundle that is served.
    pub fn commit_bundle(&mut self) -> Result<(), ToolError> {
        let bundle = self.record.bundle.as_deref().unwrap_or(Path::new(""));
        let files = setup::bundle_images(bundle)?;
        self.record.raw_base = files.raw_base;
        self.commit(files.images)
    }

    /// True if the next server would use this file, as far as can be told.
    #[must_use]
    pub fn is_recorded(&self, file: &Path) -> bool {
        let record = self.folder.load(self.record.id);
        record.map_or(true, |record| {
            record.is_some_and(|record| record.images.iter().any(|image| image == file))
        })
    }
}

/// Does something with the images of a device while its users wait. In the end it has a server again, whatever happened.
pub fn with_server_aside<T>(
    folder: &Folder,
    id: u32,
    work: impl FnOnce(&mut Change<'_>) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    with_server_aside_after(folder, id, |_, _| Ok(()), work)
}

/// The same after something that its server does while its users go on; nobody else changes the device meanwhile. If that
/// fails, the server need not step aside. The flag is set when somebody wants the command to end.
pub fn with_server_aside_after<T>(
    folder: &Folder,
    id: u32,
    before: impl FnOnce(&mut Record, &AtomicBool) -> Result<(), ToolError>,
    work: impl FnOnce(&mut Change<'_>) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    let known = |folder: &Folder, id: u32| {
        let record = writable(folder, id)?;
        if let Some(bundle) = &record.bundle {
            // Who has the lock may need long (a merge beside the disk): the disk does not wait for that.
            bundle_of(bundle, Some(id))?;
        }
        Ok(record)
    };
    with_any_server_aside(folder, id, known, before, work)
}

/// The same of any device: `known` finds its record, or refuses. What `before` changes in it is recorded when the server is aside.
pub(super) fn with_any_server_aside<T>(
    folder: &Folder,
    id: u32,
    known: impl FnOnce(&Folder, u32) -> Result<Record, ToolError>,
    before: impl FnOnce(&mut Record, &AtomicBool) -> Result<(), ToolError>,
    work: impl FnOnce(&mut Change<'_>) -> Result<T, ToolError>,
) -> Result<T, ToolError> {
    let changing = begin(folder, id)?;
    let mut record = known(folder, id)?;
    // From here on the disk waits: a key that is pressed must not leave it so.
    let interrupted = interrupts()?;
    // Whoever starts its next server is not raced, whatever becomes of this one.
    let (lived, supervised) = match question(folder, id, Question::Info) {
        Ok(Some(Answer::Info(now))) => (true, now.supervised),
        _ => (false, false),
    };
    if let Err(error) = before(&mut record, &interrupted) {
        // As long as this is locked, nobody else has told it to leave.
        let died = lived && folder.load(id)?.is_some() && !answers(folder, id);
        drop(changing);
        if died {
            // Of it, and nobody could bring it back meanwhile.
            if let Err(second) = bring_back(folder, id, supervised) {
                return Err(without_server(id, &error, &second));
            }
        }
        return Err(error);
    }
    // From here on this process is a part of the disk: memory must not be reclaimed through it. Best effort, as in the server.
    let _ = rustix::process::configure_io_flusher_behavior(true);
    let aside = match question(folder, id, Question::StepAside) {
        // It may have died of it.
        Err(error) => Err(error),
        Ok(None) => {
            return Err(refused(format!(
                "device {id} has no server (`ploop-ublk recover {id}` starts one)"
            )));
        }
        Ok(Some(Answer::Aside { supervised })) => Ok(supervised),
        Ok(Some(Answer::NotClosed(why))) => Err(refused(format!(
            "device {id}: its image could not be closed: {why}"
        ))),
        Ok(Some(Answer::Refused(why))) => {
            return Err(refused(format!("device {id}: {why}")));
        }
        Ok(Some(other)) => {
            return Err(refused(format!("device {id}: a strange answer: {other:?}")));
        }
    };
    let supervised = *aside.as_ref().unwrap_or(&supervised);
    let outcome = aside.and_then(|_| {
        // The last of the old server is gone when its lock is.
        let _lock = setup::lock(folder, id)?;
        // Its map is no newer than the image, and older than what is done now.
        let record = Record {
            closed: true,
            ..record
        };
        folder.save(&record)?;
        work(&mut Change {
            folder,
            record,
            interrupted,
        })
    });
    drop(changing);
    match (outcome, bring_back(folder, id, supervised)) {
        (outcome, Ok(())) => outcome,
        (Ok(_), Err(error)) => Err(refused(format!(
            "it is done, but device {id} has no server: {error} (`ploop-ublk recover {id}`)"
        ))),
        (Err(first), Err(error)) => Err(without_server(id, &first, &error)),
    }
}

fn without_server(id: u32, first: &ToolError, second: &ToolError) -> ToolError {
    refused(format!(
        "{first}; and device {id} has no server: {second} (`ploop-ublk recover {id}`)"
    ))
}

/// Locks a device for a change.
pub(super) fn begin(folder: &Folder, id: u32) -> Result<Lock, ToolError> {
    let lock = || {
        let changing = folder.begin_change(id)?;
        changing.ok_or_else(|| refused(being_changed(id)))
    };
    let changing = lock()?;
    if answers(folder, id) || folder.load(id)?.is_none() {
        return Ok(changing);
    }
    // Whoever changed it last lets go of it first, and then gives it the next server.
    drop(changing);
    served_soon(folder, id)?;
    lock()
}

/// Waits for the server of a device, which may be on its way: another command has changed the device just now. A moment; longer
/// for one that is there, and reads its images.
pub(super) fn served_soon(folder: &Folder, id: u32) -> Result<(), ToolError> {
    let began = Instant::now();
    while folder.load(id)?.is_some() && !answers(folder, id) {
        let patience = match folder.is_served(id)? {
            true => STARTING,
            false => SOON,
        };
        if began.elapsed() >= patience {
            break;
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Set when somebody wants this command to end, from the first call on.
fn interrupts() -> Result<Arc<AtomicBool>, ToolError> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(Arc::clone(flag));
    }
    let flag = Arc::clone(FLAG.get_or_init(Arc::default));
    for signal in [
        signal_hook::consts::SIGINT,
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
    ] {
        let kept = signal_hook::flag::register(signal, Arc::clone(&flag));
        kept.map_err(|error| refused(format!("signals: {error}")))?;
    }
    Ok(flag)
}

/// Why nothing is done to a device.
pub(crate) fn being_changed(id: u32) -> String {
    format!("device {id} is being changed by another command")
}

/// The record of a device whose images can be changed under it.
pub(super) fn writable(folder: &Folder, id: u32) -> Result<Record, ToolError> {
    match known(folder, id)? {
        record if record.read_only => Err(refused(format!(
            "device {id} is read-only: its images are changed without it"
        ))),
        record => Ok(record),
    }
}

/// The record of any device.
pub(super) fn known(folder: &Folder, id: u32) -> Result<Record, ToolError> {
    let record = folder.load(id)?;
    record.ok_or_else(|| refused(format!("there is no device {id} of ours")))
}

/// Gives the device a server, or sees systemd do it.
fn bring_back(folder: &Folder, id: u32, supervised: bool) -> Result<(), ToolError> {
    let until = Instant::now() + SYSTEMD;
    while supervised && Instant::now() < until {
        if answers(folder, id) {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    match detach::start(&["recover".into(), id.to_string().into()]) {
        // Somebody else was faster.
        Err(_) if answers(folder, id) => Ok(()),
        other => other.map(drop),
    }
}

fn answers(folder: &Folder, id: u32) -> bool {
    matches!(
        question(folder, id, Question::Info),
        Ok(Some(Answer::Info(_)))
    )
}

/// `snapshot create --id`: from now on the disk is written to a new file, and what it holds now stays in the old one.
pub fn snapshot_create(
    id: u32,
    file: Option<&Path>,
    guid: Option<Guid>,
    json: bool,
    out: &mut Output<impl Write>,
) -> Result<(), ToolError> {
    #[derive(Serialize)]
    struct Report {
        #[serde(skip_serializing_if = "Option::is_none")]
        snapshot: Option<Guid>,
        file: PathBuf,
        images: Vec<PathBuf>,
    }
    let folder = folder()?;
    let record = writable(&folder, id)?;
    if let Some(bundle) = record.bundle.clone() {
        if file.is_some() {
            return Err(refused(format!(
                "device {id} is the bundle {}: its new file gets its name there",
                bundle.display()
            )));
        }
        let (made, images) = with_server_aside(&folder, id, |change| {
            let (at, _lock) = bundle_of(&bundle, Some(id))?;
            let made = snapshots::create(&at, guid)?;
            change.commit_bundle()?;
            Ok((made, change.images().to_vec()))
        })?;
        if json {
            return out.json_line(&Report {
                snapshot: Some(made.snapshot),
                file: made.file,
                images,
            });
        }
        return out.line(made.snapshot);
    }
    if guid.is_some() {
        return Err(refused(format!(
            "device {id} is made of single images: their snapshots have no GUID"
        )));
    }
    let Some(file) = file else {
        return Err(refused(format!(
            "device {id} is made of single images: name the new one with --file"
        )));
    };
    let new = std::path::absolute(file).map_err(ToolError::io(file, "find"))?;
    if new.symlink_metadata().is_ok() {
        return Err(refused(format!("{}: exists already", new.display())));
    }
    if let Some(top) = record.images.last()
        && !child::can_be_marked(top)
    {
        return Err(refused(format!(
            "{}: its file system has no extended attributes, so that it cannot be marked as the lower file of a snapshot",
            top.display()
        )));
    }
    let images = with_server_aside(&folder, id, |change| {
        super::snapshot::plain(change, &new)?;
        Ok(change.images().to_vec())
    })?;
    if json {
        return out.json_line(&Report {
            snapshot: None,
            file: new,
            images,
        });
    }
    list(&images, out)
}

/// The images as `add` wants them.
pub(super) fn list(images: &[PathBuf], out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let images: Vec<String> = images
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    out.line(images.join(" "))
}
