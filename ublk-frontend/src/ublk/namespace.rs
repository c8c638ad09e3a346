//! A mount namespace of the server's own.
//!
//! If the server shared its users' mounts, its end could be the end of the last mount of a file system on its own disk,
//! whose last writes would then wait for ever for a server that is gone. So it takes a copy of the mounts, private, and
//! as soon as everything is open lets go of all of them. Files that are open stay open.

use std::fs;
use std::io;

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};

use crate::raw;

/// A private copy of the mounts. To be called before any thread is started.
pub fn enter() -> io::Result<()> {
    raw::unshare_mounts()?;
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

/// Lets go of every mount but the root. Nothing can be opened by its path afterwards.
pub fn let_go() -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for point in mount_points(&mounts).iter().rev() {
        // What hangs below another mount may have gone with it.
        let _ = unmount(point.as_str(), UnmountFlags::DETACH);
    }
    Ok(())
}

/// The mount points of a `mountinfo`, without the root, unescaped.
fn mount_points(mounts: &str) -> Vec<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| *point != "/").map(unescape).collect()
}

/// `\040` and the like are bytes in octal.
fn unescape(point: &str) -> String {
    let mut parts = point.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let octal = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_and_unescaped() {
        let text = "21 1 0:19 / / rw - ext4 /dev/vda rw\n\
            22 21 0:20 / /proc rw,nosuid - proc proc rw\n\
            23 21 0:21 / /mnt/a\\040b\\134c rw shared:1 - tmpfs t rw\n";
        assert_eq!(mount_points(text), ["/proc", "/mnt/a b\\c"]);
    }
}
