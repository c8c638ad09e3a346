//! A plain file or a block device as it is: its sectors are the device's.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use ploop_core::units::SECTOR_BYTES;

use crate::face::Device;
use crate::face::real::OVERWRITTEN;

/// Linux: a block device that somebody has mounted, or uses otherwise, is refused.
const O_EXCL: i32 = 0o200;

/// See the module.
pub(super) struct RealFile(File);

impl RealFile {
    /// Opens a file of so many sectors or more; makes it if it is not there.
    pub(super) fn open(path: &Path, sectors: u64, overwrite: bool) -> Result<RealFile, String> {
        let named = |error: io::Error| error.to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let found = match path.metadata() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = options.create_new(true).open(path).map_err(named)?;
                file.set_len(sectors * SECTOR_BYTES).map_err(named)?;
                return Ok(RealFile(file));
            }
            Err(error) => return Err(named(error)),
        };
        let block_device = found.file_type().is_block_device();
        if !found.is_file() && !block_device {
            return Err("neither a file nor a block device".to_owned());
        }
        if !overwrite && (block_device || found.len() > 0) {
            return Err(OVERWRITTEN.to_owned());
        }
        if block_device {
            options.custom_flags(O_EXCL);
        }
        let mut file = options.open(path).map_err(named)?;
        let (len, wanted) = (
            file.seek(SeekFrom::End(0)).map_err(named)?,
            sectors * SECTOR_BYTES,
        );
        if len < wanted && block_device {
            return Err(format!("{len} bytes, the scenario needs {wanted}"));
        }
        if len < wanted {
            file.set_len(wanted).map_err(named)?;
        }
        Ok(RealFile(file))
    }
}

impl Device for RealFile {
    fn read(&mut self, start: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, start * SECTOR_BYTES)
    }

    fn write(&mut self, start: u64, from: &[u8]) -> io::Result<()> {
        self.0.write_all_at(from, start * SECTOR_BYTES)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}
