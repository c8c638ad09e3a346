//! A file system that is full, and later is not: a small tmpfs that this test mounts in a mount namespace of its own, and
//! a limit on the length of files. Each runs in a child process: this program once more, told by a variable.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ploop_core::drive::Disk;
use ploop_core::units::{Millis, Sector, Sectors};
use ploop_core::{CloseError, Failure, Options, WriteBack};

use crate::guest::open;
use crate::support::{noise, qemu};
use crate::{Maker, dir, make};

/// Tells the child in which folder it is to work.
const FOLDER: &str = "PLOOP_TEST_FOLDER";
const CLUSTER: u64 = 128;
const SIZE: u64 = CLUSTER * 1024 + 9;

/// Runs this program's test `name` in a shell, after `before`.
fn child(folder: &Path, name: &str, wrapper: &[&str], before: &str) -> Output {
    let program = std::env::current_exe().expect("this program");
    let script = format!("{before} && exec \"$0\" --exact {name} --nocapture");
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .args(["sh", "-c", &script])
        .arg(program)
        .env(FOLDER, folder)
        .output()
        .expect("a shell")
}

#[track_caller]
fn was_fine(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// The folder to work in, if this is the child.
fn told() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// In the child, the folder where a tmpfs of 4 MiB is mounted. Otherwise `None`, after the child has run test `name`.
fn in_small_tmpfs(name: &str) -> Option<PathBuf> {
    if let Some(folder) = told() {
        return Some(folder);
    }
    let folder = dir();
    let mount = format!("mount -t tmpfs -o size=4m none \"${FOLDER}\"");
    let ways: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-r", "-m"]];
    let able = |way: &&[&str]| {
        child(folder.path(), "nothing", way, &mount)
            .status
            .success()
    };
    match ways.into_iter().find(able) {
        Some(way) => was_fine(&child(folder.path(), name, way, &mount)),
        None => eprintln!("no right to mount: only the limit on file lengths is tested here"),
    }
    None
}

fn options(write_back: WriteBack) -> Options {
    Options {
        write_back,
        prealloc: Sectors(1 << 15),
        ..Options::default()
    }
}

/// Writes clusters, from `from` on, until one finds no space. Returns it.
#[track_caller]
fn fill(disk: &mut Disk, holds: &mut [u8], from: u64) -> u64 {
    for clu in from..SIZE / CLUSTER {
        let data = noise((CLUSTER * 512) as usize, clu + 1);
        match disk.write(Sector(clu * CLUSTER), &data, false) {
            Ok(()) => holds[(clu * CLUSTER * 512) as usize..][..data.len()].copy_from_slice(&data),
            Err(failure) => {
                assert_eq!(failure, Failure::NoSpace);
                return clu;
            }
        }
    }
    panic!("there is no end to the space");
}

/// The disk holds what it should; the sectors of cluster `clu` may be zeros or what it failed to write.
#[track_caller]
fn holds(disk: &mut Disk, holds: &[u8], clu: u64) {
    let mut all = vec![0xEE; holds.len()];
    disk.read(Sector(0), &mut all).expect("reads");
    let data = noise((CLUSTER * 512) as usize, clu + 1);
    let from = (clu * CLUSTER * 512) as usize;
    for (at, (now, held)) in all.chunks(512).zip(holds.chunks(512)).enumerate() {
        let at = at * 512;
        let tried = (from..from + data.len()).contains(&at) && *now == data[at - from..][..512];
        assert!(now == held || tried, "sector {} is lost", at / 512);
    }
}

/// The closed image is sound, and holds what it should.
#[track_caller]
fn is_sound(dir: &Path, elsewhere: &Path, holds: &[u8]) {
    let raw = elsewhere.join("expected.raw");
    std::fs::write(&raw, holds).expect("raw file");
    // -U: it is closed, and we still have its lock.
    qemu::img_ok(dir, "check -U -q -f parallels a.hdd");
    let raw = raw.display();
    qemu::img_ok(dir, &format!("compare -U -f parallels -F raw a.hdd {raw}"));
}

/// Writes fail, nothing is lost, and when space returns the same writes work.
#[test]
fn on_a_full_file_system() {
    let Some(dir) = in_small_tmpfs("full::on_a_full_file_system") else {
        return;
    };
    let elsewhere = crate::dir();
    for write_back in [WriteBack::Immediate, WriteBack::Delayed(Millis(50))] {
        let ballast = dir.join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20]).expect("ballast");
        make(&dir, "a.hdd", Maker::Qemu, CLUSTER, SIZE);
        let mut disk = open(&dir, &["a.hdd".to_owned()], options(write_back));
        let mut held = vec![0; (SIZE * 512) as usize];
        let clu = fill(&mut disk, &mut held, 0);
        holds(&mut disk, &held, clu);
        disk.device().verify();
        // Not a byte is left, for the table neither.
        std::fs::write(dir.join("rest"), vec![1; 4 << 20]).expect_err("full");
        let flushed = disk.flush();
        assert!(matches!(flushed, Ok(()) | Err(Failure::NoSpace)));
        holds(&mut disk, &held, clu);
        // Space returns: the same writes work.
        std::fs::remove_file(dir.join("rest")).expect("removed");
        std::fs::remove_file(&ballast).expect("removed");
        let next = fill(&mut disk, &mut held, clu);
        assert!(next > clu);
        disk.flush().expect("there is space for the table");
        holds(&mut disk, &held, next);
        // In the table's second page nothing was written yet, and there is no space for it.
        let far = Sector(SIZE - 1);
        let last = disk.write(far, &[3; 512], false);
        assert!(matches!(last, Ok(()) | Err(Failure::NoSpace)));
        // What is given up makes space.
        disk.discard(Sector(0), Sectors(CLUSTER * 8))
            .expect("discards");
        held[..(CLUSTER * 8 * 512) as usize].fill(0);
        disk.flush().expect("flushes");
        disk.write(far, &[4; 512], true).expect("there is space");
        let end = held.len() - 512;
        held[end..].fill(4);
        // What the last cluster got is not known: it is written again.
        let again = noise((CLUSTER * 512) as usize, next + 1);
        let at = (next * CLUSTER * 512) as usize;
        disk.write(Sector(next * CLUSTER), &again, false)
            .expect("there is space");
        held[at..at + again.len()].copy_from_slice(&again);
        disk.close().expect("closes");
        is_sound(&dir, elsewhere.path(), &held);
        std::fs::remove_file(dir.join("a.hdd")).expect("removed");
    }
}

