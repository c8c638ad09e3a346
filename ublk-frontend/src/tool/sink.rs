//! What `convert` writes into: a raw file, or a fresh image. Both take the disk's bytes in ascending order.
//!
//! Neither is visible before `finish`: a conversion that is interrupted leaves nothing behind, so no order of writes
//! has to hold in between, except that the block table goes out after the data.

use std::path::Path;

use ploop_core::drive::DeltaFile;
use ploop_core::error::{CreateError, Problem, Rule};
use ploop_core::format::geometry::{HEADER_BYTES, MAX_CLUSTER, MAX_ENTRIES};
use ploop_core::format::{Header, Layout, Version};
use ploop_core::load::new_image;
use ploop_core::units::{Sector, Sectors};

use super::ToolError;
use crate::files::NewFile;

/// Zeros are left out of a raw file in multiples of this.
const RAW_BLOCK: usize = 4096;

/// True if every byte is 0.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // In blocks whose bytes are OR-ed without a branch, so that the compiler uses wide registers.
    bytes
        .chunks(256)
        .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
}

/// A file being made out of a disk.
#[derive(Debug)]
pub enum Sink {
    /// Byte `i` of the disk is byte `i` of the file.
    Raw(RawSink),
    /// An image.
    Image(ImageSink),
}

/// See [`Sink::Raw`].
#[derive(Debug)]
pub struct RawSink {
    new: NewFile,
}

/// See [`Sink::Image`]. Host clusters are taken in the order in which guest clusters come.
#[derive(Debug)]
pub struct ImageSink {
    new: NewFile,
    layout: Layout,
    bat: Vec<u32>,
    /// First sector behind the clusters taken.
    end: Sector,
}

impl Sink {
    /// A raw file of `size`.
    pub fn raw(path: &Path, size: Sectors) -> Result<Sink, ToolError> {
        let new = NewFile::create(path)?;
        new.file()
            .set_len(size.bytes())
            .map_err(ToolError::io(path, "write"))?;
        Ok(Sink::Raw(RawSink { new }))
    }

    /// An image for a disk of `size`.
    pub fn image(
        path: &Path,
        version: Version,
        cluster: Sectors,
        size: Sectors,
    ) -> Result<Sink, ToolError> {
        // A wrong geometry is refused before anything is made.
        let refused = |problem| {
            let hint = hint(problem, size);
            ToolError::Refused(format!(
                "{}: cannot create: {problem}{hint}",
                path.display()
            ))
        };
        Header::create(version, cluster, size).map_err(refused)?;
        let new = NewFile::create(path)?;
        let header =
            new_image(new.file(), version, cluster, size).map_err(|error| match error {
                CreateError::Geometry(problem) => refused(problem),
                CreateError::NotEmpty(_) => {
                    ToolError::Refused(format!("{}: {error}", path.display()))
                }
                CreateError::Io(source) => ToolError::io(path, "write")(source),
            })?;
        let data_start = Sector(u64::from(header.data_off));
        let layout = Layout {
            version,
            cluster,
            entries: header.entries,
            size,
            data_start,
            phase: Sectors(data_start.0 % cluster.0),
        };
        let bat = vec![0; header.entries as usize];
        Ok(Sink::Image(ImageSink {
            new,
            layout,
            bat,
            end: data_start,
        }))
    }

    /// The next bytes of the disk, whole sectors. What is never put reads as zeros.
    pub fn put(&mut self, start: Sector, bytes: &[u8]) -> Result<(), ToolError> {
        match self {
            Sink::Raw(raw) => raw.put(start, bytes),
            Sink::Image(image) => image.put(start, bytes),
        }
    }

    /// Makes everything durable and gives the file its name.
    pub fn finish(self) -> Result<(), ToolError> {
        let new = match self {
            Sink::Raw(raw) => raw.new,
            Sink::Image(image) => image.complete()?,
        };
        Ok(new.publish()?)
    }
}

