//! Whether a state of the image is one that the simulated disk could have left.
//!
//! The server's journal (`add --trace-io`) lies on another disk than the one whose power is cut. It tells each write, hole,
//! length and sync of the image, with a hash of each sector. Where a mark was put into the log, the journal's length is
//! noted before and after: what had ended before the mark that precedes a state *had* ended; what had not begun after the
//! mark that follows it had not begun. One moment between the two must explain the image, whole.

use std::collections::BTreeMap;
use std::path::Path;

use sim::disk::Effect;
use sim::disk::allows::{ChangeId, History, Image, Judged, Moment, Never, SyncId, Verdict, What};
use ublk_frontend::files::trace::{Id, Record, SECTOR, digest, read};

use super::super::random::Random;
use super::super::trouble::{During, Trouble, demand};
use super::replay::Sparse;

/// Length of the journal before and after each mark.
pub(super) type Marks = Vec<(u64, u64)>;

/// Altered states that were refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused {
    /// One sector as it was before the last sync.
    pub(super) stale: usize,
    /// One sector as it became later.
    pub(super) future: usize,
    /// One sector that nobody has written.
    pub(super) invented: usize,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Allowed {
    verdict: Verdict,
    /// The byte behind each record, and the moment then.
    moments: Vec<(u64, Moment)>,
    marks: Marks,
}

/// What is said of an image that cannot be.
pub(super) const REFUSAL: &str = "the simulated disk does not allow it";
/// A hash that no sector has.
const INVENTED: u64 = 0xdead_beef_0bad_cafe;

/// What was told to begin.
enum Begun {
    Change(ChangeId, u64),
    Sync(SyncId),
}

/// The contents of a file's sectors.
pub(super) fn contents(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(SECTOR).map(digest).collect()
}

fn sectors(bytes: u64) -> Result<u64, Trouble> {
    let sector = SECTOR as u64;
    demand(bytes.is_multiple_of(sector), || {
        format!("byte {bytes} is inside a sector")
    })?;
    Ok(bytes / sector)
}

impl Allowed {
    /// Of a file that held this, all durable, when the journal began.
    pub(super) fn read(before: &[u8], journal: &Path, marks: Marks) -> Result<Allowed, Trouble> {
        let text = std::fs::read(journal).during(journal.display())?;
        let records = read(&text).map_err(|error| error.to_string())?;
        let mut history = History::new(before.len() as u64, contents(before));
        let mut begun = BTreeMap::new();
        let mut moments = Vec::with_capacity(records.len());
        for (behind, record) in records {
            take(&mut history, &mut begun, record)?;
            moments.push((behind as u64, history.now()));
        }
        Ok(Allowed {
            verdict: history.verdict(),
            moments,
            marks,
        })
    }

    /// The moments between a mark and the end of another one.
    fn window(&self, mark: u32, until: u32) -> Result<(Moment, Moment), Trouble> {
        let &(first, _) = self
            .marks
            .get(mark as usize)
            .ok_or_else(|| format!("mark {mark} was not noted"))?;
        let ended = self.moments.partition_point(|(behind, _)| *behind <= first);
        let first = ended.checked_sub(1).map_or(0, |at| self.moments[at].1);
        let end = match self.marks.get(until as usize) {
            // A record that begins before that may have happened.
            Some(&(_, last)) => self.moments.partition_point(|(behind, _)| *behind < last) + 1,
            None => self.moments.len(),
        };
        let end = end.min(self.moments.len());
        let last = end.checked_sub(1).map_or(0, |at| self.moments[at].1);
        Ok((first, last))
    }

    /// Could the simulated disk have left this image, between one mark and the end of the other?
    pub(super) fn judge(&self, image: &Sparse, mark: u32, until: u32) -> Result<Judged, Trouble> {
        let window = self.window(mark, until)?;
        let contents = contents(image.data());
        let image = Image {
            len: image.bytes.len() as u64,
            contents: &contents,
        };
        let judged = self.verdict.judge(image, window);
        judged.map_err(|why| format!("{REFUSAL}, moments {window:?}: {why}").into())
    }

    /// The test of this test: the image is altered in one sector, which must be refused.
    pub(super) fn refuses(
        &self,
        image: &Sparse,
        (mark, until): (u32, u32),
        random: &mut Random,
        refused: &mut Refused,
    ) -> Result<(), Trouble> {
        let window = self.window(mark, until)?;
        let contents = contents(image.data());
        let never: Vec<(u64, u64, Never)> = self
            .verdict
            .impossible(contents.len() as u64, window)
            .collect();
        let mut pick = |why: Never| {
            let of_kind: Vec<_> = never.iter().filter(|(_, _, kind)| *kind == why).collect();
            let (sector, content, _) =
                of_kind.get(random.below(of_kind.len().max(1) as u64) as usize)?;
            Some((*sector, *content))
        };
        let (stale, future) = (pick(Never::Stale), pick(Never::Future));
        let invented = (random.below(contents.len().max(1) as u64), INVENTED);
        let altered = [
            (stale, &mut refused.stale),
            (future, &mut refused.future),
            (Some(invented), &mut refused.invented),
        ];
        for (altered, count) in altered {
            let Some((sector, content)) = altered else {
                continue;
            };
            let mut contents = contents.clone();
            contents[sector as usize] = content;
            let image = Image {
                len: image.bytes.len() as u64,
                contents: &contents,
            };
            demand(self.verdict.judge(image, window).is_err(), || {
                format!("sector {sector} was made {content:#x}, and nobody noticed")
            })?;
            *count += 1;
        }
        Ok(())
    }
}

fn take(
    history: &mut History,
    begun: &mut BTreeMap<Id, Begun>,
    record: Record,
) -> Result<(), Trouble> {
    let (id, what, bytes) = match record {
        Record::Opened { level: 0, .. } => return Ok(()),
        Record::Write {
            id,
            level: 0,
            at,
            contents,
            fua,
        } => {
            let bytes = (contents.len() * SECTOR) as u64;
            let at = sectors(at)?;
            (id, What::Write { at, contents, fua }, bytes)
        }
        Record::Zero {
            id,
            level: 0,
            at,
            len,
        } => {
            let (at, len) = (sectors(at)?, sectors(len)?);
            (id, What::Zero { at, len }, 0)
        }
        Record::SetLen { id, level: 0, len } => {
            let what = match len >= history.len_bytes() {
                true => What::Extend { bytes: len },
                false => What::SetLen { bytes: len },
            };
            (id, what, 0)
        }
        Record::Sync { id, level: 0 } => {
            let sync = Begun::Sync(history.submit_sync());
            begun.insert(id, sync);
            return Ok(());
        }
        Record::End { id, result } => {
            match begun.remove(&id) {
                Some(Begun::Sync(sync)) => history.complete_sync(sync, result >= 0),
                Some(Begun::Change(change, bytes)) => {
                    let effect = match u64::try_from(result) {
                        Err(_) => Effect::Failed,
                        Ok(done) if done == bytes => Effect::Done,
                        Ok(done) => Effect::Short(done),
                    };
                    history.complete(change, effect);
                }
                None => return Err(format!("{id:?} ended, and never began").into()),
            }
            return Ok(());
        }
        other => return Err(format!("a file that is not there: {other:?}").into()),
    };
    let change = Begun::Change(history.submit(what), bytes);
    begun.insert(id, change);
    Ok(())
}
