//! `create`, and what is no command at all.

use crate::support::image::Image;
use crate::support::{snapshot, tool};
use crate::{TRACKS, dir, leaves_alone, read};

#[test]
fn create_makes_a_header_a_table_and_nothing_else() {
    let dir = dir();
    let dir = dir.path();
    for (version, magic) in [("1", b"WithoutFreeSpace"), ("2", b"WithouFreSpacExt")] {
        let name = format!("v{version}.hdd");
        assert_eq!(
            tool(
                dir,
                &format!("create {name} --size 640K --cluster 64K --version {version}")
            )
            .fine(),
            ""
        );
        let expected = Image::v2(TRACKS, 10).but(|image| image.magic = *magic);
        let mut bytes = read(dir, &name);
        // Cylinders are informational; QEMU's figure is compared in the other test.
        bytes[24..28].copy_from_slice(&1u32.to_le_bytes());
        assert!(bytes == expected.bytes(), "version {version}");
    }
    assert_eq!(tool(dir, "create default.hdd --size 10G").fine(), "");
    let info = tool(dir, "info --json default.hdd").json();
    assert_eq!(
        (&info["virtual-size"], &info["cluster-size"]),
        (&(10u64 << 30).into(), &(1 << 20).into())
    );
    assert_eq!(info["format-specific"]["version"], 2);
}

#[test]
fn what_was_made_as_one_line_of_json() {
    let dir = dir();
    let dir = dir.path();
    let made = tool(dir, "create a --size 640K --cluster 64K --version 1 --json");
    assert_eq!(
        made.out,
        "{\"filename\":\"a\",\"format\":\"parallels\",\"virtual-size\":655360,\"cluster-size\":65536,\"version\":1}\n"
    );
    let copied = tool(dir, "convert a --json b");
    assert_eq!(
        copied.out,
        "{\"filename\":\"b\",\"format\":\"raw\",\"virtual-size\":655360}\n"
    );
    let back = tool(dir, "convert b --json c").json();
    for key in ["format", "virtual-size", "cluster-size"] {
        assert_eq!(back[key], tool(dir, "info c --json").json()[key], "{key}");
    }
    // What fails stays one line on standard error, and no JSON.
    tool(dir, "create a --size 1M --json").refused(&["a: already exists"]);
    tool(dir, "convert nowhere out --json").refused(&["nowhere: cannot open"]);
    for command in ["features", "quiesce 4294967", "resize 4294967 1G"] {
        tool(dir, &format!("{command} --json")).refused(&["ploop-ublk: error: "]);
    }
}

#[test]
fn create_never_overwrites() {
    let dir = dir();
    let dir = dir.path();
    std::fs::write(dir.join("a"), b"mine").expect("written");
    std::os::unix::fs::symlink("nowhere", dir.join("link")).expect("linked");
    leaves_alone(dir, "create a --size 1M").refused(&["a: already exists"]);
    leaves_alone(dir, "create link --size 1M").refused(&["link: already exists"]);
    leaves_alone(dir, "create missing/a --size 1M").refused(&["missing/a", "No such file"]);
    let ended = tool(dir, "create missing/a --size 1M");
    assert!(!ended.err.contains(".part"), "a name of ours: {ended:?}");
    leaves_alone(dir, "create . --size 1M").refused(&[".: already exists"]);
    assert_eq!(snapshot(dir).len(), 2);
}

#[test]
fn create_tells_the_limits() {
    let dir = dir();
    let dir = dir.path();
    for (arguments, words) in [
        (
            "--size 1M --cluster 0",
            ["a: cannot create: m_Sectors = 0", "must not be zero"],
        ),
        (
            "--size 1M --cluster 2G",
            ["m_Sectors = 4194304", "at most 4185922"],
        ),
        (
            "--size 1P --cluster 512",
            ["at most 536870911 entries", "(--cluster 4M)"],
        ),
        ("--size 1T --cluster 512", ["m_Size = ", "(--cluster 4K)"]),
        ("--size 1P", ["m_Size = ", "(--cluster 4M)"]),
        (
            "--size 15E",
            ["at most 536870911 entries", "no image is that large"],
        ),
        (
            "--size 2199023255040 --version 1",
            ["m_SizeInSectors = 4294967", "2^32 sectors"],
        ),
        (
            "--size 2T --version 1",
            ["m_SizeInSectors = 4294967296", "2^32 sectors"],
        ),
        (
            "--size 1000",
            ["--size", "1000 bytes is not a multiple of 512"],
        ),
        ("--size 1.5G", ["--size", "whole number"]),
        ("--size 99E", ["--size", "larger than 2^64"]),
        ("--size 1M --version 3", ["--version", "'3'"]),
        ("", ["--size", "required"]),
    ] {
        tool(dir, &format!("create a {arguments}")).refused(&words);
    }
    assert_eq!(snapshot(dir).len(), 0);
}

#[test]
fn a_mistake_on_the_command_line_is_one_line_and_never_looks_like_a_verdict() {
    let dir = dir();
    let dir = dir.path();
    for arguments in [
        "",
        "frobnicate",
        "check",
        "check --jsn a",
        "convert a",
        "map",
        "info a b",
    ] {
        tool(dir, arguments).refused(&["ploop-ublk: error: "]);
    }
    for arguments in ["--help", "--version", "check --help", "help convert"] {
        let ended = tool(dir, arguments);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{arguments}");
        assert!(!ended.out.is_empty(), "{arguments}");
    }
}
