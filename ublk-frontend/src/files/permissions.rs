//! QEMU's image locks, so that QEMU and we see each other.
//!
//! Two bytes of the file stand for each thing that can be done to it. Whoever does it holds a shared lock of the first;
//! whoever does not let others do it holds one of the second. Nobody ever writes to a lock byte: they may lie in data.
//!
//! | | does: byte 100 + i | forbids others: byte 200 + i |
//! |---|---|---|
//! | we read | read (0) | write (1), resize (3) |
//! | we write | read (0), write (1), resize (3) | write (1), resize (3) |
//!
//! First all locks are taken, then it is looked who else has which: of two that come at the same moment at least one sees
//! the other. These locks are beside `flock`, which QEMU does not look at, and which alone keeps our own programs apart.

use std::io;
use std::os::fd::AsFd;

use crate::raw::{is_byte_locked, share_byte, unlock_bytes};

const READ: u64 = 0;
const WRITE: u64 = 1;
const RESIZE: u64 = 3;

const DOES: u64 = 100;
const FORBIDS: u64 = 200;
/// Bytes from `DOES` on that hold all locks.
const ALL: u64 = 164;

/// What became of the locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// They are held as long as the file is open.
    Held,
    /// The file system has none, or the kernel.
    Without,
    /// Somebody else's exclude ours.
    Refused,
}

/// Takes the locks of a reader or a writer.
pub(super) fn take(file: impl AsFd, writing: bool) -> Taken {
    let file = file.as_fd();
    let does: &[u64] = if writing {
        &[READ, WRITE, RESIZE]
    } else {
        &[READ]
    };
    let forbids = [WRITE, RESIZE];
    let mine = does.iter().map(|what| DOES + what);
    let outcome = mine
        .chain(forbids.map(|what| FORBIDS + what))
        .try_for_each(|byte| share_byte(file, byte))
        .and_then(|()| {
            let theirs = does.iter().map(|what| FORBIDS + what);
            for byte in theirs.chain(forbids.map(|what| DOES + what)) {
                if is_byte_locked(file, byte)? {
                    return Ok(Taken::Refused);
                }
            }
            Ok(Taken::Held)
        });
    let taken = match outcome {
        Ok(taken) => taken,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Taken::Refused,
        Err(_) => Taken::Without,
    };
    if taken != Taken::Held {
        give_up(file);
    }
    taken
}

/// Gives them up. What is not held need not be.
pub(super) fn give_up(file: impl AsFd) {
    let _ = unlock_bytes(file, DOES, ALL);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("f");
        std::fs::write(&path, b"x").expect("written");
        let open = || File::options().read(true).write(true).open(&path);
        let open = || open().expect("open");
        let (one, two, three) = (open(), open(), open());
        assert_eq!(take(&one, false), Taken::Held);
        assert_eq!(take(&two, false), Taken::Held);
        assert_eq!(take(&three, true), Taken::Refused);
        drop(two);
        give_up(&one);
        assert_eq!(
            take(&three, true),
            Taken::Held,
            "the refused one held nothing"
        );
        assert_eq!(take(&one, false), Taken::Refused);
        assert_eq!(take(&one, true), Taken::Refused);
        let copy = three.try_clone().expect("the same open file");
        drop(three);
        assert_eq!(take(&one, false), Taken::Refused);
        drop(copy);
        assert_eq!(take(&one, false), Taken::Held);
    }

    #[test]
    fn what_cannot_be_locked_is_used_without() {
        let (read, _write) = std::io::pipe().expect("pipe");
        assert_eq!(take(&read, false), Taken::Held, "even a pipe can be");
    }
}
