//! Bundles: made, changed and read by the tool; every file of them read by QEMU, every state compared with what it must show.

use std::fs;
use std::path::{Path, PathBuf};

use model::image::{Image, Level, read_sector};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::support::qemu::{img_ok, io};
use crate::support::{Ended, noise, tool};
use crate::{dir, leaves_alone};

const ONE: &str = "{11111111-1111-1111-1111-111111111111}";
const TWO: &str = "{22222222-2222-2222-2222-222222222222}";
const THREE: &str = "{33333333-3333-3333-3333-333333333333}";
const NOBODY: &str = "{77777777-7777-7777-7777-777777777777}";
const SIZE: usize = 4 << 20;
const CLUSTER: usize = 64 << 10;

fn init(dir: &Path) {
    tool(dir, "init b --size 4M --cluster 64K").fine();
}

fn list(dir: &Path) -> Vec<Value> {
    let rows = tool(dir, "snapshot list b --json").json();
    rows.as_array().expect("a list").clone()
}

/// The file that is written.
fn top(dir: &Path) -> PathBuf {
    let rows = list(dir);
    let top = rows.iter().find(|row| row["top"] == true).expect("a top");
    dir.join(top["file"].as_str().expect("a file"))
}

/// Writes a pattern to the disk with QEMU, which knows nothing of what stands below: whole clusters.
fn write(dir: &Path, pattern: u8, cluster: usize, count: usize) {
    let image = top(dir).display().to_string();
    let (at, len) = (cluster * CLUSTER, count * CLUSTER);
    io(
        dir,
        "parallels",
        &image,
        &[&format!("write -P {pattern} {at} {len}")],
    );
}

/// The disk, or a snapshot of it, as the tool reads it.
fn disk(dir: &Path, snapshot: Option<&str>) -> Vec<u8> {
    let option = snapshot.map(|guid| format!("--snapshot {guid}"));
    let command = format!("convert b out.raw --to raw {}", option.unwrap_or_default());
    leaves_alone(dir, &command).fine();
    let bytes = fs::read(dir.join("out.raw")).expect("read");
    fs::remove_file(dir.join("out.raw")).expect("removed");
    bytes
}

/// The same by another reader: the naive one of the model, on the chain that the list tells.
fn naive(dir: &Path) -> Vec<u8> {
    let rows = list(dir);
    let mut chain: Vec<Vec<u8>> = Vec::new();
    let mut at = rows.iter().find(|row| row["top"] == true);
    while let Some(row) = at {
        let file = dir.join(row["file"].as_str().expect("a file"));
        chain.insert(0, fs::read(file).expect("read"));
        at = rows.iter().find(|other| other["guid"] == row["parent"]);
    }
    let levels: Vec<Level<'_>> = chain
        .iter()
        .map(|bytes| match Image::open(bytes) {
            Ok(image) => Level::Image(image),
            Err(_) => Level::Raw(bytes),
        })
        .collect();
    let mut disk = Vec::new();
    for sector in 0..(SIZE / 512) as u64 {
        let mut buf = [0; 512];
        read_sector(&levels, sector, &mut buf);
        disk.extend(buf);
    }
    disk
}

