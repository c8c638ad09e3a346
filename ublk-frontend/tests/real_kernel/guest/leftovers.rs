//! What is in the way, and what a server that was killed leaves: nothing of it may cost anybody data, stop the other
//! devices, or need a reboot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::server::{self, Called, Device, add, call, create, ok};
use super::target::wait_for;
use super::trouble::{During, Outcome, Trouble, demand};
use super::{disks, sys};

const PROGRAM: &str = "/bin/ploop-ublk";
const STATE: &str = "/run/ploop-ublk";
const OTHER_STATE: &str = "/tmp/other-state";

fn refused(called: &Called, with: &str) -> Result<(), Trouble> {
    let is_refused = called.code == Some(1) && called.err.contains(with);
    demand(is_refused, || {
        format!("must be refused with {with:?}: {called:?}")
    })
}

/// No device of anybody is there.
fn no_devices() -> Result<(), Trouble> {
    let left = || {
        let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter(|name| name.starts_with("ublkc"))
            .collect::<Vec<_>>()
    };
    let until = Instant::now() + Duration::from_secs(5);
    while !left().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    demand(left().is_empty(), || format!("left: {:?}", left()))
}

fn images<const N: usize>(step: &str) -> Result<[PathBuf; N], Trouble> {
    let folder = disks::folder(step)?;
    let images = std::array::from_fn(|number| folder.join(format!("{number}.hdd")));
    images
        .iter()
        .try_for_each(|image| create(image, "16M", "64k"))?;
    Ok(images)
}

fn state_of(id: u32) -> Result<Option<String>, Trouble> {
    let listed = ok("list --json")?;
    let rows: serde_json::Value =
        serde_json::from_str(&listed).map_err(|error| format!("list: {error}"))?;
    let mut rows = rows.as_array().into_iter().flatten();
    let row = rows.find(|row| row["id"] == id);
    Ok(row.and_then(|row| row["state"].as_str()).map(str::to_owned))
}

fn foreground(image: &Path, id: u32) -> Result<Child, Trouble> {
    let mut command = Command::new(PROGRAM);
    command.args(["add", "--foreground", "--id", &id.to_string()]);
    command
        .arg(image)
        .stdout(Stdio::null())
        .spawn()
        .during("add --foreground")
}

fn signal(child: &Child, signal: Signal) -> Result<(), Trouble> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.ok_or("no process")?, signal).during("signal")
}

/// What is at a link's place stays; and what cannot be printed, recorded or logged leaves no device behind.
pub(crate) fn links() -> Outcome {
    let [a, b] = images("links")?;
    let link = Path::new("/tmp/link");
    let add_linked = |image: &Path| call(&format!("add --symlink /tmp/link {}", image.display()));
    std::fs::write(link, "precious")?;
    refused(&add_linked(&a)?, "make the link")?;
    demand(std::fs::read(link)? == b"precious", || {
        "the file at the link's place".to_owned()
    })?;
    no_devices()?;
    std::fs::remove_file(link)?;

    let first = add("--symlink /tmp/link", &[&a])?;
    refused(&add_linked(&b)?, "make the link").during("the link of a living disk")?;
    let points = std::fs::read_link(link).during("the first disk's link")?;
    demand(points == first.path, || {
        format!("it leads to {}", points.display())
    })?;
    // Its place is taken while there is no server: users of the disk matter more.
    first.kill()?;
    std::fs::remove_file(link)?;
    std::fs::write(link, "mine")?;
    first.recover().during("with the link's place taken")?;
    first.del()?;
    demand(std::fs::read(link)? == b"mine", || {
        "what took the link's place".to_owned()
    })?;
    std::fs::remove_file(link)?;
    let first = add("--symlink /tmp/link", &[&a])?;
    std::fs::remove_file(link)?;
    std::fs::write(link, "mine")?;
    first.del()?;
    demand(std::fs::read(link)? == b"mine", || {
        "what took the link's place".to_owned()
    })?;
    std::fs::remove_file(link)?;

    let full = std::fs::File::options().write(true).open("/dev/full")?;
    let status = Command::new(PROGRAM)
        .arg("add")
        .arg(&a)
        .stdout(full)
        .status()?;
    demand(status.code() == Some(1), || {
        format!("add > /dev/full: {status}")
    })?;
    no_devices().during("add > /dev/full")?;
    let log = Path::new(STATE).join("11.log");
    std::fs::create_dir(&log)?;
    refused(&call(&format!("add --id 11 {}", a.display()))?, "11.log")?;
    no_devices().during("without a log")?;
    std::fs::remove_dir(&log)?;
    let strange = a.with_file_name(OsStr::from_bytes(b"n\xff.hdd"));
    std::fs::copy(&a, &strange)?;
    let before = std::fs::read(&strange)?;
    let output = Command::new(PROGRAM).arg("add").arg(&strange).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    demand(
        output.status.code() == Some(1) && said.contains("not UTF-8"),
        || said,
    )?;
    demand(std::fs::read(&strange)? == before, || {
        "it was opened".to_owned()
    })?;

    let mut child = foreground(&b, 12)?;
    wait_for(&Path::new(STATE).join("12.sock"), true, 10)?;
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, Signal::HUP)?;
    let status = child.wait()?;
    demand(status.success(), || format!("SIGHUP: {status}"))?;
    no_devices().during("SIGHUP")?;
    [&a, &b]
        .into_iter()
        .try_for_each(|image| server::check(image))?;
    Ok("links, /dev/full, log, name, SIGHUP".to_owned())
}

