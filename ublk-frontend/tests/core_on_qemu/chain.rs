//! Copy on write through the core over lower files that QEMU made, read back by QEMU with backing files.

use std::path::Path;

use model::image::{Image as Reader, Level, read_sector};
use ploop_core::Options;
use ploop_core::units::Sector;

use crate::guest::{Guest, open};
use crate::support::image::Image;
use crate::support::{noise, qemu, tool};
use crate::{Maker, dir, make};

/// A lower file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Raw,
    Image,
}

/// Makes `base` of `bytes` bytes with data here and there. Returns what its disk holds.
fn make_base(dir: &Path, base: Base, cluster: u64, bytes: u64) -> Vec<u8> {
    let mut holds = vec![0; bytes as usize];
    match base {
        Base::Raw => {
            holds = noise(bytes as usize, 77);
            holds[200_000..400_000].fill(0);
            std::fs::write(dir.join("base"), &holds).expect("raw file");
        }
        Base::Image => {
            make(dir, "base", Maker::Qemu, cluster, bytes / 512);
            let end = bytes - 512;
            let commands = [
                "write -P 0x11 0 64k".to_owned(),
                "write -P 0x22 300k 333k".to_owned(),
                "write -P 0x33 1025k 512".to_owned(),
                format!("write -P 0x44 {end} 512"),
            ];
            for (from, len, value) in [
                (0, 64 << 10, 0x11),
                (300 << 10, 333 << 10, 0x22),
                (1025 << 10, 512, 0x33),
                (end as usize, 512, 0x44),
            ] {
                holds[from..from + len].fill(value);
            }
            let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
            qemu::io(dir, "parallels", "base", &commands);
        }
    }
    holds
}

#[test]
fn a_top_of_ours_over_a_base_of_qemu() {
    let mut seed = 1000;
    for base in [Base::Raw, Base::Image] {
        for (cluster, base_bytes, size) in [
            (128, 2 << 20, 4096),
            (128, (2 << 20) + 512 * 3, 6001),
            (8, (1 << 20) + 512 * 9, 3003),
            (504, (2 << 20) + 512, 4098),
        ] {
            for maker in [Maker::Ours, Maker::Qemu, Maker::OursV1] {
                seed += 1;
                let dir = dir();
                let dir = dir.path();
                // A raw file need not even end with a sector.
                let odd = if base == Base::Raw && seed % 2 == 0 {
                    188
                } else {
                    0
                };
                let holds = make_base(dir, base, cluster, base_bytes - odd);
                let before = std::fs::read(dir.join("base")).expect("file");
                make(dir, "top", maker, cluster, size);
                let mut guest = Guest::new(dir, &["base", "top"], cluster, size, seed);
                guest.holds[..holds.len()].copy_from_slice(&holds);
                guest.holds_what_it_should();
                for _ in 0..2 {
                    guest.work(40);
                    guest.close();
                    guest.qemu_agrees();
                }
                assert!(
                    std::fs::read(dir.join("base")).expect("file") == before,
                    "{base:?}: the base changed"
                );
            }
        }
    }
}

#[test]
fn three_levels_each_written_by_the_core_while_it_was_the_top() {
    for (base, seed) in [(Base::Raw, 1), (Base::Image, 2)] {
        let dir = dir();
        let dir = dir.path();
        let (cluster, size) = (128, 5003);
        let holds = make_base(dir, base, cluster, 2 << 20);
        let mut guest = Guest::new(dir, &["base"], cluster, size, seed);
        guest.holds[..holds.len()].copy_from_slice(&holds);
        let mut names = vec!["base"];
        for (name, maker) in [("mid", Maker::Qemu), ("top", Maker::Ours)] {
            make(dir, name, maker, cluster, size);
            names.push(name);
            let holds = guest.holds;
            guest = Guest::new(dir, &names, cluster, size, seed + 50);
            guest.holds = holds;
            guest.work(30);
            guest.close();
            guest.qemu_agrees();
        }
        // The same as one raw file that QEMU makes of the chain.
        let chain: Vec<String> = names.iter().map(ToString::to_string).collect();
        let options = qemu::chain_options(dir, &chain);
        qemu::img_ok(dir, &format!("convert --image-opts {options} -O raw flat"));
        assert!(std::fs::read(dir.join("flat")).expect("file") == guest.holds);
    }
}

