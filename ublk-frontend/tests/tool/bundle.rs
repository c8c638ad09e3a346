//! Bundles: made, changed and read by the tool; every file of them read by QEMU, every state compared with what it must show.

mod outside;
mod refusals;

use std::fs;
use std::path::{Path, PathBuf};

use model::image::{Image, Level, read_sector};
use serde_json::Value;

use crate::support::qemu::{chain_options, img_ok, io};
use crate::support::{noise, tool};
use crate::{dir, leaves_alone};

const ONE: &str = "{11111111-1111-1111-1111-111111111111}";
const TWO: &str = "{22222222-2222-2222-2222-222222222222}";
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
    let command = format!("convert b --to raw {} out.raw", option.unwrap_or_default());
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

/// The same by QEMU, which is told what stands on what.
fn by_qemu(dir: &Path) -> Vec<u8> {
    let rows = list(dir);
    let mut chain: Vec<String> = Vec::new();
    let mut at = rows.iter().find(|row| row["top"] == true);
    while let Some(row) = at {
        chain.insert(0, row["file"].as_str().expect("a file").to_owned());
        at = rows.iter().find(|other| other["guid"] == row["parent"]);
    }
    let options = chain_options(dir, &chain);
    img_ok(dir, &format!("convert --image-opts {options} -O raw q.raw"));
    let bytes = fs::read(dir.join("q.raw")).expect("read");
    fs::remove_file(dir.join("q.raw")).expect("removed");
    bytes
}

/// Every image is sound for QEMU and for us, there are no files but those of the descriptor, and three readers agree.
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
    assert!(by_qemu(dir) == disk, "QEMU sees another disk");
    assert!(
        naive(dir)[..disk.len().min(SIZE)] == disk[..disk.len().min(SIZE)],
        "two readers disagree"
    );
    disk
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
fn a_switch_that_saves_can_be_given_again() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    write(dir, 0x11, 0, 4);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    write(dir, 0x22, 2, 4);
    let (first, second) = (disk(dir, Some(ONE)), disk(dir, None));
    let command = format!("snapshot switch b {ONE} --save --guid {TWO} --json");
    let done = tool(dir, &command).json();
    assert_eq!(
        (&done["saved"], &done["again"]),
        (&TWO.into(), &false.into())
    );
    let (before, written) = (list(dir), top(dir));
    // Killed behind its commit, nobody knows; so it is given again, and again.
    for _ in 0..2 {
        let ended = tool(dir, &command);
        assert!(ended.err.contains("it was done before"), "{ended:?}");
        let again = ended.json();
        assert_eq!(
            (&again["saved"], &again["again"]),
            (&TWO.into(), &true.into())
        );
        assert_eq!(again["file"], done["file"]);
        assert_eq!(list(dir), before);
    }
    assert_eq!(top(dir), written);
    assert!(sound(dir) == first && disk(dir, Some(TWO)) == second);
    // Something was written meanwhile: that is another wish, and its name is taken.
    write(dir, 0x33, 0, 1);
    let third = disk(dir, None);
    tool(dir, &command).refused(&["b: ", TWO, "used already"]);
    assert!(sound(dir) == third);
    // The same where the disk stands elsewhere, and without anything to be saved.
    tool(dir, &format!("snapshot switch b {TWO}")).fine();
    tool(dir, &command).refused(&["b: ", TWO, "used already"]);
    tool(dir, &format!("snapshot switch b {ONE} --guid {TWO}")).refused(&["--save"]);
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
fn repaired_bundles() {
    let dir = dir();
    let dir = dir.path();
    init(dir);
    write(dir, 0x11, 0, 4);
    tool(dir, &format!("snapshot create b --guid {ONE}")).fine();
    write(dir, 0x22, 2, 4);
    let before = sound(dir);
    // The top: not closed, a shared cluster, and something behind the end.
    let top = top(dir);
    let mut bytes = fs::read(&top).expect("read");
    bytes[44..48].copy_from_slice(&0x746F_6E59u32.to_le_bytes());
    bytes.copy_within(64 + 4 * 2..64 + 4 * 3, 64 + 4 * 3);
    bytes.extend(noise(2 * CLUSTER, 1));
    fs::write(&top, &bytes).expect("written");
    assert_eq!(tool(dir, "check b").code, 2);
    tool(dir, "snapshot create b").refused(&["BAT[3]"]);
    let report = tool(dir, "check --repair --json b");
    assert_eq!(report.code, 0, "{report:?}");
    let report = &report.json()[0];
    assert_eq!(report["corruptions"], 0);
    assert!(report["corruptions-fixed"].as_u64() >= Some(2), "{report}");
    assert!(report["leaks-fixed"].as_u64() >= Some(2), "{report}");
    assert!(!report["fixes"].as_array().expect("a list").is_empty());
    let mut after = before;
    after.copy_within(2 * CLUSTER..3 * CLUSTER, 3 * CLUSTER);
    assert!(sound(dir) == after);
    // A second time there is nothing to do.
    let ended = leaves_alone(dir, "check --repair b");
    assert_eq!(
        (ended.code, ended.out.contains("Repaired")),
        (0, false),
        "{ended:?}"
    );
    tool(dir, "snapshot create b").fine();
}
