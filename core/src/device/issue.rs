//! From work to I/O: which operation on which file a piece of work is, or what is left of it.

use crate::device::Device;
use crate::request::action::{Action, ActionKind, Actions, Buf, Failure, IoOp, Origin, Ticket};
use crate::request::work::{Base, DataOp, Segment, Work};
use crate::units::{QueueId, Sectors};

impl Device {
    /// Puts the I/O of some work (or what is left of it) on the list.
    pub(crate) fn issue(&self, work: Work, out: &mut Actions) {
        let level = self.levels.top();
        let cluster = self.table.cluster();
        let (queue, op) = match &work {
            Work::Data {
                segment,
                op,
                at,
                done,
            } => {
                let at = at.after(Sectors(u64::from(*done)));
                let len = Sectors(u64::from(segment.len - done));
                let buf = segment.buf(*done);
                let op = match *op {
                    DataOp::Read { level, zero_tail } => {
                        let zero_tail = Sectors(u64::from(zero_tail)).min(len);
                        match len.minus(zero_tail) {
                            Sectors::ZERO => IoOp::ReadHole { len, buf },
                            len => IoOp::Read {
                                level,
                                at,
                                len,
                                zero_tail,
                                buf,
                            },
                        }
                    }
                    DataOp::Write { direct_fua } => IoOp::Write {
                        level,
                        at,
                        len,
                        buf,
                        fua: direct_fua,
                    },
                    DataOp::Zero { punch } => IoOp::Zero {
                        level,
                        at,
                        len,
                        punch,
                    },
                };
                (segment.origin.queue, op)
            }
            Work::Hole { segment } => {
                let len = Sectors(u64::from(segment.len));
                (
                    segment.origin.queue,
                    IoOp::ReadHole {
                        len,
                        buf: segment.buf(0),
                    },
                )
            }
            Work::Base {
                segment,
                host,
                base,
                done,
            } => {
                let skip = Sectors(u64::from(*done));
                let (at, len) = (self.alloc.sector(*host).after(skip), cluster.minus(skip));
                let op = match *base {
                    Base::Prepare => IoOp::Zero {
                        level,
                        at,
                        len,
                        punch: true,
                    },
                    Base::Whole => IoOp::Write {
                        level,
                        at,
                        len,
                        buf: segment.buf(*done),
                        fua: false,
                    },
                    Base::Copy {
                        level: lower,
                        from,
                        len: from_len,
                    } => IoOp::Copy {
                        level: lower,
                        from: from.after(skip),
                        from_len: Sectors(u64::from(from_len)).minus(skip),
                        to_level: level,
                        to: at,
                        len,
                    },
                };
                (segment.origin.queue, op)
            }
            Work::Extend { hosts } => (
                out.caller,
                IoOp::SetLen {
                    level,
                    len: self.alloc.len_of(*hosts),
                },
            ),
            Work::Punch { host } => (
                out.caller,
                IoOp::PunchHole {
                    level,
                    at: self.alloc.sector(*host),
                    len: cluster,
                },
            ),
            Work::Sync { .. } => (out.caller, IoOp::Sync { level }),
            Work::Index { .. } => unreachable!("an index image is built anew for each round"),
        };
        out.io(queue, work, op);
    }
}

impl Segment {
    fn buf(&self, done: u32) -> Buf {
        Buf {
            origin: self.origin,
            offset: Sectors(self.buf.0 + u64::from(done)),
        }
    }
}

impl Actions {
    /// An I/O for a queue.
    pub(crate) fn io(&mut self, queue: QueueId, work: Work, op: IoOp) {
        self.list.push(Action {
            queue,
            kind: ActionKind::Io {
                ticket: Ticket { work, queue },
                op,
            },
        });
    }

    /// A request has ended.
    pub(crate) fn finish(&mut self, origin: Origin, outcome: Result<(), Failure>) {
        self.list.push(Action {
            queue: origin.queue,
            kind: ActionKind::Finish {
                tag: origin.tag,
                outcome,
            },
        });
    }
}
