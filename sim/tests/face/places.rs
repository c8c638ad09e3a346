//! Scenarios on devices that are not ours: a plain file, QEMU's NBD server with a raw and a parallels image.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sim::face::{Place, Played, play_at};
use sim::scenario::ScenarioError;

use super::{corpus, qemu};

/// An empty folder for one test.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("places")
        .join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("an old folder goes");
    }
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// All scenarios there, one after the other.
fn play_all(place: &Place) -> Vec<Played> {
    corpus()
        .into_iter()
        .map(|(name, scenario)| {
            let played = play_at(place, &scenario, true);
            played.unwrap_or_else(|error| panic!("{name} on {place}: {error}"))
        })
        .collect()
}

fn sum(all: &[Played], what: impl Fn(&Played) -> u64) -> u64 {
    all.iter().map(what).sum()
}

fn left_out(all: &[Played], what: &str) -> u32 {
    all.iter().map(|played| played.left_out.times(what)).sum()
}

#[test]
fn a_plain_file_plays_them_all() {
    let path = folder("file").join("disk.raw");
    let place = Place::File(path.clone());
    let all = play_all(&place);
    println!("{} operations", sum(&all, |played| played.ops));
    assert!(sum(&all, |played| played.ops) > 200 && sum(&all, |played| played.demands) > 8);
    // Never silently.
    assert_eq!(sum(&all, |played| played.cuts + played.kills), 0);
    assert!(left_out(&all, "power cut") >= 20 && left_out(&all, "kill") >= 2);
}

#[test]
fn nothing_is_destroyed_unless_that_is_allowed() {
    let folder = folder("refused");
    let precious = folder.join("precious");
    std::fs::write(&precious, "my thesis").expect("written");
    let (_, scenario) = corpus().swap_remove(0);
    let unusable = |place: Place, overwrite| match play_at(&place, &scenario, overwrite) {
        Err(ScenarioError::Unusable(problem)) => problem,
        other => panic!("{place}: {other:?}"),
    };
    let problem = unusable(Place::File(precious.clone()), false);
    assert!(problem.contains("--overwrite"), "{problem}");
    assert_eq!(std::fs::read(&precious).expect("read"), b"my thesis");
    unusable(Place::NbdUnix(folder.join("no-socket")), false);
    // Not even then.
    unusable(Place::File(folder.clone()), true);
    unusable(Place::File("/dev/null".into()), true);
    unusable(Place::File(folder.join("no-folder/disk")), true);
    unusable(Place::NbdUnix(folder.join("no-socket")), true);
    // An empty file is nobody's.
    let empty = folder.join("empty");
    std::fs::write(&empty, "").expect("written");
    play_at(&Place::File(empty), &scenario, false).expect("it passes");
}

/// QEMU's server of one image. It goes with this.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(folder: &Path, format: &str, image: &Path) -> Server {
        let socket = folder.join("socket");
        let mut command = qemu::command("qemu-nbd");
        command.args(["--persistent", "--discard=unmap", "--detect-zeroes=unmap"]);
        command
            .args(["--format", format, "--socket"])
            .arg(&socket)
            .arg(image);
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.expect("qemu-nbd starts");
        let server = Server { child, socket };
        let started = Instant::now();
        while !server.socket.exists() {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "qemu-nbd does not come up"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn qemu_img(arguments: &[&str], image: &Path) {
    let done = qemu::command("qemu-img")
        .args(arguments)
        .arg(image)
        .output();
    let done = done.expect("qemu-img starts");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success(),
        "{arguments:?}: {said} {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn qemu_plays_them_all_on_a_raw_image() {
    let folder = folder("raw");
    let image = folder.join("disk.raw");
    std::fs::write(&image, vec![0; 16 << 20]).expect("an image");
    let server = Server::start(&folder, "raw", &image);
    let all = play_all(&Place::NbdUnix(server.socket.clone()));
    assert!(sum(&all, |played| played.ops) > 200 && left_out(&all, "power cut") >= 20);
    // Too small a server is refused before anything is written.
    let text = "geometry cluster=64 entries=1024\nq0.t0 write 65535\n";
    let large = sim::scenario::Scenario::parse(text).expect("a scenario");
    let refused = play_at(&Place::NbdUnix(server.socket.clone()), &large, true);
    assert!(
        matches!(refused, Err(ScenarioError::Unusable(_))),
        "{refused:?}"
    );
}

#[test]
fn qemu_plays_them_all_on_a_parallels_image() {
    let folder = folder("parallels");
    let image = folder.join("disk.hdd");
    let name = image.display().to_string();
    qemu_img(
        &["create", "-q", "-f", "parallels", &name],
        Path::new("16M"),
    );
    let server = Server::start(&folder, "parallels", &image);
    let all = play_all(&Place::NbdUnix(server.socket.clone()));
    assert!(sum(&all, |played| played.ops) > 200);
    // Asked to go, it closes the image.
    let pid = server.child.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(asked.expect("kill").success());
    let mut server = server;
    assert!(server.child.wait().expect("it ends").success());
    qemu_img(&["check", "-q", "-f", "parallels"], &image);
}
