//! Work that one queue finds for another: a list, and an eventfd that is kept in the other queue's ring.
//!
//! * Whoever puts the first letter into an empty box rings; the owner empties the whole box at once. So a letter is
//!   never left behind, and nobody waits for a time-out.
//! * The bell's counter keeps what was rung while the owner was not listening.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use ploop_core::Action;
use ploop_core::units::QueueId;
use rustix::event::{EventfdFlags, eventfd};

/// What a queue can be told.
#[derive(Debug)]
pub enum Letter {
    /// Carry this out.
    Action(Action),
    /// Nothing to do but what the core wants done: call `turn`.
    Turn,
    /// Go on with what the server itself asks for.
    Own,
    /// No request will come any more. End when the last I/O has.
    End,
}

#[derive(Debug)]
struct Box {
    letters: Mutex<Vec<Letter>>,
    bell: OwnedFd,
}

/// The boxes of all queues.
#[derive(Debug)]
pub struct Mailboxes {
    boxes: Vec<Box>,
}

impl Mailboxes {
    /// One for each queue.
    pub fn new(queues: u16) -> io::Result<Mailboxes> {
        let one = |_| -> io::Result<Box> {
            Ok(Box {
                letters: Mutex::new(Vec::with_capacity(64)),
                bell: eventfd(0, EventfdFlags::CLOEXEC)?,
            })
        };
        Ok(Mailboxes {
            boxes: (0..queues).map(one).collect::<io::Result<_>>()?,
        })
    }

    /// The descriptor that a queue listens to: a read of 8 bytes completes when there is mail.
    #[must_use]
    pub fn bell(&self, queue: QueueId) -> BorrowedFd<'_> {
        self.boxes[usize::from(queue.0)].bell.as_fd()
    }

    /// Sends a letter.
    pub fn send(&self, queue: QueueId, letter: Letter) {
        let to = &self.boxes[usize::from(queue.0)];
        let first = {
            let mut letters = to.letters.lock().unwrap_or_else(PoisonError::into_inner);
            letters.push(letter);
            letters.len() == 1
        };
        if first {
            // Cannot fail: the counter would have to be full.
            let _ = rustix::io::write(&to.bell, &1u64.to_ne_bytes());
        }
    }

    /// Sends a letter to every queue.
    pub fn send_all(&self, letter: impl Fn() -> Letter) {
        for queue in 0..self.boxes.len() {
            self.send(QueueId(queue as u16), letter());
        }
    }

    /// Takes all letters; `into` must be empty and its memory is used for the next ones.
    pub fn take(&self, queue: QueueId, into: &mut Vec<Letter>) {
        let from = &self.boxes[usize::from(queue.0)];
        let mut letters = from.letters.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *letters, into);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings(boxes: &Mailboxes, queue: QueueId) -> bool {
        let bell = boxes.bell(queue);
        let mut fds = [PollFd::new(&bell, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec::default())).expect("poll") > 0
    }

    #[test]
    fn the_bell_rings_once_for_a_full_box_and_again_after_it_was_emptied() {
        let boxes = Mailboxes::new(2).expect("boxes");
        let (a, b) = (QueueId(0), QueueId(1));
        let mut letters = Vec::new();
        boxes.send(b, Letter::Turn);
        boxes.send(b, Letter::End);
        assert!(rings(&boxes, b) && !rings(&boxes, a));
        let mut count = [0; 8];
        rustix::io::read(boxes.bell(b), &mut count).expect("bell");
        assert_eq!(u64::from_ne_bytes(count), 1);
        // Between the bell and the emptying.
        boxes.send(b, Letter::Turn);
        boxes.take(b, &mut letters);
        assert_eq!(letters.len(), 3);
        letters.clear();
        boxes.send(b, Letter::Turn);
        assert!(rings(&boxes, b));
    }
}
