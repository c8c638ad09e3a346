//! Copy on write through the core over lower files that QEMU made, read back by QEMU with backing files.

use std::path::Path;

use crate::guest::Guest;
use crate::support::{noise, qemu};
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