/// A server is killed between the kernel's word that there is a device and its own that there is a disk.
pub(crate) fn killed_at_start() -> Outcome {
    let [image] = images("killed-at-start")?;
    let (mut dead, mut unrecorded) = (0, 0);
    for id in 40..52 {
        let mut child = foreground(&image, id)?;
        let (record, lock) = (
            Path::new(STATE).join(format!("{id}.json")),
            Path::new(STATE).join(format!("{id}.lock")),
        );
        let sign = if id % 3 == 0 { &lock } else { &record };
        let until = Instant::now() + Duration::from_secs(10);
        while !sign.exists() && Instant::now() < until {}
        signal(&child, Signal::STOP)?;
        std::thread::sleep(Duration::from_millis(20));
        let had = (
            record.exists(),
            Path::new(&format!("/dev/ublkb{id}")).exists(),
        );
        if had.1 {
            // It is in the kernel's scan for partitions, maybe: that has to end first.
            signal(&child, Signal::CONT)?;
            wait_for(&Path::new(STATE).join(format!("{id}.sock")), true, 10)?;
            std::thread::sleep(Duration::from_millis(300));
        }
        signal(&child, Signal::KILL)?;
        child.wait()?;
        match had {
            (_, true) => {}
            (true, false) => {
                dead += 1;
                demand(state_of(id)?.as_deref() == Some("stopped"), || {
                    format!("list: {:?}", state_of(id))
                })?;
                refused(&call(&format!("recover {id}"))?, "has no disk")?;
                refused(&call(&format!("add {}", image.display()))?, "has no disk")?;
                ok("recover --all")?;
            }
            (false, false) => unrecorded += 1,
        }
        let force = if had == (false, false) {
            " --force"
        } else {
            ""
        };
        ok(&format!("del {id}{force}")).during(format!("{had:?}"))?;
        no_devices()?;
        if dead > 0 && (unrecorded > 0 || id > 44) {
            break;
        }
    }
    demand(dead > 0, || {
        "never killed before its disk was there".to_owned()
    })?;
    server::check(&image)?;
    Ok(format!("{dead} killed with a record, {unrecorded} before"))
}

