//! Dirty bitmaps: what QEMU reads of an image is what we say is dirty, and an image as Virtuozzo writes it is read.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ploop_core::control::files::{Change, change_bitmaps, grow};
use ploop_core::delta::ExtensionState;
use ploop_core::drive::{DeltaFile, Disk};
use ploop_core::format::DirtyBitmap;
use ploop_core::load::load;
use ploop_core::units::{Sector, Sectors};
use ploop_core::{Device, Options};

use super::{dir, image, open, qemu, raw_of};

const ID: [u8; 16] = [
    0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF, 0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF,
];
const NAME: &str = "01234567-89ab-cdef-0123-456789abcdef";

/// A `qemu-nbd` that offers an image and its bitmap; it ends with this value.
struct Nbd {
    child: Child,
    socket: PathBuf,
}

impl Nbd {
    fn start(dir: &Path, name: &str) -> Nbd {
        let socket = dir.join("nbd.socket");
        let child = qemu::command("qemu-nbd")
            .current_dir(dir)
            .args(["-r", "-t", "-f", "parallels", "-B", NAME, "-k"])
            .arg(&socket)
            .arg(name)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("this test needs qemu-nbd: apt-get install qemu-utils");
        let mut nbd = Nbd { child, socket };
        let until = Instant::now() + Duration::from_secs(20);
        while !nbd.socket.exists() {
            let ended = nbd.child.try_wait().expect("its state");
            assert!(
                ended.is_none(),
                "qemu-nbd offers no bitmap {NAME}: {ended:?}"
            );
            assert!(Instant::now() < until, "qemu-nbd does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        nbd
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// What QEMU says is dirty: (first sector, sectors).
fn as_qemu_sees(dir: &Path, name: &str) -> Vec<(u64, u64)> {
    let nbd = Nbd::start(dir, name);
    let map = qemu::img_ok(
        dir,
        &format!(
            "map --output=json --image-opts driver=nbd,server.type=unix,server.path={},x-dirty-bitmap=qemu:dirty-bitmap:{NAME}",
            nbd.socket.display()
        ),
    );
    let map: serde_json::Value = serde_json::from_str(&map).expect("JSON");
    let number = |extent: &serde_json::Value, key| extent[key].as_u64().expect("a number") / 512;
    // Through this option a dirty range is shown as one that is not there.
    let dirty = map.as_array().expect("a list").iter();
    dirty
        .filter(|extent| extent["data"] == false)
        .map(|extent| (number(extent, "start"), number(extent, "length")))
        .collect()
}

fn bitmap(dir: &Path, name: &str) -> DirtyBitmap {
    let loaded = load(&open(dir, name), name).expect("loads");
    let image = loaded.expanded().expect("an image");
    assert_eq!(image.extension, ExtensionState::Valid);
    image.bitmaps[0].clone()
}

fn ranges(bitmap: &DirtyBitmap) -> Vec<(u64, u64)> {
    bitmap.ranges().map(|(at, len)| (at.0, len.0)).collect()
}

/// QEMU finds nothing worse than bitmaps behind the data, which its `check` takes for leaks up to version 10.
fn check(dir: &Path, name: &str) {
    let ended = qemu::img(dir, &format!("check -q -f parallels {name}"));
    assert!(matches!(ended.code, 0 | 3), "{ended:?}");
    qemu::img_ok(dir, &format!("info -f parallels {name}"));
}

fn write(dir: &Path, name: &str, writes: &[(u64, u64)]) {
    let file = open(dir, name);
    let loaded = load(&file, name).expect("loads");
    let files: Vec<Box<dyn DeltaFile>> = vec![Box::new(file)];
    let mut disk = Disk::open(vec![loaded], files, Options::default()).expect("opens");
    for &(at, sectors) in writes {
        let bytes = vec![0x5A; (sectors * 512) as usize];
        disk.write(Sector(at), &bytes, false).expect("writes");
    }
    Device::verify(disk.device());
    disk.close().expect("closes");
}

#[test]
fn qemu_reads_the_bitmaps_that_are_saved() {
    for cluster in ["512", "4096", "64k"] {
        let dir = dir();
        let dir = dir.path();
        image(dir, "a", cluster, "4M");
        let start = Change::Start {
            id: ID,
            granularity: 8,
        };
        change_bitmaps(&open(dir, "a"), "a", start).expect("starts");
        check(dir, "a");
        assert_eq!(as_qemu_sees(dir, "a"), []);
        write(dir, "a", &[(100, 9), (7000, 300)]);
        check(dir, "a");
        let dirty = vec![(96, 16), (7000, 304)];
        assert_eq!(
            (as_qemu_sees(dir, "a"), ranges(&bitmap(dir, "a"))),
            (dirty.clone(), dirty)
        );
        raw_of(dir, "a", "raw");
        grow(&open(dir, "a"), "a", Sectors(20_000)).expect("grows");
        write(dir, "a", &[(0, 1)]);
        check(dir, "a");
        let dirty = vec![(0, 8), (96, 16), (7000, 304), (8192, 20_000 - 8192)];
        assert_eq!(
            (as_qemu_sees(dir, "a"), ranges(&bitmap(dir, "a"))),
            (dirty.clone(), dirty)
        );
    }
}

/// As Virtuozzo leaves an image: data, the bitmap's cluster, the extension's cluster last; 64 KiB granules.
#[test]
fn a_bitmap_that_others_wrote_goes_on() {
    let dir = dir();
    let dir = dir.path();
    image(dir, "a", "64k", "4M");
    let mut bytes = std::fs::read(dir.join("a")).expect("the image");
    let end = bytes.len().next_multiple_of(65536);
    bytes.resize(end + 2 * 65536, 0);
    // Granules 5, 6, 10, 11, 12 and 30.
    bytes[end..end + 4].copy_from_slice(&[0x60, 0x1C, 0, 0x40]);
    let mut list = Vec::new();
    for word in [0x2038_5FAE_252C_B34A_u64, 0, 40, 8192] {
        list.extend(word.to_le_bytes());
    }
    list.extend(ID);
    list.extend(128_u32.to_le_bytes());
    list.extend(1_u32.to_le_bytes());
    list.extend((end as u64 / 512).to_le_bytes());
    list.resize(65536 - 24, 0);
    let at = end + 65536;
    bytes[at..at + 8].copy_from_slice(&0xAB23_4CEF_23DC_EA87_u64.to_le_bytes());
    bytes[at + 8..at + 24].copy_from_slice(&md5::compute(&list).0);
    bytes[at + 24..at + 65536].copy_from_slice(&list);
    bytes[44..48].copy_from_slice(b"v2.1");
    bytes[56..64].copy_from_slice(&(at as u64 / 512).to_le_bytes());
    std::fs::write(dir.join("a"), &bytes).expect("written");
    let mut dirty = vec![(640, 256), (1280, 384), (3840, 128)];
    assert_eq!(
        (as_qemu_sees(dir, "a"), ranges(&bitmap(dir, "a"))),
        (dirty.clone(), dirty.clone())
    );
    write(dir, "a", &[(8191, 1)]);
    check(dir, "a");
    dirty.push((8064, 128));
    assert_eq!(
        (as_qemu_sees(dir, "a"), ranges(&bitmap(dir, "a"))),
        (dirty.clone(), dirty)
    );
}
