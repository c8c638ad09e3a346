//! Replays the log, and looks at the disk as it stood at chosen entries.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use model::fsck::fsck;
use model::image::{Image, ImageBytes};
use model::op::Value;
use ploop_core::Options;
use ploop_core::drive::Disk;
use ploop_core::load::load;
use ploop_core::units::{Sector, Sectors};
use rustix::fs::{OFlags, SeekFrom as Special};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sim::scenario::files::MemoryFile;

use super::super::buffer::Buffer;
use super::super::disks::POWER;
use super::super::judge::values;
use super::super::random::Random;
use super::super::server;
use super::super::trouble::{During, Trouble, demand};
use super::allowed::{Allowed, Refused};
use super::history::History;
use super::log::{Log, What};
use super::{CLUSTER, DISK, IMAGE, PLACE, Server, sectors};

/// One of so many states is altered, too.
const ALTERED: usize = 5;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Found {
    /// States.
    pub(super) states: usize,
    /// With dirty index pages.
    pub(super) dirty: usize,
    /// With a part of what followed.
    pub(super) parts: usize,
    /// Sectors judged.
    pub(super) sectors: u64,
    /// Sectors of the image held against the simulated disk.
    pub(super) compared: u64,
    /// Those that a change had touched.
    pub(super) touched: u64,
    /// Those that might have held something else.
    pub(super) open: u64,
    /// Those that held something else than at the last sync.
    pub(super) unsynced: u64,
    /// States that might have had another length.
    pub(super) lengths: usize,
    /// Altered ones.
    pub(super) refused: Refused,
}

impl Found {
    /// What was found of the image and the simulated disk.
    pub(super) fn of_image(&self) -> String {
        let Refused {
            stale,
            future,
            invented,
        } = self.refused;
        format!(
            "; all allowed by the simulated disk: {} sectors of the image compared, {} of them had been changed, {} might have held something else, {} held \
             something else than at the last sync, {} states might have had another length; altered and refused: {stale} stale, \
             {future} from the future, {invented} invented",
            self.compared, self.touched, self.open, self.unsynced, self.lengths
        )
    }

    /// The comparison with the simulated disk has said something.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        let Refused {
            stale,
            future,
            invented,
        } = self.refused;
        let all = self.touched > 0 && self.open > 0 && self.unsynced > 0;
        let altered = [stale, future, invented].into_iter().all(|count| count > 0);
        demand(all && altered, || format!("nothing was compared: {self:?}"))
    }
}

/// See the module.
pub(super) struct Replay {
    log: Log,
    history: History,
    allowed: Option<Allowed>,
    /// The disk, up to where the log was replayed.
    disk: Buffer,
    random: Random,
    server: Server,
    found: Found,
}

impl Replay {
    /// Of this log, judged by this history.
    pub(super) fn new(
        log: Log,
        history: History,
        allowed: Option<Allowed>,
        server: Server,
    ) -> Result<Replay, Trouble> {
        history.check()?;
        Ok(Replay {
            log,
            history,
            allowed,
            disk: Buffer::new(DISK as usize),
            random: Random::new(13),
            server,
            found: Found::default(),
        })
    }

    /// Looks at so many states, evenly spread.
    pub(super) fn all(mut self, states: usize) -> Result<Found, Trouble> {
        let durable: Vec<usize> = self.log.durable().collect();
        demand(durable.len() >= states, || {
            format!("only {} flushes and FUA writes", durable.len())
        })?;
        let (mut applied, mut mark) = (0, None);
        for number in 0..states {
            let at = durable[number * durable.len() / states];
            for entry in &self.log.entries[applied..=at] {
                let disk = self.disk.part(DISK as usize);
                self.log.apply(entry, disk)?;
                if let What::Mark(m) = entry.what {
                    mark = Some(m);
                }
            }
            applied = at + 1;
            // The power may go later: until then nothing more has reached the disk.
            let following = self.log.entries[applied..].iter();
            let marks = following.map_while(|entry| match entry.what {
                What::Mark(m) => Some(m),
                _ => None,
            });
            let mark = marks
                .last()
                .or(mark)
                .ok_or("a state before the first mark")?;
            self.history.advance(mark)?;
            self.state(at, mark, number % 2 == 1, number % 20 == 0)
                .during(format!("state at entry {at}, mark {mark}"))?;
        }
        Ok(self.found)
    }

    /// The disk as it stood behind entry `at`; with a part of what followed, if wanted.
    fn state(&mut self, at: usize, mark: u32, part: bool, tool: bool) -> Result<(), Trouble> {
        let mut until = mark;
        let disk = self.disk.part(DISK as usize);
        let mut before = Vec::new();
        let following = self.log.entries[at + 1..].iter();
        for entry in following.take_while(|entry| part && !entry.durable) {
            match entry.what {
                What::Mark(m) => until = m,
                _ if self.random.below(2) == 0 => {
                    let first = entry.start as usize;
                    let old = disk.get(first..first + entry.len as usize);
                    before.push((first, old.unwrap_or(&[]).to_vec()));
                    self.log.apply(entry, disk)?;
                }
                _ => {}
            }
        }
        put(disk)?;
        self.found.parts += usize::from(!before.is_empty());
        for (first, old) in before.into_iter().rev() {
            disk[first..first + old.len()].copy_from_slice(&old);
        }
        mount(POWER, PLACE, "ext4", MountFlags::NOATIME, None).during("mount")?;
        let looked = self.look((mark, until + 1), tool);
        unmount(PLACE, UnmountFlags::empty()).during("unmount")?;
        looked
    }