/// As above, for a close: acknowledged, not flushed, no space for the table.
#[test]
fn a_close_on_a_full_file_system_waits_for_better_times() {
    let Some(dir) = in_small_tmpfs("full::a_close_on_a_full_file_system_waits_for_better_times")
    else {
        return;
    };
    let elsewhere = crate::dir();
    // Two pages of table, the second one a hole of the file.
    let size = CLUSTER * 1900;
    make(&dir, "a.hdd", Maker::Ours, CLUSTER, size);
    let delayed = options(WriteBack::Delayed(Millis(50)));
    let mut disk = open(&dir, &["a.hdd".to_owned()], delayed);
    let mut held = vec![0; (size * 512) as usize];
    let at = 1800 * CLUSTER;
    disk.write(Sector(at), &[7; 4096], false).expect("writes");
    held[(at * 512) as usize..][..4096].fill(7);
    std::fs::write(dir.join("rest"), vec![1; 4 << 20]).expect_err("full");
    let closed = disk.close();
    assert!(
        matches!(
            closed,
            Err(CloseError::NotDurable {
                poisoned: false,
                ..
            })
        ),
        "{closed:?}"
    );
    std::fs::remove_file(dir.join("rest")).expect("removed");
    disk.close().expect("closes");
    drop(disk);
    is_sound(&dir, elsewhere.path(), &held);
}

/// Under `ulimit -f`, with the signal ignored that would end the program. The limit ends inside a cluster.
#[test]
fn at_the_limit_of_the_length_of_files() {
    let images = [
        ("a.hdd", WriteBack::Immediate),
        ("b.hdd", WriteBack::Delayed(Millis(50))),
    ];
    let one = |clu: u64| noise((CLUSTER * 512) as usize, clu + 1);
    if let Some(dir) = told() {
        for (name, write_back) in images {
            let mut disk = open(&dir, &[name.to_owned()], options(write_back));
            let mut held = vec![0; (SIZE * 512) as usize];
            // 3001 sectors: the header's cluster and 22 of data.
            assert_eq!(fill(&mut disk, &mut held, 0), 22);
            holds(&mut disk, &held, 22);
            disk.flush().expect("flushes");
            disk.discard(Sector(0), Sectors(CLUSTER)).expect("discards");
            disk.flush().expect("flushes");
            // The place that was given up, and there is no second one.
            disk.write(Sector(22 * CLUSTER), &one(22), true)
                .expect("writes");
            let second = disk.write(Sector(0), &one(0), false);
            assert_eq!(second, Err(Failure::NoSpace));
            disk.close().expect("closes");
        }
        return;
    }
    let folder = dir();
    let dir = folder.path();
    for (name, _) in images {
        make(dir, name, Maker::Ours, CLUSTER, SIZE);
    }
    // In units of 512 bytes.
    let limit = "trap '' XFSZ && ulimit -f 3001";
    let name = "full::at_the_limit_of_the_length_of_files";
    was_fine(&child(dir, name, &["env"], limit));
    for (name, write_back) in images {
        let mut held: Vec<u8> = (0..=22).flat_map(one).collect();
        held[..(CLUSTER * 512) as usize].fill(0);
        held.resize((SIZE * 512) as usize, 0);
        std::fs::rename(dir.join(name), dir.join("a.hdd")).expect("renamed");
        is_sound(dir, dir, &held);
        // Without the limit the same image goes on.
        let mut disk = open(dir, &["a.hdd".to_owned()], options(write_back));
        disk.write(Sector(0), &one(0), false).expect("writes");
        held[..(CLUSTER * 512) as usize].copy_from_slice(&one(0));
        disk.close().expect("closes");
        is_sound(dir, dir, &held);
    }
}
