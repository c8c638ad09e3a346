//! The rules that no drawn world comes to: sizes at the limits of the arithmetic, chains that must be refused, files that
//! end too early. One case each, fixed. A failure begins with the checker's name in brackets.
//!
//! Historic bugs (`corpus/bugs`, engine `rules`) name these checkers: `open`, `chain`, `size`, `linear`, `progress`, `refused`.

mod bitmaps;
mod calls;
mod chains;
mod edges;
mod entries;
mod extensions;
mod far;
mod figures;
mod reads_of_nothing;
mod refused;
mod sparse;
mod starving;
