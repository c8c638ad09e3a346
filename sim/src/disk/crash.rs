//! The crash: one image is drawn, and the file *is* that image, all of it durable, nothing pending.
//!
//! What an image may be is in the folder's head; [`CrashImages`](super::CrashImages) lists them all. Here one is
//! drawn, with weight on the ones that break things: everything lost, everything kept, whole changes kept or lost,
//! every unit for itself.

use super::cache::Stamp;
use super::file::SimFile;
use super::sector::Content;
use crate::tape::{Kind, Tape};

/// What became of the pending changes in a crash. A change counts if it would have changed durable content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrashReport {
    /// Changes that survived whole.
    pub survived: u32,
    /// Changes of which nothing survived.
    pub lost: u32,
    /// Changes of which a part survived.
    pub torn: u32,
    /// As `torn`, changes in the metadata area only.
    pub torn_meta: u32,
    /// The length that survived is not the one that was seen.
    pub length_lost: bool,
}

/// Memory of a crash, kept for the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Scratch {
    lengths: Vec<u64>,
    /// What may be in the unit at hand, and who put it there.
    candidates: Vec<(Content, Option<usize>)>,
    /// Per pending change.
    tally: Vec<Tally>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    keep: bool,
    survived: u32,
    lost: u32,
}

/// How the survivors are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Only what is durable.
    Durable,
    /// Every change is kept whole or lost whole.
    Whole,
    /// Every unit for itself.
    Torn,
    /// What reads saw.
    Seen,
}

impl Style {
    const ALL: [(Style, u32); 4] = [
        (Style::Durable, 1),
        (Style::Whole, 2),
        (Style::Torn, 4),
        (Style::Seen, 1),
    ];

    fn draw(tape: &mut Tape) -> Style {
        Style::ALL[tape.weighted(Kind::Crash, &Style::ALL.map(|(_, weight)| weight))].0
    }
}

/// A change of more units than this is torn at that many places at most, so that a tape stays short.
const MOST_TEARS: usize = 64;
/// Granules worth a compaction, in bytes beyond the size of the metadata area.
const MUCH_META: usize = 64 << 10;

impl SimFile {
    /// The power fails. The tape draws what survives.
    pub fn crash(&mut self, tape: &mut Tape) -> CrashReport {
        let mut scratch = std::mem::take(&mut self.scratch);
        let seen = self.length.visible;
        let style = if self.pending() == 0 {
            Style::Durable
        } else {
            Style::draw(tape)
        };
        scratch.tally.clear();
        scratch.tally.extend(self.cache.list.iter().map(|p| Tally {
            keep: style == Style::Whole && !p.dead && tape.choose(Kind::Survive, 2) == 1,
            ..Tally::default()
        }));
        let len = self.draw_length(style, &mut scratch, tape);
        let end = self.layout.units_below(len).min(self.cells.len());
        let now = self.cache.tick();
        for at in 0..self.cache.list.len() {
            self.draw_units(at, end, now, style, &mut scratch, tape);
        }
        self.cells.truncate(end);
        let report = self.report(&scratch, len != seen);
        self.scratch = scratch;
        self.settle(len);
        report
    }

    fn draw_length(&self, style: Style, scratch: &mut Scratch, tape: &mut Tape) -> u64 {
        self.length
            .candidates(&self.cache.list, &mut scratch.lengths);
        let lengths = &scratch.lengths;
        match style {
            Style::Durable => self.length.durable,
            Style::Seen if lengths.contains(&self.length.visible) => self.length.visible,
            _ => lengths[tape.index(Kind::Survive, lengths.len())],
        }
    }

