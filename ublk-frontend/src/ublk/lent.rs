//! An image below the top that somebody else writes while the disk goes on.
//!
//! ```text
//!   nobody ──lend──▶ claimed ──so far──▶ claimed, and how far ──give back──▶ nobody
//! ```
//! * The core has read the index of that image when it was opened, and reads only clusters that no image above has. Whoever
//!   merges the image with its neighbour writes none of those: see `commands::merge_live`.
//! * A command that was killed gives nothing back: the image stays claimed until the next one, or until the server leaves.
//!   It is half merged meanwhile, and nobody's base but this disk's.

use serde::{Deserialize, Serialize};

use crate::files::RealFile;
use crate::ublk::socket::Answer;

/// How far a merge is that a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Merging {
    /// The image that is written; 0 is the oldest.
    pub level: u8,
    /// Clusters copied.
    pub done: u64,
    /// Clusters to be copied.
    pub total: u64,
}

/// What is lent; nothing at first.
#[derive(Debug, Default)]
pub(super) struct Lent(Option<Merging>);

impl Lent {
    pub(super) fn progress(&self) -> Option<Merging> {
        self.0
    }

    pub(super) fn lend(&mut self, files: &[RealFile], level: u8) -> Answer {
        let at = usize::from(level);
        let Some(file) = files.get(at).filter(|_| at + 1 < files.len()) else {
            return Answer::Refused(format!("there is no image {level} below the top"));
        };
        if self.0.is_some_and(|before| before.level != level)
            && let Answer::Refused(why) = self.give_back(files)
        {
            return Answer::Refused(why);
        }
        match file.claim() {
            Ok(true) => {}
            Ok(false) => {
                self.0 = None;
                return Answer::Refused(format!(
                    "{}: in use: another program reads it",
                    file.path().display()
                ));
            }
            Err(error) => {
                self.0 = None;
                return Answer::Refused(format!("{}: {error}", file.path().display()));
            }
        }
        self.0 = Some(Merging {
            level,
            done: 0,
            total: 0,
        });
        let id = file.id();
        Answer::Lent {
            dev: id.dev,
            ino: id.ino,
        }
    }

    pub(super) fn so_far(&mut self, done: u64, total: u64) -> Answer {
        match &mut self.0 {
            None => Answer::Refused("no image is lent".into()),
            Some(merging) => {
                (merging.done, merging.total) = (done, total);
                Answer::Done
            }
        }
    }

    pub(super) fn give_back(&mut self, files: &[RealFile]) -> Answer {
        let before = self.0.take();
        let file = before.and_then(|merging| files.get(usize::from(merging.level)));
        match file.map(RealFile::release) {
            None | Some(Ok(())) => Answer::Done,
            Some(Err(error)) => Answer::Refused(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_image_below_the_top_is_lent_at_a_time() {
        let dir = tempfile::tempdir().expect("folder");
        let path = |name: &str| dir.path().join(name);
        let files: Vec<RealFile> = ["a", "b", "c"]
            .iter()
            .map(|name| {
                std::fs::write(path(name), b"x").expect("written");
                RealFile::open_read(&path(name)).expect("open")
            })
            .collect();
        let free = |name: &str| RealFile::open_read(&path(name)).is_ok();
        let is_refused = |answer: &Answer| matches!(answer, Answer::Refused(_));
        let mut lent = Lent::default();
        assert!(is_refused(&lent.lend(&files, 2)), "the top");
        assert!(is_refused(&lent.so_far(1, 2)), "nothing is lent");
        let id = files[1].id();
        let (dev, ino) = (id.dev, id.ino);
        assert_eq!(lent.lend(&files, 1), Answer::Lent { dev, ino });
        assert!(free("a") && !free("b"));
        assert_eq!(lent.so_far(1, 2), Answer::Done);
        let level = 1;
        let wanted = Merging {
            level,
            done: 1,
            total: 2,
        };
        assert_eq!(lent.progress(), Some(wanted));
        // Whoever had it was killed.
        assert!(!is_refused(&lent.lend(&files, 0)));
        assert!(!free("a") && free("b"));
        let reader = RealFile::open_read(&path("b")).expect("open");
        assert!(is_refused(&lent.lend(&files, 1)), "somebody reads it");
        drop(reader);
        assert!(free("a") && free("b") && lent.progress().is_none());
        assert!(!is_refused(&lent.lend(&files, 1)));
        assert_eq!(lent.give_back(&files), Answer::Done);
        assert!(free("b"));
        assert_eq!(lent.give_back(&files), Answer::Done);
    }
}
