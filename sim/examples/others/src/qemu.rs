//! QEMU's parallels driver behind `qemu-nbd`, killed with SIGKILL in the middle of its work.
//!
//! Only what a *process* holds is lost then: whatever it has written to its file is in the page cache and stays. So
//! this finds what the driver keeps to itself for too long, not a missing `fdatasync`.
//! 1. Random operations, until the server is gone. When it goes is a matter of time: a seed fixes the operations only.
//! 2. `qemu-img check` of what is left: leaks, and that it was not closed, are allowed; other errors are not.
//! 3. Another server on it: all is read, and judged as after a power cut: what was flushed is there.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use model::disk::Model;
use model::op::{End, Kind as OpKind, Op, Value};
use sim::disk::sector::{SECTOR, fill_pattern, recognise};
use sim::face::{Device, Place, connect};
use sim::tape::{Kind, Tape};

/// Sectors of the disk that are used: 32 clusters.
const SECTORS: u64 = 32 * CLUSTER;
/// Sectors of a cluster.
const CLUSTER: u64 = 128;
/// Servers killed on one image.
const KILLS: u32 = 4;
/// Operations at the most until the server is killed.
const OPS: u32 = 400;

/// What was seen.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    operations: u32,
    flushes: u32,
    leaking: u32,
    corrupt: u32,
    compared: u64,
}

/// Kills servers; of the seeds that are named, or of 40.
pub(crate) fn main(seeds: Option<&str>) -> ExitCode {
    let Some(seeds) = parse(seeds.unwrap_or("0..40")) else {
        eprintln!("usage: others qemu [SEED | A..B]");
        return ExitCode::from(1);
    };
    let folder = std::env::temp_dir().join(format!("others-{}", std::process::id()));
    let mut tally = Tally::default();
    let mut found = 0;
    for seed in seeds {
        if let Err(problem) = one(seed, &folder, &mut tally) {
            println!("seed {seed}: {problem}");
            found += 1;
        }
    }
    // Nothing of ours is left behind.
    let _ = std::fs::remove_dir_all(&folder);
    println!("{tally:?}, {found} found");
    ExitCode::from(if found > 0 { 2 } else { 0 })
}

fn parse(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((first, end)) => Some(first.parse().ok()?..end.parse().ok()?),
        None => text.parse().ok().map(|seed: u64| seed..seed + 1),
    }
}

fn one(seed: u64, folder: &Path, tally: &mut Tally) -> Result<(), String> {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let image = folder.join("disk.hdd");
    let name = image.display().to_string();
    let size = (SECTORS * SECTOR as u64).to_string();
    let cluster = format!("cluster_size={}", CLUSTER * SECTOR as u64);
    let (done, said) = qemu_img(&[
        "create",
        "-q",
        "-f",
        "parallels",
        "-o",
        &cluster,
        &name,
        &size,
    ])?;
    if !done {
        return Err(said);
    }
    let mut tape = Tape::from_seed(seed);
    let mut model = Model::new(SECTORS);
    let mut writes = 0;
    for kill in 0..KILLS {
        let mut server = Server::start(folder, &image)?;
        let mut device = server.connect()?;
        let seen = read(&mut *device, 0, SECTORS).map_err(|error| error.to_string())?;
        tally.compared += SECTORS;
        model
            .restart(&seen)
            .map_err(|violation| format!("after kill {kill}: {violation}"))?;
        let after = Duration::from_micros(500 + u64::from(tape.choose(Kind::Time, 40_000)));
        let killer = thread::spawn(move || {
            thread::sleep(after);
            server.child.kill().and_then(|()| server.child.wait())
        });
        for _ in 0..OPS {
            tally.operations += 1;
            let op = draw(&mut tape);
            if let OpKind::Write { .. } = op.kind {
                writes += 1;
            }
            let id = model.submit(op, writes);
            let Ok(read) = carry_out(&mut *device, op, writes) else {
                break;
            };
            tally.flushes += u32::from(op.kind == OpKind::Flush);
            model
                .complete(id, End::Ok, &read)
                .map_err(|violation| format!("before kill {kill}: {violation}"))?;
        }
        let killed = killer.join().map_err(|_| "the killer died")?;
        killed.map_err(|error| error.to_string())?;
        tally.kills += 1;
        model.crash();
        let (_, said) = qemu_img(&["check", "-f", "parallels", &name])?;
        tally.leaking += u32::from(said.contains("leak"));
        // Of course it was not.
        let known = ["was not closed correctly", "leak"];
        let error = said
            .lines()
            .find(|line| line.contains("ERROR") && !known.iter().any(|known| line.contains(known)));
        if let Some(error) = error {
            tally.corrupt += 1;
            println!("seed {seed}, after kill {kill}, qemu-img check: {error}");
        }
    }
    Ok(())
}

