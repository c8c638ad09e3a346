//! Against the simulated disk: the images that some tape can leave are exactly those that are allowed; and what must be
//! refused, by hand.

use super::{Effect, History, Image, Moment, Never, Refusal, Verdict, What};
use crate::disk::{Change, Geometry, IoId, SimFile, SyncEffect, SyncId as SimSync};
use crate::tape::Kind::{Event, Op};
use crate::tape::{Choice, Tape};
use model::op::Value;
use std::collections::BTreeSet;

const SECTORS: u64 = 3;
/// Contents of sectors, from the first.
type Contents = Vec<u64>;

#[derive(Clone, Debug)]
enum Step {
    Submit(What),
    Complete(usize, Effect),
    SubmitSync,
    CompleteSync(usize, bool),
}

/// What a drawn history may have.
#[derive(Clone, Copy, Debug)]
struct Wish {
    steps: usize,
    sectors: u64,
    /// Changes of length.
    lengths: bool,
    /// Changes and syncs that fail.
    failures: bool,
}

fn change(number: u64, wish: Wish, tape: &mut Tape) -> What {
    let at = u64::from(tape.choose(Op, wish.sectors as u32));
    let len = 1 + u64::from(tape.choose(Op, 2)).min(wish.sectors - 1 - at);
    let kind = tape.choose(Op, if wish.lengths { 9 } else { 6 });
    match kind {
        0 => What::Zero { at, len },
        6 => What::Extend { bytes: 512 * at },
        7 => What::SetLen { bytes: 512 * at },
        8 => What::SetLen {
            bytes: 512 * (at + 1),
        },
        _ => What::Write {
            at,
            contents: (0..len).map(|index| 100 + 10 * number + index).collect(),
            fua: kind == 5,
        },
    }
}

fn history(wish: Wish, tape: &mut Tape) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut changes, mut syncs) = (0, 0);
    let (mut open, mut open_syncs) = (Vec::new(), Vec::new());
    let weights: &[u32] = match wish.failures {
        true => &[14, 1, 1],
        false => &[1],
    };
    while steps.len() < wish.steps {
        match tape.choose(Event, 7) {
            0 | 1 if open.len() < 3 => {
                steps.push(Step::Submit(change(changes as u64, wish, tape)));
                open.push(changes);
                changes += 1;
            }
            2..=4 if !open.is_empty() => {
                let number = open.swap_remove(tape.index(Event, open.len()));
                let effect = [Effect::Done, Effect::Failed, Effect::Short(512)]
                    [tape.weighted(Event, weights)];
                steps.push(Step::Complete(number, effect));
            }
            5 => {
                steps.push(Step::SubmitSync);
                open_syncs.push(syncs);
                syncs += 1;
            }
            6 if !open_syncs.is_empty() => {
                let number = open_syncs.swap_remove(tape.index(Event, open_syncs.len()));
                let ok = tape.weighted(Event, weights) == 0;
                steps.push(Step::CompleteSync(number, ok));
            }
            _ => {}
        }
    }
    steps
}

fn initial(wish: Wish) -> Contents {
    (1..=wish.sectors).collect()
}

/// Plays steps on the simulated disk.
fn play(steps: &[Step], wish: Wish, file: &mut SimFile, tape: &mut Tape) {
    let geometry = Geometry {
        meta_len: 0,
        granule: 512,
        limit_sectors: 1 << 12,
    };
    let values = |contents: &[u64]| contents.iter().copied().map(Value).collect::<Vec<_>>();
    file.reset(geometry, &[], &values(&initial(wish)), 512 * wish.sectors);
    let mut ids: Vec<IoId> = Vec::new();
    let mut syncs: Vec<SimSync> = Vec::new();
    for step in steps {
        match step {
            Step::Submit(What::Write { at, contents, fua }) => {
                let values = &values(contents);
                let change = Change::Data { at: *at, values };
                ids.push(match fua {
                    true => file.submit_fua(change),
                    false => file.submit(change),
                });
            }
            &Step::Submit(What::Zero { at, len }) => {
                ids.push(file.submit(Change::Zero { at, len }))
            }
            &Step::Submit(What::Extend { bytes }) => {
                let sectors = bytes / 512;
                ids.push(file.submit(Change::Extend { sectors }));
            }
            &Step::Submit(What::SetLen { bytes }) => {
                ids.push(file.submit(Change::SetLen { bytes }));
            }
            Step::Complete(number, effect) => file.complete(ids[*number], *effect, tape),
            Step::SubmitSync => syncs.push(file.submit_sync()),
            Step::CompleteSync(number, true) => {
                file.complete_sync(syncs[*number], SyncEffect::Done, tape);
            }
            Step::CompleteSync(number, false) => {
                file.complete_sync(syncs[*number], SyncEffect::Failed { evict: false }, tape);
            }
        }
    }
}

