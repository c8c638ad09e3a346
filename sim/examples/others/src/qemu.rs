//! QEMU's parallels driver behind `qemu-nbd`, killed with SIGKILL.
//!
//! Only what a *process* holds is lost then: whatever it has written to its file is in the page cache and stays. So
//! this finds what the driver keeps to itself for too long, not a missing `fdatasync`.
//! 1. Random operations, one after the other; the server is killed between two of them, and the next one starts.
//! 2. `qemu-img check` of what is left: leaks, and that it was not closed, are allowed; other errors are not.
//! 3. The next server on it: all is read, and judged as after a power cut: what was flushed is there.
//!
//! Nothing depends on time: a seed is a run, a run that fails is a tape, and a tape fails again and can be made small.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use model::disk::Model;
use model::op::{End, Kind as OpKind, Op, Value};
use sim::campaign::Subject;
use sim::disk::sector::{SECTOR, fill_pattern, recognise};
use sim::face::{Device, Place, connect};
use sim::profile::Profile;
use sim::report::{Class, Failure, RunStats};
use sim::shrink::{Effort, shrink};
use sim::tape::{Event, Kind, Label, Object, Tape, TapeFile};
use sim::trace::TraceHash;

use crate::tools;

/// Sectors of the disk that are used: 32 clusters.
const SECTORS: u64 = 32 * CLUSTER;
/// Sectors of a cluster.
const CLUSTER: u64 = 128;
/// Servers on one image, at the most; each is killed.
const SERVERS: u32 = 4;
/// Operations of a server at the most.
const OPS: u32 = 24;
/// A run takes a second: so many are tried to make a tape small.
const TRIALS: Effort = Effort {
    runs: 150,
    time: Duration::from_secs(240),
};
const USAGE: &str = "usage: others qemu [SEED | A..B | FILE.tape]";

/// Kills servers: of the seeds that are named, or of 6; or as a tape says. 0: nothing was found, 2: something.
pub(crate) fn main(what: Option<&str>) -> ExitCode {
    let what = what.unwrap_or("0..6");
    // Found, or fetched, before anything is judged.
    tools::command("qemu-img");
    let result = match parse(what) {
        Some(seeds) => hunt(seeds),
        None if what.ends_with(".tape") => replay(Path::new(what)),
        None => Err(USAGE.to_owned()),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(2),
        Err(problem) => {
            eprintln!("others: {problem}");
            ExitCode::from(1)
        }
    }
}

fn parse(text: &str) -> Option<std::ops::Range<u64>> {
    match text.split_once("..") {
        Some((first, end)) => Some(first.parse().ok()?..end.parse().ok()?),
        None => text.parse().ok().map(|seed: u64| seed..seed + 1),
    }
}

