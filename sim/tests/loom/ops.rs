//! Short names for operations.

use model::op::{Kind, Op};

fn op(kind: Kind, start: u64, len: u64) -> Op {
    Op { kind, start, len }
}

pub(crate) fn read(start: u64, len: u64) -> Op {
    op(Kind::Read, start, len)
}

pub(crate) fn write(start: u64, len: u64) -> Op {
    let kind = Kind::Write {
        preflush: false,
        fua: false,
    };
    op(kind, start, len)
}

pub(crate) fn write_fua(start: u64, len: u64) -> Op {
    let kind = Kind::Write {
        preflush: false,
        fua: true,
    };
    op(kind, start, len)
}

pub(crate) fn discard(start: u64, len: u64) -> Op {
    op(Kind::Discard, start, len)
}

pub(crate) fn promote(start: u64, len: u64) -> Op {
    op(Kind::Promote { lowest: 0 }, start, len)
}

pub(crate) fn flush() -> Op {
    op(Kind::Flush, 0, 0)
}
