//! The tool on images built by hand: every command, every exit status, hostile input, and inputs that stay as they are.

#[allow(
    dead_code,
    reason = "shared by test programs that use different parts of it"
)]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::image::{DIRTY, Image};
use support::{noise, snapshot, tool, tool_words};

/// Sectors in a cluster of the images here (64 KiB).
const TRACKS: u32 = 128;
const CLUSTER: usize = TRACKS as usize * 512;

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("temporary folder")
}

/// Ten clusters, of which 1, 2 and 7 are allocated.
fn sample() -> Image {
    Image::v2(TRACKS, 10)
        .with(1, &noise(CLUSTER, 1))
        .with(2, &noise(CLUSTER, 2))
        .with(7, &noise(CLUSTER, 3))
}

/// The disk of [`sample`].
fn sample_disk() -> Vec<u8> {
    let mut disk = vec![0; 10 * CLUSTER];
    for (clu, seed) in [(1, 1), (2, 2), (7, 3)] {
        disk[clu * CLUSTER..][..CLUSTER].copy_from_slice(&noise(CLUSTER, seed));
    }
    disk
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    std::fs::read(dir.join(name)).expect("file")
}

/// Runs a command; no file that was there may have changed.
#[track_caller]
fn leaves_alone(dir: &Path, arguments: &str) -> support::Ended {
    let before = snapshot(dir);
    let ended = tool(dir, arguments);
    let after = snapshot(dir);
    assert!(
        before.iter().all(|file| after.contains(file)),
        "{arguments}: an input changed"
    );
    ended
}

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
        let expected = Image {
            magic: *magic,
            ..Image::v2(TRACKS, 10)
        };
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
fn create_never_overwrites() {
    let dir = dir();
    let dir = dir.path();
    std::fs::write(dir.join("a"), b"mine").expect("written");
    std::os::unix::fs::symlink("nowhere", dir.join("link")).expect("linked");
    leaves_alone(dir, "create a --size 1M").refused(&["a: already exists"]);
    leaves_alone(dir, "create link --size 1M").refused(&["link: already exists"]);
    leaves_alone(dir, "create missing/a --size 1M").refused(&["missing/a", "No such file"]);
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
            ["m_Size = ", "at most 536870911 entries"],
        ),
        ("--size 15E", ["m_Size = ", "at most 536870911 entries"]),
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

#[test]
fn info_shows_the_header() {
    let dir = dir();
    let dir = dir.path();
    Image {
        in_use: DIRTY,
        ..sample()
    }
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
fn check_of_sound_images() {
    let dir = dir();
    let dir = dir.path();
    for (name, image) in [
        ("plain", sample()),
        (
            "foreign mark",
            Image {
                in_use: u32::from_le_bytes(*b"pd22"),
                ..sample()
            },
        ),
        (
            "v2.1",
            Image {
                in_use: u32::from_le_bytes(*b"v2.1"),
                ..sample()
            },
        ),
        (
            "flag empty",
            Image {
                flags: 1,
                ..sample()
            },
        ),
        ("nothing", Image::v2(TRACKS, 0)),
    ] {
        image.save(&dir.join("a.hdd"));
        let ended = leaves_alone(dir, "check --json a.hdd");
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (0, ""),
            "{name}: {ended:?}"
        );
        let report = ended.json();
        let allocated = image.bat.iter().filter(|entry| **entry != 0).count();
        for (key, value) in [
            ("check-errors", 0),
            ("corruptions", 0),
            ("leaks", 0),
            ("allocated-clusters", allocated),
        ] {
            assert_eq!(report[key], value, "{name}: {key}");
        }
        assert_eq!(report["total-clusters"], image.bat.len(), "{name}");
        assert_eq!(report["image-end-offset"], image.bytes().len(), "{name}");
        leaves_alone(dir, "check a.hdd").fine();
    }
}

