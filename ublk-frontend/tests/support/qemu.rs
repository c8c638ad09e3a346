//! QEMU's `qemu-img` and `qemu-io`: those of this machine if they are new enough, or Debian's, unpacked below the target folder.
//! Without a way to Debian's packages these tests fail with a line that says why.

#[path = "../real_kernel/host/apt.rs"]
#[expect(dead_code, reason = "the guests of `real_kernel` need more of it")]
mod apt;
#[path = "../real_kernel/host/qemu_tools.rs"]
mod qemu_tools;

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use super::Ended;
use qemu_tools::Tools;

/// Why there is no package.
#[derive(Debug)]
struct Missing(String);

impl From<std::io::Error> for Missing {
    fn from(error: std::io::Error) -> Missing {
        Missing(error.to_string())
    }
}

/// Finds them, or fetches them once.
fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    let found = TOOLS.get_or_init(|| {
        Tools::find(Path::new(env!("CARGO_TARGET_TMPDIR"))).map_err(|Missing(why)| why)
    });
    match found {
        Ok(tools) => tools,
        Err(why) => {
            panic!("this test needs qemu-img and qemu-io, and they could not be fetched: {why}")
        }
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
