//! What a stack of layers reads as: of every guest cluster the newest layer that has it, else zeros.
//!
//! * Layers are given bottom to top; a layer has a guest cluster whole or not at all.
//! * A raw base has every cluster that it reaches into; what it does not reach is zeros.

use crate::op::Value;
use std::collections::BTreeMap;

/// One layer of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A raw file: its content, sector by sector.
    Raw(Vec<Value>),
    /// An image: guest cluster to content, one value a sector. A short content is followed by zeros.
    Image(BTreeMap<u64, Vec<Value>>),
}

impl Layer {
    /// The content of guest sector `sector` in this layer, or `None` if the layer shows what is below.
    #[must_use]
    pub fn get(&self, sector: u64, cluster_sectors: u64) -> Option<Value> {
        match self {
            Layer::Raw(content) => {
                let reaches = sector / cluster_sectors * cluster_sectors < content.len() as u64;
                reaches.then(|| value_at(content, sector))
            }
            Layer::Image(map) => {
                let content = map.get(&(sector / cluster_sectors))?;
                Some(value_at(content, sector % cluster_sectors))
            }
        }
    }
}

/// Writes what a disk of `sectors` sectors over `layers` (bottom to top) reads as into `content`.
///
/// # Panics
/// If `cluster_sectors` is 0.
pub fn read_into(layers: &[Layer], cluster_sectors: u64, sectors: u64, content: &mut Vec<Value>) {
    assert!(cluster_sectors > 0, "a cluster has sectors");
    content.clear();
    content.extend((0..sectors).map(|sector| {
        layers
            .iter()
            .rev()
            .find_map(|layer| layer.get(sector, cluster_sectors))
            .unwrap_or(Value::ZERO)
    }));
}

/// [`read_into`] a new vector.
#[must_use]
pub fn read(layers: &[Layer], cluster_sectors: u64, sectors: u64) -> Vec<Value> {
    let mut content = Vec::new();
    read_into(layers, cluster_sectors, sectors, &mut content);
    content
}

fn value_at(content: &[Value], i: u64) -> Value {
    usize::try_from(i)
        .ok()
        .and_then(|i| content.get(i))
        .copied()
        .unwrap_or(Value::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(writes: &[u32], first: u64) -> Vec<Value> {
        writes
            .iter()
            .zip(first..)
            .map(|(&w, s)| if w == 0 { Value::ZERO } else { Value::of(w, s) })
            .collect()
    }

    #[test]
    fn no_layer_reads_as_zeros() {
        assert_eq!(read(&[], 2, 3), vec![Value::ZERO; 3]);
    }

    #[test]
    fn the_newest_layer_that_has_a_cluster_wins_with_its_zeros_too() {
        let low = Layer::Image([(0, of(&[1, 1], 0)), (1, of(&[1, 1], 2))].into());
        let top = Layer::Image([(1, of(&[0, 2], 2)), (2, of(&[2], 4))].into());
        assert_eq!(
            read(&[low.clone(), top.clone()], 2, 6),
            of(&[1, 1, 0, 2, 2, 0], 0)
        );
        assert_eq!(read(&[top, low], 2, 6), of(&[1, 1, 1, 1, 2, 0], 0));
    }

    #[test]
    fn a_raw_base_reaches_to_the_end_of_its_last_cluster() {
        let base = Layer::Raw(of(&[7, 7, 7], 0));
        assert_eq!(base.get(3, 2), Some(Value::ZERO));
        assert_eq!(base.get(4, 2), None);
        let top = Layer::Image([(0, of(&[9, 0], 0))].into());
        assert_eq!(read(&[base, top], 2, 6), of(&[9, 0, 7, 0, 0, 0], 0));
    }

    #[test]
    fn a_disk_may_end_inside_a_cluster() {
        let base = Layer::Image([(1, of(&[5, 5, 5, 5], 4))].into());
        assert_eq!(read(&[base], 4, 6), of(&[0, 0, 0, 0, 5, 5], 0));
    }
}
