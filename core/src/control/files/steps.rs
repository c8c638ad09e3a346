//! An operation that goes step by step, between a mark that is set and a mark that is cleared.
//!
//! ```text
//!   new ──step: begin, work──▶ under way ──step: work──▶ ... ──nothing left: end──▶ over
//!                                  └──cancel: end──▶ over          any error ──▶ over
//! ```
//! What was not begun has changed nothing; what is dropped under way leaves a sound image, marked as in use.

use super::error::{ControlError, Refusal};

/// How far an operation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Clusters done.
    pub done: u64,
    /// Clusters in all, as far as is known; `finished` alone tells the end.
    pub total: u64,
    /// Everything is durable and the mark is cleared.
    pub finished: bool,
}

/// What is done.
pub(super) trait Work {
    /// Name of the file that is written.
    fn name(&self) -> &str;
    /// Before the first change.
    fn begin(&mut self) -> Result<(), ControlError>;
    /// Handles up to `most` clusters; how many it were, and whether there are none left.
    fn work(&mut self, most: u32) -> Result<(u64, bool), ControlError>;
    /// Makes everything durable and clears the mark; there may be clusters left.
    fn end(&mut self) -> Result<(), ControlError>;
}

/// Where it stands.
#[derive(Debug)]
pub(super) struct Steps {
    stage: Stage,
    pub(super) progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    UnderWay,
    Over,
}

impl Steps {
    /// `total` clusters are to be handled.
    pub(super) fn new(total: u64) -> Steps {
        Steps {
            stage: Stage::New,
            progress: Progress {
                total,
                ..Progress::default()
            },
        }
    }

    /// One step, of at least one cluster.
    pub(super) fn step(
        &mut self,
        work: &mut impl Work,
        most: u32,
    ) -> Result<Progress, ControlError> {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        match stage {
            Stage::Over => return Err(Refusal::Over.of(work.name())),
            Stage::New => work.begin()?,
            Stage::UnderWay => {}
        }
        let (done, last) = work.work(most.max(1))?;
        self.progress.done += done;
        if last {
            work.end()?;
            self.progress.finished = true;
        } else {
            self.stage = Stage::UnderWay;
        }
        Ok(self.progress)
    }

    /// Ends it early, cleanly.
    pub(super) fn cancel(self, work: &mut impl Work) -> Result<(), ControlError> {
        match self.stage {
            Stage::New | Stage::Over => Ok(()),
            Stage::UnderWay => work.end(),
        }
    }
}
