//! The operations of the control plane on copies: what they tell, and the drills that judge them.

use model::bitmap;
use model::image::Header;
use ploop_core::control::files::{
    Change, Compact as CoreCompact, Merge as CoreMerge, SlotMove, Source, change_bitmaps, grow,
    repair, update_index,
};
use ploop_core::delta::ExtensionState;
use ploop_core::drive::DeltaFile;
use ploop_core::format::{InUse, Version};
use ploop_core::load;
use ploop_core::units::{Clu, DstClu, Sectors};

use crate::disk::fault::FaultPlan;
use crate::disk::{BlockingFile, Power, SimFile, View};
use crate::fuzzing::control::judge::{self, Bytes};
use crate::fuzzing::control::{
    Bitmaps, Compact, Drill, Ground, Grow, Index, Merge, Repair, Stage, Stats,
};
use crate::report::Failure;
use crate::scenario::copies::edit::{Edited, Link};
use crate::scenario::copies::files::{bytes_of, sim_file, size_of, values};
use crate::scenario::copies::odd::OddFile;
use crate::scenario::copies::{Check, Deed, Outcome, Under, wrong};
use crate::tape::Tape;

/// Crash images that are judged of one cut, or of one fault.
const MOST_IMAGES: u64 = 16;
/// What is drawn begins here.
const SEED: u64 = 1;
/// Clusters that a merge or a compaction handles at once.
const STEP: u32 = 1;
/// The bitmap that is started, and one that nobody has.
const NEW: [u8; 16] = [0xC0; 16];
const NOBODYS: [u8; 16] = [0xEE; 16];

/// What an operation says.
#[derive(Debug, Default)]
struct Told {
    said: Vec<String>,
    left: Vec<String>,
}

/// The files of an operation; of two, the lower one first.
struct Work {
    files: Vec<SimFile>,
    raw: Vec<bool>,
}

fn said<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(T::to_string).collect()
}

fn why(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn source<'a>(work: &Work, file: &'a dyn DeltaFile, at: usize) -> Source<'a> {
    Source {
        file,
        name: ["lower", "upper"][at],
        raw: work.raw[at],
    }
}

impl Work {
    fn new(deed: Deed, edited: &Edited) -> Result<Work, Failure> {
        let chain: Vec<Link> = match (deed, &edited.chain[..]) {
            (Deed::Merge(_), [.., lower, upper]) => vec![*lower, *upper],
            (Deed::Merge(_), _) => return Err(wrong("there are no two levels".to_owned())),
            _ => vec![Link {
                file: edited.level,
                raw: edited.raw && edited.level == 0,
            }],
        };
        Ok(Work {
            files: chain
                .iter()
                .map(|link| sim_file(&edited.files[link.file]))
                .collect(),
            raw: chain.iter().map(|link| link.raw).collect(),
        })
    }

    fn old(&self) -> Result<Vec<model::op::Value>, Failure> {
        let links = (0..).zip(&self.raw);
        let links: Vec<Link> = links.map(|(file, &raw)| Link { file, raw }).collect();
        let top = self.files.len() - 1;
        values(
            &self.files,
            &links,
            size_of(&self.files[top], self.raw[top]),
        )
    }

    fn size(&self) -> u64 {
        size_of(&self.files[0], self.raw[0])
    }

    /// What is done to its bitmaps.
    fn change(&self, deed: Deed) -> (Change, Vec<bitmap::Bitmap>) {
        let loaded = load::load(&self.files[0], "image").ok();
        let image = loaded.as_ref().and_then(|loaded| loaded.expanded());
        let before = match image.map(|image| image.extension) {
            Some(ExtensionState::Valid) => bitmap::read(&Bytes(self.files[0].view())),
            _ => Ok(Vec::new()),
        };
        let before = before.unwrap_or_default();
        let id = before.first().map_or(NOBODYS, |bitmap| bitmap.id);
        let change = match deed {
            Deed::StartBitmap(granularity) => Change::Start {
                id: NEW,
                granularity,
            },
            Deed::ClearBitmap => Change::Clear { id },
            _ => Change::Stop { id },
        };
        (change, before)
    }

