//! What is not made, not changed, not believed; and that nothing is changed then.

use std::fs;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::{ONE, TWO, init, list, sound, top};
use crate::support::qemu::img_ok;
use crate::support::{Ended, tool};
use crate::{dir, leaves_alone};

const THREE: &str = "{33333333-3333-3333-3333-333333333333}";
const NOBODY: &str = "{77777777-7777-7777-7777-777777777777}";

#[test]
fn init_makes_what_qemu_and_we_can_read() {
    let dir = dir();
    let dir = dir.path();
    for (version, name) in [(1, "one"), (2, "two")] {
        let made = tool(
            dir,
            &format!("init {name} --size 10M --cluster 256K --version {version} --json"),
        )
        .json();
        assert_eq!(made["image"], format!("{name}/root.hds"));
        let seen = img_ok(
            dir,
            &format!("info -f parallels --output=json {name}/root.hds"),
        );
        assert!(seen.contains("\"virtual-size\": 10485760"), "{seen}");
        let info = tool(dir, &format!("info --json {name}")).json();
        assert_eq!(info[0]["virtual-size"], 10 << 20);
        assert_eq!(info[0]["format-specific"]["version"], version);
    }
    let text = fs::read_to_string(dir.join("two/DiskDescriptor.xml")).expect("read");
    for part in [
        "<Disk_size>20480</Disk_size>",
        "<Blocksize>512</Blocksize>",
        "<TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}",
    ] {
        assert!(text.contains(part), "{text}");
    }
    // Nothing is overwritten, and what was refused leaves nothing.
    leaves_alone(dir, "init two --size 1M").refused(&["two: already exists", "DiskDescriptor.xml"]);
    fs::create_dir(dir.join("full")).expect("made");
    fs::write(dir.join("full/mine"), b"x").expect("written");
    tool(dir, "init full --size 1M").refused(&["full: already exists", "mine"]);
    assert_eq!(fs::read_dir(dir.join("full")).expect("folder").count(), 1);
    tool(dir, "init full/mine --size 1M").refused(&["full/mine", "create"]);
    tool(dir, "init new --size 1P --cluster 512").refused(&["new: cannot create", "m_Size"]);
    assert!(!dir.join("new").exists());
    // What a killed one has left does not count.
    fs::create_dir(dir.join("begun")).expect("made");
    fs::write(dir.join("begun/root.hds"), b"half").expect("written");
    fs::write(
        dir.join("begun/DiskDescriptor.xml.pending"),
        b"root.hds\n# complete\n",
    )
    .expect("written");
    tool(dir, "init begun --size 1M").fine();
    assert_eq!(tool(dir, "check begun").code, 0);
}

#[test]
fn what_is_refused() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    let before = fs::read(dir.join("b/DiskDescriptor.xml")).expect("read");
    for (command, words) in [
        (
            format!("snapshot create b --guid {ONE}"),
            ["b: ", ONE, "used already"],
        ),
        (
            "snapshot create b --guid hello".to_owned(),
            ["--guid", "hello", "GUID"],
        ),
        (
            format!("snapshot delete b {NOBODY}"),
            ["b: ", NOBODY, "no snapshot"],
        ),
        (
            "snapshot delete b {5fbaabe3-6958-40ff-92a7-860e329aab41}".to_owned(),
            ["b: ", "is what is written", "switch"],
        ),
        (
            format!("snapshot switch b {NOBODY}"),
            ["b: ", NOBODY, "no snapshot"],
        ),
        (
            format!("snapshot merge b {ONE}"),
            ["b: ", ONE, "the oldest"],
        ),
        (
            format!("map b --snapshot {NOBODY}"),
            ["b: ", NOBODY, "no snapshot"],
        ),
        (
            format!("map b/root.hds --snapshot {ONE}"),
            ["b/root.hds", "not a bundle", ONE],
        ),
        (
            "snapshot list b/root.hds".to_owned(),
            ["b/root.hds", "not a bundle", ""],
        ),
        ("snapshot create .".to_owned(), [".: ", "not a bundle", ""]),
        (
            "grow b/root.hds 8M".to_owned(),
            ["b/root.hds", ONE, "give the folder"],
        ),
        ("grow b 1M".to_owned(), ["b/root.hds", "smaller", ""]),
    ] {
        tool(dir, &command).refused(&words);
        assert!(
            fs::read(dir.join("b/DiskDescriptor.xml")).expect("read") == before,
            "{command}"
        );
    }
    // The whole path of a descriptor is a bundle, too.
    assert_eq!(
        tool(dir, "snapshot list b/DiskDescriptor.xml --json")
            .json()
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    // A file is missing: said by name, and nothing is changed.
    fs::rename(dir.join("b/root.hds"), dir.join("aside")).expect("renamed");
    for command in ["map b", "check b", "snapshot create b", "snapshot merge b"] {
        tool(dir, command).refused(&["b/root.hds: cannot open"]);
    }
    assert!(tool(dir, "snapshot list b").fine().contains("(missing)"));
    assert!(fs::read(dir.join("b/DiskDescriptor.xml")).expect("read") == before);
}

