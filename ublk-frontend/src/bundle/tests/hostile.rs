//! What is refused, and how it is said. None of it panics or takes long.

use super::{around, guid, read, refused, text};
use crate::bundle::xml::{MOST_BYTES, MOST_DEPTH};

#[track_caller]
fn says(text: &str, words: &[&str]) {
    let line = refused(text.as_bytes());
    for word in words {
        assert!(line.contains(word), "{word:?} is missing in {line:?}");
    }
}

#[test]
fn trees_that_are_none() {
    let (a, b) = (guid(1).to_string(), guid(2).to_string());
    says(&text(&[], None), &["Storage/Image: missing"]);
    says(
        &text(&[(1, 0), (2, 0)], Some(1)),
        &["Shot/GUID", &b, "second", &a],
    );
    says(
        &text(&[(1, 2), (2, 1)], Some(1)),
        &["Snapshots/Shot", "cycle"],
    );
    says(
        &text(&[(9, 0), (1, 2), (2, 1)], Some(9)),
        &["Shot/GUID", &a, "own ancestor"],
    );
    says(&text(&[(1, 1)], Some(1)), &["cycle"]);
    says(
        &text(&[(1, 0), (2, 7)], Some(2)),
        &["ParentGUID", &guid(7).to_string(), "no Shot"],
    );
    says(
        &text(&[(1, 0), (2, 1), (2, 1)], Some(2)),
        &["2.hds", "used twice"],
    );
    says(
        &text(&[(1, 0), (2, 1)], Some(7)),
        &["TopGUID", &guid(7).to_string(), "no Shot"],
    );
    says(
        &text(&[(1, 0), (2, 1)], Some(1)),
        &["TopGUID", &a, "the parent of", &b],
    );
    says(
        &text(&[(1, 0), (2, 1), (3, 1)], None),
        &["TopGUID: missing"],
    );
    let deep: Vec<_> = (1..=254).map(|n| (n, n - 1)).collect();
    says(&text(&deep, Some(254)), &["Shot/GUID", "more than 253"]);
    read(&text(&deep[..253], Some(253)));
}

#[test]
fn images_and_snapshots_that_do_not_go_together() {
    let image =
        |n: u128, file: &str| format!("<Image><GUID>{}</GUID><File>{file}</File></Image>", guid(n));
    let shot = |n: u128, parent: u128| {
        format!(
            "<Shot><GUID>{}</GUID><ParentGUID>{}</ParentGUID></Shot>",
            guid(n),
            guid(parent)
        )
    };
    let two = image(1, "a") + &image(2, "b");
    says(
        &around(&two, &shot(1, 0)),
        &["Image/GUID", &guid(2).to_string(), "no Shot"],
    );
    says(&around(&two, ""), &["Image/GUID", "no Shot"]);
    says(
        &around(&image(1, "a"), &(shot(1, 0) + &shot(2, 1))),
        &["Shot/GUID", "no Image"],
    );
    says(
        &around(&(image(1, "a") + &image(1, "b")), &shot(1, 0)),
        &["Image/GUID", "used twice"],
    );
    says(
        &around(&image(1, "a"), &(shot(1, 0) + &shot(1, 0))),
        &["Shot/GUID", "used twice"],
    );
    let both = shot(1, 0) + &shot(2, 1);
    says(
        &around(&(image(1, "a") + &image(2, "./a")), &both),
        &["Image/File", "./a", "used twice"],
    );
    for file in ["", ".", "..", "/", "a/", "a/..", &"x".repeat(5000)] {
        says(
            &around(&image(1, file), &shot(1, 0)),
            &["Image/File", "the name of a file"],
        );
    }
    says(
        &around(&image(0, "a"), &shot(0, 0)),
        &["Image/GUID", "none"],
    );
    let temporary = format!(
        "<TopGUID>{0}</TopGUID><Shot><GUID>{0}</GUID><ParentGUID>{1}</ParentGUID><Temporary/></Shot>",
        guid(1),
        guid(0)
    );
    says(
        &around(&image(1, "a"), &temporary),
        &["TopGUID", "temporary"],
    );
    // What ploop does: files may lie anywhere.
    read(&around(&image(1, "../a"), &shot(1, 0)));
    read(&around(&image(1, "/somewhere/a"), &shot(1, 0)));
}