    /// Does it once.
    fn run(&self, deed: Deed, files: &[&dyn DeltaFile]) -> Result<Told, String> {
        let file = files[0];
        let mut told = Told::default();
        match deed {
            Deed::Look => {
                let found = load::inspect(file, "image").map_err(why)?;
                told.left = said(&found.problems);
                told.left.extend(found.read_only.iter().map(why));
                told.said.clone_from(&told.left);
                let (leaked, pieces) = (found.leaked_clusters(), found.fragmented);
                told.said
                    .push(format!("{leaked} leaked, {pieces} fragmented"));
            }
            Deed::Create { v1, cluster, size } => {
                let version = if v1 { Version::V1 } else { Version::V2 };
                load::new_image(file, version, Sectors(cluster), Sectors(size)).map_err(why)?;
            }
            Deed::Repair => {
                let done = repair(file, "image").map_err(why)?;
                if done.sound != load::load(file, "image").is_ok() {
                    return Err(format!("says of itself: {done:?}"));
                }
                told.said = said(&done.fixes);
                told.left = said(&done.left);
            }
            Deed::Grow(more) => {
                let size = self.size().saturating_add_signed(more);
                let grown = grow(file, "image", Sectors(size)).map_err(why)?;
                told.said.push(format!("{grown:?}"));
            }
            Deed::Compact => {
                let mut compact = CoreCompact::new(file, "image").map_err(why)?;
                while !compact.step(STEP).map_err(why)?.finished {}
            }
            Deed::Merge(forward) => {
                let (lower, upper) = (source(self, file, 0), source(self, files[1], 1));
                let merge = match forward {
                    true => CoreMerge::forward(lower, upper),
                    false => CoreMerge::backward(lower, upper),
                };
                let mut merge = merge.map_err(why)?;
                while !merge.step(STEP).map_err(why)?.finished {}
                // Nothing can be done with it any more.
                if merge.step(STEP).is_ok() {
                    return Err("went on after its end".to_owned());
                }
            }
            Deed::StartBitmap(_) | Deed::ClearBitmap | Deed::StopBitmap => {
                change_bitmaps(file, "image", self.change(deed).0).map_err(why)?;
            }
            Deed::Index(every) => {
                // Whoever moves clusters has loaded the image: what is refused is the load.
                load::load(file, "image").map_err(why)?;
                let old = self.old().map_err(why)?;
                let moved = |clu| clu % every == 0;
                let index = Index::of(&self.files[0], old, moved).map_err(why)?;
                index.run(files).map_err(why)?;
            }
            Deed::Point(clu, to) => {
                let loaded = load::load(file, "image").map_err(why)?;
                let slot = loaded.expanded().and_then(|image| {
                    let entry = image.bat.get(clu as usize)?;
                    image.layout.host_of(*entry)
                });
                let step = SlotMove {
                    clu: Clu(clu),
                    from: slot.unwrap_or(DstClu(0)),
                    to: DstClu(to),
                };
                update_index(file, "image", &[step]).map_err(why)?;
            }
            Deed::Open | Deed::Read => {}
        }
        Ok(told)
    }

    /// Who judges it.
    fn drill(&self, deed: Deed, edited: &Edited) -> Result<Option<Box<dyn Drill>>, Failure> {
        let refused = |error: String| wrong(error);
        Ok(Some(match deed {
            Deed::Grow(more) => Box::new(Grow {
                old: self.old()?,
                size: self.size().saturating_add_signed(more),
            }),
            Deed::Compact => {
                let loaded = load::load(&self.files[0], "image");
                let loaded = loaded.map_err(|error| refused(error.to_string()))?;
                let mark = loaded.expanded().map(|image| image.header.in_use);
                Box::new(Compact {
                    old: self.old()?,
                    step: STEP,
                    vouched: mark == Some(InUse::ClosedV21),
                })
            }
            Deed::Merge(forward) => Box::new(Merge {
                old: self.old()?,
                forward,
                raw: self.raw[0],
                grows: self.size() < size_of(&self.files[1], self.raw[1]),
                step: STEP,
                lower: bytes_of(&self.files[0]),
            }),
            Deed::Index(every) => {
                let index = Index::of(&self.files[0], self.old()?, |clu| clu % every == 0);
                Box::new(index.map_err(|error| refused(error.to_string()))?)
            }
            Deed::StartBitmap(_) | Deed::ClearBitmap | Deed::StopBitmap => {
                let (change, before) = self.change(deed);
                Box::new(Bitmaps {
                    old: self.old()?,
                    change,
                    before,
                })
            }
            Deed::Repair => {
                let before = sim_file(&edited.before[edited.level]);
                let header = Header::read(&Bytes(before.view()));
                let header = header.map_err(|error| refused(error.to_string()))?;
                Box::new(Repair::of(&self.files[0], &header))
            }
            Deed::Look | Deed::Create { .. } | Deed::Point(..) | Deed::Open | Deed::Read => {
                return Ok(None);
            }
        }))
    }
}

