//! Small configurations as data, so that every engine runs the same ones: what is there before, and what each queue does.
//!
//! A configuration brings a device to where the race begins, lets one task a queue race, carries out what is left, checks
//! everything up to a clean close, and returns the state that is left: the engines must agree on the set of these.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::core::units::Sectors;
use super::core::{Failure, IoOp, Options, WriteBack};
use super::image::{Image, Shape};
use super::ledger::Shadow;
use super::rig::{Io, Rig, options};
use model::op::{Kind, Op};

/// What a task does next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// Submits a request.
    Submit(Op),
    /// Carries out the I/O that its calls put out, and what follows from it.
    Carry,
    /// Ends its batch.
    Turn,
    /// Carries out syncs until there is another I/O, which fails; nothing of it was done.
    Fail,
    /// The newest I/O ends when its first sector is done.
    Short,
    /// The newest I/O is reported as done, and carried out only then: a mistake of the adapter, made on purpose.
    Early,
    /// Something that all tasks can see: a place to switch.
    Pause,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    shape: Shape,
    /// Index writes are acknowledged when they are durable.
    immediate: bool,
    /// Requests carried out before the race, one by one.
    before: &'static [Op],
    tasks: &'static [&'static [Step]],
    /// Nothing is flushed before the image is closed, and the power may fail while it is.
    closes_at_once: bool,
}

const fn op(kind: Kind, start: u64, len: u64) -> Op {
    Op { kind, start, len }
}

const fn write(start: u64, len: u64) -> Step {
    let (preflush, fua) = (false, false);
    Step::Submit(op(Kind::Write { preflush, fua }, start, len))
}

const fn write_fua(start: u64, len: u64) -> Step {
    let (preflush, fua) = (false, true);
    Step::Submit(op(Kind::Write { preflush, fua }, start, len))
}

const fn read(start: u64, len: u64) -> Step {
    Step::Submit(op(Kind::Read, start, len))
}

const fn discard(start: u64, len: u64) -> Step {
    Step::Submit(op(Kind::Discard, start, len))
}

const fn zeroes(start: u64, len: u64) -> Step {
    let (fua, unmap) = (false, false);
    Step::Submit(op(Kind::WriteZeroes { fua, unmap }, start, len))
}

const FLUSH: Step = Step::Submit(op(Kind::Flush, 0, 0));

const WRITTEN: Op = op(
    Kind::Write {
        preflush: false,
        fua: false,
    },
    1,
    1,
);
const DISCARDED: Op = op(Kind::Discard, 0, 1);

/// Four guest clusters of one sector, in one page; the first is mapped. Three hosts are free, and not zero.
const PLAIN: Shape = Shape {
    cluster: 1,
    clusters: 4,
    mapped: &[&[0]],
    spare: 3,
};

/// The same with no host to spare: who allocates extends the file, or takes what was given back.
const FULL: Shape = Shape { spare: 0, ..PLAIN };

/// Three of four clusters are mapped.
const MAPPED: Shape = Shape {
    mapped: &[&[0, 1, 2]],
    spare: 1,
    ..PLAIN
};

/// The same, and the file ends behind them: a close has no tail to cut.
const PACKED: Shape = Shape { spare: 0, ..MAPPED };

/// Clusters of two sectors over a lower delta.
const CHAIN: Shape = Shape {
    cluster: 2,
    clusters: 4,
    mapped: &[&[0, 1], &[0]],
    spare: 3,
};

/// Six guest clusters: the last two are in a second page.
const TWO_PAGES: Shape = Shape {
    clusters: 6,
    ..PLAIN
};

use Step::{Carry, Early, Fail, Pause, Short, Turn};

const PLAIN_RACE: Config = Config {
    name: "",
    about: "",
    shape: PLAIN,
    immediate: false,
    before: &[],
    tasks: &[],
    closes_at_once: false,
};