#[test]
fn hostile_descriptors_are_one_line() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    let path = dir.join("b/DiskDescriptor.xml");
    let good = fs::read_to_string(&path).expect("read");
    for (bad, words) in [
        (
            good.replace("{00000000-0000-0000-0000-000000000000}", NOBODY),
            ["ParentGUID", NOBODY],
        ),
        (
            good.replace("<Disk_size>8192<", "<Disk_size>many<"),
            ["Disk_size", "\"many\""],
        ),
        (
            "<!DOCTYPE a []>".to_owned() + &good,
            ["line 1", "document type"],
        ),
        (
            "x".repeat(3 << 20),
            ["3145728 bytes", "at most 1048576 bytes"],
        ),
        (String::new(), ["line 1", "no element"]),
    ] {
        fs::write(&path, bad).expect("written");
        for command in [
            "map b",
            "info b",
            "check b",
            "snapshot list b",
            "snapshot create b",
            "compact b",
            "grow b 1G",
        ] {
            let all = [&["b/DiskDescriptor.xml: "], words.as_slice()].concat();
            tool(dir, command).refused(&all);
        }
    }
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("made");
    tool(dir, "map b").refused(&["b/DiskDescriptor.xml: cannot read"]);
    fs::remove_dir(&path).expect("removed");
    std::os::unix::fs::symlink("/dev/null", &path).expect("linked");
    tool(dir, "map b").refused(&["b/DiskDescriptor.xml: cannot read", "symbolic link"]);
    fs::remove_file(&path).expect("removed");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("made");
    tool(dir, "map b").refused(&["b/DiskDescriptor.xml: cannot read", "regular file"]);
}

#[test]
fn a_descriptor_that_contradicts_its_image_is_told_and_the_image_counts() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    let path = dir.join("b/DiskDescriptor.xml");
    let good = fs::read_to_string(&path).expect("read");
    for (right, wrong, words) in [
        ("<Disk_size>8192<", "<Disk_size>8000<", "Disk_size = 8000: "),
        ("<End>8192<", "<End>9000<", "End = 9000: "),
        ("<Blocksize>128<", "<Blocksize>2048<", "Blocksize = 2048: "),
    ] {
        assert!(good.contains(right), "{good}");
        fs::write(&path, good.replace(right, wrong)).expect("written");
        for command in ["info b --json", "map b", "convert b x", "compact b"] {
            let ended = tool(dir, command);
            assert_eq!(ended.code, 0, "{ended:?}");
            assert_eq!(ended.err.lines().count(), 1, "{ended:?}");
            for part in ["warning: b/DiskDescriptor.xml: ", words, "b/root.hds has "] {
                assert!(ended.err.contains(part), "{part:?} is missing in {ended:?}");
            }
        }
        assert_eq!(fs::metadata(dir.join("x")).expect("made").len(), 4 << 20);
        fs::remove_file(dir.join("x")).expect("removed");
        let info = tool(dir, "info b --json").json();
        assert_eq!(info[0]["cluster-size"], 64 << 10);
    }
}

#[test]
fn one_file_under_two_names_is_refused_by_all() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    let written = top(dir);
    fs::remove_file(&written).expect("removed");
    fs::hard_link(dir.join("b/root.hds"), &written).expect("linked");
    let lock = dir.join("b/DiskDescriptor.xml.lck");
    assert!(lock.exists());
    for command in [
        "snapshot list b".to_owned(),
        "snapshot create b".to_owned(),
        format!("snapshot switch b {ONE}"),
        "snapshot merge b".to_owned(),
        "info b".to_owned(),
        "compact b".to_owned(),
    ] {
        leaves_alone(&dir.join("b"), &command.replace(" b", " .")).refused(&[
            "DiskDescriptor.xml: ",
            "root.hds",
            "the same file",
            "two names",
        ]);
    }
}

/// Somebody holds a lock on a file.
struct Locked(fs::File);

impl Locked {
    fn new(path: &Path, lock: FlockOperation) -> Locked {
        let file = fs::File::open(path).expect("opened");
        flock(&file, lock).expect("locked");
        Locked(file)
    }
}

impl Drop for Locked {
    /// A child that another test has just forked has the descriptor, too.
    fn drop(&mut self) {
        flock(&self.0, FlockOperation::Unlock).expect("unlocked");
    }
}

#[test]
fn a_bundle_in_use_is_not_changed() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    tool(dir, &format!("snapshot create b --guid {TWO}")).fine();
    let changes = [
        "snapshot create b".to_owned(),
        format!("snapshot switch b {ONE}"),
        format!("snapshot delete b {ONE}"),
        "snapshot merge b".to_owned(),
        "grow b 8M".to_owned(),
    ];
    let before = fs::read(dir.join("b/DiskDescriptor.xml")).expect("read");
    let refuses = |commands: &[String], word: &str| {
        for command in commands {
            let ended: Ended = tool(dir, command);
            ended.refused(&["in use", word]);
            assert!(
                fs::read(dir.join("b/DiskDescriptor.xml")).expect("read") == before,
                "{command}"
            );
        }
    };
    // Served, or another tool is at it.
    let served = Locked::new(&top(dir), FlockOperation::LockExclusive);
    refuses(&changes, "locked it");
    drop(served);
    let other = Locked::new(
        &dir.join("b/DiskDescriptor.xml.lck"),
        FlockOperation::LockExclusive,
    );
    refuses(&changes, "changing this bundle");
    refuses(&["compact b".to_owned()], "changing this bundle");
    drop(other);
    // A reader of a snapshot stands in the way of a merge of its file only.
    let reader = Locked::new(&dir.join("b/root.hds"), FlockOperation::LockShared);
    refuses(&[format!("snapshot delete b {ONE}")], "root.hds");
    tool(dir, &format!("snapshot create b --guid {THREE}")).fine();
    drop(reader);
    assert_eq!(list(dir).len(), 4);
    sound(dir);
}
