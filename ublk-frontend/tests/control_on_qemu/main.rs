//! The control plane's operations on QEMU's images: what QEMU reads before and after is the same, and its check finds
//! nothing. Repair is held against QEMU's own, where that does right.

#[allow(
    dead_code,
    reason = "shared by test programs that use different parts of it"
)]
#[path = "../support/mod.rs"]
mod support;

mod bitmaps;

use std::path::Path;

use ploop_core::control::files::{Compact, Merge, Source, grow, repair};
use ploop_core::units::Sectors;
use support::qemu;
use ublk_frontend::files::RealFile;

const CLUSTERS: [&str; 3] = ["512", "4096", "64k"];

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn open(dir: &Path, name: &str) -> RealFile {
    RealFile::open_write(&dir.join(name)).expect("opens")
}

/// An image that QEMU made and wrote: data at both ends, a hole where something was discarded.
fn image(dir: &Path, name: &str, cluster: &str, size: &str) {
    qemu::img_ok(
        dir,
        &format!("create -q -f parallels -o cluster_size={cluster} {name} {size}"),
    );
    let writes = [
        "write -P 0x11 0 128k",
        "write -P 0x22 300k 200k",
        "write -P 0x33 3M 64k",
        "discard 0 64k",
    ];
    qemu::io(dir, "parallels", name, &writes);
}

fn raw_of(dir: &Path, name: &str, raw: &str) {
    qemu::img_ok(dir, &format!("convert -f parallels -O raw {name} {raw}"));
}

fn check(dir: &Path, name: &str) {
    let ended = qemu::img(dir, &format!("check -q -f parallels {name}"));
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn grown_images_are_qemus() {
    for cluster in CLUSTERS {
        let dir = dir();
        let dir = dir.path();
        image(dir, "a", cluster, "4M");
        raw_of(dir, "a", "before");
        let grown = grow(&open(dir, "a"), "a", Sectors(2 << 20)).expect("grows");
        assert!(grown.moved > 0 || cluster == "64k", "{grown:?}");
        check(dir, "a");
        // The smaller one reads as zeros behind its end, if it is told not to mind.
        qemu::img_ok(dir, "resize -q -f raw before 1G");
        qemu::same(dir, "parallels", "a", "raw", "before");
        qemu::io(dir, "parallels", "a", &["write -P 0x44 900M 64k"]);
        check(dir, "a");
    }
}

#[test]
fn merged_images_are_what_qemu_makes_of_the_chain() {
    for forward in [true, false] {
        for cluster in CLUSTERS {
            let dir = dir();
            let dir = dir.path();
            image(dir, "lower", cluster, "4M");
            qemu::img_ok(
                dir,
                &format!("create -q -f parallels -o cluster_size={cluster} upper 6M"),
            );
            // Whole clusters: QEMU 10.0 copies wrongly into holes.
            let writes = ["write -P 0x55 64k 64k", "write -P 0x66 5M 128k"];
            qemu::io(dir, "parallels", "upper", &writes);
            let chain = ["lower", "upper"].map(str::to_owned);
            let options = qemu::chain_options(dir, &chain);
            qemu::img_ok(
                dir,
                &format!("convert --image-opts -O raw {options} expected"),
            );
            let (lower, upper) = (open(dir, "lower"), open(dir, "upper"));
            let source = |file, name| Source {
                file,
                name,
                raw: false,
            };
            let (below, above) = (source(&lower, "lower"), source(&upper, "upper"));
            let merge = if forward {
                Merge::forward(below, above)
            } else {
                Merge::backward(below, above)
            };
            let mut merge = merge.expect("fits");
            while !merge.step(7).expect("a step").finished {}
            drop(merge);
            drop((lower, upper));
            let result = if forward { "upper" } else { "lower" };
            check(dir, result);
            qemu::same(dir, "parallels", result, "raw", "expected");
        }
    }
}

#[test]
fn compact_images_are_qemus() {
    for cluster in CLUSTERS {
        let dir = dir();
        let dir = dir.path();
        image(dir, "a", cluster, "4M");
        raw_of(dir, "a", "before");
        let file = open(dir, "a");
        let mut compact = Compact::new(&file, "a").expect("sound");
        while !compact.step(5).expect("a step").finished {}
        drop(compact);
        drop(file);
        check(dir, "a");
        qemu::same(dir, "parallels", "a", "raw", "before");
    }
}

/// Overwrites four bytes.
fn poke(dir: &Path, name: &str, at: usize, word: u32) {
    let mut bytes = std::fs::read(dir.join(name)).expect("file");
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    std::fs::write(dir.join(name), bytes).expect("file");
}

fn peek(dir: &Path, name: &str, at: usize) -> u32 {
    let bytes = std::fs::read(dir.join(name)).expect("file");
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

type Damage<'a> = &'a dyn Fn(&Path);

/// What QEMU repairs rightly: one entry that two guests have, leaked clusters at the end, the mark.
#[test]
fn repair_comes_to_what_qemus_repair_comes_to() {
    let slot = |clu: usize| 64 + 4 * clu;
    let damages: [(&str, Damage<'_>); 4] = [
        ("duplicate", &|dir| {
            let entry = peek(dir, "a", slot(1));
            poke(dir, "a", slot(20), entry);
        }),
        ("outside", &|dir| poke(dir, "a", slot(20), 5000)),
        ("leak", &|dir| {
            let file = std::fs::OpenOptions::new().write(true).open(dir.join("a"));
            let file = file.expect("file");
            let len = file.metadata().expect("metadata").len();
            file.set_len(len + 3 * 65536).expect("longer");
        }),
        ("dirty", &|dir| poke(dir, "a", 44, support::image::DIRTY)),
    ];
    for (name, damage) in damages {
        let dir = dir();
        let dir = dir.path();
        image(dir, "a", "64k", "4M");
        damage(dir);
        std::fs::copy(dir.join("a"), dir.join("theirs")).expect("copy");
        let done = repair(&open(dir, "a"), "a").expect("mends");
        assert!(done.sound && done.count > 0, "{name}: {done:?}");
        check(dir, "a");
        // QEMU 10.0 gives up on some of what it finds; then there is nothing to compare with.
        let theirs = qemu::img(dir, "check -q -r all -f parallels theirs");
        assert!(theirs.code == 0 || name == "outside", "{name}: {theirs:?}");
        if theirs.code == 0 {
            qemu::same(dir, "parallels", "a", "parallels", "theirs");
        }
    }
}
