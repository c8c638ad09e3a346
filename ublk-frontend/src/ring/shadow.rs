//! The map that outlives a killed server: the core's [`Mirror`] in a file in memory, and what recovery makes of it.
//!
//! ```text
//!   add:      file = BAT as on disk ──each change, before it is acknowledged──▶ file
//!   kill -9:  the image's BAT lacks the last changes, the file has them; all data under them is written
//!   recover:  sync the image ─▶ write the differing slots ─▶ sync ─▶ load and check as ever
//! ```
//! * Worth something only as long as the machine runs: it lies in `/run`, and belongs to one device of one boot.
//! * A slot is one aligned word: it has its old value or its new one.
//! * Set once a sync of the image has failed: then recovery is refused, since what is lost cannot be told.

use std::fs::File;
use std::io;
use std::path::Path;

use ploop_core::Mirror;
use ploop_core::delta::{Body, LoadedDelta};
use ploop_core::drive::DeltaFile;
use ploop_core::units::Clu;

use crate::files::RealFile;
use crate::raw::SharedWords;

/// Words in front of the map: what this is, number of entries, whether a sync has failed, nothing.
const HEAD: usize = 4;
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
    /// It is not of this image.
    #[error("it does not belong to this image")]
    Foreign,
    /// A sync has failed.
    #[error(
        "a sync of the image has failed: what was lost cannot be told. Remove the device and check the image"
    )]
    SyncFailed,
}

impl Shadow {
    /// Makes the shadow of a map in a new or emptied file.
    pub fn create(file: &File, delta: &LoadedDelta) -> Result<Shadow, ShadowError> {
        let bat = bat_of(delta);
        file.set_len(0)?;
        file.set_len(4 * (HEAD + bat.len()) as u64)?;
        let words = SharedWords::map(file)?;
        words.set(
            1,
            u32::try_from(bat.len()).map_err(|_| ShadowError::Foreign)?,
        );
        let mapped = bat.iter().enumerate().filter(|(_, entry)| **entry != 0);
        for (clu, &entry) in mapped {
            words.set(HEAD + clu, entry);
        }
        words.set(0, MAGIC);
        Ok(Shadow { words })
    }

    /// The shadow that a server has left.
    pub fn open(file: &File) -> Result<Shadow, ShadowError> {
        let words = SharedWords::map(file)?;
        let whole = words.len() >= HEAD
            && words.get(0) == MAGIC
            && words.get(1) as usize == words.len() - HEAD;
        match whole {
            true if words.get(2) != 0 => Err(ShadowError::SyncFailed),
            true => Ok(Shadow { words }),
            false => Err(ShadowError::Foreign),
        }
    }

    /// Puts what the image's BAT lacks into it. Returns how many slots that were; then the image must be loaded again.
    pub fn restore(&self, file: &RealFile, delta: &LoadedDelta) -> Result<usize, ShadowError> {
        let Body::Expanded(image) = &delta.body else {
            return Err(ShadowError::Foreign);
        };
        if image.bat.len() != self.words.len() - HEAD {
            return Err(ShadowError::Foreign);
        }
        let differs = |&(clu, entry): &(usize, &u32)| self.words.get(HEAD + clu) != *entry;
        let lacking: Vec<usize> = image
            .bat
            .iter()
            .enumerate()
            .filter(differs)
            .map(|(clu, _)| clu)
            .collect();
        if lacking.is_empty() {
            return Ok(0);
        }
        // Data before index.
        file.sync()?;
        for &clu in &lacking {
            let entry = self.words.get(HEAD + clu);
            file.write_all_at(image.layout.slot_at(Clu(clu as u32)), &entry.to_le_bytes())?;
        }
        file.sync()?;
        Ok(lacking.len())
    }

    /// Notes that a sync has failed.
    pub fn poison(&self) {
        self.words.set(2, 1);
    }
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

impl Mirror for Told {
    fn set(&self, clu: Clu, entry: u32) {
        self.0.words.set(HEAD + clu.0 as usize, entry);
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
    fn what_was_told_is_restored_and_a_foreign_or_failed_shadow_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let image = image(dir.path());
        let delta = load(&image, "image").expect("loads");
        let file = file_at(&dir.path().join("map")).expect("file");
        assert!(Shadow::open(&file).is_err(), "empty");
        let shadow = std::sync::Arc::new(Shadow::create(&file, &delta).expect("made"));
        assert_eq!(shadow.restore(&image, &delta).expect("same"), 0);
        let told = Told(shadow.clone());
        told.set(Clu(3), 7);
        told.set(Clu(99), 9);
        told.set(Clu(3), 8);
        drop((told, shadow));

        let shadow = Shadow::open(&file).expect("whole");
        assert_eq!(shadow.restore(&image, &delta).expect("restored"), 2);
        let after = load(&image, "image").expect("loads");
        let bat = &after.expanded().expect("an image").bat;
        assert_eq!((bat[3], bat[99]), (8, 9));
        assert_eq!(bat.iter().filter(|entry| **entry != 0).count(), 2);
        assert_eq!(shadow.restore(&image, &after).expect("same"), 0);

        shadow.poison();
        assert!(matches!(Shadow::open(&file), Err(ShadowError::SyncFailed)));
        file.set_len(400).expect("cut");
        assert!(matches!(Shadow::open(&file), Err(ShadowError::Foreign)));
    }
}
