//! Drills of [`change_bitmaps`]: whatever is cut, an image vouches for the bitmaps of before, for those of afterwards, or for
//! none (I32).

use super::compact::{content_of, draw_image};
use super::drill::{Drill, Stage};
use super::judge;
use crate::check::failure;
use crate::disk::{SimFile, View};
use crate::report::Failure;
use crate::tape::{Kind, Tape};
use model::bitmap::{self, Bitmap};
use model::image::InUse;
use model::op::Value;
use ploop_core::control::files::{Change, ControlError, change_bitmaps};
use ploop_core::delta::ExtensionState;
use ploop_core::drive::DeltaFile;
use ploop_core::load;

/// The bitmap that is started.
const NEW: [u8; 16] = [0xC0; 16];

/// An image whose dirty bitmaps are changed.
#[derive(Clone, Debug)]
pub struct Bitmaps {
    /// What it reads as.
    pub old: Vec<Value>,
    /// What is done.
    pub change: Change,
    /// The bitmaps that counted before.
    pub before: Vec<Bitmap>,
}

impl Bitmaps {
    /// Draws an image and what is done to it.
    pub fn draw(tape: &mut Tape) -> (Bitmaps, Vec<SimFile>) {
        let (drawn, _, file) = draw_image(tape);
        let loaded = load::load(&file, "image").expect("drawn images are sound");
        let image = loaded.expanded().expect("an image");
        let before = match image.extension {
            ExtensionState::Valid => bitmap::read(&judge::Bytes(file.view())).unwrap_or_default(),
            _ => Vec::new(),
        };
        let there = before.first().map(|bitmap| bitmap.id);
        let change = match (there, tape.choose(Kind::Op, 3)) {
            (Some(id), 1) => Change::Stop { id },
            (Some(id), 2) => Change::Clear { id },
            _ => Change::Start {
                id: NEW,
                granularity: 1 << tape.choose(Kind::Arg, 4),
            },
        };
        let bitmaps = Bitmaps {
            old: content_of(&drawn),
            change,
            before,
        };
        (bitmaps, vec![file])
    }

    /// True if nothing is left to be done; after a crash the bitmaps may be lost, and with them what there was to do.
    fn is_done(&self, file: &dyn DeltaFile) -> Result<bool, ControlError> {
        let loaded = load::load(file, "image")?;
        let bitmaps = loaded.expanded().map_or(&[][..], |image| &image.bitmaps);
        let has = |id| bitmaps.iter().any(|bitmap| bitmap.id() == id);
        Ok(match self.change {
            Change::Start { id, .. } => has(id),
            Change::Stop { id } | Change::Clear { id } => !has(id),
        })
    }

    /// What may be vouched for.
    fn judge_bitmaps(&self, now: &[Bitmap], stage: Stage) -> Result<(), String> {
        let old = |id| self.before.iter().find(|bitmap| bitmap.id == id);
        for bitmap in now {
            let clean = !bitmap.dirty.contains(&true);
            let right = match self.change {
                Change::Start { id, .. } if bitmap.id == id => clean,
                Change::Stop { id } if bitmap.id == id => {
                    stage != Stage::Done && old(id) == Some(bitmap)
                }
                Change::Clear { id } if bitmap.id == id => {
                    clean || stage != Stage::Done && old(id) == Some(bitmap)
                }
                _ => old(bitmap.id) == Some(bitmap),
            };
            if !right {
                return Err(format!("{:?} ({stage:?}): {bitmap:?}", self.change));
            }
        }
        let started = |id| now.iter().any(|bitmap| bitmap.id == id);
        match self.change {
            Change::Start { id, .. } if stage == Stage::Done && !started(id) => {
                Err("started, and not there".to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Drill for Bitmaps {
    fn run(&self, files: &[&dyn DeltaFile]) -> Result<(), ControlError> {
        if self.is_done(files[0])? {
            return Ok(());
        }
        let unknown = [0xEE; 16];
        let odd = |granularity| Change::Start {
            id: unknown,
            granularity,
        };
        let stop = Change::Stop { id: unknown };
        let clear = Change::Clear { id: unknown };
        for wrong in [odd(0), odd(3), stop, clear] {
            match change_bitmaps(files[0], "image", wrong) {
                Ok(()) => panic!("[refused] {wrong:?} was done"),
                Err(error) if error.is_refusal() => {}
                Err(error) => return Err(error),
            }
        }
        change_bitmaps(files[0], "image", self.change)
    }

    fn judge(&self, views: &[View<'_>], stage: Stage) -> Result<(), Failure> {
        let delta = judge::writable(views[0], "image")?;
        judge::content(views, false, &self.old)?;
        let wrong = |why: String| Err(failure("bitmaps", why));
        let image = delta.expanded().expect("an image");
        let vouched = judge::mark(views[0])? == InUse::Closed21 && image.header.ext_off.0 != 0;
        let now = match image.extension {
            ExtensionState::Valid => bitmap::read(&judge::Bytes(views[0])),
            state if vouched => return wrong(format!("vouched for, and {state:?}")),
            _ => Ok(Vec::new()),
        };
        match now.map_err(str::to_owned) {
            Ok(now) => self.judge_bitmaps(&now, stage).or_else(wrong),
            Err(why) => wrong(why),
        }
    }

    fn marked(&self) -> Option<usize> {
        Some(0)
    }
}
