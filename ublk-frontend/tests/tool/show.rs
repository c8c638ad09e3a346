//! `info` and `map`: results, and readers that go away.

use std::process::{Command, Stdio};

use crate::support::image::{DIRTY, Image};
use crate::support::{self, noise, tool};
use crate::{CLUSTER, TRACKS, dir, leaves_alone, sample};

#[test]
fn info_shows_the_header() {
    let dir = dir();
    let dir = dir.path();
    sample()
        .but(|image| image.in_use = DIRTY)
        .save(&dir.join("a.hdd"));
    let info = leaves_alone(dir, "info --json a.hdd").json();
    for (key, value) in [
        ("virtual-size", 655_360),
        ("cluster-size", 65536),
        ("file-length", 4 * 65536),
    ] {
        assert_eq!(info[key], value, "{key}");
    }
    assert_eq!(
        (&info["filename"], &info["format"]),
        (&"a.hdd".into(), &"parallels".into())
    );
    assert_eq!(info["dirty-flag"], true);
    let specific = &info["format-specific"];
    for (key, value) in [
        ("version", 2),
        ("total-clusters", 10),
        ("allocated-clusters", 3),
        ("problems", 0),
    ] {
        assert_eq!(specific[key], value, "{key}");
    }
    let text = leaves_alone(dir, "info a.hdd").fine();
    for words in [
        "parallels (ploop), version 2",
        "640 KiB (655360 bytes)",
        "10, 3 of them allocated",
        "not closed",
    ] {
        assert!(text.contains(words), "{words:?} is missing in {text}");
    }
}

#[test]
fn info_of_raw_and_of_damaged_files() {
    let dir = dir();
    let dir = dir.path();
    std::fs::write(dir.join("raw"), noise(1000, 1)).expect("written");
    let info = tool(dir, "info --json raw").json();
    assert_eq!(
        (&info["format"], &info["virtual-size"]),
        (&"raw".into(), &1024.into())
    );
    let mut damaged = sample();
    damaged.bat[7] = damaged.bat[1];
    damaged.save(&dir.join("a.hdd"));
    assert_eq!(
        leaves_alone(dir, "info --json a.hdd").json()["format-specific"]["problems"],
        1
    );
    assert!(
        tool(dir, "info a.hdd")
            .fine()
            .contains("see `ploop-ublk check`")
    );
    tool(dir, "info nowhere").refused(&["nowhere: cannot open: No such file"]);
    tool(dir, "info .").refused(&[".: cannot open: this is a directory"]);
}

#[test]
fn map_is_that_of_qemu() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    let row = |start: usize, length: usize, offset: Option<usize>| {
        let mut row = serde_json::json!({
            "start": start * CLUSTER, "length": length * CLUSTER, "depth": 0, "present": offset.is_some(),
            "zero": offset.is_none(), "data": offset.is_some(), "compressed": false,
        });
        if let Some(offset) = offset {
            row["offset"] = (offset * CLUSTER).into();
        }
        row
    };
    let expected = [
        row(0, 1, None),
        row(1, 2, Some(1)),
        row(3, 4, None),
        row(7, 1, Some(3)),
        row(8, 2, None),
    ];
    assert_eq!(
        leaves_alone(dir, "map --json a.hdd").json(),
        serde_json::json!(expected)
    );
    let text = leaves_alone(dir, "map a.hdd").fine();
    assert_eq!(text.lines().count(), 6, "{text}");
    tool(dir, "create empty.hdd --size 0").fine();
    assert_eq!(
        tool(dir, "map --json empty.hdd").json(),
        serde_json::json!([])
    );
}

#[test]
fn map_of_a_stack_shows_the_depth() {
    let dir = dir();
    let dir = dir.path();
    std::fs::write(dir.join("base"), noise(3 * CLUSTER + 1024, 9)).expect("written");
    Image::v2(TRACKS, 6)
        .with(1, &noise(CLUSTER, 1))
        .save(&dir.join("mid"));
    Image::v2(TRACKS, 8)
        .with(2, &noise(CLUSTER, 2))
        .save(&dir.join("top"));
    let map = leaves_alone(dir, "map --json base mid top").json();
    let field = |name: &str| {
        map.as_array()
            .expect("list")
            .iter()
            .map(|row| row[name].as_u64())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        field("depth"),
        [Some(2), Some(1), Some(0), Some(2), Some(2)]
    );
    let c = CLUSTER as u64;
    assert_eq!(field("start"), [0, c, 2 * c, 3 * c, 3 * c + 1024].map(Some));
    assert_eq!(
        field("offset"),
        [Some(0), Some(c), Some(c), Some(3 * c), None]
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let dir = dir();
    let dir = dir.path();
    // Far more output than a pipe holds.
    let mut image = Image::v2(8, 8192);
    (image.data_start, image.data_off) = (9 * 4096, 9 * 8);
    for clu in (0..8192).step_by(2) {
        image.bat[clu] = 9 + clu as u32 / 2;
    }
    image.data = noise(4096 * 4096, 1);
    image.save(&dir.join("a.hdd"));
    for arguments in [&["map", "a.hdd"][..], &["map", "--json", "a.hdd"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ploop-ublk"));
        let mut child = command
            .args(arguments)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        drop(child.stdout.take());
        let ended: support::Ended = child.wait_with_output().expect("ended").into();
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{ended:?}");
    }
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ploop-ublk"));
    let output = command
        .args(["map", "a.hdd"])
        .current_dir(dir)
        .stdout(full)
        .output()
        .expect("ended");
    let ended: support::Ended = output.into();
    ended.refused(&["cannot write the result: No space left"]);
}

#[test]
fn a_locked_image_is_left_alone() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    let file = std::fs::File::open(dir.join("a.hdd")).expect("opened");
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    for command in [
        "check a.hdd",
        "info a.hdd",
        "map a.hdd",
        "convert a.hdd out",
    ] {
        tool(dir, command).refused(&["a.hdd: in use: another program has locked it"]);
    }
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).expect("locked");
    tool(dir, "check a.hdd").fine();
}
