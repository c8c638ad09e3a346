//! A file that somebody has cut below an open disk: whoever reads there is told, and soon.

use ploop_core::Options;
use ploop_core::drive::Disk;
use ploop_core::load;
use ploop_core::units::Sector;

use crate::sparse::{Picture, Sparse};

#[test]
fn a_cluster_behind_the_end_fails() {
    let file = Sparse::image(Picture {
        version: Sparse::VERSION,
        cluster: 8,
        entries: 4,
        file: 24,
        slots: &[(0, 1), (1, 2)],
    });
    let delta = load::load(&file, "image").expect("a sound image");
    let options = Options {
        write: false,
        ..Options::default()
    };
    let mut disk = Disk::open(vec![delta], vec![Box::new(file.clone())], options).expect("opened");
    file.cut(12 * 512);
    let mut bytes = [1; 8 * 512];
    assert!(
        disk.read(Sector(8), &mut bytes).is_err(),
        "[linear] a cluster that is gone was read"
    );
    assert!(
        disk.read(Sector(0), &mut bytes).is_err(),
        "[linear] a cluster of which half is gone was read"
    );
}
