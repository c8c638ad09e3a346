//! `check` ends as `qemu-img check` does, on damaged images on which QEMU's lives through it and is right. (It
//! also says "corrupt" where the header makes no sense at all: half a header, clusters larger than it would open.)

use crate::dir;
use crate::support::image::{DIRTY, Image};
use crate::support::{noise, qemu, tool};

const TRACKS: u32 = 128;
const CLUSTER: usize = TRACKS as usize * 512;

fn sample() -> Image {
    Image::v2(TRACKS, 10)
        .with(1, &noise(CLUSTER, 1))
        .with(2, &noise(CLUSTER, 2))
        .with(7, &noise(CLUSTER, 3))
}

fn v1(data_off: u32) -> Image {
    sample().but(|image| {
        image.magic = *b"WithoutFreeSpace";
        image.bat.iter_mut().for_each(|entry| *entry *= TRACKS);
        image.data_off = data_off;
    })
}

#[test]
fn exit_codes_are_those_of_qemu() {
    let table: Vec<(&str, i32, Vec<u8>)> = vec![
        ("sound", 0, sample().bytes()),
        ("nothing in it", 0, Image::v2(TRACKS, 10).bytes()),
        ("no disk", 0, Image::v2(TRACKS, 0).bytes()),
        ("version 1", 0, v1(TRACKS).bytes()),
        ("version 1, start of data 0", 0, v1(0).bytes()),
        (
            "another program's mark",
            0,
            sample()
                .but(|image| image.in_use = u32::from_le_bytes(*b"pd17"))
                .bytes(),
        ),
        (
            "never written, says the flag",
            0,
            sample().but(|image| image.flags = 1).bytes(),
        ),
        (
            "not closed",
            2,
            sample().but(|image| image.in_use = DIRTY).bytes(),
        ),
        (
            "a cluster used twice",
            2,
            sample().but(|image| image.bat[5] = 1).bytes(),
        ),
        (
            "start of data 0",
            2,
            sample().but(|image| image.data_off = 0).bytes(),
        ),
        (
            "start of data beyond the end",
            2,
            sample().but(|image| image.data_off = u32::MAX).bytes(),
        ),
        (
            "a cluster too many",
            3,
            [sample().bytes(), noise(CLUSTER, 9)].concat(),
        ),
        (
            "the last clusters unused",
            3,
            sample().but(|image| image.bat[7] = 0).bytes(),
        ),
        (
            "unused and not closed",
            2,
            sample()
                .but(|image| {
                    image.bat[7] = 0;
                    image.in_use = DIRTY;
                })
                .bytes(),
        ),
        ("no bytes", 1, Vec::new()),
        (
            "another magic",
            1,
            sample()
                .but(|image| image.magic = *b"WithoutFreeSpacX")
                .bytes(),
        ),
        (
            "another type",
            1,
            sample().but(|image| image.version = 3).bytes(),
        ),
        (
            "clusters of nothing",
            1,
            sample().but(|image| image.tracks = 0).bytes(),
        ),
        (
            "a table too long for any reader",
            1,
            sample().but(|image| image.bat_entries = u32::MAX).bytes(),
        ),
    ];
    let dir = dir();
    let dir = dir.path();
    let mut wrong = Vec::new();
    for (name, code, bytes) in table {
        std::fs::write(dir.join("a.hdd"), &bytes).expect("image");
        let ours = tool(dir, "check a.hdd");
        let theirs = qemu::img(dir, "check -f parallels a.hdd");
        if (ours.code, theirs.code) != (code, code) {
            wrong.push(format!("{name}: {code} / {} / {}", ours.code, theirs.code));
        }
        assert!(std::fs::read(dir.join("a.hdd")).expect("image") == bytes);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
