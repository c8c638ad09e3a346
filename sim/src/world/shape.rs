//! What a world looks like: drawn from the tape, or written down in a scenario.

use ploop_core::format::{Layout, Version};
use ploop_core::units::{Millis, Sectors};
use ploop_core::{NoSpace, Options, WriteBack};

use crate::disk::fault::FaultRates;
use crate::profile::Profile;
use crate::tape::{Kind, Tape};
use crate::world::switch::Switch;

/// Geometry of the chain, and how the device is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Format version of the top.
    pub version: Version,
    /// Version 1 only: data starts right behind the BAT, off the file's own grid.
    pub packed: bool,
    /// Cluster size in sectors.
    pub cluster: u64,
    /// Guest clusters.
    pub entries: u32,
    /// Virtual size in sectors; may end inside the last cluster.
    pub size: u64,
    /// Deltas.
    pub levels: u8,
    /// The base is a raw file.
    pub raw_base: bool,
    /// How the device is opened.
    pub options: Options,
}

/// Weights of the workload, drawn anew for each run (swarm testing): some operations are absent in some runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swarm {
    /// read, write, FUA write, preflush write, zeroes, discard, flush, promote
    pub ops: [u32; 8],
    /// Submit, deliver, turn, tick, suspend or resume, copy a tracked cluster.
    pub events: [u32; 6],
    /// Guest clusters that get most operations; 0: all alike.
    pub hot: u32,
    /// Operations of one power cycle.
    pub budget: u32,
    /// Power cycles at the most.
    pub cycles: u32,
    /// How often the server may be killed and taken over, at the most.
    pub kills: u32,
    /// How often the chain may be changed (snapshot, merge, grow, ...), at the most.
    pub switches: u32,
    /// Which sorts of changes there are, a bit for each (`Switch::sort`).
    pub sorts: u32,
    /// Images below the top may be shorter disks.
    pub short: bool,
    /// Faults.
    pub faults: FaultRates,
}

const PAGE_BYTES: [u32; 4] = [80, 96, 128, 112];

/// Metadata pages of real images, in bytes.
const REAL_PAGE: u32 = 4096;
/// What a real disk writes whole, in bytes.
const REAL_GRANULE: u32 = 512;

impl Shape {
    /// True if pages and tearing are those of real images; else they are small.
    pub(super) fn is_real(&self) -> bool {
        self.options.granule == REAL_GRANULE
    }

    /// Draws a shape.
    pub fn draw(profile: Profile, tape: &mut Tape) -> Shape {
        let g = Kind::Geometry;
        let mut pick = |n| tape.choose(g, n);
        let real = profile == Profile::Big || (profile != Profile::Tiny && pick(8) == 7);
        let cluster = u64::from(1 + pick(if profile == Profile::Tiny { 3 } else { 6 }));
        let entries = match profile {
            Profile::Tiny => 5 + pick(7),
            // So many that an index image is more than one sector, which may be torn.
            Profile::Default | Profile::Faults if real => 130 + pick(150),
            Profile::Default | Profile::Faults => 5 + pick(28),
            Profile::Big => 1000 + pick(1100),
        };
        let cut = if pick(3) == 2 {
            u64::from(pick(cluster as u32))
        } else {
            0
        };
        let version = if pick(3) == 2 {
            Version::V1
        } else {
            Version::V2
        };
        let packed = version == Version::V1 && pick(2) == 1;
        let levels = match profile {
            // The third of four, as it always was: recorded tapes keep their meaning.
            Profile::Tiny => 1 + [0, 0, 1, 0][pick(4) as usize],
            _ => 1 + [0, 0, 1, 1, 2][pick(5) as usize],
        };
        let raw_base = levels > 1 && pick(3) == 2;
        let immediate = pick(3) == 2;
        let delay = [50, 20, 5][pick(3) as usize];
        let write_back = if immediate {
            WriteBack::Immediate
        } else {
            WriteBack::Delayed(Millis(delay))
        };
        let queues = match profile {
            Profile::Tiny => 2,
            _ => 1 + pick(4) as u16,
        };
        let depth = if profile == Profile::Tiny {
            2
        } else {
            1 + pick(4) as u16
        };
        let prealloc = cluster * [1u64, 2, 4, 3][pick(4) as usize];
        let no_space = if pick(4) == 3 {
            NoSpace::Fail
        } else {
            NoSpace::Wait { retry: Millis(30) }
        };
        let (page_bytes, granule) = if real {
            (REAL_PAGE, REAL_GRANULE)
        } else {
            (PAGE_BYTES[pick(4) as usize], 16)
        };
        let options = Options {
            queues,
            depth,
            write: true,
            write_back,
            prealloc: Sectors(prealloc),
            no_space,
            page_bytes,
            granule,
        };
        let size = u64::from(entries) * cluster - cut;
        Shape {
            version,
            packed,
            cluster,
            entries,
            size,
            levels,
            raw_base,
            options,
        }
    }

