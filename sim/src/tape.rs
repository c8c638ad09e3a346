//! The tape: everything a run decides is drawn from one typed log of choices.
//!
//! `choose(kind, n)` answers `k` in `0..n` and records `(kind, n, k)`. The answers come from a seed, from a fuzzer's
//! bytes or from a recorded log; the log of a failing run *is* the run.
//!
//! Invariants
//! 1. Same source, same questions: same answers, on every platform.
//! 2. A question with one possible answer (`n` 0 or 1) is not recorded and takes nothing from the source.
//! 3. `k = 0` is the simplest answer by convention (nothing special, oldest, no fault): the shrinker writes zeros, and
//!    a source that ran out answers 0 for ever.
//! 4. The recorded log, replayed against the same questions, gives the same answers and no misalignment.
//! 5. Where a run's events begin is noted on demand ([`Tape::note_spans`]). Noting changes no answer, and costs a
//!    branch an event where nobody asked for it.

mod events;
mod file;
mod guide;
mod label;
mod mirror;
mod reader;
#[cfg(test)]
mod tests;
mod watch;

pub use file::{TapeError, TapeFile};
pub use guide::{Candidate, Guide, Policy};
pub use label::{Event, Label, Object, Span};
pub use mirror::Mirror;
use rand_chacha::ChaCha8Core;
use rand_chacha::rand_core::SeedableRng;
use rand_chacha::rand_core::block::Generator;
use reader::{Answer, Reader};
pub use watch::Watch;
pub(crate) use watch::mix;

