//! The tool against QEMU's, in both directions: images that QEMU made, and ours that QEMU reads, checks and writes on.

mod support;

use std::path::Path;

use support::{qemu, snapshot, tool};

/// Cluster sizes that QEMU accepts: small, odd, not a power of two, the default, large.
const CLUSTERS: [&str; 7] = ["512", "4096", "32256", "64k", "252k", "1M", "3M"];

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn same_bytes(dir: &Path, a: &str, b: &str) {
    let read = |name| std::fs::read(dir.join(name)).expect("file");
    assert!(read(a) == read(b), "{a} and {b} differ");
}

/// Writes that span clusters, leave holes, overwrite, discard and zero, on a disk of 10 MiB.
const PATTERN: [&str; 8] = [
    "write -P 0x11 0 64k",
    "write -P 0x22 1000k 1100k",
    "write -P 0x33 4M 512",
    "write -P 0x44 4196864 512",
    "write -P 0x55 9M 1M",
    "write -z 1M 128k",
    "discard 9216k 256k",
    "write -P 0x66 6M 300k",
];

#[test]
fn created_images_are_byte_for_byte_those_of_qemu() {
    let dir = dir();
    let dir = dir.path();
    for (n, cluster) in CLUSTERS.iter().enumerate() {
        for (m, size) in ["0", "512", "10M", "100000256", "3G"].iter().enumerate() {
            let (theirs, ours) = (format!("t{n}{m}"), format!("o{n}{m}"));
            qemu::img_ok(dir, &format!("create -q -f parallels -o cluster_size={cluster} {theirs} {size}"));
            tool(dir, &format!("create {ours} --size {size} --cluster {cluster}")).fine();
            same_bytes(dir, &theirs, &ours);
            qemu::img_ok(dir, &format!("check -q -f parallels {ours}"));
            tool(dir, &format!("check {theirs}")).fine();
            for name in [theirs, ours] {
                std::fs::remove_file(dir.join(name)).expect("removed");
            }
        }
    }
}

#[test]
fn images_that_qemu_wrote_convert_to_the_raw_file_that_qemu_makes() {
    for cluster in CLUSTERS {
        let dir = dir();
        let dir = dir.path();
        qemu::img_ok(dir, &format!("create -q -f parallels -o cluster_size={cluster} a.hdd 10M"));
        qemu::io(dir, "parallels", "a.hdd", &PATTERN);
        qemu::img_ok(dir, "convert -f parallels -O raw a.hdd theirs.raw");
        let before = snapshot(dir);
        tool(dir, "check a.hdd").fine();
        tool(dir, "info a.hdd").fine();
        tool(dir, "map a.hdd").fine();
        assert!(before == snapshot(dir), "{cluster}: something changed");
        tool(dir, "convert a.hdd ours.raw").fine();
        same_bytes(dir, "theirs.raw", "ours.raw");
        qemu::same(dir, "parallels", "a.hdd", "raw", "ours.raw");
    }
}

#[test]
fn images_that_we_converted_are_clean_and_equal_for_qemu() {
    for cluster in CLUSTERS {
        let dir = dir();
        let dir = dir.path();
        qemu::img_ok(dir, "create -q -f raw in.raw 10M");
        qemu::io(dir, "raw", "in.raw", &PATTERN);
        tool(dir, &format!("convert in.raw out.hdd --to ploop --cluster {cluster}")).fine();
        qemu::img_ok(dir, "check -q -f parallels out.hdd");
        tool(dir, "check out.hdd").fine();
        qemu::same(dir, "raw", "in.raw", "parallels", "out.hdd");
        // QEMU goes on with our image, we read it back.
        let more = ["write -P 0x77 3M 64k", "discard 0 4M", "write -P 0x78 70k 900k"];
        qemu::io(dir, "parallels", "out.hdd", &more);
        qemu::img_ok(dir, "check -q -f parallels out.hdd");
        tool(dir, "check out.hdd").fine();
        tool(dir, "convert out.hdd back.raw").fine();
        qemu::same(dir, "parallels", "out.hdd", "raw", "back.raw");
    }
}

#[test]
fn a_version_1_image_of_ours_is_one_for_qemu() {
    for cluster in CLUSTERS {
        let dir = dir();
        let dir = dir.path();
        tool(dir, &format!("create a.hdd --size 10M --version 1 --cluster {cluster}")).fine();
        qemu::img_ok(dir, "check -q -f parallels a.hdd");
        qemu::io(dir, "parallels", "a.hdd", &PATTERN);
        tool(dir, "check a.hdd").fine();
        tool(dir, "convert a.hdd ours.raw").fine();
        qemu::same(dir, "parallels", "a.hdd", "raw", "ours.raw");
        tool(dir, &format!("convert ours.raw b.hdd --to ploop --version 1 --cluster {cluster}")).fine();
        qemu::img_ok(dir, "check -q -f parallels b.hdd");
        qemu::same(dir, "parallels", "b.hdd", "raw", "ours.raw");
    }
}

