//! The verdict over one image.

use std::fmt;

use super::length::{self, LengthStep};
use super::span::{Span, spans};
use super::{Change, History, Moment};
use ploop_core::units::SECTOR_BYTES;

/// A file as a crash has left it.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// Bytes.
    pub len: u64,
    /// What its sectors hold; the last one may be inside the length in part.
    pub contents: &'a [u64],
}

/// What was seen of an image that is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Sectors compared.
    pub sectors: u64,
    /// Those of them that a change had touched.
    pub touched: u64,
    /// Those that might as well have held something else.
    pub open: u64,
    /// Those that hold something else than what the last sync before the window has made durable.
    pub unsynced: u64,
    /// Lengths that it might have had.
    pub lengths: usize,
}

/// Why an image is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A length that it cannot have.
    Length {
        /// In bytes.
        found: u64,
        /// Those of the window.
        allowed: Vec<u64>,
    },
    /// A sector that cannot hold this.
    Sector {
        /// Which.
        sector: u64,
        /// What it holds.
        found: u64,
        /// When a crash might have left that: from, and the moment behind. Empty: it was never written there.
        possible: Vec<(Moment, Moment)>,
        /// What it may hold.
        allowed: Vec<u64>,
    },
    /// Everything is possible, but not at one moment.
    NoMoment {
        /// The sector after which none was left.
        sector: u64,
    },
    /// There is no such window, or a change of length has failed before its end.
    Unknown,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Length { found, allowed } => {
                write!(f, "a length of {found} bytes; allowed are {allowed:?}")
            }
            Refusal::Sector {
                sector,
                found,
                possible,
                allowed,
            } => {
                let byte = sector * SECTOR_BYTES;
                write!(f, "sector {sector} (byte {byte}) holds {found:#x}, ")?;
                match possible.is_empty() {
                    true => write!(f, "which nobody has written there")?,
                    false => write!(f, "which is possible at the moments {possible:?} only")?,
                }
                let allowed: Vec<String> = allowed.iter().map(|c| format!("{c:#x}")).collect();
                write!(f, "; allowed are {}", allowed.join(", "))
            }
            Refusal::NoMoment { sector } => write!(
                f,
                "no one moment explains all sectors up to sector {sector}"
            ),
            Refusal::Unknown => write!(f, "the length is not known in this window"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Why a content is impossible in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// A sync has superseded it.
    Stale,
    /// It is written later.
    Future,
}

/// What may be where, and when: of a history that is complete.
#[derive(Clone, Debug)]
pub struct Verdict {
    spans: Vec<Vec<Span>>,
    initial_len: u64,
    lengths: Vec<LengthStep>,
    changes: Vec<Change>,
    unknown: Moment,
}

impl Verdict {
    pub(super) fn of(history: History) -> Verdict {
        Verdict {
            spans: spans(&history.initial, history.used, &history.changes),
            initial_len: history.initial_len,
            lengths: history.lengths,
            changes: history.changes,
            unknown: history.unknown,
        }
    }

    fn lengths(&self, now: Moment) -> Vec<u64> {
        length::candidates(self.initial_len, &self.lengths, &self.changes, now)
    }

    /// Might a crash at some moment from `first` to `last`, both included, have left this image?
    ///
    /// # Errors
    /// If not: the first thing that is wrong with it.
    pub fn judge(
        &self,
        image: Image<'_>,
        (first, last): (Moment, Moment),
    ) -> Result<Judged, Refusal> {
        if first > last || self.unknown <= last {
            return Err(Refusal::Unknown);
        }
        let mut judged = Judged::default();
        let mut moments = self.moments_of_length(image.len, (first, last), &mut judged)?;
        let sectors = image.len.div_ceil(SECTOR_BYTES);
        for sector in 0..sectors {
            let found = image.contents.get(sector as usize).copied().unwrap_or(0);
            self.sector(sector, found, (first, last), &mut moments, &mut judged)?;
        }
        Ok(judged)
    }

    /// Of each moment of the window whether the file may have been so long.
    fn moments_of_length(
        &self,
        found: u64,
        (first, last): (Moment, Moment),
        judged: &mut Judged,
    ) -> Result<Vec<bool>, Refusal> {
        let mut allowed = Vec::new();
        let moments: Vec<bool> = (first..=last)
            .map(|now| {
                let lengths = self.lengths(now);
                let fits = lengths.contains(&found);
                allowed.extend(lengths);
                fits
            })
            .collect();
        allowed.sort_unstable();
        allowed.dedup();
        judged.lengths = allowed.len();
        match moments.contains(&true) {
            true => Ok(moments),
            false => Err(Refusal::Length { found, allowed }),
        }
    }

    fn sector(
        &self,
        sector: u64,
        found: u64,
        window: (Moment, Moment),
        moments: &mut [bool],
        judged: &mut Judged,
    ) -> Result<(), Refusal> {
        judged.sectors += 1;
        let spans = self.spans_of(sector);
        let same = || spans.iter().filter(|span| span.content == found);
        if !same().any(|span| span.meets(window)) {
            // What was never written is zeros.
            if spans.is_empty() && found == 0 {
                return Ok(());
            }
            return Err(Refusal::Sector {
                sector,
                found,
                possible: same().map(|span| (span.from, span.until)).collect(),
                allowed: allowed(spans, window),
            });
        }
        if !same().any(|span| span.covers(window)) {
            for (now, is_left) in (window.0..).zip(moments.iter_mut()) {
                *is_left &= same().any(|span| span.holds(now));
            }
            if !moments.contains(&true) {
                return Err(Refusal::NoMoment { sector });
            }
        }
        let other = |span: &Span| span.content != found && span.meets(window);
        let touched = spans.iter().any(|span| (1..=window.1).contains(&span.from));
        judged.touched += u64::from(touched);
        judged.open += u64::from(spans.iter().any(other));
        judged.unsynced += u64::from(synced(spans, window.0) != found);
        Ok(())
    }

    fn spans_of(&self, sector: u64) -> &[Span] {
        self.spans.get(sector as usize).map_or(&[], Vec::as_slice)
    }

    /// What [`Verdict::judge`] must refuse: sectors below `sectors`, with a content that they hold at another moment only.
    pub fn impossible(
        &self,
        sectors: u64,
        window: (Moment, Moment),
    ) -> impl Iterator<Item = (u64, u64, Never)> {
        let sectors = (0..sectors).zip(&self.spans);
        sectors.flat_map(move |(sector, spans)| {
            let never = spans.iter().filter(move |span| {
                let same = |other: &&Span| other.content == span.content;
                !spans.iter().filter(same).any(|other| other.meets(window))
            });
            never.map(move |span| {
                let why = match span.from > window.1 {
                    true => Never::Future,
                    false => Never::Stale,
                };
                (sector, span.content, why)
            })
        })
    }
}

/// What the last sync before a moment has made durable.
fn synced(spans: &[Span], now: Moment) -> u64 {
    let durable = spans.iter().rev().find(|span| span.durable <= now);
    durable.map_or(0, |span| span.content)
}

fn allowed(spans: &[Span], window: (Moment, Moment)) -> Vec<u64> {
    let mut allowed: Vec<u64> = spans
        .iter()
        .filter(|span| span.meets(window))
        .map(|span| span.content)
        .collect();
    allowed.sort_unstable();
    allowed.dedup();
    allowed
}