/// One record that cannot be read: the other devices and images go on.
pub(crate) fn damaged() -> Outcome {
    let [a, b, c] = images("damaged")?;
    let (one, two) = (add("", &[&a])?, add("", &[&b])?);
    let record = Path::new(STATE).join(format!("{}.json", two.id));
    std::fs::write(&record, "{")?;
    demand(
        state_of(two.id)?.as_deref() == Some("damaged record"),
        || format!("list: {:?}", state_of(two.id)),
    )?;
    add("", &[&c])
        .during("add beside a damaged record")?
        .del()?;
    let pids = server::servers();
    let others = one.server()?.as_raw_nonzero().get();
    for pid in pids.into_iter().filter(|&pid| pid != others) {
        let pid = Pid::from_raw(pid).ok_or("no process")?;
        // That of the third one may be on its way out.
        match kill_process(pid, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) => {}
            other => other?,
        }
        wait_for(
            Path::new(&format!("/proc/{}", pid.as_raw_nonzero())),
            false,
            10,
        )?;
    }
    ok("recover --all").during("beside a damaged record")?;
    // Nobody knows whose image this is.
    refused(&call(&format!("add {}", c.display()))?, "record is damaged")?;
    refused(&call(&format!("del {}", two.id))?, "--force")?;
    ok(&format!("del {} --force", two.id))?;
    wait_for(&two.path, false, 5)?;
    demand(!record.exists(), || {
        "the damaged record is there still".to_owned()
    })?;

    // A disk that another one is built on is in use, although no process has it open.
    let file_system = Path::new("/dev/loop3");
    sys::attach_loop(file_system, &one.path).during("a loop device on the disk")?;
    let called = call(&format!("del {}", one.id));
    let is_there = one.path.exists();
    sys::detach_loop(file_system)?;
    refused(&called?, "is in use")?;
    demand(is_there, || {
        "a disk under a loop device was removed".to_owned()
    })?;
    one.del()?;
    let winners = std::thread::scope(|scope| {
        let adds = [&a, &a, &b]
            .map(|image| scope.spawn(|| call(&format!("add --id 33 {}", image.display()))));
        let called = adds.map(|add| add.join().map_err(|_| "an add panicked")?);
        called
            .into_iter()
            .map(|called| called.map(|called| called.code == Some(0)))
            .collect::<Result<Vec<_>, Trouble>>()
    })?;
    demand(winners.iter().filter(|&&won| won).count() == 1, || {
        format!("three adds at once: {winners:?}")
    })?;
    add("", &[&c])?;
    ok("del --all")?;
    no_devices()?;
    let lends_pages = ok("features")?.contains("AUTO_BUF_REG");
    let called = call(&format!("add --zero-copy on {}", a.display()))?;
    demand((called.code == Some(0)) == lends_pages, || {
        format!("--zero-copy on: {called:?}")
    })?;
    ok("del --all --force")?;
    no_devices()?;
    [&a, &b, &c]
        .into_iter()
        .try_for_each(|image| server::check(image))?;
    Ok("damaged record, loop device, three adds at once, --zero-copy on".to_owned())
}

/// A stale record, and a device of somebody else that has its number.
pub(crate) fn foreign() -> Outcome {
    let [a, b] = images("foreign")?;
    let ours = add("--id 20", &[&a])?;
    let files = ["json", "map"].map(|kind| Path::new(STATE).join(format!("20.{kind}")));
    let kept = [std::fs::read(&files[0])?, std::fs::read(&files[1])?];
    ours.del()?;
    let other = |arguments: &[&str]| -> Result<String, Trouble> {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env("PLOOP_UBLK_STATE_DIR", OTHER_STATE);
        let output = command.output()?;
        demand(output.status.success(), || {
            format!("{arguments:?}: {output:?}")
        })?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let theirs = b.display().to_string();
    other(&["add", "--id", "20", &theirs])?;
    let device = Device {
        id: 20,
        path: "/dev/ublkb20".into(),
    };
    for (file, content) in files.iter().zip(&kept) {
        std::fs::write(file, content)?;
    }
    demand(state_of(20)?.as_deref() == Some("gone"), || {
        format!("list: {:?}", state_of(20))
    })?;
    refused(&call("recover 20")?, "another program")?;
    ok("recover --all")?;
    add("", &[&a]).during("the stale record's image")?.del()?;
    for (file, content) in files.iter().zip(&kept) {
        std::fs::write(file, content)?;
    }
    refused(&call("del 20 --force")?, "another program")?;
    demand(!files[0].exists(), || "the stale record stays".to_owned())?;
    let target = device.open().during("the other program's disk")?;
    super::judge::read_all(&target).during("the other program's disk")?;
    drop(target);
    other(&["del", "20"])?;
    no_devices()?;
    server::check(&b)?;
    Ok("left alone".to_owned())
}
