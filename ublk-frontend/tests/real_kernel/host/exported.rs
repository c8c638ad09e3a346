//! Images that the guest hands out, and what QEMU's tool says of them. How they lie on their disk: see
//! `guest::disks::export`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use super::qemu_tools::Tools;
use crate::guest::disks::{EXPORT_HEAD, exported_head};

/// Takes every image off the disk `exports` and lets `qemu-img check` look at it. What was looked at.
///
/// # Errors
/// `qemu-img` does not start, or does not find an image clean.
pub(super) fn check(exports: &Path, folder: &Path, tools: &Tools) -> Result<Vec<String>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut disk = File::open(exports).map_err(text)?;
    let mut names = Vec::new();
    loop {
        let mut head = vec![0; EXPORT_HEAD];
        if disk.read_exact(&mut head).is_err() {
            break;
        }
        let Some((name, len)) = exported_head(&head) else {
            break;
        };
        let path = folder.join(&name);
        let mut content = Vec::new();
        let padded = len.next_multiple_of(EXPORT_HEAD as u64);
        (&mut disk)
            .take(padded)
            .read_to_end(&mut content)
            .map_err(text)?;
        content.truncate(len as usize);
        File::create(&path)
            .and_then(|mut file| file.write_all(&content))
            .map_err(text)?;
        judge(&path, tools)?;
        names.push(name);
    }
    if names.is_empty() {
        return Err("the guest handed out no image".to_owned());
    }
    Ok(names)
}

fn judge(image: &Path, tools: &Tools) -> Result<(), String> {
    let output = tools
        .command("qemu-img")
        .args(["check", "-f", "parallels"])
        .arg(image)
        .output()
        .map_err(|error| format!("qemu-img: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() && said.contains("No errors were found") {
        return Ok(());
    }
    Err(format!(
        "qemu-img check {}: {}, {}",
        image.display(),
        output.status,
        said.trim().replace('\n', " | ")
    ))
}
