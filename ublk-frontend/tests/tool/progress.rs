//! Long work shows how far it is, on a terminal only.

use std::path::Path;
use std::process::Command;

use crate::dir;
use crate::support::qemu::io;
use crate::support::tool;

/// What a command writes to a terminal.
fn on_a_terminal(dir: &Path, arguments: &str) -> String {
    let command = format!("{} {arguments}", env!("CARGO_BIN_EXE_ploop-ublk"));
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .current_dir(dir)
        .output()
        .expect("script, of util-linux");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {said}");
    said
}

#[test]
fn long_work_shows_how_far_it_is_on_a_terminal_and_nowhere_else() {
    let dir = dir();
    let dir = dir.path();
    tool(dir, "create a --size 4M --cluster 4K").fine();
    io(
        dir,
        "parallels",
        "a",
        &["write -P 0x55 64k 1M", "discard 64k 512k"],
    );
    for (n, (arguments, words)) in [
        ("grow a 64M", "read and written"),
        ("cbt start a", "read and written"),
        ("cbt dump a --clear", "read and written"),
        ("cbt stop a", "read and written"),
        ("check a", "read and written"),
        ("check a --repair", "read and written"),
        ("convert a c", "% of"),
        ("compact a", "clusters"),
        ("init b --size 1M", ""),
        ("snapshot create b", ""),
        ("grow b 4M", "read and written"),
        ("snapshot merge b", "clusters"),
    ]
    .into_iter()
    .enumerate()
    {
        let said = on_a_terminal(dir, arguments);
        assert!(said.contains(words), "{n}: {arguments}: {said:?}");
    }
    // The same into a pipe.
    assert_eq!(tool(dir, "grow a 65M").fine(), "");
    assert_eq!(tool(dir, "convert a d").fine(), "");
}