fn draw(tape: &mut Tape) -> Op {
    let kind = match tape.weighted(Kind::Op, &[2, 8, 2, 1, 1, 2]) {
        0 => OpKind::Read,
        1 => write(false),
        2 => write(true),
        3 => OpKind::WriteZeroes {
            fua: tape.choose(Kind::Arg, 4) == 0,
            unmap: tape.choose(Kind::Arg, 2) == 0,
        },
        4 => OpKind::Discard,
        _ => OpKind::Flush,
    };
    if kind == OpKind::Flush {
        let (start, len) = (0, 0);
        return Op { kind, start, len };
    }
    let cluster = u64::from(tape.choose(Kind::Arg, (SECTORS / CLUSTER) as u32)) * CLUSTER;
    if tape.choose(Kind::Arg, 3) == 0 {
        let (start, len) = (cluster, CLUSTER);
        return Op { kind, start, len };
    }
    let start = cluster + u64::from(tape.choose(Kind::Arg, CLUSTER as u32));
    let len = (1 + u64::from(tape.choose(Kind::Arg, 16))).min(SECTORS - start);
    Op { kind, start, len }
}

const fn write(fua: bool) -> OpKind {
    let preflush = false;
    OpKind::Write { preflush, fua }
}

fn carry_out(device: &mut dyn Device, op: Op, number: u32) -> std::io::Result<Vec<Value>> {
    let Op { kind, start, len } = op;
    match kind {
        OpKind::Read => return read(device, start, len),
        OpKind::Write { fua, .. } => {
            let mut buffer = vec![0; len as usize * SECTOR];
            for (sector, bytes) in (start..).zip(buffer.chunks_mut(SECTOR)) {
                fill_pattern(Value::of(number, sector), 0, bytes);
            }
            if fua {
                device.write_fua(start, &buffer)?;
            } else {
                device.write(start, &buffer)?;
            }
        }
        OpKind::WriteZeroes { fua, unmap } => {
            device.write_zeroes(start, len, unmap)?;
            if fua {
                device.flush()?;
            }
        }
        OpKind::Discard => device.discard(start, len)?,
        OpKind::Flush => device.flush()?,
        OpKind::Promote { .. } => {}
    }
    Ok(Vec::new())
}

fn read(device: &mut dyn Device, start: u64, len: u64) -> std::io::Result<Vec<Value>> {
    let mut buffer = vec![0xa5; len as usize * SECTOR];
    device.read(start, &mut buffer)?;
    let (sectors, _) = buffer.as_chunks::<SECTOR>();
    let known = |sector| recognise(sector).unwrap_or(Value(u64::MAX));
    Ok(sectors.iter().map(known).collect())
}

/// True if it ended well; and what it said.
fn qemu_img(arguments: &[&str]) -> Result<(bool, String), String> {
    let done = Command::new("qemu-img").args(arguments).output();
    let done = done.map_err(|error| format!("qemu-img (Debian: qemu-utils): {error}"))?;
    let said = [done.stdout, done.stderr].concat();
    Ok((
        done.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(folder: &Path, image: &Path) -> Result<Server, String> {
        let socket = folder.join("socket");
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new("qemu-nbd");
        command.args([
            "--persistent",
            "--discard=unmap",
            "--format",
            "parallels",
            "--socket",
        ]);
        command.arg(&socket).arg(image);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("qemu-nbd (Debian: qemu-utils): {error}"))?;
        Ok(Server { child, socket })
    }

    fn connect(&mut self) -> Result<Box<dyn Device>, String> {
        let place = Place::NbdUnix(self.socket.clone());
        let started = Instant::now();
        loop {
            match connect(&place, SECTORS, true) {
                Ok(device) => return Ok(device),
                Err(problem) if started.elapsed() > Duration::from_secs(20) => {
                    return Err(format!("the server does not come up: {problem}"));
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the server refuses the image: {status}"));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
