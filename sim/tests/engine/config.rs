//! Small configurations as data, so that every engine runs the same ones: what is there before, and what each queue does.
//!
//! A configuration brings a device to where the race begins, lets one task a queue race, carries out what is left, checks
//! everything up to a clean close, and returns the state that is left: the engines must agree on the set of these.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::core::units::Sectors;
use super::core::{Options, WriteBack};
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

/// Clusters of two sectors over a lower delta.
const CHAIN: Shape = Shape {
    cluster: 2,
    clusters: 4,
    mapped: &[&[0, 1], &[0]],
    spare: 3,
};

use Step::{Carry, Turn};

const PLAIN_RACE: Config = Config {
    name: "",
    about: "",
    shape: PLAIN,
    immediate: false,
    before: &[],
    tasks: &[],
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
        rig.check_close();
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
        }
    }
    list
}
