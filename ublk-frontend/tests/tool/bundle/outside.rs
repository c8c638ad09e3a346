//! Files of a bundle that lie outside of its folder: read, written and merged as the others, and never removed.

use std::fs;

use super::{ONE, disk, init, list, top, write};
use crate::dir;
use crate::support::tool;

#[test]
fn a_file_outside_is_used_and_never_removed() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    write(dir, 1, 0, 2);
    let old = top(dir);
    fs::rename(&old, dir.join("outside.hds")).expect("moved");
    let path = dir.join("b/DiskDescriptor.xml");
    let name = old
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let text = fs::read_to_string(&path).expect("read");
    let text = text.replace(&format!("<File>{name}<"), "<File>../outside.hds<");
    assert!(text.contains("../outside.hds"), "{text}");
    fs::write(&path, text).expect("written");
    let first = disk(dir, None);
    assert_eq!((first[0], first[2 << 16]), (1, 0));
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    // More than the file outside has: that one goes up, and leaves the bundle.
    write(dir, 2, 1, 8);
    let second = disk(dir, None);
    let ended = tool(dir, "snapshot merge b");
    assert!(
        ended.err.contains("outside.hds") && ended.err.contains("lies outside of the bundle"),
        "{ended:?}"
    );
    assert_eq!(ended.code, 0);
    assert!(dir.join("outside.hds").exists(), "it was removed");
    assert_eq!(list(dir).len(), 1);
    assert!(disk(dir, None) == second, "another disk");
}

#[test]
fn what_a_symbolic_link_leads_to_stays_and_is_told() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    write(dir, 1, 0, 2);
    fs::rename(dir.join("b/root.hds"), dir.join("real.hds")).expect("moved");
    std::os::unix::fs::symlink("../real.hds", dir.join("b/root.hds")).expect("linked");
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    // More than is below: that goes up, and its name goes.
    write(dir, 2, 1, 8);
    let before = disk(dir, None);
    let ended = tool(dir, "snapshot merge b");
    assert_eq!(ended.code, 0, "{ended:?}");
    for words in ["real.hds: not removed", "behind a symbolic link"] {
        assert!(
            ended.err.contains(words),
            "{words:?} is missing in {ended:?}"
        );
    }
    assert!(dir.join("real.hds").exists(), "it was removed");
    assert!(dir.join("b/root.hds").symlink_metadata().is_err());
    assert!(disk(dir, None) == before, "another disk");
}

#[test]
fn a_file_outside_that_is_missing_is_named() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    let path = dir.join("b/DiskDescriptor.xml");
    let name = top(dir);
    let name = name
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let text = fs::read_to_string(&path).expect("read");
    fs::write(
        &path,
        text.replace(&format!("<File>{name}<"), "<File>/nowhere/x.hds<"),
    )
    .expect("written");
    let before = fs::read(&path).expect("read");
    tool(dir, &format!("snapshot create b --guid {ONE}")).refused(&["/nowhere/x.hds"]);
    assert!(fs::read(&path).expect("read") == before, "it was changed");
}
