//! Bars on standard error for long work; nothing at all if that is no terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ploop_core::control::files::Progress;

/// A bar that counts bytes.
#[must_use]
pub fn bytes(total: u64) -> ProgressBar {
    with_style(
        total,
        "{bar:40} {percent:>3}% of {total_bytes}, {bytes_per_sec}, {eta} left",
    )
}

/// A bar that counts clusters, and whose length is known when the work has begun.
#[must_use]
pub fn clusters() -> ProgressBar {
    with_style(0, "{bar:40} {percent:>3}% of {len} clusters, {eta} left")
}

/// Moves a bar.
pub fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total);
    bar.set_position(progress.done);
    if progress.finished {
        bar.finish_and_clear();
    }
}

fn with_style(total: u64, shown: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(shown) {
        bar.set_style(style);
    }
    bar
}
