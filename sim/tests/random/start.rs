//! The chains that a run begins with.

use ploop_core::format::Version;
use ploop_core::units::{Millis, Sectors};
use ploop_core::{NoSpace, Options, WriteBack};
use proptest::prelude::*;
use sim::world::chain::{Level, Owner, Plan};
use sim::world::shape::Shape;

/// A chain: shape, lower level, top.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    pub(crate) shape: Shape,
    pub(crate) lowers: Vec<Level>,
    pub(crate) top: Plan,
}

fn shape() -> impl Strategy<Value = Shape> {
    let cluster = prop_oneof![
        Just(1u64),
        Just(2),
        Just(3),
        Just(4),
        Just(5),
        Just(8),
        Just(9)
    ];
    let write_back = prop_oneof![
        Just(WriteBack::Immediate),
        Just(WriteBack::Delayed(Millis(50)))
    ];
    let pages = prop_oneof![Just((4096, 512)), Just((80, 16)), Just((128, 16))];
    let version = prop_oneof![
        Just((Version::V2, false)),
        Just((Version::V1, false)),
        Just((Version::V1, true)),
    ];
    (
        version,
        cluster,
        1..=24u32,
        any::<u8>(),
        write_back,
        1..=4u64,
        pages,
    )
        .prop_map(
            |((version, packed), cluster, entries, cut, write_back, prealloc, pages)| Shape {
                version,
                packed,
                cluster,
                entries,
                size: u64::from(entries) * cluster - u64::from(cut) % cluster,
                levels: 1,
                raw_base: false,
                options: Options {
                    queues: 1,
                    depth: 1,
                    write: true,
                    write_back,
                    prealloc: Sectors(prealloc * cluster),
                    no_space: NoSpace::Fail,
                    page_bytes: pages.0,
                    granule: pages.1,
                },
            },
        )
}

/// Host clusters for the guest clusters below `entries` that `bits` names, in an order and with gaps that it says too.
fn hosts(entries: u32, bits: u64) -> Vec<Owner> {
    let mut hosts = Vec::new();
    for clu in (0..entries).filter(|clu| bits >> (clu % 32) & 1 == 1) {
        if bits >> (32 + clu % 16) & 1 == 1 {
            hosts.push(Owner::Free);
        }
        hosts.push(Owner::Guest(clu));
    }
    if bits >> 60 & 1 == 1 {
        hosts.reverse();
    }
    hosts
}

/// Any chain.
pub(crate) fn drawn() -> impl Strategy<Value = Start> {
    (shape(), 0..3u8, any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
        |(mut shape, base, below, above, ragged)| {
            let mut lowers = Vec::new();
            let plan = |bits| Plan {
                hosts: hosts(shape.entries, bits),
                ..Plan::default()
            };
            match base {
                0 => {}
                1 => lowers.push(Level::Image(plan(below))),
                _ => {
                    let clusters = 1 + (below >> 32) as u32 % shape.entries;
                    let data = (0..clusters)
                        .filter(|clu| below >> (clu % 32) & 1 == 1)
                        .collect();
                    lowers.push(Level::Raw { clusters, data });
                }
            }
            let top = Plan {
                ragged: ragged && shape.cluster > 1,
                ..plan(above)
            };
            shape.levels += lowers.len() as u8;
            shape.raw_base = base == 2;
            Start { shape, lowers, top }
        },
    )
}
