//! What a living server is told that is more than a question.

use std::time::Duration;

use super::Server;
use crate::tool::output::complain;
use crate::ublk::socket::Answer;
use crate::ublk::state::{NoSpace, Record, Stale};

impl Server<'_> {
    /// A core that fails at once has nothing that could wait.
    pub(super) fn set_no_space(&mut self, wish: NoSpace) -> Answer {
        if self.record.no_space == NoSpace::Fail {
            return Answer::Refused("it does not wait for space".into());
        }
        let record = Record {
            no_space: wish,
            ..self.record.clone()
        };
        if let Err(error) = self.folder.save(&record) {
            return Answer::Refused(error.to_string());
        }
        self.record = record;
        self.shared.ticker.set_patience(match wish {
            NoSpace::Fail => Some(Duration::ZERO),
            NoSpace::Wait { seconds } => seconds.map(Duration::from_secs),
        });
        Answer::Done
    }

    /// The kernel knows what the disk is.
    pub(super) fn was_told(&mut self) {
        self.end_retelling();
        self.record.retell = Stale::Nothing;
        if let Err(error) = self.folder.save(&self.record) {
            complain(
                "warning",
                format_args!("the kernel is told again by the next server: {error}"),
            );
        }
    }

    /// Whoever tells the kernel has the disk open, and lets go of it. False: not yet; it may wait for I/O of the disk, and could
    /// not end with this process.
    pub(super) fn end_retelling(&mut self) -> bool {
        match self.retell.take() {
            Some(retell) if !retell.end() => {
                self.retell = Some(retell);
                false
            }
            _ => true,
        }
    }
}