/// Every image is sound for QEMU and for us, there are no files but those of the descriptor, and two readers agree.
#[track_caller]
fn sound(dir: &Path) -> Vec<u8> {
    let mut names: Vec<String> = vec!["DiskDescriptor.xml".into(), "DiskDescriptor.xml.lck".into()];
    for row in list(dir) {
        let file = PathBuf::from(row["file"].as_str().expect("a file"));
        names.push(
            file.file_name()
                .expect("name")
                .to_string_lossy()
                .into_owned(),
        );
        let bytes = fs::read(dir.join(&file)).expect("read");
        if bytes.starts_with(b"Withou") {
            img_ok(dir, &format!("check -f parallels {}", file.display()));
            assert_eq!(tool(dir, &format!("check {}", file.display())).code, 0);
        }
    }
    names.sort();
    let mut found: Vec<String> = fs::read_dir(dir.join("b"))
        .expect("folder")
        .map(|entry| {
            entry
                .expect("entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    assert_eq!(found, names);
    assert_eq!(tool(dir, "check b").code, 0);
    let disk = disk(dir, None);
    assert!(
        naive(dir)[..disk.len().min(SIZE)] == disk[..disk.len().min(SIZE)],
        "two readers disagree"
    );
    disk
}

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
fn a_life_with_snapshots() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    write(dir, 0x11, 0, 4);
    let first = sound(dir);
    assert!(first[..4 * CLUSTER].iter().all(|byte| *byte == 0x11));
    assert_eq!(
        tool(dir, &format!("snapshot create b --guid {ONE}"))
            .fine()
            .trim(),
        ONE
    );
    write(dir, 0x22, 2, 4);
    let second = sound(dir);
    assert!(second[CLUSTER] == 0x11 && second[2 * CLUSTER] == 0x22);
    let made = tool(
        dir,
        &format!("snapshot create b --json --guid {}", &TWO[1..37]),
    )
    .json();
    assert_eq!(made["snapshot"], TWO);
    write(dir, 0x33, 5, 2);
    let third = sound(dir);
    // Each is shown as it was.
    assert!(disk(dir, Some(ONE)) == first);
    assert!(disk(dir, Some(TWO)) == second);
    assert!(disk(dir, None) == third);
    // Back, and the third kept.
    let saved = tool(dir, &format!("snapshot switch b {ONE} --save")).fine();
    let saved = saved.trim();
    assert!(sound(dir) == first);
    assert!(disk(dir, Some(saved)) == third);
    write(dir, 0x44, 0, 1);
    assert!(sound(dir)[0] == 0x44);
    // Back again, and what was written since is dropped.
    let dropped = top(dir);
    tool(dir, &format!("snapshot switch b {saved}")).fine();
    assert!(!dropped.exists());
    assert!(sound(dir) == third);
    // The middle goes, and what stands on it stays.
    tool(dir, &format!("snapshot delete b {TWO}")).fine();
    assert!(sound(dir) == third);
    assert!(disk(dir, Some(saved)) == third);
    assert_eq!(list(dir).len(), 3);
    // Everything into one file.
    tool(dir, "snapshot merge b").fine();
    tool(dir, "snapshot merge b --json").json();
    assert_eq!(list(dir).len(), 1);
    assert!(sound(dir) == third);
    tool(dir, "snapshot merge b").refused(&["the oldest"]);
    let only = top(dir).display().to_string();
    img_ok(dir, &format!("convert -f parallels -O raw {only} q.raw"));
    assert!(fs::read(dir.join("q.raw")).expect("read") == third);
}

#[test]
fn a_snapshot_with_two_above_is_marked_and_goes_later() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    write(dir, 0x11, 0, 4);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    write(dir, 0x22, 1, 1);
    tool(dir, &format!("snapshot create b --guid {TWO}")).fine();
    tool(dir, &format!("snapshot switch b {ONE}")).fine();
    let before = sound(dir);
    let two = disk(dir, Some(TWO));
    let ended = tool(dir, &format!("snapshot delete b {ONE} --json"));
    assert_eq!(ended.json()["removed"], false);
    assert!(ended.err.contains("several snapshots"), "{ended:?}");
    assert!(
        tool(dir, "snapshot list b")
            .fine()
            .contains("being deleted")
    );
    tool(dir, &format!("convert b x --snapshot {ONE}")).refused(&[ONE, "being deleted"]);
    tool(dir, &format!("snapshot switch b {ONE}")).refused(&[ONE, "being deleted"]);
    assert!(sound(dir) == before && disk(dir, Some(TWO)) == two);
    tool(dir, &format!("snapshot delete b {TWO}")).fine();
    assert_eq!(list(dir).len(), 1);
    assert!(sound(dir) == before);
}

#[test]
fn a_raw_base() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    // It even looks like an image: the descriptor says what it is.
    let mut raw = noise(SIZE, 5);
    raw[..16].copy_from_slice(b"WithouFreSpacExt");
    fs::write(dir.join("b/root.hds"), &raw).expect("written");
    let path = dir.join("b/DiskDescriptor.xml");
    let text = fs::read_to_string(&path).expect("read");
    fs::write(
        &path,
        text.replace("Compressed", "Plain")
            .replace(">128<", ">2048<"),
    )
    .expect("written");
    assert!(disk(dir, None) == raw);
    tool(dir, "grow b 8M").refused(&["b: ", "raw disk"]);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    assert!(disk(dir, None) == raw);
    let info = tool(dir, "info b --json").json();
    assert_eq!(info[0]["cluster-size"], 1 << 20);
    assert_eq!(info[1]["format"], "raw");
    // Merged, the raw disk is gone: what is written cannot be one.
    tool(dir, "snapshot merge b").fine();
    assert!(disk(dir, None) == raw);
    let text = fs::read_to_string(&path).expect("read");
    assert!(
        text.contains("Compressed") && !text.contains("Plain"),
        "{text}"
    );
    img_ok(dir, &format!("check -f parallels {}", top(dir).display()));
}