/// Images that break a rule and open for `check`, with words of the message and the number of errors.
fn damaged() -> Vec<(&'static str, Image, &'static str, u64)> {
    let with_entry = |clu: usize, entry: u32| {
        let mut image = sample();
        image.bat[clu] = entry;
        image
    };
    let mut three = sample();
    three.bat[3..6].copy_from_slice(&[1, 1, 2]);
    let mut cut = sample();
    cut.data.truncate(2 * CLUSTER + 512);
    let mut far = sample();
    far.bat[0] = 0x7fff_ffff;
    vec![
        ("duplicate", with_entry(7, 1), "BAT[7] = 1: ", 1),
        ("three duplicates", three, "BAT[3] = 1: ", 3),
        ("beyond the end", with_entry(7, 4), "BAT[7] = 4: ", 1),
        ("far beyond the end", far, "BAT[0] = 2147483647", 1),
        (
            "reserved value",
            with_entry(7, u32::MAX),
            "BAT[7] = 4294967295",
            1,
        ),
        ("cut in the last cluster", cut, "BAT[7] = 3: ", 1),
        (
            "data in the table",
            Image {
                data_off: 2 * TRACKS,
                ..sample()
            },
            "BAT[1] = 1: ",
            1,
        ),
        (
            "start of data beyond the end",
            Image {
                data_off: u32::MAX,
                ..sample()
            },
            "m_FirstBlockOffset = ",
            1,
        ),
        (
            "start of data 0",
            Image {
                data_off: 0,
                ..sample()
            },
            "m_FirstBlockOffset = 0: ",
            1,
        ),
        (
            "start of data odd",
            Image {
                data_off: TRACKS + 1,
                ..sample()
            },
            "m_FirstBlockOffset = 129: ",
            1,
        ),
        (
            "table too short",
            Image {
                nb_sectors: 11 * u64::from(TRACKS),
                ..sample()
            },
            "m_Size = 10: ",
            1,
        ),
        (
            "size of 2^64",
            Image {
                nb_sectors: u64::MAX,
                ..sample()
            },
            "m_Size = 10: ",
            1,
        ),
        (
            "not closed",
            Image {
                in_use: DIRTY,
                ..sample()
            },
            "m_DiskInUse = 0x746f6e59: ",
            1,
        ),
    ]
}

#[test]
fn check_finds_corruption_and_convert_refuses_it() {
    let dir = dir();
    let dir = dir.path();
    for (name, image, words, errors) in damaged() {
        image.save(&dir.join("a.hdd"));
        let ended = leaves_alone(dir, "check a.hdd");
        assert_eq!(
            (ended.code, ended.err.as_str()),
            (2, ""),
            "{name}: {ended:?}"
        );
        assert!(
            ended.out.contains(&format!("ERROR {words}")),
            "{name}: {ended:?}"
        );
        let ended = leaves_alone(dir, "check --json a.hdd");
        assert_eq!(ended.code, 2, "{name}");
        assert_eq!(ended.json()["corruptions"], errors, "{name}: {ended:?}");
        leaves_alone(dir, "info a.hdd").fine();
        if image.in_use == DIRTY {
            continue;
        }
        for command in [
            "map a.hdd",
            "map --json a.hdd",
            "convert a.hdd out.raw",
            "convert a.hdd out --to ploop",
        ] {
            let ended = leaves_alone(dir, command);
            ended.refused(&["a.hdd: ", words]);
        }
        assert_eq!(snapshot(dir).len(), 1, "{name}: something was left behind");
    }
}

#[test]
fn what_cannot_be_checked() {
    let dir = dir();
    let dir = dir.path();
    let cases: [(&str, Vec<u8>, &[&str]); 9] = [
        (
            "no image",
            noise(100_000, 1),
            &["m_Sig", "WithoutFreeSpace"],
        ),
        ("nothing", Vec::new(), &["file length = 0"]),
        (
            "half a header",
            sample().bytes()[..63].to_vec(),
            &["file length = 63"],
        ),
        (
            "version 3",
            Image {
                version: 3,
                ..sample()
            }
            .bytes(),
            &["m_Type = 3", "must be 2"],
        ),
        (
            "zero tracks",
            Image {
                tracks: 0,
                ..sample()
            }
            .bytes(),
            &["m_Sectors = 0", "zero"],
        ),
        (
            "huge tracks",
            Image {
                tracks: u32::MAX,
                ..sample()
            }
            .bytes(),
            &["m_Sectors = 4294967295"],
        ),
        (
            "huge table",
            Image {
                bat_entries: u32::MAX,
                ..sample()
            }
            .bytes(),
            &["m_Size = 4294967295"],
        ),
        // Would take 2 GiB if it were believed.
        (
            "large table",
            Image {
                bat_entries: 0x1fff_fff0,
                ..sample()
            }
            .bytes(),
            &["m_Size = 536870896", "inside the file"],
        ),
        (
            "cut in the table",
            sample().bytes()[..70].to_vec(),
            &["m_Size = 10", "inside the file"],
        ),
    ];
    for (name, bytes, words) in cases {
        std::fs::write(dir.join("a.hdd"), &bytes).expect("written");
        leaves_alone(dir, "check a.hdd").refused(&[&["a.hdd: "], words].concat());
        leaves_alone(dir, "check --json a.hdd").refused(words);
        if name != "no image" && bytes.len() > 16 {
            leaves_alone(dir, "info a.hdd").refused(words);
            leaves_alone(dir, "convert a.hdd out").refused(words);
            leaves_alone(dir, "convert --salvage a.hdd out").refused(words);
        }
        assert_eq!(snapshot(dir).len(), 1, "{name}");
    }
    tool(dir, "check nowhere").refused(&["nowhere: cannot open"]);
    tool(dir, "check .").refused(&[".: cannot open: this is a directory"]);
    tool_words(dir, &["check", "no\nwhere"]).refused(&["no\\nwhere: cannot open"]);
}

