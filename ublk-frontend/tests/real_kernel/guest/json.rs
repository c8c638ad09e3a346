//! What commands print with `--json`, on a real kernel: the keys that `COMMANDS.md` promises, and values that the kernel and the
//! files confirm. Everything that is wrong is told together.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use model::op::{Kind, Op};
use serde_json::{Value, json};

use super::buffer::Buffer;
use super::disks;
use super::server::{self, Device, call, create, ok};
use super::target::wait_for;
use super::trouble::{During, Outcome, Trouble, demand};

const COMMANDS: &str = include_str!("../../../COMMANDS.md");
const PROGRAM: &str = "/bin/ploop-ublk";
const CLUSTER: u64 = 64 << 10;

/// What is wrong.
#[derive(Default)]
struct Wrong {
    found: Vec<String>,
    compared: usize,
}

impl Wrong {
    fn unless<T: PartialEq + Debug>(&mut self, what: &str, found: T, wanted: T) {
        self.compared += 1;
        if found != wanted {
            self.found
                .push(format!("{what}: {found:?}, not {wanted:?}"));
        }
    }

    /// What was said has these values.
    fn unless_all(&mut self, command: &str, said: &Value, wanted: &[(&str, Value)]) {
        for (key, value) in wanted {
            self.unless(&format!("{command}: {key}"), &said[*key], value);
        }
    }

    /// It has the keys that are promised, and no other.
    fn unless_keys(&mut self, command: &str, said: &Value, wanted: BTreeSet<&str>) {
        let keys = said.as_object().into_iter().flatten();
        let found: BTreeSet<&str> = keys.map(|(key, _)| key.as_str()).collect();
        self.unless(&format!("{command}: keys"), found, wanted);
    }
}

/// The keys in a command's row of the table, without those of `--all` and of parts in parentheses.
fn promised(command: &str) -> Result<BTreeSet<&'static str>, Trouble> {
    let table = COMMANDS.split("## JSON").nth(1).unwrap_or_default();
    let head = format!("| {command} |");
    let row = table.lines().find_map(|line| line.strip_prefix(&head));
    let row = row.ok_or_else(|| format!("COMMANDS.md has no row of {command}"))?;
    let cell = row.split(['|', ';']).next().unwrap_or_default();
    let outside = cell
        .split('(')
        .map(|part| part.split_once(')').map_or(part, |(_, rest)| rest));
    // Every second piece between backquotes is a key.
    let keys = outside.flat_map(|part| part.split('`').skip(1).step_by(2));
    Ok(keys.collect())
}

/// Parses what a command printed.
fn parsed(command: &str, printed: &str) -> Result<Value, Trouble> {
    let value = serde_json::from_str(printed);
    value.map_err(|error| format!("{command}: {error}: {printed:?}").into())
}

/// Calls a command; it prints one line.
fn line(command: &str) -> Result<Value, Trouble> {
    let printed = ok(command)?;
    demand(printed.lines().count() == 1, || {
        format!("{command} printed more than a line: {printed:?}")
    })?;
    parsed(command, &printed)
}

/// What the kernel says of a disk.
fn setting(id: u32, name: &str) -> Result<u64, Trouble> {
    let path = format!("/sys/block/ublkb{id}/{name}");
    let text = std::fs::read_to_string(&path).during(&path)?;
    let number = text.trim().parse();
    number.map_err(|_| Trouble::from(format!("{path}: {text:?}")))
}

/// Hardware queues of a disk, and tags of the first.
fn queues(id: u32) -> Result<(usize, u64), Trouble> {
    let queues = std::fs::read_dir(format!("/sys/block/ublkb{id}/mq"))?.count();
    Ok((queues, setting(id, "mq/0/nr_tags")?))
}

