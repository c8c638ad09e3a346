//! A server as systemd runs it: in the foreground, with a socket to say that it is ready, started again when it ends. The words
//! it is started with, and when it is started again, are those of the unit file.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::aside::images_of;
use super::disks;
use super::judge::{Judge, read_all};
use super::load::{Load, during};
use super::rollback::same;
use super::server::{self, Device, add, call, create, ok};
use super::target::{Target, wait_for};
use super::trouble::{During, Outcome, Trouble, demand};

const UNIT: &str = include_str!("../../../systemd/ploop-ublk@.service");
const ID: u32 = 9;
const NODE: &str = "/dev/ublkb9";
const SOCKET: &str = "/run/notify";
/// How long the server may take to say something.
const SOON: Duration = Duration::from_secs(20);

/// What the unit does.
struct Service {
    image: PathBuf,
    socket: UnixDatagram,
}

impl Service {
    fn new(image: &Path) -> Result<Service, Trouble> {
        let _ = std::fs::remove_file(SOCKET);
        let socket = UnixDatagram::bind(SOCKET).during(SOCKET)?;
        socket.set_read_timeout(Some(SOON))?;
        Ok(Service {
            image: image.to_owned(),
            socket,
        })
    }

    /// `ExecStart`.
    fn start(&self) -> Result<Child, Trouble> {
        let mut words = unit("ExecStart")?.split(' ');
        let program = words.next().and_then(|path| path.strip_prefix("/usr"));
        let mut command = Command::new(program.ok_or("ExecStart of what?")?);
        for word in words {
            match word {
                "$PLOOP_UBLK_OPTIONS" => command.args(["--queues", "2", "--id", &ID.to_string()]),
                "%f" => command.arg(&self.image),
                other => command.arg(other),
            };
        }
        command
            .env("NOTIFY_SOCKET", SOCKET)
            .spawn()
            .during("ExecStart")
    }

    /// Waits until it has said this.
    fn heard(&self, word: &str) -> Result<(), Trouble> {
        let began = Instant::now();
        let mut message = [0; 512];
        while began.elapsed() < SOON {
            let len = self.socket.recv(&mut message).during(word)?;
            let text = String::from_utf8_lossy(&message[..len]).into_owned();
            if text.lines().any(|line| line == word) {
                return Ok(());
            }
        }
        Err(format!("{word} was never said").into())
    }

    /// Nothing was said for this long.
    fn is_silent(&self, time: Duration) -> Result<(), Trouble> {
        self.socket.set_read_timeout(Some(time))?;
        let said = self.socket.recv(&mut [0; 512]);
        self.socket.set_read_timeout(Some(SOON))?;
        demand(said.is_err(), || "something was said".to_owned())
    }
}

/// A setting of the unit.
fn unit(name: &str) -> Result<&'static str, Trouble> {
    let mut lines = UNIT.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.ok_or_else(|| format!("the unit has no {name}").into())
}

/// Does systemd start it again after this?
fn starts_again(status: ExitStatus) -> Result<bool, Trouble> {
    let listed = |name| -> Result<bool, Trouble> {
        let mut codes = unit(name)?.split(' ');
        Ok(codes.any(|code| status.code().is_some_and(|ended| ended.to_string() == code)))
    };
    let failed = !status.success() && !listed("SuccessExitStatus")?;
    Ok(listed("RestartForceExitStatus")? || failed && unit("Restart")? == "on-failure")
}

fn signal(child: &Child, signal: Signal) -> Result<(), Trouble> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.ok_or("no process")?, signal).during("signal")
}

fn report() -> Result<serde_json::Value, Trouble> {
    let printed = ok(&format!("info {ID} --json"))?;
    serde_json::from_str(&printed).map_err(|error| format!("info: {error}").into())
}

/// The server that answers is this process.
fn serves(child: &Child) -> Result<(), Trouble> {
    let pid = report()?["pid"].as_u64();
    demand(pid == Some(u64::from(child.id())), || {
        format!("process {pid:?} serves, not {}", child.id())
    })
}