pub(super) fn play(check: &Check, edited: &Edited) -> Result<u64, Failure> {
    let work = Work::new(check.deed, edited)?;
    let mut tape = Tape::from_seed(SEED);
    let (mut none, mut files) = (FaultPlan::none(), work.files.clone());
    let (result, calls) = {
        let power = Power::new(&mut tape, &mut none, None);
        let blocking: Vec<BlockingFile<'_, '_>> = files
            .iter_mut()
            .map(|file| BlockingFile::new(file, &power))
            .collect();
        let turns = edited.odd.turns();
        let odd: Vec<_> = blocking
            .iter()
            .map(|file| OddFile::new(file, &turns))
            .collect();
        let refs: Vec<&dyn DeltaFile> = odd.iter().map(|file| file as _).collect();
        (work.run(check.deed, &refs), power.calls())
    };
    let told = match &result {
        Err(why) if calls > 0 => {
            return Err(wrong(format!("ended after {calls} calls: {why}")));
        }
        Err(why) => {
            check.outcome.holds(Some(why), &[], &[])?;
            return Ok(calls.into());
        }
        Ok(told) => told,
    };
    check.outcome.holds(None, &told.said, &told.left)?;
    if check.deed == Deed::Repair {
        again(&files, told)?;
    }
    if check.deed == Deed::Look && calls > 0 {
        return Err(wrong(format!("looked at, and {calls} calls")));
    }
    if matches!(check.deed, Deed::Create { .. }) {
        judge::sound(files[0].view(), "the new image")?;
    }
    if matches!(check.deed, Deed::Point(..)) {
        judge::sound(files[0].view(), "the image")?;
        let raw = work.raw.clone();
        if (Work { files, raw }).old()? != work.old()? {
            return Err(wrong("it does not read as before".to_owned()));
        }
        return Ok(calls.into());
    }
    let drill = match &check.outcome {
        Outcome::Left(_) => None,
        _ => work.drill(check.deed, edited)?,
    };
    let Some(drill) = drill else {
        return Ok(calls.into());
    };
    if !edited.odd.is_plain() {
        drill.judge(&views(&files), Stage::Done)?;
    }
    let mut tape = Tape::from_seed(SEED);
    let stats = judged(check.under, &*drill, &work, &mut tape, check.deed)?;
    Ok(u64::from(calls) + stats.runs + stats.images + stats.faults)
}

/// A second repair has nothing to do.
fn again(files: &[SimFile], told: &Told) -> Result<(), Failure> {
    let (mut tape, mut none) = (Tape::from_seed(SEED), FaultPlan::none());
    let mut second = [files[0].clone()];
    let power = Power::new(&mut tape, &mut none, None);
    let repaired = repair(&BlockingFile::new(&mut second[0], &power), "image");
    let calls = power.calls();
    match repaired {
        Ok(done) if done.count == 0 && calls == 0 && told.left.is_empty() => Ok(()),
        Ok(_) if !told.left.is_empty() => Ok(()),
        other => Err(wrong(format!(
            "repaired once more: {other:?}, {calls} calls"
        ))),
    }
}

fn views(files: &[SimFile]) -> Vec<View<'_>> {
    files.iter().map(SimFile::view).collect()
}

/// To its end; then whatever goes wrong on the way.
fn judged(
    under: Under,
    drill: &dyn Drill,
    work: &Work,
    tape: &mut Tape,
    deed: Deed,
) -> Result<Stats, Failure> {
    let mut ground = Ground::new(drill, tape, MOST_IMAGES);
    ground.to_its_end(&mut work.files.clone(), Stage::Done)?;
    match under {
        Under::Nothing | Under::Applied | Under::Ends(_) => {}
        Under::Faults(kind, refusals) => ground.fail_everywhere(&work.files, kind, refusals)?,
        Under::Cuts => ground.cut_everywhere(&work.files)?,
        Under::Cancels => {
            let mut steps = 0;
            while given_up(drill, work, deed, steps)? {
                steps += 1;
            }
        }
    }
    Ok(ground.stats)
}

/// It is given up after so many steps, judged, and done anew. False: it had ended before that.
fn given_up(drill: &dyn Drill, work: &Work, deed: Deed, steps: u32) -> Result<bool, Failure> {
    let (mut tape, mut none) = (Tape::from_seed(SEED), FaultPlan::none());
    let mut files = work.files.clone();
    let ended = {
        let power = Power::new(&mut tape, &mut none, None);
        let blocking: Vec<BlockingFile<'_, '_>> = files
            .iter_mut()
            .map(|file| BlockingFile::new(file, &power))
            .collect();
        let result = match deed {
            Deed::Merge(forward) => {
                let (lower, upper) = (source(work, &blocking[0], 0), source(work, &blocking[1], 1));
                let merge = match forward {
                    true => CoreMerge::forward(lower, upper),
                    false => CoreMerge::backward(lower, upper),
                };
                merge.and_then(|mut merge| {
                    for _ in 0..steps {
                        if merge.step(STEP)?.finished {
                            return Ok(true);
                        }
                    }
                    merge.cancel().map(|()| false)
                })
            }
            _ => CoreCompact::new(&blocking[0], "image").and_then(|mut compact| {
                for _ in 0..steps {
                    if compact.step(STEP)?.finished {
                        return Ok(true);
                    }
                }
                compact.cancel().map(|()| false)
            }),
        };
        result.map_err(|error| wrong(format!("given up after {steps} steps: {error}")))?
    };
    if !ended {
        drill.judge(&views(&files), Stage::Midway)?;
    }
    Ground::new(drill, &mut tape, MOST_IMAGES).to_its_end(&mut files, Stage::Done)?;
    Ok(!ended)
}