/// Runs of seeds. A tape of each that fails goes to `target/others`, the first one made small. How many fail.
fn hunt(seeds: std::ops::Range<u64>) -> Result<u32, String> {
    let folder = Path::new("target/others");
    let (mut found, mut sum) = (0, RunStats::default());
    for seed in seeds {
        let mut tape = Tape::from_seed(seed);
        tape.note_spans();
        let failure = match Killed.run(&mut tape) {
            Ok(stats) => {
                sum.ops += stats.ops;
                sum.kills += stats.kills;
                sum.sectors_compared += stats.sectors_compared;
                continue;
            }
            Err(failure) if failure.checker == TOOLS => return Err(failure.message),
            Err(failure) => failure,
        };
        found += 1;
        println!("seed {seed}: {failure}");
        let file = TapeFile {
            profile: Profile::Tiny.to_string(),
            seed: Some(seed),
            trace: Some(failure.trace),
            failure: failure.checker.to_owned(),
            choices: tape.choices().to_vec(),
            spans: tape.spans().to_vec(),
            ..TapeFile::default()
        };
        let path = folder.join(format!("qemu-{seed}.tape"));
        save(&file, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("  tape: {}", path.display());
        if found > 1 {
            continue;
        }
        let small = shrink(&file, Profile::Tiny, |_, _| Box::new(Killed), TRIALS);
        let small = small.map_err(|refusal| refusal.to_string())?;
        let path = path.with_extension("min.tape");
        save(&small.file, &path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (before, after) = (small.before.operations, small.after.operations);
        println!("  small: {}, operations {before} > {after}", path.display());
    }
    let RunStats {
        ops,
        kills,
        sectors_compared,
        ..
    } = sum;
    println!(
        "passed: {ops} operations, {kills} kills, {sectors_compared} sectors compared; {found} seeds failed"
    );
    Ok(found)
}

/// A tape, told operation by operation.
fn replay(path: &Path) -> Result<u32, String> {
    let said = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = fs::File::open(path).map_err(|error| said(&error))?;
    let file = TapeFile::load(io::BufReader::new(file)).map_err(|error| said(&error))?;
    let mut tape = Tape::replay_spans(&file.choices, &file.spans);
    tape.note_spans();
    let result = Killed.run(&mut tape);
    for span in tape.spans() {
        match span.label.event {
            Event::Submit => println!("{}", span.label.object),
            Event::Kill => println!("kill -9"),
            _ => {}
        }
    }
    println!("alignment {:.1} %", tape.alignment());
    match result {
        Ok(_) => {
            println!("nothing found");
            Ok(0)
        }
        Err(failure) if failure.checker == TOOLS => Err(failure.message),
        Err(failure) => {
            println!("{failure}");
            let same = file.trace == Some(failure.trace) && file.failure == failure.checker;
            println!(
                "{}",
                if same {
                    "as recorded"
                } else {
                    "NOT as recorded"
                }
            );
            Ok(1)
        }
    }
}

fn save(file: &TapeFile, path: &Path) -> io::Result<()> {
    let mut bytes = Vec::new();
    file.save(&mut bytes)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

/// The checker of what is no finding: QEMU's tools are missing, or its server does not come up.
const TOOLS: &str = "tools";

fn failure(checker: &'static str, message: String, trace: &TraceHash) -> Failure {
    Failure {
        class: Class::Wrong,
        checker,
        message,
        trace: trace.value(),
    }
}

/// A run: an image, and servers on it that are killed.
struct Killed;

impl Subject for Killed {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("others-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut trace = TraceHash::new();
        let result = fs::create_dir_all(&folder)
            .map_err(|error| failure(TOOLS, error.to_string(), &trace))
            .and_then(|()| play(tape, &folder, &mut trace));
        // Nothing of ours is left behind.
        let _ = fs::remove_dir_all(&folder);
        result
    }
}

fn play(tape: &mut Tape, folder: &Path, trace: &mut TraceHash) -> Result<RunStats, Failure> {
    let tools = |problem: String| failure(TOOLS, problem, &TraceHash::new());
    let image = folder.join("disk.hdd");
    let name = image.display().to_string();
    let size = (SECTORS * SECTOR as u64).to_string();
    let cluster = format!("cluster_size={}", CLUSTER * SECTOR as u64);
    let create = [
        "create",
        "-q",
        "-f",
        "parallels",
        "-o",
        &cluster,
        &name,
        &size,
    ];
    let (done, said) = qemu_img(&create).map_err(tools)?;
    if !done {
        return Err(tools(said));
    }
    let mut stats = RunStats::default();
    let mut model = Model::new(SECTORS);
    tape.begin(Event::Shape);
    let servers = 1 + tape.choose(Kind::Geometry, SERVERS);
    for _ in 0..servers {
        let mut server = Server::start(folder, &image).map_err(tools)?;
        let mut device = server.connect(trace)?;
        let seen = read(&mut *device, 0, SECTORS).map_err(|error| tools(error.to_string()))?;
        stats.sectors_compared += SECTORS;
        seen.iter().for_each(|value| trace.push(value.0));
        let restarted = model.restart(&seen);
        restarted.map_err(|violation| failure("durable", violation.to_string(), trace))?;
        tape.begin(Event::Plan);
        for _ in 0..1 + tape.choose(Kind::Crash, OPS) {
            if tape.stops() {
                break;
            }
            tape.begin(Event::Any);
            let op = draw(tape);
            tape.name(|| Label {
                event: Event::Submit,
                queue: Some(0),
                object: object(op),
                ..Label::default()
            });
            stats.ops += 1;
            let write = stats.ops as u32;
            let id = model.submit(op, write);
            let read = carry_out(&mut *device, op, write);
            let read = read.map_err(|error| failure("outcome", error.to_string(), trace))?;
            read.iter().for_each(|value| trace.push(value.0));
            let judged = model.complete(id, End::Ok, &read);
            judged.map_err(|violation| failure("linear", violation.to_string(), trace))?;
        }
        tape.begin(Event::Kill);
        drop(server);
        stats.kills += 1;
        model.crash();
        let (_, said) = qemu_img(&["check", "-f", "parallels", &name]).map_err(tools)?;
        // Of course it was not closed.
        let known = ["was not closed correctly", "leak"];
        let is_known = |line: &&str| known.iter().any(|known| line.contains(known));
        let mut errors = said.lines().filter(|line| line.contains("ERROR"));
        if let Some(error) = errors.find(|line| !is_known(line)) {
            return Err(failure("qemu-img check", error.trim().to_owned(), trace));
        }
    }
    stats.trace = trace.value();
    Ok(stats)
}

/// The name of an operation, by its cluster.
fn object(op: Op) -> Object {
    let clu = (op.start / CLUSTER) as u32;
    match op.kind {
        OpKind::Read => Object::Read(clu),
        OpKind::Write { fua: true, .. } => Object::Fua(clu),
        OpKind::Write { .. } => Object::Write(clu),
        OpKind::WriteZeroes { .. } => Object::Zeroes(clu),
        OpKind::Discard => Object::Discard(clu),
        OpKind::Flush => Object::Flush,
        OpKind::Promote { .. } => Object::Promote(clu),
    }
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
    let done = tools::command("qemu-img").args(arguments).output();
    let done = done.map_err(|error| format!("qemu-img: {error}"))?;
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
        let mut command = tools::command("qemu-nbd");
        command.args([
            "--persistent",
            "--discard=unmap",
            "--format",
            "parallels",
            "--socket",
        ]);
        command.arg(&socket).arg(image);
        let child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| format!("qemu-nbd: {error}"))?;
        Ok(Server { child, socket })
    }

    /// An image that the server refuses is a finding: it was its own.
    fn connect(&mut self, trace: &TraceHash) -> Result<Box<dyn Device>, Failure> {
        let place = Place::NbdUnix(self.socket.clone());
        let started = Instant::now();
        loop {
            match connect(&place, SECTORS, true) {
                Ok(device) => return Ok(device),
                Err(problem) if started.elapsed() > Duration::from_secs(20) => {
                    let what = format!("the server does not come up: {problem}");
                    return Err(failure(TOOLS, what, trace));
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let what = format!("the server refuses the image: {status}");
                return Err(failure("open", what, trace));
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