/// The device that is spoken of, which has to be there.
fn device(said: &Value) -> Result<Device, Trouble> {
    let id = said["id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let id = id.ok_or_else(|| format!("no number: {said}"))?;
    let path = PathBuf::from(said["device"].as_str().unwrap_or_default());
    let kind = std::fs::metadata(&path).during(path.display())?.file_type();
    demand(kind.is_block_device(), || format!("{said}: no disk"))?;
    let node = path.display().to_string();
    demand(node == format!("/dev/ublkb{id}"), || format!("{said}"))?;
    Ok(Device { id, path })
}

/// Everything that `add`, `recover` and `info` say of a device is what the kernel says.
fn as_the_kernel_says(command: &str, said: &Value, wrong: &mut Wrong) -> Result<Device, Trouble> {
    let device = device(said)?;
    let id = device.id;
    let wanted = [
        ("size", json!(setting(id, "size")? * 512)),
        (
            "cluster-size",
            json!(setting(id, "queue/chunk_sectors")? * 512),
        ),
        (
            "block-size",
            json!(setting(id, "queue/logical_block_size")?),
        ),
        ("read-only", json!(setting(id, "ro")? == 1)),
        ("zero-copy", json!(ok("features")?.contains("AUTO_BUF_REG"))),
        ("pid", json!(device.server()?.as_raw_nonzero().get())),
    ];
    wrong.unless_all(command, said, &wanted);
    let server = std::fs::read_link(format!("/proc/{}/exe", said["pid"]));
    let program = Path::new(PROGRAM);
    let what = format!("{command}: program of pid {}", said["pid"]);
    wrong.unless(&what, server.ok().as_deref(), Some(program));
    Ok(device)
}

/// What `add` and `recover` say of a device that is up.
fn served(
    command: &str,
    said: &Value,
    (images, recovered): (&[&Path], bool),
    wrong: &mut Wrong,
) -> Result<Device, Trouble> {
    wrong.unless_keys(command, said, promised("`add`")?);
    let wanted = [("images", json!(images)), ("recovered", json!(recovered))];
    wrong.unless_all(command, said, &wanted);
    as_the_kernel_says(command, said, wrong)
}

/// What `list` says of a device.
fn listed(id: u32, wanted: &[(&str, Value)], wrong: &mut Wrong) -> Result<(), Trouble> {
    let rows = parsed("list", &ok("list --json")?)?;
    let mut all = rows.as_array().into_iter().flatten();
    let row = all.find(|row| row["id"] == id).cloned();
    let row = row.unwrap_or_default();
    wrong.unless_keys("list", &row, promised("`list`")?);
    wrong.unless_all("list", &row, wanted);
    Ok(())
}

/// Without a server.
fn waits(device: &Device, wrong: &mut Wrong) -> Result<(), Trouble> {
    let wanted = [
        ("device", json!(device.path)),
        ("state", json!("waits for recover")),
        ("pid", json!(null)),
    ];
    listed(device.id, &wanted, wrong)
}

/// See the module.
pub(crate) fn json() -> Outcome {
    let folder = disks::folder("json")?;
    let mut wrong = Wrong::default();
    features(&mut wrong)?;
    single(&folder, &mut wrong)?;
    bundle(&folder, &mut wrong)?;
    refusals(&mut wrong)?;
    let Wrong { found, compared } = wrong;
    demand(found.is_empty(), || found.join("; "))?;
    Ok(format!("{compared} values compared"))
}

fn features(wrong: &mut Wrong) -> Result<(), Trouble> {
    let said = line("features --json")?;
    wrong.unless_keys("features", &said, promised("`features`")?);
    let text = ok("features")?;
    let mut lines = text.lines().map(str::trim);
    let word = lines
        .next()
        .and_then(|line| line.strip_prefix("features: "));
    let word = word.and_then(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    wrong.unless("features", said["features"].as_u64(), word);
    let names: Vec<&str> = lines.filter(|line| !line.starts_with("and ")).collect();
    wrong.unless("features: names", &said["names"], &json!(names));
    let known = said["names"].as_array().map_or(0, Vec::len);
    let unknown = said["unknown"].as_u64().unwrap_or(u64::MAX);
    let bits = word.unwrap_or(0).count_ones() - unknown.count_ones();
    wrong.unless("features: bits", known, bits as usize);
    Ok(())
}

/// The life of a device of an image.
fn single(folder: &Path, wrong: &mut Wrong) -> Result<(), Trouble> {
    let (image, new) = (folder.join("disk.hdd"), folder.join("new.hdd"));
    create(&image, "16M", "64k")?;
    let one = [image.as_path()];
    let options = "--queues 2 --depth 32 --flush-delay 60000ms";
    let said = line(&format!("add --json {options} {}", image.display()))?;
    let device = served("add", &said, (&one, false), wrong)?;
    let id = device.id;
    let wanted = [
        ("device", json!(device.path)),
        ("state", json!("live")),
        ("pid", said["pid"].clone()),
        ("images", json!(one)),
        ("read-only", json!(false)),
    ];
    listed(id, &wanted, wrong)?;
    info(&device, &one, wrong)?;

    let both = [image.as_path(), new.as_path()];
    let said = line(&format!(
        "snapshot create --json --id {id} --file {}",
        new.display()
    ))?;
    wrong.unless_keys("snapshot create", &said, ["file", "images"].into());
    let wanted = [("file", json!(new)), ("images", json!(both))];
    wrong.unless_all("snapshot create", &said, &wanted);
    demand(new.exists(), || "there is no new image".to_owned())?;

    let before = setting(id, "size")? * 512;
    let shown = ok("features")?.contains("UPDATE_SIZE");
    let said = line(&format!("resize --json {id} 24M"))?;
    wrong.unless_keys("resize", &said, promised("`resize`")?);
    let wanted = [
        ("id", json!(id)),
        ("device", json!(device.path)),
        ("size", json!(24 << 20)),
        ("shown", json!(shown)),
    ];
    wrong.unless_all("resize", &said, &wanted);
    let now = if shown { 24 << 20 } else { before };
    wrong.unless("resize: the kernel's size", setting(id, "size")? * 512, now);

    let said = line(&format!(
        "set --json {id} --no-space wait --no-space-limit 0"
    ))?;
    wrong.unless_keys("set", &said, promised("`set`")?);
    let wanted = [
        ("id", json!(id)),
        ("device", json!(device.path)),
        ("flush-delay-ms", json!(60_000)),
        ("no-space", json!("wait")),
        ("no-space-limit", json!(null)),
        ("read-only", json!(false)),
    ];
    wrong.unless_all("set", &said, &wanted);

    let old = device.server()?;
    device.kill()?;
    // Its lock goes when the last of its I/O has ended.
    let until = Instant::now() + Duration::from_secs(5);
    while ok("list --json")?.contains("live") && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    waits(&device, wrong)?;
    let said = line(&format!("recover --json {id}"))?;
    if shown {
        served("recover", &said, (&both, true), wrong)?;
    } else {
        // The image has grown, and the kernel was not told.
        wrong.unless_keys("recover", &said, promised("`add`")?);
        wrong.unless("recover: size", &said["size"], &json!(24 << 20));
    }
    let again = device.server()? == old;
    wrong.unless("recover: the old server", again, false);
    quiesced(&device, &both, wrong)?;

    let said = line(&format!("del --json {id}"))?;
    let gone = json!({"id": id, "device": device.path});
    wrong.unless_keys("del", &said, promised("`del`")?);
    wrong.unless("del", &said, &gone);
    wait_for(&device.path, false, 5)?;
    wrong.unless("list: nothing", line("list --json")?, json!([]));
    both.iter().try_for_each(|image| server::check(image))
}

/// A device into which a cluster was written.
fn info(device: &Device, images: &[&Path], wrong: &mut Wrong) -> Result<(), Trouble> {
    let target = device.open()?;
    let write = Op {
        kind: Kind::Write {
            preflush: false,
            fua: false,
        },
        start: 3 * CLUSTER / 512,
        len: 8,
    };
    let mut buffer = Buffer::new(4096);
    target.perform(write, buffer.part(4096))?;
    let command = format!("info {} --json", device.id);
    let said = parsed("info", &ok(&command)?)?;
    as_the_kernel_says("info", &said, wrong)?;
    wrong.unless_keys("info", &said, promised("`info` of a device")?);
    let (queues, depth) = queues(device.id)?;
    let wanted = [
        ("supervised", json!(false)),
        ("images", json!(images)),
        ("queues", json!(queues)),
        ("depth", json!(depth)),
        ("flush-delay-ms", json!(60_000)),
        ("no-space", json!("wait")),
        ("no-space-limit", json!(null)),
        ("mapped-clusters", json!(1)),
        ("dirty-pages", json!(1)),
        ("sync-failed", json!(false)),
        ("waits-for-space", json!(false)),
        ("promotion", json!(null)),
        ("merge", json!(null)),
    ];
    wrong.unless_all("info", &said, &wanted);
    let counters = &said["counters"];
    let wanted = [
        ("bytes-written", json!(4096)),
        ("in-flight", json!(0)),
        ("failed", json!(0)),
    ];
    wrong.unless_all("info: counters", counters, &wanted);
    wrong.unless("info: writes", &counters["requests"]["write"], &json!(1));
    let features = line("features --json")?;
    let can = |flag: &Value| {
        features["names"]
            .as_array()
            .is_some_and(|all| all.contains(flag))
    };
    let flags = said["flags"].as_array().cloned().unwrap_or_default();
    let known = flags.iter().filter(|flag| can(flag)).count();
    wrong.unless("info: flags that the kernel has", known, flags.len());
    let recovers = flags.contains(&json!("USER_RECOVERY_REISSUE"));
    wrong.unless("info: USER_RECOVERY_REISSUE", recovers, true);
    Ok(())
}

/// `quiesce` where the kernel can, and `recover --all`.
fn quiesced(device: &Device, images: &[&Path], wrong: &mut Wrong) -> Result<(), Trouble> {
    let command = format!("quiesce --json {}", device.id);
    if !ok("features")?.contains("QUIESCE") {
        return refused(&command, wrong);
    }
    let said = line(&command)?;
    wrong.unless_keys("quiesce", &said, promised("`quiesce`")?);
    let wanted = json!({"id": device.id, "device": device.path});
    wrong.unless("quiesce", &said, &wanted);
    // Its server has gone: nobody has the images.
    waits(device, wrong)?;
    images.iter().try_for_each(|image| server::check(image))?;
    let all = line("recover --all --json")?;
    wrong.unless("recover --all", all.as_array().map(Vec::len), Some(1));
    served("recover --all", &all[0], (images, true), wrong)?;
    Ok(())
}

/// A bundle, beside a server in the foreground; both are removed at once.
fn bundle(folder: &Path, wrong: &mut Wrong) -> Result<(), Trouble> {
    let at = folder.join("bundle");
    let words = at.display().to_string();
    ok(&format!("init {words} --size 16M --cluster 64k"))?;
    let first = line(&format!("add --json {words}"))?;
    let device = device(&first)?;
    let id = device.id;
    let said = line(&format!("snapshot create --json --id {id}"))?;
    let keys = ["snapshot", "file", "images"].into();
    wrong.unless_keys("snapshot create of a bundle", &said, keys);
    let of_bundle = super::aside::images_of(&device)?;
    wrong.unless(
        "snapshot create: images",
        &said["images"],
        &json!(of_bundle),
    );
    let listed = parsed(
        "snapshot list",
        &ok(&format!("snapshot list --json {words}"))?,
    )?;
    let mut guids = listed.as_array().into_iter().flatten();
    let is_listed = guids.any(|row| row["guid"] == said["snapshot"]);
    wrong.unless("snapshot create: its GUID is listed", is_listed, true);
    device.kill()?;
    let said = line(&format!("add --json --or-recover {words}"))?;
    let images: Vec<&Path> = of_bundle.iter().map(PathBuf::as_path).collect();
    served("add --or-recover", &said, (&images, true), wrong)?;

    let image = folder.join("disk.hdd");
    let mut child = Command::new(PROGRAM)
        .args(["add", "--json", "--foreground", "--read-only"])
        .arg(&image)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut out = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut text = String::new();
    out.read_line(&mut text)?;
    let said = parsed("add --foreground", &text)?;
    let other = served("add --foreground", &said, (&[&image], false), wrong)?;
    wrong.unless("add --foreground: pid", &said["pid"], &json!(child.id()));
    wrong.unless("add --read-only", &said["read-only"], &json!(true));

    let said = line("del --all --json")?;
    let gone = [&device, &other].map(|device| json!({"id": device.id, "device": device.path}));
    wrong.unless("del --all", said, json!(gone));
    let mut rest = String::new();
    out.read_to_string(&mut rest)?;
    wrong.unless("add --foreground: what followed", rest.as_str(), "");
    let ended = child.wait()?.code();
    wrong.unless("add --foreground: exit", ended, Some(0));
    for command in ["recover --all --json", "del --all --json"] {
        wrong.unless(command, line(command)?, json!([]));
    }
    Ok(())
}

/// Nothing on standard output, one line on standard error, status 1.
fn refused(command: &str, wrong: &mut Wrong) -> Result<(), Trouble> {
    let called = call(command)?;
    let lines = called.err.lines().count();
    let found = (called.code, called.out.as_str(), lines);
    wrong.unless(command, found, (Some(1), "", 1));
    Ok(())
}

fn refusals(wrong: &mut Wrong) -> Result<(), Trouble> {
    for command in [
        "add --json /tmp/none",
        "del --json 99",
        "recover --json 99",
        "quiesce --json 99",
        "resize --json 99 64M",
        "set --json 99 --read-only",
        "snapshot switch --json --id 99 --to {11111111-1111-1111-1111-111111111111}",
        "snapshot delete --json --id 99 --guid {11111111-1111-1111-1111-111111111111}",
        "snapshot create --json --id 99 --file /tmp/none",
        "info --json 99",
    ] {
        refused(command, wrong)?;
    }
    Ok(())
}
