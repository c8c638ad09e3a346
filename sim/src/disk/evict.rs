//! What becomes of changes that a failed sync gave up, when nobody keeps them in the cache.

use super::file::SimFile;
use super::length::LengthChange;

impl SimFile {
    /// The kernel drops the data that a failed sync gave up: it never reaches the medium, and reads see what is durable. What
    /// was written since, and the metadata, stay as they are.
    pub fn evict_lost_data(&mut self) {
        let now = self.cache.tick();
        for at in 0..self.cache.list.len() {
            let p = self.cache.list[at];
            if !p.lost || p.dead {
                continue;
            }
            for unit in p.units().start.max(self.layout.meta_units())..p.units().end {
                let cell = self.cells[unit];
                let written_since = self.cache.list.iter().any(|other| {
                    let lives = !other.dead && !other.lost && other.covers(unit);
                    lives && self.cache.landed(other, unit) == cell.visible_at
                });
                if !written_since && self.cache.may_survive(&p, unit, cell.durable_at) {
                    let cell = &mut self.cells[unit];
                    (cell.visible, cell.visible_at, cell.durable_at) = (cell.durable, now, now);
                }
            }
        }
        self.forget_lost();
    }

    /// Forgets the changes that were given up and that durable ones have superseded.
    pub fn forget_lost(&mut self) {
        for at in 0..self.cache.list.len() {
            let p = self.cache.list[at];
            let survives = |unit| {
                self.cache
                    .may_survive(&p, unit, self.cells[unit].durable_at)
            };
            let length = match p.length {
                LengthChange::AtLeast(len) if len <= self.length.durable => false,
                _ => self.length.is_live(&p),
            };
            if p.lost && !length && !p.units().any(survives) {
                self.cache.kill(at);
            }
        }
        self.cache.sweep();
    }
}
