//! What a run has drawn so far, for somebody who cannot ask it, since it does not end.

use super::{Choice, Span};
use std::sync::{Arc, Mutex, PoisonError};

/// More choices than any run makes that ends.
const ENDLESS: usize = 100_000;

/// Shared by a tape and whoever waits for its run.
#[derive(Clone, Debug, Default)]
pub struct Mirror(Arc<Mutex<(Vec<Choice>, Vec<Span>)>>);

impl Mirror {
    /// The log as it is now. Whole each time: a mirror is held up to one run, not to many.
    ///
    /// # Panics
    /// If the run makes choices without end.
    pub(super) fn show(&self, log: &[Choice], spans: &[Span]) {
        assert!(log.len() < ENDLESS, "{ENDLESS} choices and no end");
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = seen.0.len().min(log.len());
        seen.0.truncate(known);
        seen.0.extend_from_slice(&log[known..]);
        seen.1.clear();
        seen.1.extend_from_slice(spans);
    }

    /// How many choices there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Choices and events so far.
    #[must_use]
    pub fn taken(&self) -> (Vec<Choice>, Vec<Span>) {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}
