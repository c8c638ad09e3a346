//! Thousands of damaged images through every command: no panic, no change, and the commands agree with each other.

use std::path::Path;

use clap::Parser;
use ublk_frontend::cli::Cli;
use ublk_frontend::tool::{self, ToolError, Verdict};

use crate::support::image::{DIRTY, Image};
use crate::support::noise;
use crate::{dir, read};

/// Sectors in a cluster here.
const TRACKS: u32 = 8;
const CLUSTER: usize = TRACKS as usize * 512;
const IMAGES: u64 = 1000;

/// A stream of numbers; the same for the same seed.
struct Dice(u64);

impl Dice {
    /// A number below `n`.
    fn roll(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len() as u64) as usize]
    }
}

/// An image with some fields that are unusual, at a limit, or wild; sometimes cut, sometimes with a byte changed.
fn bytes_of(dice: &mut Dice) -> Vec<u8> {
    let mut image = Image::v2(TRACKS, 12);
    for clu in [3, 0, 7, 8, 11] {
        image = image.with(clu, &noise(CLUSTER, clu as u64 + 1));
    }
    for _ in 0..dice.roll(4) {
        let wild = dice.roll(1 << 32) as u32;
        let number = dice.pick(&[
            0,
            1,
            2,
            7,
            8,
            9,
            12,
            13,
            16,
            63,
            64,
            1 << 29,
            u32::MAX / 4,
            u32::MAX,
            wild,
        ]);
        match dice.roll(10) {
            0 => image.tracks = number,
            1 => image.bat_entries = number,
            2 => image.nb_sectors = u64::from(number) << dice.pick(&[0, 31, 32]),
            3 => image.in_use = dice.pick(&[DIRTY, u32::from_le_bytes(*b"v2.1"), number]),
            4 => image.data_off = number,
            5 => image.ext_off = u64::from(number),
            6 => image.magic = *b"WithoutFreeSpace",
            7 => image.flags = number,
            _ => image.bat[dice.roll(12) as usize] = number,
        }
    }
    let mut bytes = image.bytes();
    let len = bytes.len() as u64;
    match dice.roll(6) {
        0 => bytes.truncate(dice.roll(len) as usize),
        1 => bytes[dice.roll(128) as usize] ^= 1 << dice.roll(8),
        2 => bytes.extend(noise(dice.roll(9000) as usize, 5)),
        _ => {}
    }
    bytes
}

fn run(dir: &Path, command: &[&str], files: &[&str]) -> Result<(Verdict, Vec<u8>), ToolError> {
    let paths = files.iter().map(|file| dir.join(file).into_os_string());
    let words = std::iter::once("ploop-ublk")
        .chain(command.iter().copied())
        .map(Into::into);
    let cli = Cli::try_parse_from(words.chain(paths)).expect("a valid command line");
    let mut out = Vec::new();
    let verdict = tool::run(&cli.command, &mut out)?;
    Ok((verdict, out))
}

/// Converts, and returns the disk.
fn convert(dir: &Path, command: &[&str]) -> Result<Vec<u8>, ToolError> {
    run(dir, command, &["a.hdd", "out"])?;
    let disk = read(dir, "out");
    std::fs::remove_file(dir.join("out")).expect("removed");
    Ok(disk)
}

#[test]
fn damaged_images_are_judged_alike_by_all_commands() {
    let dir = dir();
    let dir = dir.path();
    // Sound, corrupt, leaking, hopeless: each has to come up often, or this test tests nothing.
    let mut seen = [0; 4];
    for seed in 1..=IMAGES {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let bytes = bytes_of(&mut dice);
        std::fs::write(dir.join("a.hdd"), &bytes).expect("written");

        let check = run(dir, &["check", "--json"], &["a.hdd"]).map(|(verdict, _)| verdict);
        let info = run(dir, &["info"], &["a.hdd"]);
        let map = run(dir, &["map", "--json"], &["a.hdd"]);
        let large = bytes.len() > 64 && claimed_size(&bytes) > 1 << 30;
        if !large {
            let sound = convert(dir, &["convert", "--to", "raw"]);
            let salvaged = convert(dir, &["convert", "--to", "raw", "--salvage"]);
            assert_eq!(sound.is_ok(), map.is_ok(), "seed {seed}: {sound:?} {map:?}");
            match (sound, salvaged) {
                (Ok(sound), Ok(salvaged)) => assert!(
                    sound == salvaged,
                    "seed {seed}: salvage changes a sound disk"
                ),
                (Ok(_), Err(error)) => panic!("seed {seed}: {error}"),
                (Err(_), salvaged) => assert_eq!(salvaged.is_ok(), info.is_ok(), "seed {seed}"),
            }
        }
        match check {
            Ok(Verdict::Fine | Verdict::Leaks) => {
                assert!(map.is_ok() && info.is_ok(), "seed {seed}: {map:?} {info:?}")
            }
            Ok(Verdict::Corrupt) => assert!(info.is_ok(), "seed {seed}: {info:?}"),
            Err(_) => {}
        }
        seen[check.map_or(1, |verdict| verdict as usize)] += 1;
        assert!(
            read(dir, "a.hdd") == bytes,
            "seed {seed}: the image changed"
        );
    }
    assert!(seen.iter().all(|count| *count > IMAGES / 100), "{seen:?}");
}

/// The virtual size in the header, in bytes, or what the table could map if that is less.
fn claimed_size(bytes: &[u8]) -> u64 {
    let field = |at: usize| {
        u64::from(u32::from_le_bytes([
            bytes[at],
            bytes[at + 1],
            bytes[at + 2],
            bytes[at + 3],
        ]))
    };
    let sectors = field(36) | field(40) << 32;
    sectors.min(field(28) * field(32)).saturating_mul(512)
}
