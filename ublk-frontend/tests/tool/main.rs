//! The tool on images built by hand: every command, every exit status, hostile input, and inputs that stay as they are.

mod bundle;
mod cbt;
mod check;
mod convert;
mod create;
mod hostile;
mod progress;
mod show;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    reason = "shared by test programs that use different parts of it"
)]
mod support;

use std::path::Path;

use support::image::Image;
use support::{noise, snapshot, tool};

/// Sectors in a cluster of the images here (64 KiB).
pub(crate) const TRACKS: u32 = 128;
pub(crate) const CLUSTER: usize = TRACKS as usize * 512;

pub(crate) fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// Ten clusters, of which 1, 2 and 7 are allocated.
pub(crate) fn sample() -> Image {
    Image::v2(TRACKS, 10)
        .with(1, &noise(CLUSTER, 1))
        .with(2, &noise(CLUSTER, 2))
        .with(7, &noise(CLUSTER, 3))
}

/// The disk of [`sample`].
pub(crate) fn sample_disk() -> Vec<u8> {
    let mut disk = vec![0; 10 * CLUSTER];
    for (clu, seed) in [(1, 1), (2, 2), (7, 3)] {
        disk[clu * CLUSTER..][..CLUSTER].copy_from_slice(&noise(CLUSTER, seed));
    }
    disk
}

pub(crate) fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).expect("file")
}

/// Runs a command; no file that was there may have changed.
#[track_caller]
pub(crate) fn leaves_alone(dir: &Path, arguments: &str) -> support::Ended {
    let before = snapshot(dir);
    let ended = tool(dir, arguments);
    let after = snapshot(dir);
    assert!(
        before.iter().all(|file| after.contains(file)),
        "{arguments}: an input changed"
    );
    ended
}