/// The same steps, told.
fn verdict(steps: &[Step], wish: Wish) -> Verdict {
    let mut history = History::new(512 * wish.sectors, initial(wish));
    let (mut ids, mut syncs) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Submit(what) => ids.push(history.submit(what.clone())),
            Step::Complete(number, effect) => history.complete(ids[*number], *effect),
            Step::SubmitSync => syncs.push(history.submit_sync()),
            Step::CompleteSync(number, ok) => history.complete_sync(syncs[*number], *ok),
        }
    }
    assert_eq!(history.now(), steps.len());
    history.verdict()
}

fn contents_of(read: impl Fn(u64) -> Value, len: u64) -> Contents {
    (0..len / 512).map(|sector| read(sector).0).collect()
}

fn image(contents: &[u64]) -> Image<'_> {
    Image {
        len: 512 * contents.len() as u64,
        contents,
    }
}

/// Runs `run` with every tape there is; false if there are too many.
fn every_tape(mut run: impl FnMut(&mut Tape)) -> bool {
    let mut tape = Tape::replay(vec![]);
    for _ in 0..3000 {
        run(&mut tape);
        let mut log: Vec<Choice> = tape.choices().to_vec();
        while log.last().is_some_and(|choice| choice.k + 1 == choice.n) {
            log.pop();
        }
        let Some(last) = log.last_mut() else {
            return true;
        };
        last.k += 1;
        tape.restart_replay(&log, &[]);
    }
    false
}

/// All rows of contents up to so many sectors.
fn rows(universe: &[u64], sectors: u64) -> Vec<Contents> {
    let mut all = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..sectors {
        let to = all.len();
        for index in from..to {
            for &content in universe {
                let mut row = all[index].clone();
                row.push(content);
                all.push(row);
            }
        }
        from = to;
    }
    all
}

#[test]
fn what_is_allowed_is_exactly_what_some_tape_can_leave() {
    let wish = Wish {
        steps: 10,
        sectors: SECTORS,
        lengths: true,
        failures: false,
    };
    let mut file = SimFile::new();
    let mut tape = Tape::from_seed(0);
    let (mut images, mut refused, mut of_length) = (0, 0, 0);
    for seed in 0..400 {
        tape.restart(seed);
        let steps = history(wish, &mut tape);
        let mut possible = BTreeSet::new();
        let whole = every_tape(|tape| {
            play(&steps, wish, &mut file, tape);
            let mut all = file.crash_images(1 << 16);
            while all.advance() {
                let view = all.view();
                possible.insert(contents_of(|at| view.read_value(at), view.len_bytes()));
            }
        });
        assert!(whole, "seed {seed}: too many tapes");
        let verdict = verdict(&steps, wish);
        let written = steps.iter().filter_map(|step| match step {
            Step::Submit(What::Write { contents, .. }) => Some(contents.clone()),
            _ => None,
        });
        let mut universe: Vec<u64> = written.flatten().chain(0..=SECTORS).collect();
        universe.sort_unstable();
        universe.dedup();
        let now = steps.len();
        let allowed: BTreeSet<Contents> = rows(&universe, SECTORS)
            .into_iter()
            .filter(|row| verdict.judge(image(row), (now, now)).is_ok())
            .collect();
        images += possible.len();
        refused += usize::from(possible.len() > 1);
        of_length += usize::from(possible.iter().any(|row| row.len() as u64 != SECTORS));
        assert_eq!(allowed, possible, "seed {seed}: {steps:#?}");
    }
    println!("{images} images, {of_length} histories with lengths");
    assert!(refused > 200 && of_length > 50, "{refused}, {of_length}");
}

#[test]
fn every_crash_that_is_drawn_is_allowed_in_a_window_around_it() {
    let mut file = SimFile::new();
    let mut tape = Tape::from_seed(0);
    let (mut open, mut unsynced) = (0, 0);
    for seed in 0..3000 {
        tape.restart(seed);
        // A change of length that failed is not judged.
        let lengths = seed % 2 == 0;
        let wish = Wish {
            steps: 60,
            sectors: 12,
            lengths,
            failures: !lengths,
        };
        let steps = history(wish, &mut tape);
        let cut = tape.index(Event, steps.len());
        play(&steps[..cut], wish, &mut file, &mut tape);
        file.crash(&mut tape);
        let contents = contents_of(|at| file.read_value(at), file.len_bytes());
        let window = (
            cut.saturating_sub(seed as usize % 7),
            cut + seed as usize % 5,
        );
        let verdict = verdict(&steps, wish);
        let judged = verdict.judge(image(&contents), (cut, cut));
        let judged =
            judged.unwrap_or_else(|why| panic!("seed {seed}, cut {cut}: {why}: {steps:#?}"));
        verdict
            .judge(image(&contents), (window.0, window.1.min(steps.len())))
            .expect("a wider window allows no less");
        open += judged.open;
        unsynced += judged.unsynced;
        // And what it says to be impossible is refused, sector by sector.
        let impossible: Vec<_> = verdict
            .impossible(contents.len() as u64, (cut, cut))
            .collect();
        for (sector, content, _) in impossible {
            let mut altered = contents.clone();
            altered[sector as usize] = content;
            verdict
                .judge(image(&altered), (cut, cut))
                .expect_err("impossible");
        }
    }
    assert!(open > 10_000 && unsynced > 3000, "{open}, {unsynced}");
}

