//! The file of the map that outlives the server: made before the device has a number, found again by it.

use std::fs::File;
use std::path::PathBuf;

use crate::ring::open::Survives;
use crate::ring::shadow;
use crate::tool::ToolError;
use crate::ublk::state::{Folder, Record};

/// The file of the map that outlives the server, as long as it has no number.
pub(super) struct NewMap {
    file: Option<File>,
    /// Its name until it gets the device's.
    path: Option<PathBuf>,
}

impl NewMap {
    pub(super) fn open(
        folder: &Folder,
        record: &Record,
        is_new: bool,
    ) -> Result<NewMap, ToolError> {
        if record.read_only {
            let (file, path) = (None, None);
            return Ok(NewMap { file, path });
        }
        if is_new {
            let (path, file) = folder.new_map()?;
            let (file, path) = (Some(file), Some(path));
            return Ok(NewMap { file, path });
        }
        let path = folder.file(record.id, "map");
        let file = shadow::file_at(&path).map_err(ToolError::io(&path, "open"))?;
        let (file, path) = (Some(file), None);
        Ok(NewMap { file, path })
    }

    pub(super) fn survives(&self) -> Survives<'_> {
        match (&self.file, &self.path) {
            (None, _) => Survives::No,
            (Some(file), Some(_)) => Survives::New(file),
            (Some(file), None) => Survives::Left(file),
        }
    }

    /// Gives it the device's number.
    pub(super) fn keep(mut self, folder: &Folder, id: u32) -> Result<(), ToolError> {
        let Some(path) = self.path.take() else {
            return Ok(());
        };
        let to = folder.file(id, "map");
        std::fs::rename(&path, &to).map_err(ToolError::io(&to, "make"))
    }
}

impl Drop for NewMap {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It is in nobody's way.
            let _ = std::fs::remove_file(path);
        }
    }
}
