//! Scenarios: a run as a text that a person can write. `parse` reads it, `run` plays it on the simulator's own world,
//! `files` runs its operations alone, one after the other, on files through the blocking driver.
//!
//! One line is one step; `#` begins a comment. First what there is, then what happens:
//! ```text
//! geometry cluster=2 entries=8 size=16 version=2 queues=2 depth=2 write-back=delayed:50 prealloc=2 page-bytes=96 granule=16
//!          no-space=wait:30 packed   (write-back=immediate, no-space=fail; all have defaults; `packed`: version 1 only)
//! base raw 0-7            a raw file that holds these guest clusters, at the bottom
//! base image 0-3 5        a lower delta, these guest clusters mapped, in this order in the file; bottom to top
//! top 1 - 4 -             the top likewise; `-` is a free host cluster that holds rubbish. Also in their place in the file:
//!                         `extension[=clean|dirty|mixed]` and (of mixed) `bitmap`; anywhere: `ragged`, `in-use`
//! seed 7                  what no line decides is drawn with this seed (without: the simplest answer each time)
//!
//! q0.t1 write 4+2 fua     queue 0, tag 1 submits: read, write [fua] [preflush], zeroes [fua] [unmap], discard, flush,
//!                         write nothing [fua] [preflush] (no sector at all),
//!                         promote [from LEVEL] (its clusters are copied into the top from this level on; without: the one below)
//! deliver write           the oldest such I/O in flight completes: read write zero copy setlen index punch sync hole any;
//!                         with `newest` before; with `of q0.t1` behind; then an ending: `short BYTES`,
//!                         `fail io|nospace|unsupported [applied|drawn]`
//! deliver all             everything in flight and what follows completes, oldest first
//! turn 0                  queue 0 ends a batch: index write-back and syncs start
//! settle                  turns and completions until nothing is in flight
//! tick 60                 60 ms pass
//! suspend | resume
//! ended q0.t1 ok          must have ended so: ok io nospace
//! waits q0.t1             must not have ended
//! expect 4+2 w1 | zero | base   must read as what the first write wrote, or as zeros, or as in the beginning
//! mapped 4 top            where a sector must be: top, no, or the number of a lower level from 0
//! close [cut 3]           clean close; power cut after 3 calls of it, if there are so many. Steps that follow open it again
//! cut [keep-all|keep-none|seed 7]   power cut: all distinct crash images are examined, one lives on and is opened again
//! kill                    the server is killed: what is in flight ends somehow, the next server recovers, requests come again
//! snapshot | merge up | merge down | grow 6 | compact | reload   the chain is changed: closed, changed, opened, held requests
//!                         come again. up: the level below goes into the top; down: the top into the level below; 6 sectors
//! rollback                the same: the top is thrown away, and the disk is what the levels below show
//! index 2 [of 1]          the same: every second cluster of the top, or of level 1, is copied, and its slot points to the copy
//! repair [marked]         the same: of a cluster that nobody has, and perhaps of a mark of being in use
//! bitmap start 4 | clear | stop   the same: a dirty bitmap of the top, 4 sectors a bit
//! write-back immediate | delayed:50   the same: the index is written at once, or later
//! read-only               the same: it is opened for reading and read before it is opened again
//!                         behind a change: `cut 3`, `fail io|short|nospace 3`, `cancel 2` (merge, compact): the power is cut in
//!                         it after 3 calls, its third call fails, it is given up after 2 clusters; then it is done anew
//!
//! track start             somebody copies the disk while it is written, as tracking says
//! track next 3|none|refused   the next marked cluster is this one, and is copied; or none is; or nothing is tracked
//! track marked 2 | same   so many are marked; what is marked is copied, and the copy is the disk, and tracking ends
//! track clear | stop      the marks go, and the copy; tracking ends
//!
//! copy [EDIT]... : CHECK : CHECK ...   closed as for a reload, copies of the files taken, opened again, held requests come
//!                         again. The copies are edited, and something is done to them; each CHECK has a copy of its own
//! ```
//! | EDIT of a copy | what it does |
//! |---|---|
//! | `of 1` | what follows is of level 1; first it is the top |
//! | `type= sectors= entries= size= data-off= flags= ext-off=` | a header field: `7`, `0x40`, `+1`, `-1` (relative), `bat[5]` (as that slot) |
//! | `version=1\|2\|none`, `in-use=yes\|no\|v2.1\|7` | the magic, the mark |
//! | `bat[3]=` | a slot |
//! | `ext-magic= ext-md5= feature= feature-flags= feature-size= bitmap-size= granularity= l1-size= l1[0]= ext[BYTE]=` | the cluster of the format extension; its checksum is made anew, unless `stale` |
//! | `at[1024]=C0FFEE*20`, `length=-512` | bytes of the file, so often (once); its length |
//! | `chain=raw:0,1,2*200`, `chain=none` | which files are opened, bottom to top |
//! | `queues= depth= page-bytes= granule=` | options of the open |
//! | `kept[3]=7` | slots that a killed device kept: those of the file, but this one |
//! | `writes=300,700`, `dense` | a write takes so many bytes at the most, in turn; what reads as zeros takes space, too |
//!
//! `copy far FILE... : CHECK ...`: instead of copies, files that are longer than any disk, bottom to top: `raw SECTORS [@SECTOR]...`
//! (of zeros, but there), `v1|v2 CLUSTER SLOTS [size=] [start=] [file=] [extension=HOST [bitmaps=]] [0-65533=1]...` (slots, and the
//! cluster of the data area of the first; at both ends a sector that is not zeros). CHECK of these: `look`, `read`, `repair`, `grow`,
//! `merge up`, `write SECTOR...` (the last one may be `refused`), with `says`, `left`, `refused`.
//!
//! | CHECK | what is done |
//! |---|---|
//! | `open` | opened, read, written, discarded, closed, opened again; without damage of its own the top is sound then |
//! | `read` | opened for reading, and read; nothing is changed |
//! | `look` | what `check` tells of the last file that was edited |
//! | `repair`, `grow 6`, `compact`, `index 2`, `bitmap start 4\|clear\|stop`, `create v2 CLUSTER SIZE` | done to that file |
//! | `point 3 7` | the slot of guest cluster 3 is pointed to the copy in host cluster 7 |
//! | `merge up`, `merge down` | done to the two uppermost |
//! | ... `fail io\|short\|nothing\|nospace[:3]\|unsupported`, `cut`, `cancel` | in each of its calls, one after the other: it fails so (no space: three times); the power is cut; it is given up. What that leaves is judged, and it is done anew |
//! | `open fail io applied`, `open` or `read ends 1024` | what fails has been done; reads of the file find its end at this byte, for somebody has made it shorter |
//! | ... `says "WORDS"`, `left "WORDS"`, `refused "WORDS"` | it tells of a fix; of what is wrong still; it is refused with this error, and has changed nothing |
//!
//! At the end everything still in flight ends, the whole disk is read, the image is closed, examined and compared.