    /// The layout of an image of this shape.
    #[must_use]
    pub fn layout(&self) -> Layout {
        let cluster = Sectors(self.cluster);
        let lowest = if self.packed {
            Version::V1
        } else {
            Version::V2
        };
        let data_start = Layout::lowest_data_start(lowest, cluster, self.entries);
        let phase = if self.packed {
            data_start.0 % self.cluster
        } else {
            0
        };
        Layout {
            version: self.version,
            cluster,
            entries: self.entries,
            size: Sectors(self.size),
            data_start,
            phase: Sectors(phase),
        }
    }

    /// The longest that the top file may ever become, in sectors: everything mapped twice, and preallocation.
    #[must_use]
    pub fn limit(&self) -> u64 {
        let clusters = 3 * u64::from(self.entries) + 16;
        self.layout().data_start.0 + clusters * self.cluster + 2 * self.options.prealloc.0
    }
}

impl Swarm {
    /// Draws the weights of a run.
    pub fn draw(profile: Profile, tape: &mut Tape) -> Swarm {
        let mut ops = [4, 6, 2, 1, 2, 3, 2, 1];
        for weight in &mut ops[2..] {
            *weight *= [1, 1, 0, 3][tape.choose(Kind::Op, 4) as usize];
        }
        let events = match tape.choose(Kind::Event, 4) {
            0 => [4, 4, 2, 1, 0],
            1 => [8, 3, 1, 1, 0],
            2 => [2, 6, 3, 2, 0],
            _ => [4, 4, 2, 1, 1],
        };
        let one_in = if profile == Profile::Tiny { 24 } else { 5 };
        let copies = u32::from(tape.choose(Kind::Event, one_in) == one_in - 1);
        let events = [
            events[0], events[1], events[2], events[3], events[4], copies,
        ];
        let (budget, cycles) = match profile {
            Profile::Tiny => (
                // Mostly eight: the smaller a run, the more of them.
                8 + u32::from(tape.choose(Kind::Op, 8) == 1),
                // One in eight, asked so that recorded tapes keep their meaning.
                1 + u32::from(tape.chance(Kind::Crash, 1, 4) && tape.choose(Kind::Crash, 2) == 0),
            ),
            Profile::Default => (
                12 + tape.choose(Kind::Op, 40),
                1 + tape.choose(Kind::Crash, 4),
            ),
            Profile::Faults => (
                12 + tape.choose(Kind::Op, 30),
                1 + tape.choose(Kind::Crash, 3),
            ),
            Profile::Big => (
                80 + tape.choose(Kind::Op, 120),
                1 + tape.choose(Kind::Crash, 3),
            ),
        };
        let faults = match profile {
            Profile::Faults => FaultRates {
                io: 700,
                short: 500,
                nothing: 200,
                no_space: 350,
                unsupported: 100,
                horizon: 60,
            },
            _ => FaultRates {
                io: 100,
                short: 80,
                nothing: 30,
                no_space: 60,
                unsupported: 20,
                horizon: 40,
            },
        };
        let hot = [0, 1, 2, 4][tape.choose(Kind::Op, 4) as usize];
        let kills = match profile {
            Profile::Tiny => [0, 0, 0, 0, 0, 0, 0, 1],
            _ => [0, 0, 0, 0, 0, 1, 1, 2],
        };
        let kills = kills[tape.choose(Kind::Crash, 8) as usize];
        let switches = match profile {
            Profile::Tiny => u32::from(tape.choose(Kind::Crash, 20) == 19),
            _ => [0, 0, 0, 0, 1, 1, 2, 3][tape.choose(Kind::Crash, 8) as usize],
        };
        // Of the smallest disks only the plain changes: all that is drawn of them is drawn as ever.
        let plain = profile == Profile::Tiny;
        let sorts = match plain || tape.choose(Kind::Op, 2) == 0 {
            true => u32::MAX,
            false => tape.choose(Kind::Op, 1 << Switch::SORTS),
        };
        let short = !plain && tape.choose(Kind::Geometry, 3) == 2;
        Swarm {
            kills,
            switches,
            sorts,
            short,
            ops,
            events,
            hot,
            budget,
            cycles,
            faults,
        }
    }
}
