//! What a chain of deltas, bottom to top, must satisfy before a device is made of it.
//!
//! * Where the disk ends, the top says. In its last cluster a lower delta may reach further: a raw base has whole clusters,
//!   if the kernel was to take it. Nobody sees that, as long as the disk does not become larger, and the delta is merged with
//!   none above it: those who do that ask [`check_nested`](crate::control::files::check_nested) first.
//! * Inside the disk no delta reaches further than the one above it. Of clusters behind the end of a shorter one in between
//!   readers say different things: QEMU zeros, a look-up by clusters what the levels below have.

use crate::delta::{Expanded, ExtensionState, LoadedDelta};
use crate::error::{Field, LoadError, Problem, Rule};
use crate::units::Sectors;

/// Most deltas of a chain.
pub const MAX_LEVELS: usize = 253;

/// Checks a chain (index 0 = oldest, last = top). `write`: the top is going to be changed.
pub fn validate(chain: &[LoadedDelta], write: bool) -> Result<(), LoadError> {
    let Some((top, lower)) = chain.split_last() else {
        return Err(Problem::new(Field::Chain, 0u32, Rule::ChainNotEmpty).refuse("chain"));
    };
    if chain.len() > MAX_LEVELS {
        return Err(
            Problem::new(Field::Chain, chain.len() as u64, Rule::ChainLimit).refuse(&top.name),
        );
    }
    let Some(image) = top.expanded() else {
        return match (lower.is_empty(), write) {
            (true, false) => Ok(()),
            (true, true) => Err(raw_at(top, 0, Rule::RawIsNotTop)),
            (false, _) => Err(raw_at(top, lower.len(), Rule::RawIsBase)),
        };
    };
    for (level, delta) in lower.iter().enumerate() {
        check_lower(level, delta, image).map_err(|problem| problem.refuse(&delta.name))?;
    }
    for (lower, upper) in lower.iter().zip(&chain[1..]) {
        check_order(lower, upper, image.layout.size)
            .map_err(|problem| problem.refuse(&lower.name))?;
    }
    if write {
        check_writable(image).map_err(|problem| problem.refuse(&top.name))?;
    }
    Ok(())
}

fn raw_at(delta: &LoadedDelta, level: usize, rule: Rule) -> LoadError {
    Problem::new(Field::Level, level as u64, rule).refuse(&delta.name)
}

fn check_lower(level: usize, delta: &LoadedDelta, top: &Expanded) -> Result<(), Problem> {
    let (field, entries) = match delta.expanded() {
        Some(image) if image.layout.cluster != top.layout.cluster => {
            return Err(Problem::new(
                Field::ClusterSize,
                image.layout.cluster.0,
                Rule::SameCluster,
            ));
        }
        Some(image) => (Field::Entries, u64::from(image.layout.entries)),
        None if level > 0 => return Err(Problem::new(Field::Level, level as u64, Rule::RawIsBase)),
        None => (Field::FileLength, delta.entries(top.layout.cluster)),
    };
    let value = if field == Field::FileLength {
        delta.file_len
    } else {
        entries
    };
    if entries == 0 {
        return Err(Problem::new(field, value, Rule::LowerNotEmpty));
    }
    if entries > u64::from(top.layout.entries) {
        return Err(Problem::new(field, value, Rule::LowerFitsTop));
    }
    if delta.size().0.div_ceil(top.layout.cluster.0) > top.layout.clusters_of_size() {
        return Err(too_large(delta));
    }
    Ok(())
}

/// What the disk shows of a delta does not end behind what it shows of the next one.
fn check_order(lower: &LoadedDelta, upper: &LoadedDelta, end: Sectors) -> Result<(), Problem> {
    if lower.size().min(end) > upper.size().min(end) {
        return Err(too_large(lower));
    }
    Ok(())
}

fn too_large(delta: &LoadedDelta) -> Problem {
    let (field, value) = match delta.expanded() {
        Some(image) => (Field::VirtualSize, image.layout.size.0),
        None => (Field::FileLength, delta.file_len),
    };
    Problem::new(field, value, Rule::LowerFitsTop)
}

/// What a sound image must satisfy beyond that before it is changed.
pub fn check_writable(image: &Expanded) -> Result<(), Problem> {
    let layout = &image.layout;
    if image.header.is_converting() {
        return Err(Problem::new(
            Field::Flags,
            image.header.flags,
            Rule::NotConverting,
        ));
    }
    if let ExtensionState::ReadOnly { feature } = image.extension {
        return Err(Problem::new(
            Field::Extension("feature"),
            feature,
            Rule::ExtensionKnown,
        ));
    }
    if u64::from(layout.entries) != layout.clusters_of_size() {
        return Err(Problem::new(
            Field::Entries,
            layout.entries,
            Rule::EntriesMatchSize,
        ));
    }
    if !image.on_grid {
        let off_grid = (0u32..)
            .zip(&image.bat)
            .find(|&(_, &entry)| entry != 0 && layout.host_of(entry).is_none());
        let (clu, entry) = off_grid.map_or((0, 0), |(clu, &entry)| (clu, entry));
        return Err(Problem::new(Field::Bat(clu), entry, Rule::OneGrid));
    }
    Ok(())
}
