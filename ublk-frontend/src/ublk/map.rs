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
    /// Nothing in it is of interest.
    fresh: bool,
}

impl NewMap {
    pub(super) fn open(
        folder: &Folder,
        record: &Record,
        is_new: bool,
    ) -> Result<NewMap, ToolError> {
        if record.read_only {
            return Ok(NewMap {
                file: None,
                path: None,
                fresh: true,
            });
        }
        if is_new {
            let (path, file) = folder.new_map()?;
            return Ok(NewMap {
                file: Some(file),
                path: Some(path),
                fresh: true,
            });
        }
        let path = folder.file(record.id, "map");
        let file = shadow::file_at(&path).map_err(ToolError::io(&path, "open"))?;
        Ok(NewMap {
            file: Some(file),
            path: None,
            fresh: record.closed,
        })
    }

    pub(super) fn survives(&self) -> Survives<'_> {
        match (&self.file, self.fresh) {
            (None, _) => Survives::No,
            (Some(file), true) => Survives::New(file),
            (Some(file), false) => Survives::Left(file),
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