/// Ready when the disk can be used and not before; stopping; a successor after a death, and after stepping aside.
pub(crate) fn service() -> Outcome {
    let image = disks::folder("service")?.join("disk.hdd");
    create(&image, "16M", "64k")?;
    let service = Service::new(&image)?;
    let first = service.start()?;
    service.heard("READY=1")?;
    let target = Target::open(Path::new(NODE)).during("a disk that is ready")?;
    let sectors = target.sectors()?;
    demand(sectors == 16 << 11, || format!("{sectors} sectors"))?;
    let judge = Judge::zeros(sectors);
    let child = Mutex::new(first);
    let over = AtomicBool::new(false);
    let restarts = std::thread::scope(|scope| {
        let systemd = scope.spawn(|| supervise(&service, &child, &over));
        let result = during(&Load::mixed(sectors, 24), &judge, &target, &[], |running| {
            running.for_a_while(Duration::from_millis(300));
            with_child(&child, |child| signal(child, Signal::KILL))?;
            service.heard("READY=1").during("after kill -9")?;
            with_child(&child, serves)?;
            running.for_a_while(Duration::from_millis(300));
            for number in 1..=3 {
                let new = image.with_file_name(format!("s{number}.hdd"));
                ok(&format!(
                    "snapshot create --id {ID} --file {}",
                    new.display()
                ))?;
                service.heard("STOPPING=1")?;
                service.heard("READY=1").during("after stepping aside")?;
                with_child(&child, serves)?;
                running.for_a_while(Duration::from_millis(200));
            }
            Ok(())
        });
        over.store(true, Ordering::Relaxed);
        let restarts = systemd.join().map_err(|_| "the supervisor panicked")?;
        restarts.and_then(|count| result.map(|_| count))
    })?;
    demand(restarts == 4, || format!("{restarts} new servers, not 4"))?;
    judge.read_everything(&target, sectors)?;
    drop(target);
    let device = Device {
        id: ID,
        path: NODE.into(),
    };
    let images = images_of(&device)?;
    demand(images.len() == 4, || format!("{images:?}"))?;
    service.is_silent(Duration::from_millis(200))?;
    let mut child = child.into_inner().map_err(|_| "lock")?;
    signal(&child, Signal::TERM)?;
    service.heard("STOPPING=1")?;
    let status = child.wait()?;
    demand(status.success(), || format!("after SIGTERM: {status}"))?;
    wait_for(Path::new(NODE), false, 10)?;
    images.iter().try_for_each(|image| server::check(image))?;
    // The unit's own words do not fork the disk.
    let refused = call(&format!("add {}", image.display()))?;
    demand(refused.code == Some(1), || {
        format!("the old list: {refused:?}")
    })?;
    Ok(format!(
        "{restarts} new servers, {} operations",
        judge.judged().ops
    ))
}

fn with_child<T>(
    child: &Mutex<Child>,
    work: impl FnOnce(&Child) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    work(&*child.lock().map_err(|_| "lock")?)
}

/// Starts it again where the unit says so. How often.
fn supervise(service: &Service, child: &Mutex<Child>, over: &AtomicBool) -> Result<u32, Trouble> {
    let mut restarts = 0;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        let mut child = child.lock().map_err(|_| "lock")?;
        let ended: Option<ExitStatus> = child.try_wait()?;
        if let Some(status) = ended {
            demand(starts_again(status)?, || {
                format!("it ended, and the unit leaves it so: {status}")
            })?;
            *child = service.start()?;
            restarts += 1;
        }
    }
    Ok(restarts)
}

