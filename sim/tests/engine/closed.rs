//! A closed image, read by the shipped build of the loader, whatever engine wrote it.

use std::collections::BTreeSet;
use std::io;

use super::image::{decode, le32};
use model::op::Value;
use ploop_core::delta::ExtensionState;
use ploop_core::drive::DeltaFile;
use ploop_core::load;
use ploop_core::units::{Clu, Sector, Sectors};

struct File<'a>(&'a [u8]);

/// The image loads, is closed, and says this for each guest sector (`None`: it has no such cluster). If it has a dirty
/// bitmap, `changed` is in it.
pub(crate) fn read(bytes: &[u8], changed: Option<&(u32, BTreeSet<u64>)>) -> Vec<Option<Value>> {
    let loaded = load::load(&File(bytes), "closed image").expect("a closed image loads");
    let image = loaded.expanded().expect("it is an image");
    match changed {
        None => assert_eq!(le32(bytes, 44), 0, "closed with in-use 0 (I31)"),
        Some((_, changed)) => {
            let valid = image.extension == ExtensionState::Valid;
            let [bitmap] = image.bitmaps.as_slice() else {
                panic!("[bitmaps] {} of them (I32)", image.bitmaps.len());
            };
            assert!(valid, "[bitmaps] closed, and not vouched for (I32)");
            let missing = changed.iter();
            let missing = missing.filter(|&&sector| !bitmap.is_dirty(Sector(sector)));
            let missing: Vec<&u64> = missing.collect();
            assert!(
                missing.is_empty(),
                "[bitmaps] sectors {missing:?} have changed, and are not dirty (I32)"
            );
        }
    }
    let layout = image.layout;
    let mut seen = Vec::new();
    for (clu, &entry) in (0u32..).zip(&image.bat) {
        for within in 0..layout.guest_len(Clu(clu)).0 {
            let at = layout.entry_sector(entry).after(Sectors(within));
            seen.push((entry != 0).then(|| decode(bytes, at.0)));
        }
    }
    seen
}

impl DeltaFile for File<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.0.get(at as usize..).unwrap_or_default();
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn write_at(&self, _at: u64, _buf: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn zero_at(&self, _at: u64, _len: u64, _punch: bool) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}
