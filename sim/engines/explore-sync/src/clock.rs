//! Vector clocks: how many events of each task happen before a point.

/// Most tasks of a race.
pub const MAX_TASKS: usize = 8;

/// Of each task, so many of its first events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Clock([u16; MAX_TASKS]);

impl Clock {
    /// Becomes what either knows.
    #[inline]
    pub(crate) fn join(&mut self, other: &Clock) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = (*mine).max(theirs);
        }
    }

    /// One more event of a task.
    #[inline]
    pub(crate) fn tick(&mut self, task: usize) {
        self.0[task] += 1;
    }

    /// True if the event that `event` is the clock of, one of `task`, is among them.
    #[inline]
    pub(crate) fn knows(&self, task: usize, event: &Clock) -> bool {
        event.0[task] <= self.0[task]
    }
}