/// A bundle as a service: what is told to a disk in use is what the next server does, though the unit's words are the old ones.
pub(crate) fn bundled() -> Outcome {
    let at = disks::folder("service-bundle")?.join("disk");
    let words = at.display().to_string();
    ok(&format!("init {words} --size 16M --cluster 64k"))?;
    let service = Service::new(&at)?;
    let child = Mutex::new(service.start()?);
    service.heard("READY=1")?;
    let target = Target::open(Path::new(NODE)).during("a disk that is ready")?;
    let sectors = target.sectors()?;
    let judge = Judge::zeros(sectors);
    let load = |seed| {
        let load = Load::mixed(sectors, seed);
        during(&load, &judge, &target, &[], |running| {
            running.for_a_while(Duration::from_millis(300));
            Ok(())
        })
    };
    let over = AtomicBool::new(false);
    let restarts = std::thread::scope(|scope| {
        let systemd = scope.spawn(|| supervise(&service, &child, &over));
        let tell = |words: &str| -> Result<String, Trouble> {
            let said = ok(words)?;
            service.heard("STOPPING=1").during(words)?;
            service.heard("READY=1").during(words)?;
            with_child(&child, serves)?;
            Ok(said)
        };
        let work = || -> Result<(), Trouble> {
            load(50)?;
            let first = read_all(&target)?;
            let old = tell(&format!("snapshot create --id {ID}"))?;
            load(51)?;
            let second = read_all(&target)?;
            tell(&format!("set {ID} --flush-delay 3s"))?;
            let new = tell(&format!("snapshot switch --id {ID} --to {old} --save"))?;
            same(&read_all(&target)?, &first, "gone back")?;
            tell(&format!("snapshot switch --id {ID} --to {new}"))?;
            same(&read_all(&target)?, &second, "gone forth")?;
            tell(&format!("snapshot delete --id {ID} --guid {new}"))?;
            tell(&format!("snapshot delete --id {ID} --guid {old}"))?;
            same(&read_all(&target)?, &second, "both deleted")?;
            let delay = report()?["flush-delay-ms"].as_u64();
            demand(delay == Some(3000), || format!("flush-delay-ms {delay:?}"))?;
            // Now it dies.
            with_child(&child, |child| signal(child, Signal::KILL))?;
            service.heard("READY=1").during("after kill -9")?;
            same(&read_all(&target)?, &second, "after kill -9")
        };
        let result = work();
        over.store(true, Ordering::Relaxed);
        let restarts = systemd.join().map_err(|_| "the supervisor panicked")?;
        restarts.and_then(|count| result.map(|()| count))
    })?;
    drop(target);
    let mut child = child.into_inner().map_err(|_| "lock")?;
    signal(&child, Signal::TERM)?;
    service.heard("STOPPING=1")?;
    let status = child.wait()?;
    demand(status.success(), || format!("after SIGTERM: {status}"))?;
    wait_for(Path::new(NODE), false, 10)?;
    ok(&format!("check {words}"))?;
    demand(restarts == 7, || format!("{restarts} new servers, not 7"))?;
    Ok(format!("{restarts} new servers"))
}

/// Three devices, two of which lose their servers: `recover --all` finds those two.
pub(crate) fn recover_all() -> Outcome {
    let folder = disks::folder("recover-all")?;
    let mut devices = Vec::new();
    for name in ["a", "b", "c"] {
        let image = folder.join(name);
        create(&image, "16M", "64k")?;
        devices.push((add("", &[&image])?, image));
    }
    let before = devices[1].0.server()?;
    for index in [0, 2] {
        devices[index].0.kill()?;
    }
    let printed = ok("recover --all")?;
    let wanted = [0, 2].map(|index| devices[index].0.path.display().to_string());
    demand(printed == wanted.join("\n"), || {
        format!("recover --all: {printed:?}")
    })?;
    demand(devices[1].0.server()? == before, || {
        "a device that was served has another server".to_owned()
    })?;
    let nothing = ok("recover --all")?;
    demand(nothing.is_empty(), || format!("again: {nothing:?}"))?;
    for (device, image) in devices {
        let target = device.open()?;
        read_all(&target).during(device.path.display())?;
        drop(target);
        device.del()?;
        server::check(&image)?;
    }
    Ok("two of three".to_owned())
}
