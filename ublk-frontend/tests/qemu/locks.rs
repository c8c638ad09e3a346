//! QEMU's programs and ours keep off each other's images, as QEMU's own do among themselves.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ublk_frontend::files::{OpenError, RealFile};

use super::support::{qemu, tool};
use super::{check_clean, dir};

const SOON: Duration = Duration::from_secs(20);

/// A QEMU program that has the image open until it is dropped.
struct Running(Child);

impl Running {
    /// `qemu-io` that waits for commands.
    fn io(dir: &Path, arguments: &[&str]) -> Running {
        let mut command = qemu::command("qemu-io");
        command.current_dir(dir).args(arguments);
        Running(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("starts"),
        )
    }

    /// `qemu-nbd` that serves it.
    fn nbd(dir: &Path, arguments: &[&str]) -> Running {
        let socket = dir.join("nbd");
        let mut command = qemu::command("qemu-nbd");
        command
            .current_dir(dir)
            .arg("-t")
            .arg("-k")
            .arg(&socket)
            .args(arguments);
        let running = Running(command.spawn().expect("starts"));
        let until = Instant::now() + SOON;
        while !socket.exists() {
            assert!(Instant::now() < until, "qemu-nbd listens");
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stdin) = &mut self.0.stdin {
            let _ = stdin.write_all(b"quit\n");
        } else {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Waits until a file is refused to a writer of ours, or a reader.
#[track_caller]
fn becomes_locked(path: &Path, writing: bool) {
    let until = Instant::now() + SOON;
    loop {
        let opened = match writing {
            true => RealFile::open_write(path),
            false => RealFile::open_read(path),
        };
        match opened {
            Err(OpenError::Locked { .. }) => return,
            other => assert!(Instant::now() < until, "still free: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn refused_by_qemu(dir: &Path, program: &str, arguments: &[&str]) {
    let output = qemu::command(program)
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("lock"),
        "{program} {arguments:?}: {output:?}"
    );
}

#[test]
fn an_image_that_we_write_is_refused_by_qemu() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(dir, "create -q -f parallels a.hdd 10M");
    let ours = RealFile::open_write(&dir.join("a.hdd")).expect("ours");
    refused_by_qemu(
        dir,
        "qemu-io",
        &["-f", "parallels", "-c", "write 0 4k", "a.hdd"],
    );
    refused_by_qemu(
        dir,
        "qemu-io",
        &["-r", "-f", "parallels", "-c", "read 0 4k", "a.hdd"],
    );
    refused_by_qemu(dir, "qemu-io", &["-f", "raw", "-c", "write 0 4k", "a.hdd"]);
    refused_by_qemu(dir, "qemu-img", &["info", "-f", "parallels", "a.hdd"]);
    refused_by_qemu(dir, "qemu-img", &["check", "-f", "parallels", "a.hdd"]);
    let socket = dir.join("s").display().to_string();
    refused_by_qemu(
        dir,
        "qemu-nbd",
        &["-f", "parallels", "-k", &socket, "a.hdd"],
    );
    qemu::img_ok(dir, "info -U -f parallels a.hdd");
    drop(ours);
    qemu::io(dir, "parallels", "a.hdd", &["write -P 0x11 0 64k"]);
    check_clean(dir, "a.hdd");
}

#[test]
fn an_image_that_we_read_is_read_by_qemu_and_not_written() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(dir, "create -q -f parallels a.hdd 10M");
    let _ours = RealFile::open_read(&dir.join("a.hdd")).expect("ours");
    refused_by_qemu(
        dir,
        "qemu-io",
        &["-f", "parallels", "-c", "write 0 4k", "a.hdd"],
    );
    let io = ["-r", "-f", "parallels", "-c", "read -P 0 0 4k", "a.hdd"];
    qemu::io_words(dir, &io);
    qemu::img_ok(dir, "check -q -f parallels a.hdd");
}

#[test]
fn an_image_that_qemu_writes_is_refused_by_us() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(dir, "create -q -f parallels a.hdd 10M");
    for start in [Running::io, Running::nbd] {
        let theirs = start(dir, &["-f", "parallels", "a.hdd"]);
        becomes_locked(&dir.join("a.hdd"), false);
        for command in [
            "check a.hdd",
            "info a.hdd",
            "convert a.hdd b.raw",
            "bench --write --count 1 a.hdd",
        ] {
            tool(dir, command).refused(&["a.hdd", "in use"]);
        }
        drop(theirs);
        tool(dir, "bench --write --count 1 --json a.hdd");
        check_clean(dir, "a.hdd");
    }
}

#[test]
fn an_image_that_qemu_reads_is_read_by_us_and_not_written() {
    let dir = dir();
    let dir = dir.path();
    qemu::img_ok(dir, "create -q -f parallels a.hdd 10M");
    let _theirs = Running::io(dir, &["-r", "-f", "parallels", "a.hdd"]);
    becomes_locked(&dir.join("a.hdd"), true);
    tool(dir, "bench --write --count 1 a.hdd").refused(&["a.hdd", "in use"]);
    tool(dir, "check a.hdd").fine();
    tool(dir, "bench --count 1 a.hdd");
}
