//! The map that outlives a killed server: the core's [`VisibleMap`] in a file in memory.
//!
//! ```text
//!   add:      file = BAT as on disk ──each change, before it is acknowledged──▶ file
//!   kill -9:  the image's BAT lacks the last changes, the file has them; all data under them is written
//!   recover:  the core takes the differing slots over, as changes that it has yet to write back
//! ```
//! * Worth something only as long as the machine runs: it lies in `/run`, and belongs to one device of one boot.
//! * A slot is one aligned word: it has its old value or its new one.
//! * Once a sync of the image has failed the file says so, and the next server's flushes fail as well.

use std::fs::File;
use std::io;
use std::path::Path;

use ploop_core::VisibleMap;
use ploop_core::delta::{Body, LoadedDelta};
use ploop_core::units::Clu;
use rustix::fs::{FallocateFlags, fallocate};

use crate::files::{FileId, RealFile};
use crate::raw::SharedWords;

/// Words in front of the map: what this is, number of entries, whether a sync has failed, nothing; device and inode of the
/// image; the boot.
const HEAD: usize = 12;
/// Words that say whose map it is.
const WHOSE: std::ops::Range<usize> = 4..12;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const MAGIC: u32 = u32::from_le_bytes(*b"pMap");

/// See the module.
#[derive(Debug)]
pub struct Shadow {
    words: SharedWords,
}

/// Why a shadow cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShadowError {
    /// The file or the image failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not of this image, or not of this boot.
    #[error("it does not belong to this image, or is older than the last start of the system")]
    Foreign,
}

impl Shadow {
    /// Makes the shadow of a map in a new or emptied file.
    pub fn create(
        file: &File,
        image: &RealFile,
        delta: &LoadedDelta,
    ) -> Result<Shadow, ShadowError> {
        let bat = bat_of(delta);
        file.set_len(0)?;
        // With its space: a store must not find out later that there is none.
        fallocate(
            file,
            FallocateFlags::empty(),
            0,
            4 * (HEAD + bat.len()) as u64,
        )
        .map_err(io::Error::from)?;
        let words = SharedWords::map(file)?;
        words.set(
            1,
            u32::try_from(bat.len()).map_err(|_| ShadowError::Foreign)?,
        );
        for (at, word) in WHOSE.zip(whose(image)?) {
            words.set(at, word);
        }
        let mapped = bat.iter().enumerate().filter(|(_, entry)| **entry != 0);
        for (clu, &entry) in mapped {
            words.set(HEAD + clu, entry);
        }
        words.set(0, MAGIC);
        Ok(Shadow { words })
    }

    /// The shadow that a server of this image has left.
    pub fn open(file: &File, image: &RealFile, delta: &LoadedDelta) -> Result<Shadow, ShadowError> {
        let words = SharedWords::map(file)?;
        let whole = words.len() >= HEAD
            && words.get(0) == MAGIC
            && words.get(1) as usize == words.len() - HEAD
            && words.len() - HEAD == bat_of(delta).len()
            && WHOSE.map(|at| words.get(at)).eq(whose(image)?);
        if whole {
            Ok(Shadow { words })
        } else {
            Err(ShadowError::Foreign)
        }
    }
}

/// The image, and the boot.
fn whose(image: &RealFile) -> io::Result<[u32; 8]> {
    let text = std::fs::read_to_string(BOOT_ID)?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let boot = u128::from_str_radix(&digits, 16)
        .map_err(|_| io::Error::other(format!("{BOOT_ID}: {text:?} is no id")))?;
    let FileId { dev, ino } = image.id();
    let mut words = [0; 8];
    let bytes = [dev.to_le_bytes(), ino.to_le_bytes()]
        .concat()
        .into_iter()
        .chain(boot.to_le_bytes());
    for (index, byte) in bytes.enumerate() {
        words[index / 4] |= u32::from(byte) << (8 * (index % 4));
    }
    Ok(words)
}

fn bat_of(delta: &LoadedDelta) -> &[u32] {
    match &delta.body {
        Body::Raw => &[],
        Body::Expanded(image) => &image.bat,
    }
}

/// What the core tells.
#[derive(Debug)]
pub struct Told(pub std::sync::Arc<Shadow>);

impl VisibleMap for Told {
    fn set(&self, clu: Clu, entry: u32) {
        self.0.words.set(HEAD + clu.0 as usize, entry);
    }

    fn get(&self, clu: Clu) -> u32 {
        self.0.words.get(HEAD + clu.0 as usize)
    }

    fn set_poisoned(&self) {
        self.0.words.set(2, 1);
    }

    fn is_poisoned(&self) -> bool {
        self.0.words.get(2) != 0
    }
}

/// Opens or makes the file of a shadow.
pub fn file_at(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ploop_core::drive::DeltaFile;
    use ploop_core::format::Version;
    use ploop_core::load::{load, new_image};
    use ploop_core::units::Sectors;

    fn image(dir: &Path) -> RealFile {
        let path = dir.join("image");
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .expect("new");
        let file = RealFile::from_new(file, &path).expect("file");
        new_image(&file, Version::V2, Sectors(8), Sectors(800)).expect("image");
        file.set_len(20 * 4096).expect("length");
        file
    }

    #[test]
    fn what_was_told_is_found_and_a_foreign_shadow_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let image = image(dir.path());
        let delta = load(&image, "image").expect("loads");
        let file = file_at(&dir.path().join("map")).expect("file");
        assert!(Shadow::open(&file, &image, &delta).is_err(), "empty");
        let shadow = std::sync::Arc::new(Shadow::create(&file, &image, &delta).expect("made"));
        let told = Told(shadow.clone());
        told.set(Clu(3), 7);
        told.set(Clu(99), 9);
        told.set(Clu(3), 8);
        drop((told, shadow));

        let left = Told(std::sync::Arc::new(
            Shadow::open(&file, &image, &delta).expect("whole"),
        ));
        assert_eq!(
            (left.get(Clu(3)), left.get(Clu(99)), left.get(Clu(4))),
            (8, 9, 0)
        );
        assert!(!left.is_poisoned());
        left.set_poisoned();
        drop(left);
        let left = Told(std::sync::Arc::new(
            Shadow::open(&file, &image, &delta).expect("whole"),
        ));
        assert!(left.is_poisoned());
        drop(left);
        let other = dir.path().join("other");
        std::fs::create_dir(&other).expect("folder");
        let other = self::image(&other);
        assert!(
            matches!(
                Shadow::open(&file, &other, &delta),
                Err(ShadowError::Foreign)
            ),
            "another image of the same shape"
        );
        file.set_len(400).expect("cut");
        assert!(matches!(
            Shadow::open(&file, &image, &delta),
            Err(ShadowError::Foreign)
        ));
    }
}
