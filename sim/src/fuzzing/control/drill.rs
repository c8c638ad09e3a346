//! An operation under every power cut and every fault.
//!
//! ```text
//!   files ──operation, power cut in its nth call──▶ every crash image ──judged: sound, content as before──▶
//!         ──the operation again, perhaps cut again──▶ ... ──▶ to its end ──judged: done
//!   files ──operation, fault at its nth call──▶ every crash image of that ──judged──▶ the operation again ──▶ done
//! ```
//! for n = 1, 2, ... until the operation passes untouched. Where there are too many crash images, as many are drawn.

use super::judge;
use crate::check::failure;
use crate::disk::fault::{FaultKind, FaultPlan};
use crate::disk::{BlockingFile, Power, SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::image::InUse;
use ploop_core::control::files::ControlError;
use ploop_core::drive::DeltaFile;

/// No operation makes more calls.
const MOST_CALLS: u32 = 5_000;

/// After a fault the next try is cut in one of its first so many calls, once for each number.
const RETRY_CUTS: [u32; 3] = [4, 10, 30];

/// How far an operation got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Cut, failed, or not begun.
    Midway,
    /// To its end, after an earlier try failed; the mark of that one may have stayed.
    Again,
    /// To its end.
    Done,
}

/// An operation, and what is expected of it.
pub trait Drill {
    /// Carries it out, to its end.
    ///
    /// # Errors
    /// As the operation.
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError>;

    /// Judges what the files are after a crash.
    ///
    /// # Errors
    /// What is wrong, under the name of the checker.
    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure>;

    /// The file that bears the mark: without it, it is as it was before, or as it is afterwards (I31). `None`: there is
    /// no such file, or it is closed in between.
    fn marked(&self) -> Option<usize> {
        None
    }
}

/// What a file may be when it bears no mark.
struct Unmarked {
    file: usize,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Unmarked {
    fn check(&self, image: &[SimFile]) -> Result<(), Failure> {
        let more = || Err(failure("in_use", "other bytes".to_owned()));
        self.check_or(image, more)
    }

    /// After a fault what is done may look otherwise.
    fn check_after_fault(&self, drill: &dyn Drill, image: &[SimFile]) -> Result<(), Failure> {
        self.check_or(image, || drill.judge(&views(image), Stage::Done))
    }

    /// `done`: what it may be besides.
    fn check_or(
        &self,
        image: &[SimFile],
        done: impl Fn() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let view = image[self.file].view();
        if judge::mark(view)? == InUse::Dirty {
            return Ok(());
        }
        let found = bytes_of(view);
        if found == self.first || found == self.last {
            return Ok(());
        }
        done().map_err(|why| {
            let message = format!("no mark, but neither untouched nor done (I31): {why}");
            failure("in_use", message)
        })
    }
}

/// What a file holds.
pub(super) fn bytes_of(view: View<'_>) -> Vec<u8> {
    let mut bytes = vec![0; view.len_bytes() as usize];
    view.read_bytes(0, &mut bytes);
    bytes
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations begun.
    pub runs: u64,
    /// Power cuts.
    pub cuts: u64,
    /// Power cuts of which all crash images were judged.
    pub complete: u64,
    /// Crash images judged.
    pub images: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Operations that ended on a crash image, or after a fault.
    pub retries: u64,
}

impl Stats {
    /// Adds those of `other`.
    pub fn add(&mut self, other: &Stats) {
        self.runs += other.runs;
        self.cuts += other.cuts;
        self.complete += other.complete;
        self.images += other.images;
        self.faults += other.faults;
        self.retries += other.retries;
    }
}

/// A drill on files.
pub struct Ground<'a> {
    drill: &'a dyn Drill,
    tape: &'a mut Tape,
    scratch: Vec<SimFile>,
    /// Most crash images of one cut.
    most: u64,
    /// What was looked at.
    pub stats: Stats,
}

/// How one try ended.
pub(super) struct Tried {
    pub(super) result: Result<(), ControlError>,
    pub(super) lost: bool,
    /// Calls that changed or synced something.
    pub(super) calls: u32,
}

pub(super) fn views(files: &[SimFile]) -> Vec<View<'_>> {
    files.iter().map(SimFile::view).collect()
}