pub mod copies;
mod error;
pub mod files;
mod folder;
mod left_out;
mod parse;
pub mod phases;
mod run;
pub mod table;

use model::op::{End, Op};
use ploop_core::Origin;
use ploop_core::units::{Millis, QueueId};

use crate::world::chain::{Level, Plan};
use crate::world::crash::Survivor;
use crate::world::shape::Shape;
use crate::world::stage::{Ending, Pick};
use crate::world::switch::Switch;
use crate::world::trouble::Trouble;

use copies::OnCopies;
pub use error::ScenarioError;
pub use files::{Files, FilesReport, MemoryFiles, run_on_files};
pub use folder::FolderFiles;
pub use left_out::LeftOut;
pub use run::{run, run_file, run_in};

/// A scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Geometry of the chain, and how it is opened.
    pub shape: Shape,
    /// The lower levels, bottom to top.
    pub lowers: Vec<Level>,
    /// The top.
    pub top: Plan,
    /// Seed of what no line decides.
    pub seed: Option<u64>,
    /// What happens.
    pub steps: Vec<Line>,
}

/// A step and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Line of the file, from 1.
    pub number: usize,
    /// What happens.
    pub step: Step,
}

/// What a line says. The folder's head tells what each means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client submits an operation.
    Submit(Origin, Op),
    /// Its last operation must have ended like this.
    Ended(Origin, End),
    /// Its last operation must not have ended.
    Waits(Origin),
    /// An I/O completes.
    Deliver(Pick, Ending),
    /// Everything in flight completes.
    DeliverAll,
    /// A queue ends a batch.
    Turn(QueueId),
    /// Nothing is in flight any more.
    Settle,
    /// Time passes.
    Tick(Millis),
    /// The device is suspended (true) or resumed.
    Suspend(bool),
    /// Clean close; the power cut after so many calls of it.
    Close(Option<u32>),
    /// Power cut.
    Cut(Survivor),
    /// The server is killed and taken over.
    Kill,
    /// The chain is changed.
    Switch(Switch, Trouble),
    /// Something is done to copies of the files.
    Copies(OnCopies),
    /// Somebody copies the disk, as tracking says.
    Track(Track),
    /// What sectors must read as.
    Expect {
        /// First guest sector.
        start: u64,
        /// Number of sectors.
        len: u64,
        /// One of these.
        wanted: Vec<Wanted>,
    },
    /// Where a sector must be mapped.
    Mapped(u64, Place),
}

/// What a line about tracking says: somebody copies the disk while it is written, cluster by cluster, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Tracking begins, and with it an empty copy.
    Start,
    /// This cluster is the next one that is marked, and is copied; `None`: none is marked.
    Next(Option<u32>),
    /// Nothing is tracked: whoever asks for the next one is refused.
    Refused,
    /// So many clusters are marked.
    Marked(u64),
    /// No cluster is marked any more; the copy is given up.
    Clear,
    /// What is marked is copied, and the copy is the disk.
    Same,
    /// Tracking ends.
    Stop,
}

/// A content by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// What the nth write of the scenario (from 1) wrote there.
    Write(u32),
    /// Zeros.
    Zero,
    /// What was there in the beginning.
    Base,
}

/// Where a sector may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    No,
    /// In the top.
    Top,
    /// In a lower level, 0 the bottom.
    Lower(u8),
}

impl Scenario {
    /// The operations alone, in order of submission: for engines that decide the rest themselves.
    pub fn ops(&self) -> impl Iterator<Item = (Origin, Op)> + '_ {
        self.steps.iter().filter_map(|line| match line.step {
            Step::Submit(from, op) => Some((from, op)),
            _ => None,
        })
    }
}
