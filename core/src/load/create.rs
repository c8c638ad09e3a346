//! Makes a fresh image.

use crate::drive::file::DeltaFile;
use crate::error::CreateError;
use crate::format::{Header, Version};
use crate::units::{Sector, Sectors};

/// Writes an empty image into an empty file, and makes it durable: header, a BAT of zeros, nothing behind. The same
/// bytes as `qemu-img create -f parallels` (but for the magic, in version 1). `cluster` and `size` are in sectors.
///
/// On error the file may hold part of it; nothing is ever written to a file that was not empty.
pub fn new_image(
    file: &dyn DeltaFile,
    version: Version,
    cluster: Sectors,
    size: Sectors,
) -> Result<Header, CreateError> {
    let header = Header::create(version, cluster, size).map_err(CreateError::Geometry)?;
    let len = file.len()?;
    if len != 0 {
        return Err(CreateError::NotEmpty(len));
    }
    file.set_len(Sector(u64::from(header.data_off)).bytes())?;
    let bytes = header.to_bytes();
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(done as u64, &bytes[done..])? {
            0 => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
            n => done += n,
        }
    }
    file.sync()?;
    Ok(header)
}