/// A file of two sectors: one write of each, synced; then one more of each.
fn told() -> (Verdict, [Moment; 3]) {
    let write = |at, content| What::Write {
        at,
        contents: vec![content],
        fua: false,
    };
    let mut history = History::new(1024, vec![1, 2]);
    for (at, content) in [(0, 10), (1, 20)] {
        let id = history.submit(write(at, content));
        history.complete(id, Effect::Done);
    }
    let written = history.now();
    let sync = history.submit_sync();
    history.complete_sync(sync, true);
    let synced = history.now();
    let first = history.submit(write(0, 11));
    history.complete(first, Effect::Done);
    history.submit(write(1, 21));
    let end = history.now();
    (history.verdict(), [written, synced, end])
}

#[test]
fn what_is_older_than_the_sync_is_refused() {
    let (verdict, [written, synced, end]) = told();
    let judge = |contents: &[u64], window| verdict.judge(image(contents), window);
    assert!(judge(&[1, 2], (written, written)).is_ok());
    assert!(
        judge(&[10, 2], (written, synced)).is_ok(),
        "before the sync ended"
    );
    for stale in [[1, 20], [10, 2], [11, 2]] {
        let refusal = judge(&stale, (synced, end)).expect_err("stale");
        assert!(matches!(refusal, Refusal::Sector { .. }), "{refusal}");
    }
    let never: Vec<_> = verdict.impossible(2, (synced, synced)).collect();
    assert_eq!(
        never,
        [
            (0, 1, Never::Stale),
            (0, 11, Never::Future),
            (1, 2, Never::Stale),
            (1, 21, Never::Future)
        ]
    );
}

#[test]
fn what_is_written_later_or_never_is_refused() {
    let (verdict, [_, synced, end]) = told();
    let judge = |contents: &[u64], window| verdict.judge(image(contents), window);
    let future = judge(&[11, 20], (synced, synced)).expect_err("not yet");
    assert!(
        matches!(&future, Refusal::Sector { sector: 0, found: 11, possible, .. } if !possible.is_empty())
    );
    let invented = judge(&[10, 22], (synced, end)).expect_err("invented");
    assert!(
        matches!(&invented, Refusal::Sector { sector: 1, found: 22, possible, allowed }
        if possible.is_empty() && *allowed == [20, 21])
    );
    assert_eq!(
        judge(&[10, 21], (synced, end)),
        Ok(super::Judged {
            sectors: 2,
            touched: 2,
            open: 2,
            unsynced: 1,
            lengths: 1
        })
    );
}

#[test]
fn sectors_that_no_one_moment_explains_are_refused() {
    let (verdict, [written, synced, end]) = told();
    let judge = |contents: &[u64], window| verdict.judge(image(contents), window);
    // Sector 0 from before the sync ended, sector 1 from after it.
    assert_eq!(
        judge(&[1, 21], (written, end)),
        Err(Refusal::NoMoment { sector: 1 })
    );
    assert_eq!(judge(&[1, 2], (end, synced)), Err(Refusal::Unknown));
}

#[test]
fn a_length_that_was_superseded_is_refused() {
    let mut history = History::new(512, vec![1]);
    let id = history.submit(What::Extend { bytes: 2048 });
    let submitted = history.now();
    history.complete(id, Effect::Done);
    let sync = history.submit_sync();
    history.complete_sync(sync, true);
    let synced = history.now();
    let id = history.submit(What::SetLen { bytes: 1024 });
    history.complete(id, Effect::Failed);
    let verdict = history.verdict();
    let judge = |contents: &[u64], window| verdict.judge(image(contents), window);
    assert!(judge(&[1], (submitted, submitted)).is_ok());
    assert!(judge(&[1, 0, 0, 0], (submitted, submitted)).is_ok());
    assert_eq!(
        judge(&[1], (synced, synced)),
        Err(Refusal::Length {
            found: 512,
            allowed: vec![2048]
        })
    );
    assert_eq!(
        judge(&[1, 0, 0, 0], (synced, synced + 1)),
        Err(Refusal::Unknown),
        "a truncation has failed"
    );
}