    /// Draws the units of a change below `end` that no earlier change covers.
    fn draw_units(
        &mut self,
        at: usize,
        end: usize,
        now: Stamp,
        style: Style,
        scratch: &mut Scratch,
        tape: &mut Tape,
    ) {
        let p = self.cache.list[at];
        if p.dead {
            return;
        }
        let stretch = p.units().len().div_ceil(MOST_TEARS);
        let mut last = (usize::MAX, 0, 0);
        for unit in p.units().start..p.units().end.min(end) {
            let cell = self.cells[unit];
            if cell.durable_at == now {
                continue;
            }
            let candidates = &mut scratch.candidates;
            candidates.clear();
            candidates.push((cell.durable, None));
            for (other, q) in self.cache.list.iter().enumerate().skip(at) {
                if self.cache.may_survive(q, unit, cell.durable_at) {
                    let content = self.cache.content(q, unit);
                    if candidates.iter().all(|&(known, _)| known != content) {
                        candidates.push((content, Some(other)));
                    }
                }
            }
            let pick = match style {
                Style::Durable => 0,
                _ if candidates.len() == 1 => 0,
                Style::Seen => candidates
                    .iter()
                    .position(|&(content, _)| content == cell.visible)
                    .unwrap_or(0),
                Style::Whole => self.newest_kept(unit, cell.durable_at, &scratch.tally, candidates),
                Style::Torn => {
                    let place = (unit - p.units().start) / stretch;
                    if (last.0, last.1) != (place, candidates.len()) {
                        last = (
                            place,
                            candidates.len(),
                            tape.index(Kind::Survive, candidates.len()),
                        );
                    }
                    last.2
                }
            };
            for (index, &(_, owner)) in candidates.iter().enumerate() {
                if let Some(owner) = owner {
                    let tally = &mut scratch.tally[owner];
                    *(if index == pick {
                        &mut tally.survived
                    } else {
                        &mut tally.lost
                    }) += 1;
                }
            }
            let content = candidates[pick].0;
            let cell = &mut self.cells[unit];
            (cell.visible, cell.durable) = (content, content);
            (cell.visible_at, cell.durable_at) = (now, now);
        }
    }

    /// Among the changes kept whole the one that landed last; those that have not landed yet, later still.
    fn newest_kept(
        &self,
        unit: usize,
        durable_at: Stamp,
        tally: &[Tally],
        candidates: &[(Content, Option<usize>)],
    ) -> usize {
        let mut newest = (0, Content::ZERO);
        for (other, q) in self.cache.list.iter().enumerate() {
            if tally[other].keep && self.cache.may_survive(q, unit, durable_at) {
                let landed = match self.cache.landed(q, unit) {
                    0 => Stamp::MAX,
                    stamp => stamp,
                };
                if landed >= newest.0 {
                    newest = (landed, self.cache.content(q, unit));
                }
            }
        }
        let found = candidates
            .iter()
            .position(|&(content, _)| newest.0 > 0 && content == newest.1);
        found.unwrap_or(0)
    }

    fn report(&self, scratch: &Scratch, length_lost: bool) -> CrashReport {
        let mut report = CrashReport {
            length_lost,
            ..CrashReport::default()
        };
        for (p, tally) in self.cache.list.iter().zip(&scratch.tally) {
            match (tally.survived, tally.lost) {
                (0, 0) => {}
                (0, _) => report.lost += 1,
                (_, 0) => report.survived += 1,
                _ => {
                    report.torn += 1;
                    report.torn_meta += u32::from(self.layout.is_meta(p.end as usize - 1));
                }
            }
        }
        report
    }

    /// The file is what its durable contents and this length are. Forgets all that is pending.
    pub(super) fn settle(&mut self, len: u64) {
        self.length = super::length::Length::durable(len);
        self.cache.clear();
        self.syncs.clear();
        if self.contents.granule_bytes() > MUCH_META + self.layout.meta_bytes() as usize {
            let meta = self.layout.meta_units().min(self.cells.len());
            self.contents
                .retain_granules(self.cells[..meta].iter_mut().map(|cell| &mut cell.durable));
            self.cells[..meta]
                .iter_mut()
                .for_each(|cell| cell.visible = cell.durable);
        }
    }
}
