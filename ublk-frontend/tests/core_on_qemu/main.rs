//! The mapping core on real files, with QEMU as the witness: what our core wrote, `qemu-img` checks and compares with a
//! raw file of the same operations; what `qemu-io` wrote, our core reads; and both go on with each other's images.
//!
//! Left out on purpose, since QEMU 10.0 is wrong there: `qemu-img check` for clusters that are no power of two with a BAT of
//! more than one sector (it moves the start of data, and then finds damage in what it wrote itself), partial writes of QEMU over a backing file into a hole (it copies to the wrong
//! place), and entries beyond the end of the file (it aborts).

mod chain;
mod crash;
mod full;
mod guest;
mod hostile;
mod rounds;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    reason = "shared by test programs that use different parts of it"
)]
mod support;

use std::path::Path;

use ploop_core::format::Version;
use ploop_core::load;
use ploop_core::units::Sectors;
use support::image::Image;
use ublk_frontend::files::{NewFile, RealFile};

/// A stream of numbers; the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `n`.
    pub(crate) fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

/// Who made an image, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// `qemu-img create`.
    Qemu,
    /// The core, version 2.
    Ours,
    /// The core, version 1: data starts at a cluster.
    OursV1,
    /// By hand, version 1 as Parallels packed it: `m_FirstBlockOffset` 0, data right behind the BAT.
    Packed,
}

/// Makes an empty image `name`; sizes in sectors.
pub(crate) fn make(dir: &Path, name: &str, maker: Maker, cluster: u64, size: u64) {
    let ours = |version| {
        let new = NewFile::create(&dir.join(name)).expect("new file");
        load::new_image(new.file(), version, Sectors(cluster), Sectors(size)).expect("new image");
        new.publish().expect("published");
    };
    match maker {
        Maker::Qemu => {
            let (cluster, size) = (cluster * 512, size * 512);
            let options = format!("cluster_size={cluster}");
            support::qemu::img_ok(
                dir,
                &format!("create -q -f parallels -o {options} {name} {size}"),
            );
        }
        Maker::Ours => ours(Version::V2),
        Maker::OursV1 => ours(Version::V1),
        Maker::Packed => {
            let clusters = size.div_ceil(cluster) as u32;
            let mut image = Image::v2(cluster as u32, clusters);
            image.magic = *b"WithoutFreeSpace";
            image.nb_sectors = size;
            image.data_off = 0;
            image.data_start = (64 + 4 * clusters as usize).next_multiple_of(512);
            image.save(&dir.join(name));
        }
    }
}

/// Length of a file in bytes.
pub(crate) fn len_of(dir: &Path, name: &str) -> u64 {
    std::fs::metadata(dir.join(name)).expect("file").len()
}

/// Bytes that a file takes on its file system.
pub(crate) fn space_of(dir: &Path, name: &str) -> u64 {
    RealFile::open_read(&dir.join(name))
        .map(|file| file.allocated().expect("stat"))
        .expect("file")
}

pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}