/// What would do, where the clusters are too many.
fn hint(problem: Problem, size: Sectors) -> String {
    if problem.rule != Rule::EntriesLimit {
        return String::new();
    }
    let least = size.0.div_ceil(u64::from(MAX_ENTRIES)).next_power_of_two();
    if least <= MAX_CLUSTER.0 {
        let kib = Sectors(least).bytes() >> 10;
        let larger = if kib < 1024 {
            format!("{kib}K")
        } else {
            format!("{}M", kib >> 10)
        };
        format!("; it takes larger clusters (--cluster {larger})")
    } else {
        "; no image is that large, whatever its clusters".to_owned()
    }
}

impl RawSink {
    fn put(&mut self, start: Sector, bytes: &[u8]) -> Result<(), ToolError> {
        let file = self.new.file();
        let (mut at, mut rest) = (start.bytes(), bytes);
        while !rest.is_empty() {
            let zero = is_zero(&rest[..rest.len().min(RAW_BLOCK)]);
            let same = rest
                .chunks(RAW_BLOCK)
                .take_while(|block| is_zero(block) == zero)
                .map(<[u8]>::len)
                .sum();
            let (run, behind) = rest.split_at(same);
            if !zero {
                file.write_all_at(at, run)
                    .map_err(ToolError::io(file.path(), "write"))?;
            }
            at += run.len() as u64;
            rest = behind;
        }
        Ok(())
    }
}

impl ImageSink {
    fn put(&mut self, start: Sector, bytes: &[u8]) -> Result<(), ToolError> {
        let cluster = self.layout.cluster;
        let (mut at, mut rest) = (start, bytes);
        while !rest.is_empty() {
            let inside = Sectors(at.0 % cluster.0);
            let len = cluster.minus(inside).bytes().min(rest.len() as u64);
            let (part, behind) = rest.split_at(len as usize);
            if let Some(host) = self.host(at.0 / cluster.0, part)? {
                let file = self.new.file();
                let to = host.after(inside).bytes();
                file.write_all_at(to, part)
                    .map_err(ToolError::io(file.path(), "write"))?;
            }
            at = at.after(Sectors::whole_in(len));
            rest = behind;
        }
        Ok(())
    }

    /// First sector of the guest cluster's place in the file. It gets one with the first bytes that are not zero;
    /// `None` as long as there are none.
    fn host(&mut self, clu: u64, bytes: &[u8]) -> Result<Option<Sector>, ToolError> {
        let path = self.new.file().path();
        let outside = || {
            ToolError::Refused(format!(
                "{}: cluster {clu} is outside the disk",
                path.display()
            ))
        };
        let slot = usize::try_from(clu)
            .ok()
            .and_then(|clu| self.bat.get_mut(clu))
            .ok_or_else(outside)?;
        if *slot == 0 {
            if is_zero(bytes) {
                return Ok(None);
            }
            let host = self
                .layout
                .host_at(self.end)
                .and_then(|host| self.layout.entry_of(host));
            *slot = host.ok_or_else(|| {
                let text = "the data does not fit into an image of this version and cluster size";
                ToolError::Refused(format!("{}: cannot write: {text}", path.display()))
            })?;
            self.end = self.end.after(self.layout.cluster);
            self.new
                .file()
                .set_len(self.end.bytes())
                .map_err(ToolError::io(path, "write"))?;
        }
        Ok(Some(self.layout.entry_sector(*slot)))
    }

    /// Writes the block table behind the data.
    fn complete(self) -> Result<NewFile, ToolError> {
        let file = self.new.file();
        let failed = ToolError::io(file.path(), "write");
        file.sync().map_err(&failed)?;
        let table: Vec<u8> = self
            .bat
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        file.write_all_at(HEADER_BYTES, &table).map_err(&failed)?;
        drop(failed);
        Ok(self.new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_told_from_nearly_zero() {
        for len in [0, 1, 255, 256, 257, 4096] {
            assert!(is_zero(&vec![0; len]));
            for one in 0..len {
                let mut bytes = vec![0; len];
                bytes[one] = 0x80;
                assert!(!is_zero(&bytes), "{one} of {len}");
            }
        }
    }
}