#[test]
fn check_finds_leaks_anywhere() {
    let dir = dir();
    let dir = dir.path();
    let mut middle = sample();
    middle.bat[2] = 0;
    let mut tail = sample();
    tail.data.extend(noise(CLUSTER + 512, 4));
    for (image, leaks, at) in [(middle, 1, 2), (tail, 2, 4)] {
        image.save(&dir.join("a.hdd"));
        let ended = leaves_alone(dir, "check --json a.hdd");
        assert_eq!(
            (ended.code, &ended.json()["leaks"]),
            (3, &leaks.into()),
            "{ended:?}"
        );
        let text = leaves_alone(dir, "check a.hdd");
        assert_eq!(text.code, 3);
        assert!(
            text.out
                .contains(&format!("at byte {} of the file", at * CLUSTER)),
            "{text:?}"
        );
        // A leak keeps nobody from reading.
        assert_eq!(tool(dir, "convert a.hdd out.raw").fine(), "");
        std::fs::remove_file(dir.join("out.raw")).expect("removed");
    }
}

#[test]
fn a_cluster_given_back_and_punched_is_free_and_not_leaked() {
    let dir = dir();
    let dir = dir.path();
    let mut image = sample();
    image.bat[2] = 0;
    image.save(&dir.join("dense.hdd"));
    std::fs::write(dir.join("a.hdd"), image.bytes()).expect("written");
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.join("a.hdd"))
        .expect("opened");
    let flags = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, flags, 2 * CLUSTER as u64, CLUSTER as u64).expect("punched");
    drop(file);
    tool(dir, "check a.hdd").fine();
    assert_eq!(tool(dir, "check dense.hdd").code, 3);
}

#[test]
fn clusters_of_the_extension_are_no_leak() {
    let dir = dir();
    let dir = dir.path();
    // Closed by software that does not vouch for it: what is in the extension does not matter, its place does.
    let mut image = sample();
    image.ext_off = u64::from(4 * TRACKS);
    let mut extension = vec![0; CLUSTER];
    extension[..8].copy_from_slice(&0xAB23_4CEF_23DC_EA87u64.to_le_bytes());
    image.data.extend(extension);
    image.save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "check --json a.hdd");
    let report = ended.json();
    assert_eq!(
        (ended.code, &report["leaks"], &report["corruptions"]),
        (0, &0.into(), &0.into()),
        "{ended:?}"
    );
    tool(dir, "convert a.hdd out.raw").fine();
    assert!(read(dir, "out.raw") == sample_disk());
}

#[test]
fn convert_there_and_back() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    assert_eq!(leaves_alone(dir, "convert a.hdd a.raw").fine(), "");
    assert!(read(dir, "a.raw") == sample_disk());
    for (arguments, clusters) in [
        ("--cluster 64K", 3),
        ("--cluster 4K --version 1", 48),
        ("--cluster 8M", 1),
    ] {
        assert_eq!(
            leaves_alone(dir, &format!("convert a.raw b.hdd {arguments}")).fine(),
            ""
        );
        let report = tool(dir, "check --json b.hdd");
        assert_eq!(
            (report.code, &report.json()["allocated-clusters"]),
            (0, &clusters.into()),
            "{arguments}"
        );
        leaves_alone(dir, "convert b.hdd b.raw --to raw").fine();
        assert!(read(dir, "b.raw") == sample_disk(), "{arguments}");
        for name in ["b.hdd", "b.raw"] {
            std::fs::remove_file(dir.join(name)).expect("removed");
        }
    }
}