    /// Judges the image as it was after the first mark and before the end of the other one.
    fn look(&mut self, (mark, until): (u32, u32), tool: bool) -> Result<(), Trouble> {
        let path = Path::new(PLACE).join(IMAGE);
        if self.server == Server::KernelLoop {
            let content = values(&Sparse::read(&path).during("raw file")?.bytes);
            self.found.states += 1;
            self.found.sectors += content.len() as u64;
            return self.history.judge(until, &content);
        }
        let image = Sparse::read(&path).during("image")?;
        if let Some(allowed) = &self.allowed {
            let judged = allowed.judge(&image, mark, until)?;
            self.found.compared += judged.sectors;
            self.found.touched += judged.touched;
            self.found.open += judged.open;
            self.found.unsynced += judged.unsynced;
            self.found.lengths += usize::from(judged.lengths > 1);
            if self.found.states % ALTERED == 0 {
                let (random, refused) = (&mut self.random, &mut self.found.refused);
                allowed.refuses(&image, (mark, until), random, refused)?;
            }
        }
        let file = MemoryFile::new(image.bytes);
        let dirty = file.with(|bytes| -> Result<bool, Trouble> {
            let report = fsck(&Bytes(bytes));
            if let Some(problem) = report.problems.first() {
                return Err(format!("model::fsck: {problem}").into());
            }
            let bytes = Bytes(bytes);
            let image = Image::open(&bytes).map_err(|why| why.to_string())?;
            Ok(self
                .history
                .written()
                .any(|cluster| image.lookup(cluster * CLUSTER).is_none()))
        })?;
        let content = read_by_core(&file)?;
        self.history.judge(until, &content)?;
        if tool {
            let called = server::call(&format!("check {}", path.display()))?;
            // It was not closed, and space may be leaked. Nothing else.
            let errors = called.out.lines().filter(|line| line.starts_with("ERROR"));
            let wrong = errors.filter(|line| !line.contains("m_DiskInUse")).count();
            demand(matches!(called.code, Some(0 | 2 | 3)) && wrong == 0, || {
                format!("check: {called:?}")
            })?;
        }
        self.found.states += 1;
        self.found.dirty += usize::from(dirty);
        self.found.sectors += content.len() as u64;
        Ok(())
    }
}

/// Makes the disk whose power was cut hold this, past all caches.
fn put(content: &[u8]) -> Result<(), Trouble> {
    let direct = OFlags::DIRECT.bits() as i32;
    let disk = File::options()
        .write(true)
        .custom_flags(direct)
        .open(POWER)
        .during(POWER)?;
    disk.write_all_at(content, 0).during("the disk's state")
}

/// A file's bytes, for the second reader.
struct Bytes<'a>(&'a [u8]);

impl ImageBytes for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, at: u64, buf: &mut [u8]) {
        ImageBytes::read(self.0, at, buf);
    }
}

/// A file that ends with a large hole, as an image with space taken in advance does.
pub(super) struct Sparse {
    /// All of it.
    pub(super) bytes: Vec<u8>,
    /// Behind its last data.
    end: usize,
}

impl Sparse {
    /// Reads a file, but for its holes.
    fn read(path: &Path) -> std::io::Result<Sparse> {
        let mut file = File::open(path)?;
        let len = file.seek(SeekFrom::End(0))?;
        let mut bytes = vec![0; len as usize];
        let mut at = 0;
        while at < len {
            let Ok(data) = rustix::fs::seek(&file, Special::Data(at)) else {
                break;
            };
            let hole = rustix::fs::seek(&file, Special::Hole(data))?;
            file.read_exact_at(&mut bytes[data as usize..hole as usize], data)?;
            at = hole;
        }
        Ok(Sparse {
            bytes,
            end: at as usize,
        })
    }

    /// Its beginning, behind which all is zeros.
    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

/// Opens the image with the core, and reads the disk in it.
fn read_by_core(file: &MemoryFile) -> Result<Vec<Value>, Trouble> {
    let loaded = load(file, IMAGE).map_err(|error| error.to_string())?;
    let files: Vec<Box<dyn ploop_core::drive::DeltaFile>> = vec![Box::new(file.clone())];
    let mut disk =
        Disk::open(vec![loaded], files, Options::default()).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; Sectors(sectors()).bytes() as usize];
    disk.read(Sector(0), &mut bytes)
        .map_err(|error| format!("{error:?}"))?;
    Ok(values(&bytes))
}
