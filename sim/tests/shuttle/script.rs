//! Random scripts: what each queue asks for. Everything random comes from the engine, so that a schedule replays it.

use model::op::{Kind, Op};
use shuttle::rand::{Rng, RngCore, thread_rng};

/// A number below `n`.
pub(crate) fn below(n: u64) -> u64 {
    debug_assert!(n > 0);
    thread_rng().next_u64() % n
}

/// True once in `n` times.
pub(crate) fn one_in(n: u64) -> bool {
    below(n) == 0
}

/// A random operation on a disk of `sectors`, mostly a cluster or less.
pub(crate) fn op(sectors: u64, cluster: u64) -> Op {
    let kind = match below(16) {
        0..=2 => Kind::Read,
        3..=7 => Kind::Write {
            preflush: one_in(8),
            fua: one_in(4),
        },
        8..=9 => Kind::WriteZeroes {
            fua: one_in(4),
            unmap: one_in(2),
        },
        10..=11 => Kind::Discard,
        12 => Kind::Promote { lowest: 0 },
        _ => {
            return Op {
                kind: Kind::Flush,
                start: 0,
                len: 0,
            };
        }
    };
    let whole = one_in(2);
    let (start, len) = if whole {
        let clu = below(sectors / cluster);
        (clu * cluster, cluster)
    } else {
        let start = below(sectors);
        (start, 1 + below((sectors - start).min(cluster + 1)))
    };
    Op { kind, start, len }
}

/// A permutation's next element: an index into a list of `len`.
pub(crate) fn pick(len: usize) -> usize {
    thread_rng().gen_range(0..len)
}
