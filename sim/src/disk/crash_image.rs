//! All distinct crash images of a file, one after the other.
//!
//! For each length that may survive: every combination of what may be in each unit below it. From one image to the
//! next one unit changes (a reflected Gray code in mixed radix), so an image costs as much as its reader reads.

use super::file::SimFile;
use super::sector::Content;
use super::view::{Cell, Units, View};

/// A unit that may hold different things after a crash.
#[derive(Clone, Copy, Debug)]
struct Digit {
    unit: u32,
    /// Its alternatives, in [`CrashImages::choices`]; the durable one first.
    first: u32,
    count: u32,
    at: u32,
    upwards: bool,
}

/// The crash images of a file. Call [`CrashImages::advance`] before each.
#[derive(Clone, Debug)]
pub struct CrashImages<'a> {
    file: &'a SimFile,
    contents: Vec<Content>,
    /// By unit.
    digits: Vec<Digit>,
    choices: Vec<Content>,
    lengths: Vec<u64>,
    /// Index into `lengths` of the images at hand; none before the first.
    length: Option<usize>,
    nominal: u128,
    left: u64,
    distinct: u128,
}

impl SimFile {
    /// All distinct images that a crash now may leave, `cap` at most. The first one is the durable content.
    #[must_use]
    pub fn crash_images(&self, cap: u64) -> CrashImages<'_> {
        let mut images = CrashImages {
            file: self,
            contents: self.cells.iter().map(|cell| cell.durable).collect(),
            digits: Vec::new(),
            choices: Vec::new(),
            lengths: Vec::new(),
            length: None,
            nominal: 0,
            left: cap,
            distinct: 0,
        };
        let lengths = self
            .length
            .candidates(&self.cache.list, &mut images.lengths);
        let mut units: Vec<usize> = self
            .cache
            .list
            .iter()
            .filter(|p| !p.dead)
            .flat_map(|p| p.units())
            .collect();
        units.sort_unstable();
        units.dedup();
        images.nominal = u128::from(lengths);
        for unit in units {
            images.add_unit(unit);
        }
        images.distinct = images
            .lengths
            .iter()
            .fold(0, |sum, &len| images.images_of(len).saturating_add(sum));
        images
    }
}

impl CrashImages<'_> {
    fn add_unit(&mut self, unit: usize) {
        let file = self.file;
        let cell = file.cells[unit];
        let first = self.choices.len();
        self.choices.push(cell.durable);
        let mut nominal = 1;
        for p in &file.cache.list {
            if file.cache.may_survive(p, unit, cell.durable_at) {
                nominal += 1;
                let content = file.cache.content(p, unit);
                let same = |&known: &Content| {
                    let meta = file.layout.is_meta(unit);
                    known == content
                        || meta && file.contents.granule(known) == file.contents.granule(content)
                };
                if !self.choices[first..].iter().any(same) {
                    self.choices.push(content);
                }
            }
        }
        self.nominal = self.nominal.saturating_mul(nominal);
        let count = self.choices.len() - first;
        if count == 1 {
            self.choices.pop();
        } else {
            let (unit, first, count) = (unit as u32, first as u32, count as u32);
            self.digits.push(Digit {
                unit,
                first,
                count,
                at: 0,
                upwards: true,
            });
        }
    }

    /// The digits that are inside a file of that length.
    fn digits_below(&self, len: u64) -> usize {
        let end = self.file.layout.units_below(len);
        self.digits
            .partition_point(|digit| (digit.unit as usize) < end)
    }

    fn images_of(&self, len: u64) -> u128 {
        self.digits[..self.digits_below(len)]
            .iter()
            .fold(1, |product, digit| {
                product.saturating_mul(digit.count.into())
            })
    }

    /// How many distinct images there are, the cap left aside.
    #[must_use]
    pub fn distinct(&self) -> u128 {
        self.distinct
    }

    /// How many combinations of pending changes and lengths there are; many make the same image.
    #[must_use]
    pub fn nominal(&self) -> u128 {
        self.nominal
    }

    /// The same for the same set of images (of files of one geometry), however it came about; for two sets by an accident
    /// of one in 2^64.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut sum = 0u64;
        let mut next = 0;
        for (unit, &content) in self.contents.iter().enumerate() {
            let digit = self.digits.get(next);
            let digit = digit.filter(|digit| digit.unit as usize == unit);
            if let Some(digit) = digit {
                next += 1;
                let choices = &self.choices[digit.first as usize..][..digit.count as usize];
                let set = choices.iter().fold(0u64, |set, &choice| {
                    set.wrapping_add(self.identity(unit, choice))
                });
                sum = mix(sum, set);
            } else if content != Content::ZERO {
                sum = mix(sum, self.identity(unit, content));
            }
        }
        self.lengths
            .iter()
            .fold(sum, |sum, &len| sum.wrapping_add(mix(!0, len)))
    }

    /// What content is in a unit, whatever its index in a table.
    fn identity(&self, unit: usize, content: Content) -> u64 {
        let place = unit as u64;
        if !self.file.layout.is_meta(unit) {
            return mix(place, content.0);
        }
        let (words, _) = self.file.contents.granule(content).as_chunks::<8>();
        words
            .iter()
            .fold(place, |sum, word| mix(sum, u64::from_le_bytes(*word)))
    }

    /// Goes on to the next image. False if there is none, or the cap is reached.
    pub fn advance(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        match self.length {
            None => self.length = Some(0),
            Some(index) => {
                if !self.step(self.lengths[index]) {
                    if index + 1 == self.lengths.len() {
                        self.left = 0;
                        return false;
                    }
                    self.length = Some(index + 1);
                }
            }
        }
        self.left -= 1;
        true
    }

    /// Changes one unit. False if all combinations were there.
    fn step(&mut self, len: u64) -> bool {
        let end = self.digits_below(len);
        for digit in &mut self.digits[..end] {
            let next = if digit.upwards {
                digit.at + 1
            } else {
                digit.at.wrapping_sub(1)
            };
            if next < digit.count {
                digit.at = next;
                self.contents[digit.unit as usize] = self.choices[(digit.first + next) as usize];
                return true;
            }
            digit.upwards = !digit.upwards;
        }
        false
    }

    /// The image at hand.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        View {
            contents: &self.file.contents,
            layout: self.file.layout,
            units: Units::Image(&self.contents),
            meta_used: self.file.meta_used,
            len: self.lengths[self.length.unwrap_or(0)],
        }
    }

    /// Makes `file` the image at hand: all durable, nothing pending. Keeps the memory of `file`.
    pub fn install(&self, file: &mut SimFile) {
        file.layout = self.file.layout;
        file.limit = self.file.limit;
        file.contents.copy_from(&self.file.contents);
        let len = self.view().len;
        let end = self.file.layout.units_below(len).min(self.contents.len());
        file.cells.clear();
        file.meta_used = self.file.meta_used;
        file.cells.extend(
            self.contents[..end]
                .iter()
                .map(|&content| Cell::durable(content)),
        );
        file.cache.reset();
        file.settle(len);
    }
}

/// One step of a hash.
fn mix(sum: u64, word: u64) -> u64 {
    let x = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_add(sum.rotate_left(17))
}
