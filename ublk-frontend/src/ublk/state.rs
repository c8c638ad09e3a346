//! What is known of our devices outside their servers: one record a device in a folder that only its owner can enter.
//!
//! | file | is |
//! |---|---|
//! | `N.json` | the record: what `recover` needs to serve device N again |
//! | `N.lock` | locked by the server as long as it lives, and by a command while the server has stepped aside for it |
//! | `N.change` | locked by a command that changes the device: no new server until it is done |
//! | `N.map` | the map that outlives the server |
//! | `N.sock` | where the server can be asked |
//! | `N.log` | what a server in the background has to say |
//!
//! A record is written beside its name, synced, and renamed: it is always whole. A folder that others may write is not
//! trusted.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, renameat, unlinkat};
use serde::{Deserialize, Serialize};

use crate::cli::NoSpaceArg;
use crate::ring::{Direct, shadow};
use crate::tool::ToolError;
use crate::tool::output::complain;

/// Where the folder is if nobody says otherwise.
pub const FOLDER: &str = "/run/ploop-ublk";
/// Time between two looks at a lock.
const LOOK: Duration = Duration::from_millis(5);
/// How long somebody who only looks may hold a lock.
const GLANCE: Duration = Duration::from_millis(200);
/// Form of the record.
const VERSION: u32 = 1;

/// Everything that a server needs to serve a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Record {
    /// Form of the record.
    pub version: u32,
    /// Number of the device.
    pub id: u32,
    /// The server.
    pub pid: u32,
    /// The files, oldest first, absolute.
    pub images: Vec<PathBuf>,
    /// The first file is a raw disk, whatever it looks like.
    pub raw_base: bool,
    /// Writes are refused.
    pub read_only: bool,
    /// Number of queues.
    pub queues: u16,
    /// Tags of a queue.
    pub depth: u16,
    /// Most bytes of a request.
    pub request_bytes: u32,
    /// Flags of the device, as the kernel gave them.
    pub flags: u64,
    /// The guest's pages are used as they are.
    pub zero_copy: bool,
    /// Direct I/O, as asked for.
    pub direct: Direct,
    /// Logical block size in bytes.
    pub block: u32,
    /// Delay of index write-back in milliseconds; 0: none.
    pub flush_delay_ms: u64,
    /// What to do when the file system is full.
    pub no_space: NoSpace,
    /// Another name of the disk.
    pub symlink: Option<PathBuf>,
    /// What `add` was given: the images, or a bundle. The chain may have changed since; a start with the same words is
    /// still a start of this device.
    #[serde(default)]
    pub source: Vec<PathBuf>,
    /// The bundle, if it is one: then its descriptor says which the images are.
    #[serde(default)]
    pub bundle: Option<PathBuf>,
    /// What the kernel keeps of the device for its server: by this it is told from a device of somebody else that has got
    /// its number.
    #[serde(default)]
    pub token: u64,
    /// The images were closed by the last server and may have been changed since: its map says nothing of them.
    #[serde(default)]
    pub closed: bool,
    /// What a command changes of the disk under the kernel's eyes: it is to be told again, see `retell`.
    #[serde(default)]
    pub retell: Stale,
    /// Where every change of the files is told.
    #[serde(default)]
    pub trace_io: Option<PathBuf>,
}

/// What the kernel does not know yet; each is more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stale {
    /// It knows everything.
    #[default]
    Nothing,
    /// What the disk holds.
    Content,
    /// That, and whether it is written.
    ReadOnly,
}

/// What to do when the file system is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoSpace {
    /// Wait for space.
    Wait {
        /// At most so long; `None`: for ever.
        seconds: Option<u64>,
    },
    /// Fail at once.
    Fail,
}

impl NoSpace {
    /// As it is said on the command line: what, and for how many seconds.
    #[must_use]
    pub fn word(self) -> (NoSpaceArg, Option<u64>) {
        match self {
            NoSpace::Fail => (NoSpaceArg::Fail, None),
            NoSpace::Wait { seconds } => (NoSpaceArg::Wait, seconds),
        }
    }
}

impl Record {
    /// Form of a new record.
    #[must_use]
    pub fn version() -> u32 {
        VERSION
    }
}

/// The folder of the records. It is held open: a server that has let go of its mounts still reaches it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    dir: File,
}