#[test]
fn converted_files_are_sparse() {
    use std::os::unix::fs::MetadataExt;
    let dir = dir();
    let dir = dir.path();
    tool(dir, "create a.hdd --size 1T").fine();
    assert_eq!(tool(dir, "convert a.hdd a.raw").fine(), "");
    let raw = std::fs::metadata(dir.join("a.raw")).expect("metadata");
    assert_eq!(raw.len(), 1 << 40);
    assert!(raw.blocks() * 512 < 1 << 20, "{} blocks", raw.blocks());
    // Zeros that are written in the input are not written again, a byte in 4 KiB is.
    let mut bytes = vec![0; 4 << 20];
    bytes[(2 << 20) + 5000] = 1;
    std::fs::write(dir.join("zeros.raw"), &bytes).expect("written");
    tool(dir, "convert zeros.raw sparse.raw --to raw").fine();
    assert!(read(dir, "sparse.raw") == bytes);
    assert!(
        std::fs::metadata(dir.join("sparse.raw"))
            .expect("metadata")
            .blocks()
            * 512
            <= 16384
    );
}

#[test]
fn a_stack_of_three_reads_top_down() {
    let dir = dir();
    let dir = dir.path();
    // The base ends inside a cluster and inside a sector; the middle is smaller than the top.
    let base = noise(3 * CLUSTER + 1000, 9);
    std::fs::write(dir.join("base"), &base).expect("written");
    Image::v2(TRACKS, 6)
        .with(1, &noise(CLUSTER, 1))
        .with(5, &noise(CLUSTER, 5))
        .save(&dir.join("mid"));
    Image::v2(TRACKS, 8)
        .with(2, &noise(CLUSTER, 2))
        .with(7, &noise(CLUSTER, 7))
        .save(&dir.join("top"));
    let mut disk = base;
    disk.resize(8 * CLUSTER, 0);
    for (clu, seed) in [(1, 1), (5, 5), (2, 2), (7, 7)] {
        disk[clu * CLUSTER..][..CLUSTER].copy_from_slice(&noise(CLUSTER, seed));
    }
    assert_eq!(leaves_alone(dir, "convert base mid top out.raw").fine(), "");
    assert!(read(dir, "out.raw") == disk);
    assert_eq!(
        leaves_alone(dir, "convert base mid top out.hdd --to ploop --cluster 64K").fine(),
        ""
    );
    assert_eq!(leaves_alone(dir, "convert out.hdd again.raw").fine(), "");
    assert!(read(dir, "again.raw") == disk);
}

#[test]
fn a_lower_file_that_ends_inside_a_cluster_shows_nothing_behind_its_end() {
    let dir = dir();
    let dir = dir.path();
    // The virtual disk of the lower image ends in the middle of its allocated cluster.
    let lower = Image {
        nb_sectors: u64::from(TRACKS) + 10,
        ..Image::v2(TRACKS, 2)
    }
    .with(1, &noise(CLUSTER, 1));
    lower.save(&dir.join("lower"));
    Image::v2(TRACKS, 4).save(&dir.join("top"));
    leaves_alone(dir, "convert lower top out.raw").fine();
    let mut disk = vec![0; 4 * CLUSTER];
    disk[CLUSTER..][..5120].copy_from_slice(&noise(CLUSTER, 1)[..5120]);
    assert!(read(dir, "out.raw") == disk);
    leaves_alone(dir, "convert lower lower.raw").fine();
    assert!(read(dir, "lower.raw") == disk[..CLUSTER + 5120]);
}

#[test]
fn stacks_that_do_not_fit_are_refused() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a"));
    Image::v2(64, 10).save(&dir.join("small clusters"));
    Image::v2(64, 10).save(&dir.join("small"));
    Image::v2(TRACKS, 20).save(&dir.join("long"));
    std::fs::write(dir.join("raw"), noise(CLUSTER, 1)).expect("written");
    for (stack, words) in [
        ("small a", ["small: m_Sectors = 64", "same cluster size"]),
        ("a raw a", ["raw: ", "lowest"]),
        ("a raw", ["raw: ", "lowest"]),
        (
            "long a",
            ["long: m_Size = 20", "more clusters than the top"],
        ),
    ] {
        leaves_alone(dir, &format!("map {stack}")).refused(&words);
        leaves_alone(dir, &format!("convert {stack} out")).refused(&words);
    }
    assert!(!dir.join("out").exists());
}

