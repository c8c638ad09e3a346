//! Images built by hand, byte for byte, so that a mistake of the tool's own format code cannot hide in them.

use std::path::Path;

/// What an image file is made of. Fields as on disk; change them to make a hostile one.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) magic: [u8; 16],
    pub(crate) version: u32,
    pub(crate) tracks: u32,
    pub(crate) bat_entries: u32,
    pub(crate) nb_sectors: u64,
    pub(crate) in_use: u32,
    pub(crate) data_off: u32,
    pub(crate) flags: u32,
    pub(crate) ext_off: u64,
    pub(crate) bat: Vec<u32>,
    /// Bytes from `data_start` on.
    pub(crate) data: Vec<u8>,
    /// Where `data` begins in the file, in bytes.
    pub(crate) data_start: usize,
}

/// Not closed.
pub(crate) const DIRTY: u32 = 0x746F_6E59;

impl Image {
    /// A sound v2 image of `clusters` clusters of `tracks` sectors, nothing allocated, header and table in one cluster.
    pub(crate) fn v2(tracks: u32, clusters: u32) -> Image {
        Image {
            magic: *b"WithouFreSpacExt",
            version: 2,
            tracks,
            bat_entries: clusters,
            nb_sectors: u64::from(tracks) * u64::from(clusters),
            in_use: 0,
            data_off: tracks,
            flags: 0,
            ext_off: 0,
            bat: vec![0; clusters as usize],
            data: Vec::new(),
            data_start: tracks as usize * 512,
        }
    }

    /// The image with something changed.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut Image)) -> Image {
        change(&mut self);
        self
    }

    /// Bytes in a cluster.
    pub(crate) fn cluster(&self) -> usize {
        self.tracks as usize * 512
    }

    /// Puts `bytes` (a whole cluster) at the end of the file as guest cluster `clu`.
    pub(crate) fn with(mut self, clu: usize, bytes: &[u8]) -> Image {
        assert_eq!(bytes.len(), self.cluster());
        let host = (self.data_start + self.data.len()) / self.cluster();
        self.bat[clu] = host as u32;
        self.data.extend_from_slice(bytes);
        self
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend_from_slice(&self.magic);
        for field in [self.version, 16, 1, self.tracks, self.bat_entries] {
            file.extend_from_slice(&field.to_le_bytes());
        }
        file.extend_from_slice(&self.nb_sectors.to_le_bytes());
        for field in [self.in_use, self.data_off, self.flags] {
            file.extend_from_slice(&field.to_le_bytes());
        }
        file.extend_from_slice(&self.ext_off.to_le_bytes());
        assert_eq!(file.len(), 64);
        for entry in &self.bat {
            file.extend_from_slice(&entry.to_le_bytes());
        }
        file.resize(self.data_start.max(file.len()), 0);
        file.extend_from_slice(&self.data);
        file
    }

    /// Writes the file.
    pub(crate) fn save(&self, path: &Path) {
        std::fs::write(path, self.bytes()).expect("image written");
    }
}