/// What a choice decides. A log whose kinds no longer match its questions was made by other code, or edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Shape of the image and of the run.
    Geometry,
    /// Which operation comes next.
    Op,
    /// An argument of an operation.
    Arg,
    /// Which event comes next.
    Event,
    /// Which thread or queue goes on.
    Thread,
    /// Which of two overlapping changes comes first.
    Order,
    /// Whether a change in flight is seen by a read.
    Land,
    /// Whether and how an I/O fails.
    Fault,
    /// When to crash, and how.
    Crash,
    /// What survives a crash.
    Survive,
    /// How much time passes.
    Time,
    /// Anything else.
    Other,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 12] = [
        Kind::Geometry,
        Kind::Op,
        Kind::Arg,
        Kind::Event,
        Kind::Thread,
        Kind::Order,
        Kind::Land,
        Kind::Fault,
        Kind::Crash,
        Kind::Survive,
        Kind::Time,
        Kind::Other,
    ];

    /// The name in a tape file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Geometry => "geometry",
            Kind::Op => "op",
            Kind::Arg => "arg",
            Kind::Event => "event",
            Kind::Thread => "thread",
            Kind::Order => "order",
            Kind::Land => "land",
            Kind::Fault => "fault",
            Kind::Crash => "crash",
            Kind::Survive => "survive",
            Kind::Time => "time",
            Kind::Other => "other",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One answered question: `k` of `0..n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What was asked.
    pub kind: Kind,
    /// Number of possible answers, at least 2.
    pub n: u32,
    /// The answer, less than `n`.
    pub k: u32,
}

/// Where answers come from. The seed's generator stands in [`Tape`] itself: it is the fast path.
#[derive(Clone, Debug)]
enum Source {
    Seed,
    Guided(Box<Guide>),
    Bytes { bytes: Vec<u8>, next: usize },
    Replay(Reader),
}

/// Words of one block of the generator.
const WORDS: usize = 64;

/// A source of choices, and the log of those made.
#[derive(Clone, Debug)]
pub struct Tape {
    source: Source,
    generator: ChaCha8Core,
    words: [u32; WORDS],
    used: usize,
    log: Vec<Choice>,
    /// Somebody wants to know where events begin, or replays a log that does.
    spanned: bool,
    spans: Vec<Span>,
    /// Somebody waits for the run, and cannot ask it.
    mirror: Option<Mirror>,
    /// Somebody wants to know what runs look like.
    watch: Option<Box<Watch>>,
    /// They want to know about this one.
    watching: bool,
    /// The world's states belong to that.
    states: bool,
    /// The world is to say more than it is asked: its state, or what could come next.
    curious: bool,
}

impl Tape {
    /// A tape of a seed: as long as the run wants it to be.
    #[must_use]
    pub fn from_seed(seed: u64) -> Tape {
        Tape {
            source: Source::Seed,
            generator: generator(seed),
            words: [0; WORDS],
            used: WORDS,
            log: Vec::with_capacity(256),
            spanned: false,
            spans: Vec::new(),
            mirror: None,
            watch: None,
            watching: false,
            states: false,
            curious: false,
        }
    }

    /// A tape of a fuzzer's bytes: one byte for a choice of up to 256 answers, two up to 65536, else four. Then zeros.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Tape {
        let mut tape = Tape::from_seed(0);
        tape.restart_bytes(bytes);
        tape
    }

    /// Becomes the tape of a fuzzer's bytes, keeping its memory.
    pub fn restart_bytes(&mut self, bytes: &[u8]) {
        self.source = Source::Bytes {
            bytes: bytes.to_vec(),
            next: 0,
        };
        self.rewind();
    }

    /// A recorded tape. Then zeros.
    #[must_use]
    pub fn replay(choices: Vec<Choice>) -> Tape {
        Tape::replay_spans(&choices, &[])
    }

    /// A recorded tape with its stretches, which are noted again. Then zeros, and nothing is submitted any more.
    #[must_use]
    pub fn replay_spans(choices: &[Choice], spans: &[Span]) -> Tape {
        let mut tape = Tape::from_seed(0);
        tape.restart_replay(choices, spans);
        tape
    }

    /// Becomes the tape of a seed, keeping its memory.
    pub fn restart(&mut self, seed: u64) {
        self.source = Source::Seed;
        self.generator = generator(seed);
        self.rewind();
    }

    /// Becomes the tape of a seed whose schedule a guide decides, keeping its memory.
    pub fn restart_guided(&mut self, seed: u64, policy: Policy) {
        self.restart(seed);
        self.source = Source::Guided(Box::new(Guide::new(policy, seed)));
        self.curious = true;
    }

    /// Becomes a replay of `recorded`, keeping its memory. Its stretches, if it has any, are noted again.
    pub fn restart_replay(&mut self, recorded: &[Choice], spans: &[Span]) {
        self.reload(recorded, spans, false);
    }

    /// Becomes a replay of `recorded` that goes on as the tape of a seed.
    pub fn restart_prefix(&mut self, recorded: &[Choice], spans: &[Span], seed: u64) {
        self.reload(recorded, spans, true);
        self.generator = generator(seed);
    }

    fn reload(&mut self, recorded: &[Choice], spans: &[Span], chance: bool) {
        let mut reader = match std::mem::replace(&mut self.source, Source::Seed) {
            Source::Replay(reader) => reader,
            Source::Seed | Source::Guided(_) | Source::Bytes { .. } => Reader::default(),
        };
        reader.load(recorded, spans, chance);
        self.spanned = reader.has_spans();
        self.source = Source::Replay(reader);
        self.rewind();
    }

    fn rewind(&mut self) {
        self.used = WORDS;
        self.log.clear();
        self.spans.clear();
        self.curious = self.states;
        if let (Some(watch), true) = (&mut self.watch, self.watching) {
            watch.restart();
        }
    }

    /// One of `0..n`; 0 if `n` is 0 or 1, which is neither recorded nor taken from the source.
    #[inline]
    pub fn choose(&mut self, kind: Kind, n: u32) -> u32 {
        if n <= 1 {
            return 0;
        }
        let k = if let Source::Seed = self.source {
            self.draw(n)
        } else {
            self.read(kind, n)
        };
        self.log.push(Choice { kind, n, k });
        if self.mirror.is_some() {
            self.reflect();
        }
        k
    }

    /// From now on shows what is drawn.
    pub fn show_in(&mut self, mirror: Mirror) {
        self.mirror = Some(mirror);
    }

    #[cold]
    fn reflect(&self) {
        if let Some(mirror) = &self.mirror {
            mirror.show(&self.log, &self.spans);
        }
    }

    /// As [`Tape::choose`], for an index. `n` must not exceed `u32::MAX`.
    #[inline]
    pub fn index(&mut self, kind: Kind, n: usize) -> usize {
        self.choose(kind, u32::try_from(n).unwrap_or(u32::MAX)) as usize
    }

    /// True in `num` of `den` cases. Certain answers are not recorded; "no" is the simplest one.
    #[inline]
    pub fn chance(&mut self, kind: Kind, num: u32, den: u32) -> bool {
        if num == 0 || den == 0 {
            return false;
        }
        num >= den || self.choose(kind, den) >= den - num
    }

    /// An index of `weights`, each as likely as its weight says; 0 if all are zero. The first index of a weight that
    /// is not zero is the simplest answer. The weights must sum up to less than 2^32.
    #[inline]
    pub fn weighted(&mut self, kind: Kind, weights: &[u32]) -> usize {
        let total = weights
            .iter()
            .fold(0_u32, |sum, &weight| sum.saturating_add(weight));
        let mut left = self.choose(kind, total);
        for (index, &weight) in weights.iter().enumerate() {
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }

    /// The choices made so far.
    #[must_use]
    pub fn choices(&self) -> &[Choice] {
        &self.log
    }

    /// Where the events of the run begin, if that was wanted.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// How many answers of a replay were of another kind or range than the question, or had none. 0 for every other
    /// source.
    #[must_use]
    pub fn misaligned(&self) -> u64 {
        match &self.source {
            Source::Replay(reader) => reader.misaligned,
            Source::Seed | Source::Guided(_) | Source::Bytes { .. } => 0,
        }
    }

    /// Of a replay: the share of recorded choices that answered a question of their kind and range, in percent.
    #[must_use]
    pub fn alignment(&self) -> f64 {
        match &self.source {
            Source::Replay(reader) if reader.len() > 0 => {
                100.0 * reader.aligned as f64 / reader.len() as f64
            }
            _ => 100.0,
        }
    }

    /// True if a limited source (bytes, replay) has nothing left: all further answers are 0.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        match &self.source {
            Source::Seed | Source::Guided(_) => false,
            Source::Bytes { bytes, next } => *next >= bytes.len(),
            Source::Replay(reader) => reader.is_exhausted(),
        }
    }

    #[inline]
    fn draw(&mut self, n: u32) -> u32 {
        if self.used >= WORDS {
            self.generator.generate(&mut self.words);
            self.used = 0;
        }
        let word = self.words[self.used];
        self.used += 1;
        // The product of a 32-bit fraction and n; the bias (less than n / 2^32) does not matter here.
        ((u64::from(word) * u64::from(n)) >> 32) as u32
    }

    #[inline(never)]
    fn read(&mut self, kind: Kind, n: u32) -> u32 {
        match &mut self.source {
            Source::Seed => 0,
            Source::Guided(guide) => match guide.answer(kind, n) {
                Some(k) => k,
                None => self.draw(n),
            },
            Source::Bytes { bytes, next } => {
                let width = match n {
                    0..=0x100 => 1,
                    0x101..=0x1_0000 => 2,
                    _ => 4,
                };
                let rest = bytes.get(*next..).unwrap_or(&[]);
                let taken = &rest[..rest.len().min(width)];
                *next += taken.len();
                let mut word = [0; 4];
                word[..taken.len()].copy_from_slice(taken);
                u32::from_le_bytes(word) % n
            }
            Source::Replay(reader) => match reader.read(kind, n) {
                Answer::Known(k) => k,
                Answer::Simplest => 0,
                Answer::Chance => self.draw(n),
            },
        }
    }
}

/// The generator of a seed. The key is laid out here, not by the library, so that a seed means the same for ever.
fn generator(seed: u64) -> ChaCha8Core {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    ChaCha8Core::from_seed(key)
}