/// All of them.
pub(crate) const CONFIGS: &[Config] = &[
    Config {
        name: "writers_of_a_page",
        about: "two clusters of one page are allocated, submitted and completed",
        tasks: &[&[write(1, 1), Carry], &[write(2, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "writers_of_a_cluster",
        about: "two writes to one unmapped cluster, one of them with FUA",
        tasks: &[&[write(1, 1), Carry], &[write_fua(1, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "allocation_against_write_back",
        about: "a page is written back while another of its slots is allocated",
        before: &[WRITTEN],
        tasks: &[&[FLUSH, Turn, Carry, Turn, Carry], &[write(2, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "discard_against_read",
        about: "a cluster is read and un-mapped",
        tasks: &[&[discard(0, 1), Carry], &[read(0, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "discard_against_write",
        about: "a cluster is overwritten with FUA and un-mapped",
        tasks: &[&[discard(0, 1), Carry], &[write_fua(0, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "flush_against_publish",
        about: "a mapping is published and a flush is asked for",
        tasks: &[&[FLUSH, Turn, Carry], &[write(1, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "reuse_against_allocation",
        about: "a host is given back while another cluster looks for one",
        shape: FULL,
        before: &[DISCARDED],
        tasks: &[&[FLUSH, Turn, Carry], &[write(1, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "extension_against_extension",
        about: "two clusters are allocated in a full file",
        shape: FULL,
        tasks: &[&[write(1, 1), Carry], &[write(2, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "immediate_writers",
        about: "two allocations, acknowledged when their slots are durable",
        immediate: true,
        tasks: &[&[write(1, 1), Carry, Turn, Carry], &[write(2, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "copy_against_read",
        about: "a lower cluster is copied and written while it is read",
        shape: CHAIN,
        tasks: &[&[write(2, 1), Carry], &[read(2, 2), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "three_mapped_writers",
        about: "three queues overwrite a mapped cluster of one page each",
        shape: MAPPED,
        tasks: &[
            &[write(0, 1), Carry],
            &[write(1, 1), Carry],
            &[write(2, 1), Carry],
        ],
        ..PLAIN_RACE
    },
    Config {
        name: "three_on_a_cluster",
        about: "a read, a write and a discard of one mapped cluster",
        tasks: &[
            &[read(0, 1), Carry],
            &[write(0, 1), Carry],
            &[discard(0, 1), Carry],
        ],
        ..PLAIN_RACE
    },
    Config {
        name: "fua_against_allocation",
        about: "a cluster whose slot is not durable is overwritten with FUA, its page changes",
        before: &[WRITTEN],
        tasks: &[
            &[write_fua(1, 1), Carry, Turn, Carry],
            &[write(2, 1), Carry],
        ],
        ..PLAIN_RACE
    },
    Config {
        name: "flush_against_flush",
        about: "a flush while the sync of another one is under way, which does not cover a write",
        tasks: &[&[FLUSH, Carry], &[write(0, 1), Carry, FLUSH, Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "writers_of_two_pages",
        about: "a cluster of each of two pages is allocated, and flushed",
        shape: TWO_PAGES,
        tasks: &[
            &[write(4, 1), Carry, FLUSH, Turn, Carry],
            &[write(1, 1), Carry],
        ],
        ..PLAIN_RACE
    },
    Config {
        name: "discard_during_a_round",
        about: "a cluster is un-mapped while its slot is written, and its host is wanted",
        shape: FULL,
        before: &[WRITTEN],
        tasks: &[
            &[FLUSH, Turn, Carry, Turn],
            &[discard(1, 1), Carry, write(2, 1), Carry],
        ],
        ..PLAIN_RACE
    },
    Config {
        name: "failed_round",
        about: "the index write of a page fails while another of its slots is allocated",
        before: &[WRITTEN],
        tasks: &[&[FLUSH, Turn, Carry, Turn, Fail], &[write(2, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "failed_unmap",
        about: "the index write that un-maps a cluster fails, and a host is wanted",
        shape: FULL,
        before: &[DISCARDED],
        tasks: &[&[FLUSH, Turn, Fail, Carry], &[write(1, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "failed_copy",
        about: "the copy of a lower cluster fails while another one is written",
        shape: CHAIN,
        tasks: &[&[write(2, 1), Fail, Carry], &[write(4, 2), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "failed_discard",
        about: "a cluster that a lower delta has as well cannot be zeroed, and is written",
        shape: CHAIN,
        tasks: &[&[discard(0, 2), Fail, Carry], &[write(0, 1), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "short_write",
        about: "a write is done in part, and goes on; its cluster is read",
        shape: CHAIN,
        tasks: &[&[write(0, 2), Short, Carry], &[read(0, 2), Carry]],
        ..PLAIN_RACE
    },
    Config {
        name: "closed_at_once",
        about: "two writes of mapped clusters, and a close without a flush",
        shape: PACKED,
        tasks: &[&[write(0, 1), Carry], &[write(1, 1), Carry]],
        closes_at_once: true,
        ..PLAIN_RACE
    },
    Config {
        name: "closed_with_dirty_pages",
        about: "a cluster is allocated, another one un-mapped, and a close without a flush",
        shape: FULL,
        tasks: &[&[write(1, 1), Carry], &[discard(0, 1), Carry]],
        closes_at_once: true,
        ..PLAIN_RACE
    },
];

/// Configurations with a mistake on purpose, which some interleavings show and others do not: every engine must find it.
pub(crate) const SICK: &[Config] = &[
    Config {
        name: "answered_early",
        about: "a write is acknowledged before it is carried out, and its sector is read",
        shape: MAPPED,
        tasks: &[&[write(0, 1), Early], &[Pause, read(0, 1), Carry, Pause]],
        ..PLAIN_RACE
    },
    Config {
        name: "zeros_answered_early",
        about: "zeros are acknowledged before they are written, and the sector is read",
        shape: MAPPED,
        tasks: &[&[zeroes(0, 1), Early], &[Pause, read(0, 1), Carry, Pause]],
        ..PLAIN_RACE
    },
    Config {
        name: "sync_answered_early",
        about: "a flush is acknowledged before its sync is carried out, and a mapped cluster is overwritten",
        shape: MAPPED,
        tasks: &[&[FLUSH, Turn, Early], &[Pause, write(0, 1), Carry, Pause]],
        ..PLAIN_RACE
    },
];

/// Options of a rig with so many queues, two at least, a file that grows by so much, and perhaps without delayed write-back.
pub(crate) fn options_of(queues: usize, prealloc: Sectors, immediate: bool) -> Options {
    let options = options();
    Options {
        queues: queues.max(2) as u16,
        prealloc,
        write_back: match immediate {
            true => WriteBack::Immediate,
            false => options.write_back,
        },
        ..options
    }
}

/// A task of a race.
pub(crate) type Racer = Box<dyn FnOnce() -> Vec<Io> + Send>;

impl Config {
    /// What the files hold at first.
    pub(crate) fn image(&self) -> Image {
        Image::new(self.shape)
    }

    fn options(&self) -> Options {
        let prealloc = Sectors(self.shape.cluster);
        options_of(self.tasks.len(), prealloc, self.immediate)
    }

    /// Plays it once, in the order that `race` lets the tasks go. Returns the state that is left.
    pub(crate) fn play(
        &self,
        image: &Image,
        shadow: Option<Box<dyn Shadow>>,
        race: impl FnOnce(Vec<Racer>) -> Vec<Vec<Io>>,
    ) -> u64 {
        let rig = Rig::new(image, self.options());
        rig.cast(shadow);
        // The in-use mark is made; the last cluster is never mapped.
        let last = self.shape.cluster * (self.shape.clusters - 1);
        let mark = op(Kind::Discard, last, self.shape.cluster);
        for (tag, &op) in (5u16..).zip([mark].iter().chain(self.before)) {
            assert_eq!(rig.run((0, tag), op), Ok(()), "before the race");
        }
        let tasks = (0u16..).zip(self.tasks).map(|(queue, steps)| -> Racer {
            let rig = Arc::clone(&rig);
            let steps = *steps;
            Box::new(move || follow(&rig, queue, steps))
        });
        let mut left: Vec<Io> = race(tasks.collect()).into_iter().flatten().collect();
        rig.drain(&mut left, false);
        rig.check_at_rest();
        if self.closes_at_once {
            rig.check_close_now(true);
        } else {
            rig.check_close();
        }
        let mut hasher = DefaultHasher::new();
        rig.top().hash(&mut hasher);
        hasher.finish()
    }
}

fn follow(rig: &Rig, queue: u16, steps: &[Step]) -> Vec<Io> {
    let mut list = Vec::new();
    let mut tag = 0;
    for step in steps {
        match *step {
            Step::Submit(op) => {
                list.extend(rig.submit((queue, tag), op));
                tag += 1;
            }
            Step::Carry => {
                while let Some(io) = list.pop() {
                    list.extend(rig.done(io));
                }
            }
            Step::Turn => list.extend(rig.turn(queue)),
            Step::Fail => {
                while let Some(io) = list.pop() {
                    if !matches!(io.op, IoOp::Sync { .. }) {
                        list.extend(rig.fail(io, Failure::Io));
                        break;
                    }
                    list.extend(rig.done(io));
                }
            }
            Step::Short => {
                if let Some(io) = list.pop() {
                    list.extend(rig.short(io, 1));
                }
            }
            Step::Early => {
                if let Some(io) = list.pop() {
                    list.extend(rig.answered_early(io));
                }
            }
            Step::Pause => rig.pauses.pause(),
        }
    }
    list
}
