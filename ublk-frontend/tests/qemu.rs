//! The tool against QEMU's, in both directions: images that QEMU made, and ours that QEMU reads, checks and writes on.

#[allow(
    dead_code,
    reason = "shared by test programs that use different parts of it"
)]
mod support;

#[path = "qemu/locks.rs"]
mod locks;

use std::path::Path;

use support::{qemu, snapshot, tool};

/// Cluster sizes that QEMU accepts: small, the default, large, two that are no power of two.
const CLUSTERS: [&str; 6] = ["512", "4096", "64k", "252k", "1M", "3M"];

/// QEMU rounds the start of data with arithmetic for powers of two. With this cluster size it calls its own fresh
/// images damaged, and when it opens one for writing it moves `m_FirstBlockOffset` off the clusters (and then puts data
/// in front of it).
const ODD_CLUSTER: &str = "32256";

/// The image is not damaged, for us and for QEMU, and both say the same about leaks: except that QEMU does not look in
/// the middle of the file, and that clusters smaller than the file system's blocks cannot be punched.
#[track_caller]
fn check_alike(dir: &Path, image: &str, cluster: &str) {
    let ours = tool(dir, &format!("check {image}"));
    let theirs = qemu::img(dir, &format!("check -q -f parallels {image}"));
    let leaks_inside = cluster == "512" && (ours.code, theirs.code) == (3, 0);
    let alike = ours.code == theirs.code && [0, 3].contains(&ours.code);
    assert!(alike || leaks_inside, "{cluster}: {ours:?} {theirs:?}");
}