#[test]
fn maps_of_allocated_images_are_those_of_qemu() {
    for cluster in ["4096", "64k", "1M"] {
        let dir = dir();
        let dir = dir.path();
        qemu::img_ok(dir, &format!("create -q -f parallels -o cluster_size={cluster} a.hdd 10M"));
        qemu::io(dir, "parallels", "a.hdd", &PATTERN);
        let theirs: serde_json::Value =
            serde_json::from_str(&qemu::img_ok(dir, "map -f parallels --output=json a.hdd")).expect("JSON");
        assert_eq!(tool(dir, "map --json a.hdd").json(), theirs, "{cluster}");
    }
}

#[test]
fn stacks_read_as_in_qemu_with_backing_files() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(dir, "create -q -f raw base.raw 10M");
    qemu::io(dir, "raw", "base.raw", &["write -P 1 0 10M"]);
    for (name, writes) in [
        ("mid.hdd", ["write -P 2 1M 2M", "write -P 3 8M 1M"]),
        ("top.hdd", ["write -P 4 2M 64k", "write -P 5 5M 128k"]),
    ] {
        qemu::img_ok(dir, &format!("create -q -f parallels -o cluster_size=64k {name} 10M"));
        // Whole clusters only: nothing is copied up, so that QEMU's copy-on-write bug cannot show.
        qemu::io(dir, "parallels", name, &writes);
    }
    let options = "driver=parallels,file.filename=top.hdd,backing.driver=parallels,backing.file.filename=mid.hdd,\
                   backing.backing.driver=raw,backing.backing.file.filename=base.raw";
    qemu::img_ok(dir, &format!("convert --image-opts {options} -O raw theirs.raw"));
    tool(dir, "convert base.raw mid.hdd top.hdd ours.raw").fine();
    same_bytes(dir, "theirs.raw", "ours.raw");
    tool(dir, "convert base.raw mid.hdd top.hdd merged.hdd --to ploop --cluster 64k").fine();
    qemu::img_ok(dir, "check -q -f parallels merged.hdd");
    qemu::same(dir, "raw", "theirs.raw", "parallels", "merged.hdd");
    let map = tool(dir, "map --json base.raw mid.hdd top.hdd").json();
    let theirs = qemu::img_ok(dir, &format!("map --output=json --image-opts {options}"));
    let theirs: serde_json::Value = serde_json::from_str(&theirs).expect("JSON");
    assert_eq!(map, theirs);
}

#[test]
fn an_image_that_qemu_did_not_close_is_read_with_a_warning_and_checks_as_in_qemu() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(dir, "create -q -f parallels -o cluster_size=64k a.hdd 10M");
    qemu::io(dir, "parallels", "a.hdd", &["write -P 1 0 1M"]);
    let mut bytes = std::fs::read(dir.join("a.hdd")).expect("image");
    bytes[44..48].copy_from_slice(&support::image::DIRTY.to_le_bytes());
    std::fs::write(dir.join("a.hdd"), bytes).expect("image");
    assert_eq!(qemu::img(dir, "check -q -f parallels a.hdd").code, 2);
    assert_eq!(tool(dir, "check a.hdd").code, 2);
    let ended = tool(dir, "convert a.hdd a.raw");
    assert_eq!((ended.code, ended.err.matches('\n').count()), (0, 1), "{ended:?}");
    assert!(ended.err.contains("warning") && ended.err.contains("a.hdd"), "{ended:?}");
    qemu::same(dir, "parallels", "a.hdd", "raw", "a.raw");
}

#[test]
fn figures_of_check_are_those_of_qemu() {
    let dir = dir();
    let dir = dir.path();
    for cluster in CLUSTERS {
        qemu::img_ok(dir, &format!("create -q -f parallels -o cluster_size={cluster} a.hdd 10M"));
        qemu::io(dir, "parallels", "a.hdd", &PATTERN[..5]);
        let theirs = qemu::img(dir, "check -f parallels --output=json a.hdd").json();
        let ours = tool(dir, "check --json a.hdd").json();
        for key in ["image-end-offset", "total-clusters", "check-errors"] {
            assert_eq!(ours[key], theirs[key], "{cluster}: {key}");
        }
        for key in ["allocated-clusters", "fragmented-clusters", "corruptions", "leaks"] {
            // QEMU leaves a key out when it is 0.
            assert_eq!(ours[key].as_u64(), Some(theirs[key].as_u64().unwrap_or(0)), "{cluster}: {key}");
        }
        std::fs::remove_file(dir.join("a.hdd")).expect("removed");
    }
}