#[test]
fn grown_disks() {
    let dir = dir();
    let dir = dir.path();
    // So small that data stands where the longer table will.
    tool(dir, "init b --size 4M --cluster 4K").fine();
    write(dir, 0x11, 0, 4);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    write(dir, 0x22, 3, 2);
    let before = sound(dir);
    let grown = tool(dir, "grow b 64M --json").json();
    assert_eq!(
        (&grown["size-before"], &grown["size"]),
        (&SIZE.into(), &(64u64 << 20).into())
    );
    let text = fs::read_to_string(dir.join("b/DiskDescriptor.xml")).expect("read");
    assert!(
        text.contains("<Disk_size>131072</Disk_size>") && text.contains("<End>131072</End>"),
        "{text}"
    );
    for row in list(dir) {
        img_ok(
            dir,
            &format!("check -f parallels {}", row["file"].as_str().expect("file")),
        );
    }
    let after = disk(dir, None);
    assert!(after[..SIZE] == before && after[SIZE..].iter().all(|byte| *byte == 0));
    // A merge into the smaller one below, from either side.
    write(dir, 0x33, 900, 1);
    let before = disk(dir, None);
    tool(dir, "snapshot merge b").fine();
    assert!(disk(dir, None) == before);
    img_ok(dir, &format!("check -f parallels {}", top(dir).display()));
    // A file alone.
    tool(dir, "create a.hdd --size 4M --cluster 4K").fine();
    io(dir, "parallels", "a.hdd", &["write -P 0x55 64k 1M"]);
    img_ok(dir, "convert -f parallels -O raw a.hdd a.raw");
    tool(dir, "grow a.hdd 96M").fine();
    img_ok(dir, "check -f parallels a.hdd");
    img_ok(dir, "resize -f raw a.raw 96M");
    img_ok(dir, "compare -f parallels -F raw a.hdd a.raw");
    leaves_alone(dir, "grow a.hdd 10M").refused(&["a.hdd: ", "smaller"]);
    leaves_alone(dir, "grow nowhere 1G").refused(&["nowhere: cannot open"]);
}

#[test]
fn compacted_images() {
    let dir = dir();
    let dir = dir.path();
    tool(dir, "create a.hdd --size 8M --cluster 64K").fine();
    io(
        dir,
        "parallels",
        "a.hdd",
        &["write -P 0x55 0 4M", "discard 0 2M", "write -P 0x66 7M 64k"],
    );
    img_ok(dir, "convert -f parallels -O raw a.hdd a.raw");
    let report = tool(dir, "compact a.hdd --json").json();
    assert!(
        report["file-length"].as_u64() <= report["file-length-before"].as_u64(),
        "{report}"
    );
    assert_eq!(tool(dir, "check a.hdd").code, 0);
    img_ok(dir, "check -f parallels a.hdd");
    img_ok(dir, "compare -f parallels -F raw a.hdd a.raw");
    init(dir);
    write(dir, 0x11, 0, 9);
    tool(dir, "snapshot create b").fine();
    write(dir, 0x22, 3, 2);
    let before = sound(dir);
    assert_eq!(
        tool(dir, "defrag b --json").json().as_array().map(Vec::len),
        Some(2)
    );
    assert!(sound(dir) == before);
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
            ["the descriptor", "at most 1048576 bytes"],
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