/// The image is as clean as can be, for us and for QEMU.
#[track_caller]
fn check_clean(dir: &Path, image: &str) {
    tool(dir, &format!("check {image}")).fine();
    qemu::img_ok(dir, &format!("check -q -f parallels {image}"));
}

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
    for cluster in CLUSTERS.iter().chain(&[ODD_CLUSTER]) {
        for size in ["0", "512", "10M", "100000256", "3G"] {
            qemu::img_ok(
                dir,
                &format!("create -q -f parallels -o cluster_size={cluster} theirs {size}"),
            );
            tool(
                dir,
                &format!("create ours --size {size} --cluster {cluster}"),
            )
            .fine();
            same_bytes(dir, "theirs", "ours");
            tool(dir, "check ours").fine();
            if ![ODD_CLUSTER, "252k"].contains(cluster) {
                check_clean(dir, "ours");
            }
            for name in ["theirs", "ours"] {
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
        qemu::img_ok(
            dir,
            &format!("create -q -f parallels -o cluster_size={cluster} a.hdd 10M"),
        );
        qemu::io(dir, "parallels", "a.hdd", &PATTERN);
        qemu::img_ok(dir, "convert -f parallels -O raw a.hdd theirs.raw");
        let before = snapshot(dir);
        check_alike(dir, "a.hdd", cluster);
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
        tool(
            dir,
            &format!("convert in.raw out.hdd --to ploop --cluster {cluster}"),
        )
        .fine();
        check_clean(dir, "out.hdd");
        qemu::same(dir, "raw", "in.raw", "parallels", "out.hdd");
        // QEMU goes on with our image, we read it back.
        let more = [
            "write -P 0x77 3M 64k",
            "discard 0 4M",
            "write -P 0x78 70k 900k",
        ];
        qemu::io(dir, "parallels", "out.hdd", &more);
        check_alike(dir, "out.hdd", cluster);
        tool(dir, "convert out.hdd back.raw").fine();
        qemu::same(dir, "parallels", "out.hdd", "raw", "back.raw");
    }
}

#[test]
fn a_version_1_image_of_ours_is_one_for_qemu() {
    for cluster in CLUSTERS {
        let dir = dir();
        let dir = dir.path();
        tool(
            dir,
            &format!("create a.hdd --size 10M --version 1 --cluster {cluster}"),
        )
        .fine();
        check_clean(dir, "a.hdd");
        qemu::io(dir, "parallels", "a.hdd", &PATTERN);
        check_alike(dir, "a.hdd", cluster);
        tool(dir, "convert a.hdd ours.raw").fine();
        qemu::same(dir, "parallels", "a.hdd", "raw", "ours.raw");
        tool(
            dir,
            &format!("convert ours.raw b.hdd --to ploop --version 1 --cluster {cluster}"),
        )
        .fine();
        check_clean(dir, "b.hdd");
        qemu::same(dir, "parallels", "b.hdd", "raw", "ours.raw");
    }
}

#[test]
fn maps_of_allocated_images_are_those_of_qemu() {
    for cluster in ["4096", "64k", "1M"] {
        let dir = dir();
        let dir = dir.path();
        qemu::img_ok(
            dir,
            &format!("create -q -f parallels -o cluster_size={cluster} a.hdd 10M"),
        );
        qemu::io(dir, "parallels", "a.hdd", &PATTERN);
        let theirs: serde_json::Value =
            serde_json::from_str(&qemu::img_ok(dir, "map -f parallels --output=json a.hdd"))
                .expect("JSON");
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
        qemu::img_ok(
            dir,
            &format!("create -q -f parallels -o cluster_size=64k {name} 10M"),
        );
        // Whole clusters only: nothing is copied up, so that QEMU's copy-on-write bug cannot show.
        qemu::io(dir, "parallels", name, &writes);
    }
    let options = "driver=parallels,file.filename=top.hdd,backing.driver=parallels,backing.file.filename=mid.hdd,\
                   backing.backing.driver=raw,backing.backing.file.filename=base.raw";
    qemu::img_ok(
        dir,
        &format!("convert --image-opts {options} -O raw theirs.raw"),
    );
    tool(dir, "convert base.raw mid.hdd top.hdd ours.raw").fine();
    same_bytes(dir, "theirs.raw", "ours.raw");
    tool(
        dir,
        "convert base.raw mid.hdd top.hdd merged.hdd --to ploop --cluster 64k",
    )
    .fine();
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
    assert_eq!(
        (ended.code, ended.err.matches('\n').count()),
        (0, 1),
        "{ended:?}"
    );
    assert!(
        ended.err.contains("warning") && ended.err.contains("a.hdd"),
        "{ended:?}"
    );
    qemu::same(dir, "parallels", "a.hdd", "raw", "a.raw");
}

#[test]
fn figures_of_check_are_those_of_qemu() {
    let dir = dir();
    let dir = dir.path();
    for cluster in CLUSTERS {
        qemu::img_ok(
            dir,
            &format!("create -q -f parallels -o cluster_size={cluster} a.hdd 10M"),
        );
        qemu::io(dir, "parallels", "a.hdd", &PATTERN[..5]);
        let theirs = qemu::img(dir, "check -f parallels --output=json a.hdd").json();
        let ours = tool(dir, "check --json a.hdd").json();
        for key in ["image-end-offset", "total-clusters", "check-errors"] {
            assert_eq!(ours[key], theirs[key], "{cluster}: {key}");
        }
        for key in [
            "allocated-clusters",
            "fragmented-clusters",
            "corruptions",
            "leaks",
        ] {
            // QEMU leaves a key out when it is 0.
            assert_eq!(
                ours[key].as_u64(),
                Some(theirs[key].as_u64().unwrap_or(0)),
                "{cluster}: {key}"
            );
        }
        std::fs::remove_file(dir.join("a.hdd")).expect("removed");
    }
}

#[test]
fn an_image_whose_start_of_data_qemu_moved_is_read() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(
        dir,
        &format!("create -q -f parallels -o cluster_size={ODD_CLUSTER} a.hdd 10M"),
    );
    qemu::io(dir, "parallels", "a.hdd", &PATTERN);
    tool(dir, "map a.hdd").fine();
    tool(dir, "convert a.hdd ours.raw").fine();
    qemu::same(dir, "parallels", "a.hdd", "raw", "ours.raw");
}