impl<'a> Ground<'a> {
    /// Up to `most` crash images of each cut are judged.
    pub fn new(drill: &'a dyn Drill, tape: &'a mut Tape, most: u64) -> Ground<'a> {
        Ground {
            drill,
            tape,
            scratch: Vec::new(),
            most,
            stats: Stats::default(),
        }
    }

    pub(super) fn attempt(
        &mut self,
        files: &mut [SimFile],
        faults: &mut FaultPlan,
        calls: Option<u32>,
    ) -> Tried {
        self.stats.runs += 1;
        let power = Power::new(self.tape, faults, calls);
        let blocking: Vec<BlockingFile<'_, '_>> = files
            .iter_mut()
            .map(|file| BlockingFile::new(file, &power))
            .collect();
        let refs: Vec<&dyn DeltaFile> = blocking.iter().map(|file| file as _).collect();
        let result = self.drill.run(&refs);
        Tried {
            result,
            lost: power.is_lost(),
            calls: power.calls(),
        }
    }

    /// The operation without cut or fault; then all that a crash may leave.
    ///
    /// # Errors
    /// What was found.
    pub fn to_its_end(&mut self, files: &mut [SimFile], stage: Stage) -> Result<u32, Failure> {
        let tried = self.attempt(files, &mut FaultPlan::none(), None);
        if let Err(error) = tried.result {
            return Err(failure(
                "progress",
                format!("failed without a fault ({stage:?}): {error}"),
            ));
        }
        self.drill.judge(&views(files), stage)?;
        self.every_image(files, |ground, image| {
            ground.drill.judge(&views(image), stage)
        })?;
        Ok(tried.calls)
    }

    /// Does something on every crash image of the files, or on as many as allowed.
    pub(super) fn every_image(
        &mut self,
        files: &[SimFile],
        mut each: impl FnMut(&mut Self, &mut [SimFile]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut image = std::mem::take(&mut self.scratch);
        image.resize_with(files.len(), SimFile::new);
        let pending: Vec<usize> = (0..files.len())
            .filter(|&at| files[at].pending() > 0)
            .collect();
        let listed = match pending[..] {
            [] => None,
            [only] => Some((only, files[only].crash_images(self.most))),
            _ => None,
        };
        let copy = |image: &mut [SimFile]| {
            for (copy, file) in image.iter_mut().zip(files) {
                copy.copy_from(file);
            }
        };
        match listed {
            Some((only, mut list)) if list.distinct() <= u128::from(self.most) => {
                self.stats.complete += 1;
                while list.advance() {
                    copy(&mut image);
                    list.install(&mut image[only]);
                    self.stats.images += 1;
                    each(self, &mut image)?;
                }
            }
            _ => {
                let count = if pending.is_empty() { 1 } else { self.most };
                self.stats.complete += u64::from(pending.is_empty());
                for _ in 0..count {
                    copy(&mut image);
                    image.iter_mut().for_each(|file| {
                        file.crash(self.tape);
                    });
                    self.stats.images += 1;
                    each(self, &mut image)?;
                }
            }
        }
        self.scratch = image;
        Ok(())
    }

    /// What the marked file is before, and after the operation without cut or fault.
    fn unmarked(&mut self, files: &[SimFile]) -> Option<Unmarked> {
        let file = self.drill.marked()?;
        let mut done = files.to_vec();
        let tried = self.attempt(&mut done, &mut FaultPlan::none(), None);
        tried.result.is_ok().then(|| Unmarked {
            file,
            first: bytes_of(files[file].view()),
            last: bytes_of(done[file].view()),
        })
    }

    /// After a cut: every crash image is sound, and the operation ends on each; also if it is cut once more.
    fn judge_cut(
        &mut self,
        files: &[SimFile],
        calls: u32,
        unmarked: Option<&Unmarked>,
    ) -> Result<(), Failure> {
        self.every_image(files, |ground, image| {
            ground.drill.judge(&views(image), Stage::Midway)?;
            unmarked.map_or(Ok(()), |unmarked| unmarked.check(image))?;
            if ground.tape.choose(Kind::Crash, 2) == 1 {
                let cut = ground.tape.choose(Kind::Crash, calls + 1);
                let tried = ground.attempt(image, &mut FaultPlan::none(), Some(cut));
                if tried.lost {
                    ground.stats.cuts += 1;
                    for file in image.iter_mut() {
                        file.crash(ground.tape);
                    }
                    ground.drill.judge(&views(image), Stage::Midway)?;
                }
            }
            ground.stats.retries += 1;
            let tried = ground.attempt(image, &mut FaultPlan::none(), None);
            if let Err(error) = tried.result {
                let message = format!("failed when tried again after a crash: {error}");
                return Err(failure("progress", message));
            }
            for file in image.iter_mut() {
                file.crash(ground.tape);
            }
            ground.drill.judge(&views(image), Stage::Done)
        })
    }

    /// The power is cut in the nth call, for every n.
    ///
    /// # Errors
    /// What was found.
    pub fn cut_everywhere(&mut self, files: &[SimFile]) -> Result<(), Failure> {
        let unmarked = self.unmarked(files);
        for n in 0..MOST_CALLS {
            let mut cut = files.to_vec();
            let tried = self.attempt(&mut cut, &mut FaultPlan::none(), Some(n));
            if !tried.lost {
                return match tried.result {
                    Ok(()) => self.drill.judge(&views(&cut), Stage::Done),
                    Err(error) => Err(failure(
                        "progress",
                        format!("failed without a fault: {error}"),
                    )),
                };
            }
            self.stats.cuts += 1;
            self.judge_cut(&cut, n, unmarked.as_ref())
                .map_err(|found| at(found, format!("power cut in call {}", n + 1)))?;
        }
        Err(failure(
            "progress",
            format!("no end after {MOST_CALLS} calls"),
        ))
    }

    /// One power cut in a drawn call, or one fault at a drawn I/O.
    ///
    /// # Errors
    /// What was found.
    pub fn once(&mut self, files: &[SimFile]) -> Result<(), Failure> {
        let unmarked = self.unmarked(files);
        let mut once = files.to_vec();
        let n = self.tape.choose(Kind::Crash, 60);
        match self
            .tape
            .choose(Kind::Fault, 2 * FaultKind::ALL.len() as u32) as usize
        {
            kind if kind < FaultKind::ALL.len() => {
                let refusals = 1 + self.tape.choose(Kind::Fault, 3);
                let mut faults = FaultPlan::at(FaultKind::ALL[kind], 1 + n, refusals);
                let tried = self.attempt(&mut once, &mut faults, None);
                self.stats.faults += faults.injected().total();
                self.judge_fault(&mut once, &tried.result, unmarked.as_ref())
            }
            _ => {
                let tried = self.attempt(&mut once, &mut FaultPlan::none(), Some(n));
                if tried.lost {
                    self.stats.cuts += 1;
                    return self.judge_cut(&once, n, unmarked.as_ref());
                }
                self.to_its_end(&mut once, Stage::Again).map(drop)
            }
        }
    }

    /// A fault at the nth I/O that it can befall, for every n.
    ///
    /// # Errors
    /// What was found.
    pub fn fail_everywhere(
        &mut self,
        files: &[SimFile],
        kind: FaultKind,
        refusals: u32,
    ) -> Result<(), Failure> {
        let unmarked = self.unmarked(files);
        for n in 1..MOST_CALLS {
            let mut failed = files.to_vec();
            let mut faults = FaultPlan::at(kind, n, refusals);
            let tried = self.attempt(&mut failed, &mut faults, None);
            if faults.untouched() {
                return match tried.result {
                    Ok(()) => Ok(()),
                    Err(error) => Err(failure(
                        "progress",
                        format!("failed without a fault: {error}"),
                    )),
                };
            }
            self.stats.faults += faults.injected().total();
            if let Err(error) = &tried.result
                && error.is_no_space() != (kind == FaultKind::NoSpace)
            {
                let message = format!("{} is told as: {error}", kind.name());
                return Err(failure("told", message));
            }
            self.judge_fault(&mut failed, &tried.result, unmarked.as_ref())
                .map_err(|found| at(found, format!("{} at I/O {n}", kind.name())))?;
            if kind == FaultKind::Unsupported {
                return Ok(());
            }
        }
        Err(failure(
            "progress",
            format!("no end after {MOST_CALLS} calls"),
        ))
    }

    fn judge_fault(
        &mut self,
        files: &mut [SimFile],
        result: &Result<(), ControlError>,
        unmarked: Option<&Unmarked>,
    ) -> Result<(), Failure> {
        let stage = match result {
            Ok(()) => Stage::Done,
            Err(_) => Stage::Midway,
        };
        self.drill.judge(&views(files), stage)?;
        self.every_image(files, |ground, image| {
            ground.judge_after_fault(image, stage, unmarked)
        })?;
        if result.is_err() {
            for most in RETRY_CUTS {
                self.cut_the_retry(files, most, unmarked)?;
            }
            self.stats.retries += 1;
            self.to_its_end(files, Stage::Again)?;
        }
        Ok(())
    }

    fn judge_after_fault(
        &self,
        image: &[SimFile],
        stage: Stage,
        unmarked: Option<&Unmarked>,
    ) -> Result<(), Failure> {
        self.drill.judge(&views(image), stage)?;
        unmarked.map_or(Ok(()), |unmarked| {
            unmarked.check_after_fault(self.drill, image)
        })
    }

    /// What a failed try left to be seen need not be durable, and the next one is cut.
    fn cut_the_retry(
        &mut self,
        files: &[SimFile],
        most: u32,
        unmarked: Option<&Unmarked>,
    ) -> Result<(), Failure> {
        let n = self.tape.choose(Kind::Crash, most);
        let mut cut = files.to_vec();
        let tried = self.attempt(&mut cut, &mut FaultPlan::none(), Some(n));
        if !tried.lost {
            return Ok(());
        }
        self.stats.cuts += 1;
        self.every_image(&cut, |ground, image| {
            ground.judge_after_fault(image, Stage::Midway, unmarked)
        })
        .map_err(|found| at(found, format!("tried again, power cut in call {}", n + 1)))
    }
}

fn at(mut found: Failure, place: String) -> Failure {
    found.message = format!("{place}: {}", found.message);
    found
}
