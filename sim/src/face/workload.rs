//! Which operations a random run has: weights drawn for the whole run (swarm), then one after the other.

use model::op::{Kind as OpKind, Op};

use crate::face::OnFiles;
use crate::tape::{Kind, Label, Tape};
use crate::world::named;

/// Weights of the operations of a run: read, write, FUA write, preflush write, write zeroes, discard, flush.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Swarm {
    weights: [u32; 7],
    /// Most operations go to so many clusters; 0: to all alike.
    hot: u32,
}

impl Swarm {
    /// Draws them. Some kinds are missing, some frequent: combinations that an even mix would hardly ever have.
    pub(super) fn draw(tape: &mut Tape) -> Swarm {
        let mut weights = [2, 6, 2, 1, 1, 1, 2];
        for weight in &mut weights {
            *weight *= [1, 4, 0][tape.weighted(Kind::Op, &[4, 1, 1])];
        }
        weights[1] = weights[1].max(1);
        let hot = [2, 4, 0][tape.index(Kind::Op, 3)];
        Swarm { weights, hot }
    }

    /// Draws an operation on a disk of so many sectors.
    pub(super) fn op<D: OnFiles>(&self, sectors: u64, tape: &mut Tape) -> Op {
        let kind = match tape.weighted_by_name(Kind::Op, &self.weights, named::operation) {
            0 => OpKind::Read,
            1 => write(false, false),
            2 => write(false, true),
            3 => write(true, tape.choose(Kind::Arg, 2) == 1),
            4 => OpKind::WriteZeroes {
                fua: tape.choose(Kind::Arg, 3) == 2,
                unmap: tape.choose(Kind::Arg, 2) == 0,
            },
            5 => OpKind::Discard,
            _ => return FLUSH,
        };
        let (block, cluster) = (D::BLOCK, grain::<D>());
        let clusters = sectors.div_ceil(cluster) as u32;
        let hot = self.hot.min(clusters);
        // Every cluster can be drawn as a cold one; a replay finds it by its name.
        let warm = |label: &Label, recorded: Option<u32>| {
            let clu = named::cluster(label)?;
            recorded.filter(|&k| k == 3 || clu < hot).or(Some(3))
        };
        let clu = if hot > 0 && tape.choose_named(Kind::Arg, 4, warm) != 3 {
            tape.choose_named(Kind::Arg, hot, |label, _| named::cluster(label))
        } else {
            tape.choose_named(Kind::Arg, clusters, |label, _| named::cluster(label))
        };
        let base = u64::from(clu) * cluster;
        let (start, len) = if tape.choose(Kind::Arg, 2) == 0 {
            (
                base,
                cluster * (1 + u64::from(tape.choose(Kind::Arg, 8) / 6)),
            )
        } else {
            let blocks = (cluster / block) as u32;
            let at = u64::from(tape.choose(Kind::Arg, blocks));
            let len = 1 + u64::from(tape.choose(Kind::Arg, blocks + 1));
            (base + at * block, len * block)
        };
        let start = start.min(sectors - block);
        let len = len.min(sectors - start);
        Op { kind, start, len }
    }
}

/// Sectors of what an operation's name counts.
pub(super) fn grain<D: OnFiles>() -> u64 {
    D::CLUSTER.max(D::BLOCK)
}

const FLUSH: Op = Op {
    kind: OpKind::Flush,
    start: 0,
    len: 0,
};

const fn write(preflush: bool, fua: bool) -> OpKind {
    OpKind::Write { preflush, fua }
}

/// An operation as a person reads it. `write`: the number of a write.
pub(super) fn shown(op: Op, write: u32) -> String {
    let Op { kind, start, len } = op;
    let range = format!("{start}+{len}");
    match kind {
        OpKind::Read => format!("read {range}"),
        OpKind::Write { preflush, fua } => {
            let before = if preflush { " preflush" } else { "" };
            let after = if fua { " fua" } else { "" };
            format!("write {range}{before}{after} (w{write})")
        }
        OpKind::WriteZeroes { fua, unmap } => {
            let after = if fua { " fua" } else { "" };
            let space = if unmap { " unmap" } else { "" };
            format!("zeroes {range}{after}{space}")
        }
        OpKind::Discard => format!("discard {range}"),
        OpKind::Flush => "flush".to_owned(),
        OpKind::Promote { .. } => format!("promote {range}"),
    }
}
