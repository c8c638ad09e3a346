//! rublk, at one version, built once with cargo from its crate.
//!
//! Building it needs libclang (its bindings to the kernel's header are made while it is built). That is taken from Debian's
//! package, unpacked beside the program, not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Missing;
use super::apt::with_apt;
use super::parts::library_path;

/// Measured with this one.
pub(super) const VERSION: &str = "0.2.15";

/// The program, built if it is not there.
pub(super) fn program(cache: &Path) -> Result<PathBuf, Missing> {
    let root = cache.join(format!("rublk-{VERSION}"));
    let program = root.join("bin/rublk");
    if program.exists() {
        return Ok(program);
    }
    eprintln!("rublk {VERSION} is built, once: some minutes");
    let clang = cache.join("libclang");
    if !clang.exists() {
        with_apt(
            &cache.join("apt-tools"),
            &["bookworm", "bookworm-backports"],
            |apt| apt.unpack_with_missing("bookworm", &["libclang1"], &clang),
        )?;
    }
    let built = cache.join("rublk-target");
    let libraries = library_path(&clang);
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["install", "--quiet", "--locked", "--version", VERSION])
        .arg("--root")
        .arg(&root)
        .arg("rublk")
        .env("CARGO_TARGET_DIR", &built)
        .env("LIBCLANG_PATH", clang.join("usr/lib/x86_64-linux-gnu"))
        .env("LD_LIBRARY_PATH", libraries);
    if let Some(headers) = compiler_headers() {
        cargo.env("BINDGEN_EXTRA_CLANG_ARGS", format!("-I{headers}"));
    }
    let output = cargo
        .output()
        .map_err(|error| Missing(format!("cargo: {error}")))?;
    // Hundreds of megabytes.
    let _ = std::fs::remove_dir_all(&built);
    match output.status.success() {
        true => Ok(program),
        false => Err(Missing(complaint(&output.stderr))),
    }
}

/// Where the C compiler keeps `stddef.h`: libclang comes without one.
fn compiler_headers() -> Option<String> {
    let output = Command::new("cc")
        .arg("-print-file-name=include")
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_absolute().then_some(path)
}

/// The line that says why.
fn complaint(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| line.starts_with("error"));
    line.or(text.lines().last())
        .unwrap_or("it does not build and says nothing")
        .to_owned()
}
