//! Asking a server: one line of JSON there, one line back, on a socket in the folder of the records.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::tool::output::complain;
use crate::ublk::report::Report;
use crate::ublk::state::NoSpace;

/// How long a server listens to one that says nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a server may take to say how it is, and to answer anything without a word to whoever waits.
const SOON: Duration = Duration::from_secs(8);
/// Longest question in bytes.
const LONGEST: u64 = 4096;

/// What a server can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// How are you?
    Info,
    /// Write everything back, close the image, remove the device.
    Stop {
        /// Even if somebody has the disk open.
        force: bool,
    },
    /// Close the image and leave; the disk waits for the next server.
    Quiesce,
    /// Close the image and leave; whoever asks brings the next server. On any kernel: to it, the server has died.
    StepAside,
    /// Copy what the images from this one on show into the top; 0 is the oldest. `Info` tells how far it is.
    Promote {
        /// The lowest image that is copied from.
        lowest: u8,
    },
    /// No further with that.
    StopPromoting,
    /// Let me write an image below the top; 0 is the oldest. It stays mine until I give it back, or you leave.
    Lend {
        /// The image.
        level: u8,
    },
    /// So far it is: for `Info`.
    Merged {
        /// Clusters copied.
        done: u64,
        /// Clusters to be copied.
        total: u64,
    },
    /// I am done with the image.
    GiveBack,
    /// From now on this is what a full file system means. Only of a device whose requests wait for space.
    NoSpace(NoSpace),
    /// The kernel was told what the disk is now: see `retell`.
    Told,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The state of the device.
    Info(Box<Report>),
    /// It is done.
    Done,
    /// It has stepped aside, and its image is closed.
    Aside {
        /// Somebody is there who starts the next server: it is a service of systemd.
        supervised: bool,
    },
    /// It had to leave, and could not close its image: the next server has to recover.
    NotClosed(String),
    /// The image is yours: this file.
    Lent {
        /// Device of its file system.
        dev: u64,
        /// Number of its inode.
        ino: u64,
    },
    /// It is not, and why.
    Refused(String),
}

/// Asks a server. `None`: there is none at this socket.
///
/// One that is only asked how it is must say so soon; whoever waits for another answer is told that he waits.
pub fn ask(socket: &Path, question: Question) -> io::Result<Option<Answer>> {
    ask_within(socket, question, SOON, || {
        complain("note", "the server has not answered yet; it is waited for");
    })
}

/// `late` is called once, when there is no answer within `soon`.
fn ask_within(
    socket: &Path,
    question: Question,
    soon: Duration,
    late: impl FnOnce(),
) -> io::Result<Option<Answer>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let mut stream = match UnixStream::connect(socket) {
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
        other => other?,
    };
    let mut line = serde_json::to_vec(&question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    stream.set_read_timeout(Some(soon))?;
    let mut answer = Vec::new();
    let mut reader = BufReader::new(&stream);
    match reader.read_until(b'\n', &mut answer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if question == Question::Info {
                let why = format!("the server has not answered for {soon:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            late();
            stream.set_read_timeout(None)?;
            reader.read_until(b'\n', &mut answer)?;
        }
        other => {
            other?;
        }
    }
    if answer.is_empty() {
        return Err(io::Error::other("the server ended without an answer"));
    }
    Ok(Some(serde_json::from_slice(&answer)?))
}

/// Listens. What is left of a dead server's socket is removed.
pub fn listen(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One who asks.
#[derive(Debug)]
pub struct Asker {
    stream: UnixStream,
}

/// The next one who asks, and what.
pub fn accept(listener: &UnixListener) -> io::Result<(Asker, Question)> {
    let (stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(&stream, LONGEST)).read_line(&mut line)?;
    Ok((Asker { stream }, serde_json::from_str(&line)?))
}

impl Asker {
    /// Answers. One that has gone away is no trouble.
    pub fn answer(mut self, answer: &Answer) {
        if let Ok(mut line) = serde_json::to_vec(answer) {
            line.push(b'\n');
            let _ = self.stream.write_all(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_stopped_does_not_stop_those_who_ask() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("s");
        let listener = listen(&path).expect("listener");
        listener.set_nonblocking(false).expect("blocking");
        let soon = Duration::from_millis(20);
        let error = ask_within(&path, Question::Info, soon, || panic!("not told"));
        assert_eq!(
            error.expect_err("nobody answers").kind(),
            io::ErrorKind::TimedOut
        );
        let (tell, told) = std::sync::mpsc::channel();
        let server = std::thread::spawn(move || {
            // The one that gave up.
            let _ = accept(&listener).expect("asked");
            let (asker, _) = accept(&listener).expect("asked");
            told.recv().expect("whoever waits is told");
            asker.answer(&Answer::Done);
        });
        let stop = Question::Stop { force: false };
        let answer = ask_within(&path, stop, soon, || tell.send(()).expect("told"));
        server.join().expect("served");
        assert_eq!(answer.expect("asked"), Some(Answer::Done));
    }

    #[test]
    fn questions_are_answered_and_a_dead_socket_is_nobody() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("s");
        assert_eq!(ask(&path, Question::Info).expect("asked"), None);
        let listener = listen(&path).expect("listener");
        listener.set_nonblocking(false).expect("blocking");
        let server = std::thread::spawn(move || {
            let (asker, question) = accept(&listener).expect("asked");
            asker.answer(&Answer::Refused(format!("{question:?}")));
        });
        let answer = ask(&path, Question::Stop { force: true }).expect("asked");
        server.join().expect("served");
        assert_eq!(answer, Some(Answer::Refused("Stop { force: true }".into())));
        assert_eq!(ask(&path, Question::Info).expect("asked"), None);
        listen(&path).expect("a dead server's socket is replaced");
    }
}
