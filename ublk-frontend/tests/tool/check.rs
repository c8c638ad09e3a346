//! `check`: every exit status, on sound, damaged, hostile and leaky images.

use std::path::Path;

use crate::support::image::{DIRTY, Image};
use crate::support::{noise, snapshot, tool, tool_words};
use crate::{CLUSTER, TRACKS, dir, leaves_alone, read, sample, sample_disk};

#[test]
fn check_of_sound_images() {
    let dir = dir();
    let dir = dir.path();
    for (name, image) in [
        ("plain", sample()),
        (
            "foreign mark",
            sample().but(|image| image.in_use = u32::from_le_bytes(*b"pd22")),
        ),
        (
            "v2.1",
            sample().but(|image| image.in_use = u32::from_le_bytes(*b"v2.1")),
        ),
        ("flag empty", sample().but(|image| image.flags = 1)),
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
            sample().but(|image| image.data_off = 2 * TRACKS),
            "BAT[1] = 1: ",
            1,
        ),
        (
            "start of data beyond the end",
            sample().but(|image| image.data_off = u32::MAX),
            "m_FirstBlockOffset = ",
            1,
        ),
        (
            "start of data 0",
            sample().but(|image| image.data_off = 0),
            "m_FirstBlockOffset = 0: ",
            1,
        ),
        (
            "table too short",
            sample().but(|image| image.nb_sectors = 11 * u64::from(TRACKS)),
            "m_Size = 10: ",
            1,
        ),
        (
            "size of 2^64",
            sample().but(|image| image.nb_sectors = u64::MAX),
            "m_Size = 10: ",
            1,
        ),
        (
            "not closed",
            sample().but(|image| image.in_use = DIRTY),
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
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
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
            sample().but(|image| image.version = 3).bytes(),
            &["m_Type = 3", "must be 2"],
        ),
        (
            "zero tracks",
            sample().but(|image| image.tracks = 0).bytes(),
            &["m_Sectors = 0", "zero"],
        ),
        (
            "huge tracks",
            sample().but(|image| image.tracks = u32::MAX).bytes(),
            &["m_Sectors = 4294967295"],
        ),
        (
            "huge table",
            sample().but(|image| image.bat_entries = u32::MAX).bytes(),
            &["m_Size = 4294967295"],
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
    // Would take 2 GiB if it were believed. Everything else in the header says what it must have been.
    let large = sample().but(|image| image.bat_entries = 0x1fff_fff0);
    std::fs::write(dir.join("a.hdd"), large.bytes()).expect("written");
    let found = leaves_alone(dir, "check a.hdd");
    assert_eq!(found.code, 2, "{found:?}");
    assert!(found.out.contains("ERROR m_Size = 536870896"), "{found:?}");
    leaves_alone(dir, "convert a.hdd out").refused(&["m_Size = 536870896"]);
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
    // Closed by software that does not vouch for it, but left whole.
    unvouched(dir, "a.hdd");
    let ended = leaves_alone(dir, "check --json a.hdd");
    let report = ended.json();
    assert_eq!(
        (ended.code, &report["leaks"], &report["corruptions"]),
        (0, &0.into(), &0.into()),
        "{ended:?}"
    );
    assert!(!tool(dir, "info a.hdd").fine().contains("problems"));
    tool(dir, "convert a.hdd out.raw").fine();
    assert!(read(dir, "out.raw") == sample_disk());
}

/// An image with a dirty bitmap whose header says that nobody vouches for it.
fn unvouched(dir: &Path, name: &str) {
    sample().save(&dir.join(name));
    tool(dir, &format!("cbt start {name}")).fine();
    poke(dir, name, 44, &[0; 4]);
}

fn poke(dir: &Path, name: &str, at: usize, bytes: &[u8]) {
    let mut all = read(dir, name);
    all[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(dir.join(name), all).expect("written");
}

/// QEMU opens no image for reading that has such an extension, vouched for or not.
#[test]
fn a_damaged_extension_is_told_and_mended_whatever_the_mark_says() {
    let dir = dir();
    let dir = dir.path();
    for mark in [[0; 4], *b"v2.1", DIRTY.to_le_bytes()] {
        for spoiled in [0, 8, 24] {
            unvouched(dir, "a.hdd");
            leaves_alone(dir, "check a.hdd").fine();
            let at = u64::from_le_bytes(read(dir, "a.hdd")[56..64].try_into().expect("8 bytes"));
            poke(dir, "a.hdd", at as usize * 512 + spoiled, b"garbage");
            poke(dir, "a.hdd", 44, &mark);
            let ended = leaves_alone(dir, "check a.hdd");
            assert_eq!(ended.code, 2, "{ended:?}");
            assert!(ended.out.contains("ERROR extension "), "{ended:?}");
            let mended = tool(dir, "check --repair a.hdd").fine();
            assert!(mended.contains("m_FormatExtensionOffset"), "{mended}");
            leaves_alone(dir, "check a.hdd").fine();
            assert_eq!(read(dir, "a.hdd")[56..64], [0; 8]);
            leaves_alone(dir, "convert a.hdd out.raw").fine();
            assert!(read(dir, "out.raw") == sample_disk());
            std::fs::remove_file(dir.join("out.raw")).expect("removed");
        }
    }
}

/// Space is space, whatever is in it.
#[test]
fn a_leaked_cluster_of_zeros_is_given_back_too() {
    let dir = dir();
    let dir = dir.path();
    for contents in [vec![0; CLUSTER], noise(CLUSTER, 5)] {
        let mut image = Image::v2(TRACKS, 10)
            .with(1, &noise(CLUSTER, 1))
            .with(2, &contents)
            .with(7, &noise(CLUSTER, 3));
        image.bat[2] = 0;
        image.save(&dir.join("a.hdd"));
        assert_eq!(leaves_alone(dir, "check a.hdd").code, 3);
        let mended = tool(dir, "check --repair a.hdd").fine();
        assert!(mended.contains("freed"), "{mended}");
        let before = snapshot(dir);
        let again = tool(dir, "check --repair a.hdd").fine();
        assert!(!again.contains("Repaired"), "{again}");
        assert!(snapshot(dir) == before, "a sound image was touched");
    }
}

/// Whoever writes to it does no harm: what is lost is lost.
#[test]
fn a_broken_extension_is_no_reason_not_to_write() {
    let dir = dir();
    let dir = dir.path();
    let broken = sample().but(|image| {
        image.in_use = 0x312E_3276;
        image.ext_off = 4 * u64::from(TRACKS);
    });
    let mut image = broken.clone();
    image.data.extend([0x55; CLUSTER]);
    image.save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "check a.hdd");
    assert_eq!((ended.code, ended.err.as_str()), (2, ""), "{ended:?}");
    assert!(
        ended.out.contains("errors in the format extension"),
        "{ended:?}"
    );
    assert!(!ended.out.contains("Do not write"), "{ended:?}");
    image.bat[3] = 1;
    image.save(&dir.join("a.hdd"));
    let ended = leaves_alone(dir, "check a.hdd");
    assert!(ended.out.contains("Do not write"), "{ended:?}");
}
