//! The guests of a run: one for each quantity, one after the other, so that none takes the other's time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::figures::Figures;
use super::parts::{Parts, gather};
use super::vm::{Failure, Machine, PARALLEL, Vm};
use super::{Missing, initramfs, rublk};
use crate::rows::{DISK, Quantity, Row};

/// How long a guest may take in all.
const LIMIT: Duration = Duration::from_secs(1200);
/// How long a guest may take to say its first word: one whose instructions are counted boots for 20 s of a processor that
/// may be shared.
const FIRST_WORD: Duration = Duration::from_secs(240);
/// How often a guest that says nothing is booted.
const BOOTS: u32 = 3;
/// The guest's disk: the file system with the images.
const DISKS: [(&str, u64); 1] = [("scratch", 8 << 30)];
/// The tests' processor, and what every real one has had since 2008, the instruction for checksums among it: without, three
/// quarters of an allocating write are the file system's checksums.
const MODEL: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt";
/// One instruction, one nanosecond.
const COUNTED: [&str; 4] = ["-accel", "tcg,thread=single", "-icount", "shift=0"];

/// Where everything is kept: the tests' own place.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-kernel")
}

/// Boots the guests and takes down what they find. An error: there cannot be any.
pub(super) fn measure(
    rows: &[Row],
    only: Option<Quantity>,
    figures: &mut Figures,
) -> Result<(), Missing> {
    let cache = cache();
    std::fs::create_dir_all(&cache)?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock()?;
    let parts = gather(&cache, figures.kernel)?;
    eprintln!("kernel {}", parts.release);
    let mut rows = rows.to_vec();
    let more = files(&cache, &mut rows, figures);
    drop(lock);
    let initramfs = initramfs::pack(&parts, &more)?;
    let quantities = Quantity::ALL.into_iter();
    for quantity in quantities.filter(|q| only.is_none_or(|only| only == *q)) {
        if let Err(failure) = guest(quantity, &rows, &parts, &initramfs, &cache, figures)? {
            let what = match failure {
                Failure::LostTimer => "the emulated machine lost a timer".to_owned(),
                Failure::Silent => format!("{BOOTS} guests never said anything"),
                Failure::Other(what) => what,
            };
            figures.wrong(&format!("guest of {}", quantity.name()), what);
        }
    }
    Ok(())
}

/// What the guest needs besides the tests' files. Rows that miss something are taken out.
fn files(cache: &Path, rows: &mut Vec<Row>, figures: &mut Figures) -> Vec<(PathBuf, &'static str)> {
    let mut more = Vec::new();
    match rublk::program(cache) {
        Ok(program) => more.push((program, "bin/rublk")),
        Err(Missing(why)) => rows.retain(|row| {
            if row.is_rublk() {
                figures.wrong(row.name(), format!("no rublk: {why}"));
            }
            !row.is_rublk()
        }),
    }
    match empty_qcow2(cache) {
        Ok(image) => more.push((image, "empty.qcow2")),
        Err(Missing(why)) => rows.retain(|row| {
            if *row == Row::RublkQcow2 {
                figures.wrong(row.name(), format!("no image: {why}"));
            }
            *row != Row::RublkQcow2
        }),
    }
    more
}

fn empty_qcow2(cache: &Path) -> Result<PathBuf, Missing> {
    let path = cache.join("empty.qcow2");
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&path)
        .arg(DISK.to_string())
        .output()
        .map_err(|error| Missing(format!("qemu-img: {error}")))?;
    match output.status.success() {
        true => Ok(path),
        false => Err(Missing(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

fn guest(
    quantity: Quantity,
    rows: &[Row],
    parts: &Parts,
    initramfs: &[u8],
    cache: &Path,
    figures: &mut Figures,
) -> Result<Result<(), Failure>, Missing> {
    let names: Vec<&str> = rows.iter().map(|row| row.name()).collect();
    let steps = format!("{},{},{}", quantity.name(), figures.rounds, names.join(","));
    let (processors, time): (u32, &[&str]) = match quantity {
        Quantity::Instructions => (1, &COUNTED),
        Quantity::Iops => (2, &PARALLEL),
    };
    let machine = Machine {
        processors,
        model: MODEL,
        time,
        first_word: FIRST_WORD,
        disks: &DISKS,
        steps: &steps,
    };
    let folder = cache.join(format!("bench-{}", quantity.name()));
    for boot in 1.. {
        let vm = Vm::boot(parts, initramfs, &folder, &machine)?;
        match vm.watch(LIMIT, |line, _| figures.line(quantity, line)) {
            Err(Failure::Silent | Failure::LostTimer) if boot < BOOTS => {}
            ended => {
                let _ = std::fs::remove_file(folder.join(DISKS[0].0));
                return Ok(ended);
            }
        }
    }
    Ok(Err(Failure::Silent))
}
