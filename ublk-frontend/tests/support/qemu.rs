//! QEMU's `qemu-img` and `qemu-io`: those of this machine, or Debian's, unpacked below the target folder. A machine that has
//! neither, nor a way to Debian's packages, fails these tests with a line that says what to install.

#[path = "../real_kernel/host/apt.rs"]
#[allow(dead_code, reason = "the guests of `real_kernel` need more of it")]
mod apt;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Ended;

/// Why there is no package.
#[derive(Debug)]
struct Missing(String);

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Missing {
        Missing(error.to_string())
    }
}

/// Where Debian keeps libraries.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Where the tools are.
#[derive(Debug)]
enum Tools {
    Installed,
    Unpacked(PathBuf),
}

impl Tools {
    fn command(&self, program: &str) -> Command {
        match self {
            Tools::Installed => Command::new(program),
            Tools::Unpacked(root) => {
                let libraries = LIBRARIES.map(|folder| root.join(folder).display().to_string());
                let mut command = Command::new(root.join("usr/bin").join(program));
                command.env("LD_LIBRARY_PATH", libraries.join(":"));
                command
            }
        }
    }

    fn run(&self) -> bool {
        ["qemu-img", "qemu-io"].iter().all(|program| {
            let output = self.command(program).arg("--version").output();
            output.is_ok_and(|output| output.status.success())
        })
    }
}

/// Finds them, or fetches them once.
fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    let found = TOOLS.get_or_init(|| {
        if Tools::Installed.run() {
            return Ok(Tools::Installed);
        }
        fetched(Path::new(env!("CARGO_TARGET_TMPDIR"))).map_err(|Missing(why)| why)
    });
    match found {
        Ok(tools) => tools,
        Err(why) => panic!(
            "this test needs qemu-img and qemu-io (apt-get install qemu-utils), and they could not be fetched: {why}"
        ),
    }
}

fn fetched(cache: &Path) -> Result<Tools, Missing> {
    let root = cache.join("qemu-utils");
    let tools = Tools::Unpacked(root.clone());
    if tools.run() {
        return Ok(tools);
    }
    if root.exists() {
        // Another machine's: libraries that were installed there are missing here.
        std::fs::remove_dir_all(&root)?;
    }
    apt::with_apt(&cache.join("apt-qemu-utils"), &["bookworm"], |apt| {
        apt.unpack_with_missing("bookworm", &["qemu-utils"], &root)
    })?;
    match tools.run() {
        true => Ok(tools),
        false => Err(Missing(format!("{} does not start", root.display()))),
    }
}

/// A command that starts `qemu-img`, `qemu-io` or `qemu-nbd`.
pub(crate) fn command(program: &str) -> Command {
    tools().command(program)
}

fn run(program: &str, dir: &Path, arguments: &[&str]) -> Ended {
    command(program)
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("QEMU's tool starts")
        .into()
}

/// `qemu-img` with arguments separated by blanks, in the folder `dir`.
pub(crate) fn img(dir: &Path, arguments: &str) -> Ended {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    run("qemu-img", dir, &words)
}

/// `qemu-img` that has to work.
#[track_caller]
pub(crate) fn img_ok(dir: &Path, arguments: &str) -> String {
    let ended = img(dir, arguments);
    assert_eq!(ended.code, 0, "qemu-img {arguments}: {ended:?}");
    ended.out
}

/// Runs `qemu-io` commands (`write -P 0x11 0 64k`) on an image of the given format; each has to work.
#[track_caller]
pub(crate) fn io(dir: &Path, format: &str, image: &str, commands: &[&str]) {
    let mut arguments = vec!["-f", format];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(image);
    io_words(dir, &arguments);
}

/// Runs `qemu-io` with these arguments; every command has to work. Returns what it printed.
#[track_caller]
pub(crate) fn io_words(dir: &Path, arguments: &[&str]) -> String {
    let ended = run("qemu-io", dir, arguments);
    let failed = ended.code != 0
        || ["Pattern verification failed", "failed:"]
            .iter()
            .any(|word| ended.out.contains(word));
    assert!(!failed, "qemu-io {arguments:?}: {ended:?}");
    ended.out
}

/// Runs `qemu-io` with commands of which the last may kill it. True if it ended by itself.
pub(crate) fn io_may_die(dir: &Path, arguments: &[&str]) -> bool {
    let output = command("qemu-io")
        .current_dir(dir)
        .args(arguments)
        .output()
        .expect("QEMU's tool starts");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        !out.contains("failed:"),
        "qemu-io {arguments:?}: {output:?}"
    );
    output.status.code().is_some()
}

/// A chain of files, oldest first, in the words of `--image-opts`. A lowest file that is no image is taken as raw.
pub(crate) fn chain_options(dir: &Path, chain: &[String]) -> String {
    let mut options = Vec::new();
    for (depth, name) in chain.iter().rev().enumerate() {
        let prefix = "backing.".repeat(depth);
        let bytes = std::fs::read(dir.join(name)).expect("file");
        let is_image = bytes.starts_with(b"Withou");
        let driver = if is_image { "parallels" } else { "raw" };
        options.push(format!(
            "{prefix}driver={driver},{prefix}file.filename={name}"
        ));
    }
    options.join(",")
}

/// Both files hold the same disk, or the test fails with QEMU's words.
#[track_caller]
pub(crate) fn same(dir: &Path, format_a: &str, a: &str, format_b: &str, b: &str) {
    img_ok(dir, &format!("compare -f {format_a} -F {format_b} {a} {b}"));
}