/// Held by the server of a device.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// The same lock once more: it is held until both are gone.
    pub fn again(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Folder {
    /// Opens the folder, makes it if it is missing, and refuses one that others may change.
    pub fn open(path: &Path) -> Result<Folder, ToolError> {
        let made = DirBuilder::new().mode(0o700).create(path);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(ToolError::io(path, "make the folder")(error));
            }
            _ => {}
        }
        let meta = fs::symlink_metadata(path).map_err(ToolError::io(path, "read"))?;
        let ours = rustix::process::geteuid().as_raw() == meta.uid();
        if !meta.is_dir() || !ours || meta.mode() & 0o077 != 0 {
            return Err(ToolError::Refused(format!(
                "{}: must be a folder of the user that runs this, with mode 0700",
                path.display()
            )));
        }
        let failed = ToolError::io(path, "open");
        Ok(Folder {
            path: fs::canonicalize(path).map_err(&failed)?,
            dir: File::open(path).map_err(&failed)?,
        })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of a file of a device.
    #[must_use]
    pub fn file(&self, id: u32, kind: &str) -> PathBuf {
        self.path.join(format!("{id}.{kind}"))
    }

    /// Writes a record: the old one or the new one is there, never a part.
    pub fn save(&self, record: &Record) -> Result<(), ToolError> {
        let path = self.file(record.id, "json");
        let (name, beside) = (format!("{}.json", record.id), format!("{}.new", record.id));
        let failed = ToolError::io(&path, "write");
        let mut text = serde_json::to_vec_pretty(record).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let write = || -> io::Result<()> {
            // Left by one that was killed.
            let _ = unlinkat(&self.dir, &beside, AtFlags::empty());
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let mut file = File::from(openat(&self.dir, &beside, flags, mode)?);
            file.write_all(&text)?;
            file.sync_all()?;
            renameat(&self.dir, &beside, &self.dir, &name)?;
            self.dir.sync_all()
        };
        write().map_err(&failed)
    }

    /// The record of a device.
    pub fn load(&self, id: u32) -> Result<Option<Record>, ToolError> {
        let path = self.file(id, "json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ToolError::io(&path, "read")(error)),
        };
        let wrong = |why: String| ToolError::Refused(format!("{}: {why}", path.display()));
        let record: Record = serde_json::from_slice(&text).map_err(|e| wrong(e.to_string()))?;
        if record.version != VERSION || record.id != id {
            return Err(wrong("written by another version of this program".into()));
        }
        Ok(Some(record))
    }

    /// The same for whoever looks at all of them: one that cannot be read is told of, and left out.
    pub fn load_if_whole(&self, id: u32) -> Option<Record> {
        self.load(id).unwrap_or_else(|error| {
            complain("warning", format!("device {id} is left out: {error}"));
            None
        })
    }

    /// True if there is one, whole or not.
    #[must_use]
    pub fn has_record(&self, id: u32) -> bool {
        self.file(id, "json").symlink_metadata().is_ok()
    }

    /// True if a server of this device has lived, and does no more: all that is left of it is its lock.
    pub fn has_free_lock(&self, id: u32) -> Result<bool, ToolError> {
        let is_there = self.file(id, "lock").symlink_metadata().is_ok();
        Ok(is_there && !self.is_served(id)?)
    }

    /// Numbers of all devices that have a record, ascending.
    pub fn ids(&self) -> Result<Vec<u32>, ToolError> {
        let failed = ToolError::io(&self.path, "read");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(&failed)? {
            let name = entry.map_err(&failed)?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| id.parse::<u32>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Locks a device for a server. `None`: one lives.
    pub fn lock(&self, id: u32) -> Result<Option<Lock>, ToolError> {
        self.lock_file(id, "lock")
    }

    /// The same, and waits for a server that is on its way out. Whoever only looks holds the lock for a moment, and a server
    /// that was killed until its last I/O has ended.
    pub fn lock_within(&self, id: u32, patience: Duration) -> Result<Option<Lock>, ToolError> {
        let until = Instant::now() + patience;
        loop {
            match self.lock(id)? {
                None if Instant::now() < until => thread::sleep(LOOK),
                other => return Ok(other),
            }
        }
    }

    /// Locks a device for a command that changes it. `None`: another one does.
    pub fn begin_change(&self, id: u32) -> Result<Option<Lock>, ToolError> {
        let until = Instant::now() + GLANCE;
        loop {
            match self.lock_file(id, "change")? {
                // Somebody may only have looked.
                None if Instant::now() < until => thread::sleep(LOOK),
                other => return Ok(other),
            }
        }
    }

    fn lock_file(&self, id: u32, kind: &str) -> Result<Option<Lock>, ToolError> {
        let path = self.file(id, kind);
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(ToolError::io(&path, "write"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // A file that has lost its name meanwhile is nobody's lock any more.
            Ok(()) if !has_name(&file, &path) => Ok(None),
            Ok(()) => Ok(Some(Lock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(ToolError::io(&path, "lock")(errno.into())),
        }
    }

    /// Opens the log of a device, to write at its end.
    pub fn log(&self, id: u32) -> Result<File, ToolError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
        match openat(
            &self.dir,
            format!("{id}.log"),
            flags,
            Mode::RUSR | Mode::WUSR,
        ) {
            Ok(file) => Ok(file.into()),
            Err(errno) => Err(ToolError::io(&self.file(id, "log"), "write")(errno.into())),
        }
    }

    /// True if a server of this device lives.
    pub fn is_served(&self, id: u32) -> Result<bool, ToolError> {
        self.is_locked(id, "lock")
    }

    /// True if a command changes this device.
    pub fn is_changing(&self, id: u32) -> Result<bool, ToolError> {
        self.is_locked(id, "change")
    }

    fn is_locked(&self, id: u32, kind: &str) -> Result<bool, ToolError> {
        let path = self.file(id, kind);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(ToolError::io(&path, "read")(error)),
        };
        // Shared, so that two who look do not see each other.
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        Ok(!free && has_name(&file, &path))
    }

    /// A new map that outlives its server, without the device's number.
    pub fn new_map(&self) -> Result<(PathBuf, File), ToolError> {
        let path = self.path.join(format!("new-{}.map", std::process::id()));
        let file = shadow::file_at(&path).map_err(ToolError::io(&path, "write"))?;
        Ok((path, file))
    }

    /// Forgets a device. Only for whoever holds its lock, or where it has no server.
    pub fn forget(&self, id: u32) {
        for kind in ["json", "new", "sock", "log", "map", "change", "lock"] {
            // What is not there need not be removed.
            let _ = unlinkat(&self.dir, format!("{id}.{kind}"), AtFlags::empty());
        }
    }
}

fn has_name(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    pub(crate) fn record(id: u32) -> Record {
        Record {
            version: VERSION,
            id,
            pid: 7,
            images: vec!["/a".into(), "/b c".into()],
            raw_base: true,
            read_only: false,
            queues: 2,
            depth: 64,
            request_bytes: 1 << 20,
            flags: 0x58,
            zero_copy: false,
            direct: Direct::Auto,
            block: 512,
            flush_delay_ms: 50,
            no_space: NoSpace::Wait { seconds: None },
            symlink: None,
            source: vec!["/a".into()],
            token: 9,
            closed: false,
            retell: Stale::Nothing,
            bundle: None,
            trace_io: None,
        }
    }

    #[test]
    fn records_come_back_and_are_private() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::open(&dir.path().join("s")).expect("folder");
        assert_eq!(folder.load(3).expect("none"), None);
        for id in [12, 3] {
            folder.save(&record(id)).expect("saved");
        }
        assert_eq!(folder.load(3).expect("read"), Some(record(3)));
        assert_eq!(folder.ids().expect("ids"), [3, 12]);
        let mode = fs::metadata(folder.file(3, "json")).expect("meta").mode();
        assert_eq!(mode & 0o777, 0o600);
        folder.forget(3);
        assert_eq!(folder.ids().expect("ids"), [12]);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused_and_so_is_a_strange_record() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("s");
        let folder = Folder::open(&path).expect("folder");
        fs::write(folder.file(1, "json"), "{}").expect("written");
        assert!(folder.load(1).is_err());
        fs::write(
            folder.file(2, "json"),
            serde_json::to_vec(&record(5)).expect("json"),
        )
        .expect("written");
        assert!(folder.load(2).is_err(), "of another device");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).expect("mode");
        assert!(Folder::open(&path).is_err());
    }

    #[test]
    fn one_server_a_device() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::open(&dir.path().join("s")).expect("folder");
        assert!(!folder.is_served(1).expect("asked"));
        let lock = folder.lock(1).expect("lock").expect("free");
        assert!(folder.lock(1).expect("lock").is_none());
        assert!(folder.is_served(1).expect("asked"));
        drop(lock);
        assert!(!folder.is_served(1).expect("asked"));
        let lock = folder.lock(1).expect("lock").expect("free");
        folder.forget(1);
        assert!(!folder.is_served(1).expect("asked"));
        assert!(folder.lock(1).expect("lock").is_some(), "a new file");
        drop(lock);
    }

    #[test]
    fn one_change_at_a_time_beside_a_server() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::open(&dir.path().join("s")).expect("folder");
        let _server = folder.lock(1).expect("lock").expect("free");
        assert!(!folder.is_changing(1).expect("asked"));
        let change = folder.begin_change(1).expect("lock").expect("free");
        assert!(folder.begin_change(1).expect("lock").is_none());
        assert!(folder.is_changing(1).expect("asked"));
        assert!(!folder.is_changing(2).expect("asked"));
        let soon = Duration::from_millis(20);
        assert!(folder.lock_within(1, soon).expect("lock").is_none());
        drop(change);
        assert!(!folder.is_changing(1).expect("asked"));
    }

    #[test]
    fn a_record_of_an_older_program_is_read() {
        let dir = tempfile::tempdir().expect("folder");
        let folder = Folder::open(&dir.path().join("s")).expect("folder");
        let mut old = serde_json::to_value(record(4)).expect("json");
        let fields = old.as_object_mut().expect("an object");
        fields.remove("source");
        fields.remove("closed");
        fields.remove("bundle");
        fs::write(folder.file(4, "json"), old.to_string()).expect("written");
        let read = folder.load(4).expect("read").expect("there");
        assert_eq!((read.source, read.closed), (Vec::new(), false));
    }
}
