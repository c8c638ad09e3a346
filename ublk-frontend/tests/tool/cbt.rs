//! `cbt` and `copy` on files that nobody has open.

use super::*;

const NAME: &str = "{01234567-89ab-cdef-0123-456789abcdef}";

/// The sample, written, in a new folder.
fn made() -> tempfile::TempDir {
    let dir = dir();
    sample().save(&dir.path().join("a"));
    dir
}

#[test]
fn bitmaps_come_and_go() {
    let dir = made();
    let dir = dir.path();
    let disk = sample_disk();
    assert_eq!(tool(dir, "cbt list a").fine(), "");
    let started = tool(dir, &format!("cbt start a --name {NAME} --granularity 4K"));
    assert_eq!(started.fine(), format!("{NAME}\n"));
    tool(dir, &format!("cbt start a --name {NAME}")).refused(&["a", "there is one already"]);
    let other = tool(dir, "cbt start a").fine();
    let list = tool(dir, "cbt list a --json").json();
    assert_eq!(list[0]["name"], NAME);
    assert_eq!(
        (&list[0]["granularity"], &list[0]["dirty"]),
        (&4096.into(), &0.into())
    );
    assert_eq!(list[1]["granularity"], 65536);
    tool(dir, "cbt dump a").refused(&["2 dirty bitmaps", "--name"]);
    tool(
        dir,
        "cbt stop a --name {00000000-0000-0000-0000-000000000001}",
    )
    .refused(&["has no dirty bitmap"]);
    assert_eq!(
        tool(dir, &format!("cbt stop a --name {}", other.trim())).fine(),
        ""
    );
    assert_eq!(tool(dir, "cbt dump a").fine(), "");
    assert!(tool(dir, "info a").fine().contains("valid"));
    assert_eq!(tool(dir, "check a").code, 0);
    tool(dir, "convert a raw").fine();
    assert!(read(dir, "raw") == disk);
    // What `grow` adds is dirty.
    tool(dir, "grow a 1M").fine();
    assert_eq!(tool(dir, "cbt dump a").fine(), "1280 768\n");
    let dump = tool(dir, "cbt dump a --clear --json").json();
    assert_eq!(dump["ranges"][0]["start"], 655_360);
    assert_eq!(dump["ranges"][0]["length"], 393_216);
    assert_eq!(tool(dir, "cbt dump a").fine(), "");
    tool(dir, "compact a").fine();
    assert_eq!(tool(dir, "cbt list a --json").json()[0]["name"], NAME);
    assert_eq!(tool(dir, "cbt stop a").fine(), "");
    tool(dir, "cbt stop a").refused(&["has no dirty bitmap"]);
    assert_eq!(tool(dir, "check a").code, 0);
}

#[test]
fn bitmaps_that_cannot_be() {
    let dir = made();
    let dir = dir.path();
    tool(dir, "cbt start a --granularity 1536").refused(&["a", "power of two"]);
    tool(dir, "cbt start a --granularity 4G").refused(&["4294967296", "at most 2147483648"]);
    std::fs::write(dir.join("raw"), [0; 4096]).expect("written");
    tool(dir, "cbt start raw").refused(&["raw disk"]);
    tool(dir, "cbt list raw").refused(&["raw disk"]);
    assert_eq!(tool(dir, "cbt list").code, 1);
    assert_eq!(tool(dir, "cbt list a --id 1").code, 1);
}

#[test]
fn a_bundles_top_has_the_bitmap() {
    let dir = dir();
    let dir = dir.path();
    tool(dir, "init b --size 10M").fine();
    let name = tool(dir, "cbt start b").fine();
    assert!(tool(dir, "cbt list b").fine().contains(name.trim()));
    tool(dir, "snapshot create b").fine();
    assert_eq!(tool(dir, "cbt list b").fine(), "", "it stays with its file");
    tool(dir, "cbt start b").fine();
}

#[test]
fn a_copy_is_the_disk() {
    let dir = made();
    let dir = dir.path();
    let report = tool(dir, "copy a b --json").json();
    assert_eq!(report["rounds"][0], 10 * CLUSTER);
    tool(dir, "copy a a").refused(&["a", "exist"]);
    tool(dir, "copy a").refused(&["give the images"]);
    tool(dir, "copy --id 3 a b").refused(&["give one file"]);
    tool(dir, "convert b raw").fine();
    assert!(read(dir, "raw") == sample_disk());
    let info = tool(dir, "info b --json").json();
    assert_eq!(info["cluster-size"], CLUSTER);
    assert_eq!(info["virtual-size"], 10 * CLUSTER);
    tool(dir, "create top --size 640K --cluster 64K").fine();
    tool(dir, "copy a top c").fine();
    tool(dir, "convert c raw2").fine();
    assert!(read(dir, "raw2") == sample_disk());
}
