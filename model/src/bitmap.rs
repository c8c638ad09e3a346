//! A naive reader of dirty bitmaps in a format extension: an array of granules.
//!
//! * Everything is derived from the bytes alone; whether the bitmaps may be believed is told by the header's mark, which is
//!   not looked at here. The checksum is not verified.
//! * For small disks: no more than [`MOST`] granules.

use crate::image::{Header, ImageBytes, SECTOR, le32};

/// Most granules of a bitmap.
pub const MOST: u64 = 1 << 24;

/// A dirty bitmap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// Its name.
    pub id: [u8; 16],
    /// Sectors of the disk that it covers.
    pub size: u64,
    /// Sectors that a bit covers.
    pub granularity: u64,
    /// Per granule: dirty.
    pub dirty: Vec<bool>,
}

impl Bitmap {
    /// Whether a sector is dirty.
    #[must_use]
    pub fn has(&self, sector: u64) -> bool {
        let granule = sector / self.granularity;
        usize::try_from(granule).is_ok_and(|at| self.dirty.get(at) == Some(&true))
    }
}

/// The dirty bitmaps of an image.
///
/// # Errors
/// What is wrong with the extension; that there is none, too.
pub fn read(bytes: &dyn ImageBytes) -> Result<Vec<Bitmap>, &'static str> {
    let header = Header::read(bytes).map_err(|_| "no header")?;
    if header.ext_off == 0 {
        return Err("no extension");
    }
    let cluster = header.cluster_sectors * SECTOR;
    let start = header.ext_off * SECTOR;
    let word32 = |at: u64| {
        let mut word = [0; 4];
        bytes.read(start + at, &mut word);
        le32(&word, 0)
    };
    let word64 = |at: u64| u64::from(word32(at)) | u64::from(word32(at + 4)) << 32;
    if word64(0) != 0xAB23_4CEF_23DC_EA87 {
        return Err("no magic");
    }
    let mut found = Vec::new();
    let mut at = 24;
    while at + 24 <= cluster {
        let (magic, len) = (word64(at), u64::from(word32(at + 16)));
        if magic == 0 {
            return Ok(found);
        }
        if magic == 0x2038_5FAE_252C_B34A {
            let data = at + 24;
            let (size, granularity) = (word64(data), u64::from(word32(data + 24)));
            let mut id = [0; 16];
            bytes.read(start + data + 8, &mut id);
            if granularity == 0 || size.div_ceil(granularity) > MOST {
                return Err("a strange granularity");
            }
            let granules = size.div_ceil(granularity);
            let mut dirty = vec![false; granules as usize];
            // A table without entries is a bitmap that was just started.
            let entries = match word32(data + 28) {
                0 => 0,
                _ => granules.div_ceil(cluster * 8),
            };
            for (entry, part) in (0..entries).zip(dirty.chunks_mut((cluster * 8) as usize)) {
                match word64(data + 32 + 8 * entry) {
                    0 => {}
                    1 => part.fill(true),
                    place => {
                        let mut bits = vec![0; part.len().div_ceil(8)];
                        bytes.read(place * SECTOR, &mut bits);
                        for (granule, dirty) in part.iter_mut().enumerate() {
                            *dirty = bits[granule / 8] >> (granule % 8) & 1 != 0;
                        }
                    }
                }
            }
            found.push(Bitmap {
                id,
                size,
                granularity,
                dirty,
            });
        }
        at += 24 + len.next_multiple_of(8);
    }
    Err("no end of the list")
}