#[test]
fn values_that_are_none() {
    let good = text(&[(1, 0)], Some(1));
    for (from, to, words) in [
        (
            "<Disk_size>2048<",
            "<Disk_size>-1<",
            ["Disk_size", "\"-1\"", "whole number"],
        ),
        (
            "<Disk_size>2048<",
            "<Disk_size>99999999999999999999<",
            ["Disk_size", "999", "whole number"],
        ),
        (
            "<Disk_size>2048<",
            "<Disk_size>089<",
            ["Disk_size", "089", "whole number"],
        ),
        (
            "<Disk_size>2048<",
            "<Disk_size><a/><",
            ["Disk_size", "text", "not elements"],
        ),
        (
            "<Blocksize>128<",
            "<Blocksize>0x<",
            ["Storage/Blocksize", "0x", "whole number"],
        ),
        (
            "<Blocksize>128<",
            "<Preallocated>2</Preallocated><Blocksize>128<",
            ["Preallocated", "2", "number"],
        ),
        (
            ">Compressed<",
            ">Sparse<",
            ["Image/Type", "Sparse", "Compressed or Plain"],
        ),
        (
            "<TopGUID>{0",
            "<TopGUID>0",
            ["TopGUID", "00000000", "GUID in braces"],
        ),
        (
            "<ParentGUID>{",
            "<ParentGUID>{{",
            ["Shot/ParentGUID", "{{", "GUID in braces"],
        ),
        (
            "<Parallels_disk_image>",
            "<other>",
            ["line 1", "not well-formed", "other"],
        ),
        (
            "<Snapshots>",
            "<StorageData/><Snapshots>",
            ["StorageData", "twice", ""],
        ),
        (
            "</StorageData>",
            "<Storage/></StorageData>",
            ["StorageData/Storage", "split", ""],
        ),
        (
            "<Snapshots>",
            "<Snapshots/><Snapshots>",
            ["Snapshots", "twice", ""],
        ),
        ("<File>1.hds</File>", "", ["Image/File", "missing", ""]),
        (
            "<File>1.hds</File>",
            "<File>1.hds</File><File>2.hds</File>",
            ["Image/File", "twice", ""],
        ),
    ] {
        assert!(good.contains(from), "{from}");
        says(&good.replacen(from, to, 1), &words);
    }
    says(
        &good.replace("Parallels_disk_image", "html"),
        &["root", "html"],
    );
    let plain = good
        .replace("Compressed", "Plain")
        .replace("<Image>", "<Preallocated>1</Preallocated><Image>");
    says(&plain, &["Preallocated", "Plain"]);
    // Numbers as ploop reads them.
    let read_size = |digits: &str| {
        let text = good.replace("<Disk_size>2048<", &format!("<Disk_size>{digits}<"));
        read(&text).descriptor.size().map(|size| size.0)
    };
    assert_eq!(read_size(" 0x800 "), Some(2048));
    assert_eq!(read_size("04000"), Some(2048));
    assert_eq!(read_size("0"), Some(0));
}

#[test]
fn no_xml_at_all() {
    for (text, word) in [
        ("", "no element"),
        ("  \n", "no element"),
        ("hello", "outside of the root"),
        ("<a>", "a is not closed"),
        ("</a>", "line 1"),
        ("<a></b>", "line 1"),
        ("<a/><b/>", "second root"),
        ("<a/>text", "outside of the root"),
        ("<a b='1' b='2'/>", "twice"),
        ("<a b=1/>", "line 1"),
        ("<a>&amp</a>", "line 1"),
        ("\n\n<a>&nbsp;</a>", "line 3 = \"&nbsp;\": an entity"),
        ("<a>&#0;</a>", "an entity"),
        ("<a>&#x1;</a>", "an entity"),
        ("<a>\u{1}</a>", "control character"),
        ("<a>\u{ffff}</a>", "control character"),
        ("<a/><?xml version='1.0'?>", "first"),
        ("\u{feff}\u{feff}<a/>", "two byte order marks"),
        ("<!DOCTYPE a><a/>", "document type"),
        (
            "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
            "document type",
        ),
    ] {
        says(text, &[word]);
    }
    assert!(refused(b"\n<a>\xff</a>").contains("line 2: must be UTF-8"));
    assert!(refused(b"\xfe\xff\x00<").contains("UTF-8"));
}

#[test]
fn bombs() {
    // A billion laughs.
    let mut bomb = String::from("<!DOCTYPE x [<!ENTITY l0 \"ha\">");
    for level in 1..30 {
        let before = format!("&l{};", level - 1).repeat(10);
        bomb += &format!("<!ENTITY l{level} \"{before}\">");
    }
    says(&(bomb + "]><x>&l29;</x>"), &["document type"]);
    says(&"<a>".repeat(MOST_DEPTH + 1), &["a: nested deeper than 32"]);
    says(&"<a>".repeat(MOST_BYTES / 3), &["nested deeper"]);
    let wide = format!("<a>{}</a>", "<b/>".repeat(MOST_BYTES / 4 - 10));
    says(&wide, &["more than 65536 elements"]);
    says(
        &" ".repeat(MOST_BYTES + 1),
        &["the descriptor", "1048577 bytes", "at most 1048576"],
    );
    // Attributes without end, all different and then one twice.
    let many: String = (0..130_000).map(|n| format!(" a{n}=''")).collect();
    let many = &many[..MOST_BYTES - 100];
    let end = many.rfind(' ').expect("a blank");
    says(&format!("<a{} a0=''/>", &many[..end]), &["twice"]);
    // A long value is cut in the message.
    let long = text(&[(1, 0)], Some(1)).replace("Compressed", &"é".repeat(100_000));
    says(&long, &["Image/Type", "...", "Compressed or Plain"]);
}