#[test]
fn a_raw_disk_that_pretends_to_be_an_image() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("guest"));
    leaves_alone(dir, "convert --raw-base guest copy --to raw").fine();
    assert!(read(dir, "copy") == read(dir, "guest"));
    assert_eq!(
        leaves_alone(dir, "map --json guest")
            .json()
            .as_array()
            .map(Vec::len),
        Some(5)
    );
    assert_eq!(
        leaves_alone(dir, "map --json --raw-base guest")
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn convert_never_overwrites_anything() {
    let dir = dir();
    let dir = dir.path();
    sample().save(&dir.join("a.hdd"));
    std::fs::write(dir.join("other"), b"other").expect("written");
    std::fs::hard_link(dir.join("a.hdd"), dir.join("hard")).expect("linked");
    std::os::unix::fs::symlink("a.hdd", dir.join("soft")).expect("linked");
    leaves_alone(dir, "convert a.hdd other").refused(&["other: already exists"]);
    for own in ["a.hdd", "./a.hdd", "hard", "soft"] {
        leaves_alone(dir, &format!("convert a.hdd {own}"))
            .refused(&[own, "same file as the input a.hdd"]);
    }
    leaves_alone(dir, "convert nowhere out").refused(&["nowhere: cannot open"]);
    leaves_alone(dir, "convert a.hdd missing/out").refused(&["missing/out", "No such file"]);
    assert_eq!(snapshot(dir).len(), 4);
}

#[test]
fn an_image_that_was_not_closed_is_read_with_a_warning() {
    let dir = dir();
    let dir = dir.path();
    Image {
        in_use: DIRTY,
        ..sample()
    }
    .save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "convert a.hdd out.raw");
    assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
    assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
    assert!(
        ended
            .err
            .starts_with("ploop-ublk: warning: a.hdd: was not closed properly"),
        "{ended:?}"
    );
    assert!(read(dir, "out.raw") == sample_disk());
    // A conversion between versions was interrupted: its entries may mean anything.
    Image {
        in_use: DIRTY,
        flags: 2,
        ..sample()
    }
    .save(&dir.join("b.hdd"));
    leaves_alone(dir, "convert b.hdd out").refused(&["b.hdd: m_Flags = 2", "conversion"]);
}

#[test]
fn salvage_reads_what_is_there_and_tells_every_loss() {
    let dir = dir();
    let dir = dir.path();
    let salvage = |image: &Image| {
        image.save(&dir.join("a.hdd"));
        let ended = leaves_alone(dir, "convert --salvage a.hdd out.raw");
        assert_eq!((ended.code, ended.out.as_str()), (0, ""), "{ended:?}");
        let disk = read(dir, "out.raw");
        std::fs::remove_file(dir.join("out.raw")).expect("removed");
        (disk, ended.err)
    };
    // Beyond the end: zeros.
    let mut image = sample();
    image.bat[7] = 9;
    let mut disk = sample_disk();
    disk[7 * CLUSTER..][..CLUSTER].fill(0);
    let (salvaged, told) = salvage(&image);
    assert!(salvaged == disk);
    assert!(
        told.starts_with("ploop-ublk: warning: a.hdd: BAT[7] = 9: "),
        "{told}"
    );
    // Cut in the last cluster: what is left of it.
    let mut image = sample();
    image.data.truncate(2 * CLUSTER + 1024);
    let mut disk = sample_disk();
    disk[7 * CLUSTER + 1024..8 * CLUSTER].fill(0);
    let (salvaged, told) = salvage(&image);
    assert!(salvaged == disk);
    assert_eq!(told.lines().count(), 1, "{told}");
    // Two entries for one cluster: nobody knows whose it is, both show it.
    let mut image = sample();
    image.bat[4] = image.bat[1];
    let mut disk = sample_disk();
    disk.copy_within(CLUSTER..2 * CLUSTER, 4 * CLUSTER);
    assert!(salvage(&image).0 == disk);
    // In the header: zeros. A wrong start of data changes nothing.
    let image = Image {
        data_off: TRACKS + 1,
        ..sample()
    };
    let (salvaged, told) = salvage(&image);
    assert!(salvaged == sample_disk());
    assert!(told.contains("m_FirstBlockOffset = 129"), "{told}");
    // A sound one needs no words.
    assert_eq!(salvage(&sample()), (sample_disk(), String::new()));
}

#[test]
fn salvage_of_thousands_of_losses_stays_readable() {
    let dir = dir();
    let dir = dir.path();
    let mut image = Image::v2(8, 100_000);
    (image.data_start, image.data_off) = (98 * 4096, 98 * 8);
    image.bat.fill(98);
    image.data = noise(4096, 1);
    image.save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "convert --salvage a.hdd out.raw");
    assert_eq!(
        (ended.code, ended.err.lines().count()),
        (0, 21),
        "{ended:?}"
    );
    assert!(ended.err.contains("99999 problems in all"), "{ended:?}");
    assert!(
        read(dir, "out.raw")
            .chunks(4096)
            .all(|cluster| cluster == noise(4096, 1))
    );
    let report = leaves_alone(dir, "check --json a.hdd");
    assert_eq!(
        (report.code, &report.json()["corruptions"]),
        (2, &99_999.into())
    );
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