/// What the tool, the core, the model and QEMU read of a stack.
#[track_caller]
fn all_read(dir: &Path, names: &[&str], disk: &[u8]) {
    let chain: Vec<String> = names.iter().map(ToString::to_string).collect();
    tool(dir, &format!("convert {} ours --to raw", names.join(" "))).fine();
    assert!(
        std::fs::read(dir.join("ours")).expect("file") == disk,
        "{names:?}: the tool"
    );
    let options = qemu::chain_options(dir, &chain);
    qemu::img_ok(
        dir,
        &format!("convert --image-opts {options} -O raw theirs"),
    );
    assert!(
        std::fs::read(dir.join("theirs")).expect("file") == disk,
        "{names:?}: QEMU"
    );
    let options = Options {
        write: false,
        ..Options::default()
    };
    let mut core = vec![0xEE; disk.len()];
    let read = open(dir, &chain, options).read(Sector(0), &mut core);
    read.expect("reads");
    assert!(core == disk, "{names:?}: the core");
    let files: Vec<Vec<u8>> = (names.iter())
        .map(|name| std::fs::read(dir.join(name)).expect("file"))
        .collect();
    let levels: Vec<Level<'_>> = (files.iter())
        .map(|file| match Reader::open(file) {
            Ok(image) => Level::Image(image),
            Err(_) => Level::Raw(file),
        })
        .collect();
    for (index, expected) in disk.as_chunks::<512>().0.iter().enumerate() {
        let mut found = [0xEE; 512];
        read_sector(&levels, index as u64, &mut found);
        assert!(
            found == *expected,
            "{names:?}: the model, in sector {index}"
        );
    }
    for name in ["ours", "theirs"] {
        std::fs::remove_file(dir.join(name)).expect("removed");
    }
}

/// The level that has a cluster hides those below in all of it, also behind the end of its own disk.
#[test]
fn a_level_that_ends_inside_a_cluster_that_it_has() {
    let dir = dir();
    let dir = dir.path();
    let (low, middle) = (noise(2 * 4096, 1), noise(4096, 2));
    let image = Image::v2(8, 2).with(0, &low[..4096]);
    image.with(1, &low[4096..]).save(&dir.join("low"));
    let ends = Image::v2(8, 2).but(|image| image.nb_sectors = 9);
    ends.with(1, &middle).save(&dir.join("middle"));
    Image::v2(8, 4).save(&dir.join("top"));
    let mut disk = vec![0; 4 * 4096];
    disk[..4096].copy_from_slice(&low[..4096]);
    disk[4096..4096 + 512].copy_from_slice(&middle[..512]);
    // Nine sectors of 16 below, a disk of 32 above: what a level's disk does not reach is refused, whoever asks.
    tool(dir, "map low middle top").refused(&["low: m_SizeInSectors = 16", "than one above"]);
    Image::v2(8, 2)
        .but(|image| image.nb_sectors = 9)
        .with(0, &low[..4096])
        .with(1, &low[4096..])
        .save(&dir.join("low"));
    all_read(dir, &["low", "middle", "top"], &disk);
    all_read(
        dir,
        &["middle", "top"],
        &[vec![0; 4096], disk[4096..].to_vec()].concat(),
    );
}

/// A raw base for the kernel has whole clusters, also where the disk ends inside the last one.
#[test]
fn a_base_that_is_padded_to_whole_clusters() {
    for (base, seed) in [(Base::Raw, 1), (Base::Image, 2)] {
        let dir = dir();
        let dir = dir.path();
        let (cluster, size) = (8, 8 * 20 + 1);
        let below = noise(21 * 4096, 3);
        if base == Base::Raw {
            std::fs::write(dir.join("base"), &below).expect("written");
        } else {
            let whole = below.chunks(4096).enumerate();
            let image = whole.fold(Image::v2(8, 21), |image, (clu, data)| image.with(clu, data));
            image.save(&dir.join("base"));
        }
        make(dir, "top", Maker::Ours, cluster, size);
        all_read(dir, &["base", "top"], &below[..size as usize * 512]);
        let mut guest = Guest::new(dir, &["base", "top"], cluster, size, seed);
        let len = guest.holds.len();
        guest.holds.copy_from_slice(&below[..len]);
        guest.work(60);
        guest
            .step(crate::guest::Step::Zeroes {
                start: size - 1,
                len: 1,
                fua: true,
                unmap: false,
            })
            .expect("works");
        guest.close();
        guest.qemu_agrees();
        let disk = guest.holds.clone();
        all_read(dir, &["base", "top"], &disk);
        assert!(std::fs::read(dir.join("top")).expect("file").len() > 4096);
        // One cluster more is no padding.
        let mut longer = std::fs::read(dir.join("base")).expect("file");
        if base == Base::Raw {
            longer.push(1);
            std::fs::write(dir.join("base"), longer).expect("written");
            tool(dir, "map base top").refused(&["base: file length", "than one above"]);
        }
    }
}
