//! The rules once more, as a sentence over a history, against the disk: for short random histories the contents that
//! some tape can leave in a sector are exactly the ones that the sentence allows.
//!
//! The sentence: a sector holds what it held at first or what a change put there, unless a durable change that was
//! submitted after that one completed supersedes it; what is not durable may be lost. A change is *surely* durable if
//! it did not fail and a successful sync covers it (or it has FUA), and no failed sync covered it before.

use super::*;
use crate::disk::SyncId;
use crate::tape::Kind::{Event, Op};

const SECTORS: u64 = 3;

#[derive(Clone, Debug)]
enum Step {
    Submit {
        at: u64,
        values: Vec<Value>,
        fua: bool,
    },
    Complete {
        change: usize,
        effect: Effect,
    },
    SubmitSync,
    CompleteSync {
        sync: usize,
        effect: SyncEffect,
    },
}

/// A random history: at most `most` steps.
fn history(tape: &mut Tape, most: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut changes, mut syncs) = (0, 0);
    let (mut open, mut open_syncs) = (Vec::new(), Vec::new());
    while steps.len() < most {
        match tape.choose(Event, 7) {
            0 | 1 if open.len() < 3 => {
                let at = u64::from(tape.choose(Op, SECTORS as u32));
                let len = 1 + u64::from(tape.choose(Op, 2)).min(SECTORS - 1 - at);
                let value = |index| {
                    if writes_zeros(changes) {
                        Value::ZERO
                    } else {
                        Value(100 + 10 * changes + index)
                    }
                };
                steps.push(Step::Submit {
                    at,
                    values: (0..len).map(value).collect(),
                    fua: tape.chance(Op, 1, 5),
                });
                open.push(changes as usize);
                changes += 1;
            }
            2..=4 if !open.is_empty() => {
                let change = open.swap_remove(tape.index(Event, open.len()));
                let effect = [Effect::Done, Effect::Failed, Effect::Short(512)]
                    [tape.weighted(Event, &[14, 1, 1])];
                steps.push(Step::Complete { change, effect });
            }
            5 => {
                steps.push(Step::SubmitSync);
                open_syncs.push(syncs);
                syncs += 1;
            }
            6 if !open_syncs.is_empty() => {
                let sync = open_syncs.swap_remove(tape.index(Event, open_syncs.len()));
                let effect = [
                    SyncEffect::Done,
                    SyncEffect::Failed { evict: true },
                    SyncEffect::Failed { evict: false },
                ][tape.weighted(Event, &[14, 1, 1])];
                steps.push(Step::CompleteSync { sync, effect });
            }
            _ => {}
        }
    }
    steps
}

/// Every fifth change writes zeros.
fn writes_zeros(change: u64) -> bool {
    change % 5 == 4
}

/// A change as the sentence knows it. Times are indices of steps.
struct Fact {
    at: u64,
    values: Vec<Value>,
    fua: bool,
    submitted: usize,
    completed: Option<(usize, Effect)>,
    surely_durable: bool,
    lost: bool,
}

impl Fact {
    fn value(&self, sector: u64) -> Option<u64> {
        let index = sector.checked_sub(self.at)?;
        self.values.get(index as usize).map(|value| value.0)
    }

    /// True if the change surely reached the sector.
    fn sure_of(&self, sector: u64) -> bool {
        match self.completed {
            Some((_, Effect::Done)) => true,
            Some((_, Effect::Short(bytes))) => (sector + 1 - self.at) * 512 <= bytes,
            _ => false,
        }
    }
}

/// What each sector may hold after a crash at the end of the history, by the sentence.
fn allowed(steps: &[Step]) -> Vec<BTreeSet<u64>> {
    let mut facts: Vec<Fact> = Vec::new();
    let mut syncs = Vec::new();
    for (now, step) in steps.iter().enumerate() {
        match step.clone() {
            Step::Submit { at, values, fua } => {
                let (submitted, completed) = (now, None);
                facts.push(Fact {
                    at,
                    values,
                    fua,
                    submitted,
                    completed,
                    surely_durable: false,
                    lost: false,
                });
            }
            Step::Complete { change, effect } => {
                facts[change].completed = Some((now, effect));
                facts[change].surely_durable = facts[change].fua && effect == Effect::Done;
            }
            Step::SubmitSync => syncs.push(now),
            Step::CompleteSync { sync, effect } => {
                let covered =
                    |fact: &&mut Fact| fact.completed.is_some_and(|(at, _)| at < syncs[sync]);
                for fact in facts
                    .iter_mut()
                    .filter(covered)
                    .filter(|fact| !fact.surely_durable)
                {
                    match effect {
                        SyncEffect::Done => fact.surely_durable = !fact.lost,
                        SyncEffect::Failed { .. } => fact.lost = true,
                        SyncEffect::Nothing => {}
                    }
                }
            }
        }
    }
    let sector_values = |sector: u64| {
        let here = || facts.iter().filter(|fact| fact.value(sector).is_some());
        let durable = || here().filter(|fact| fact.surely_durable && fact.sure_of(sector));
        let superseded = |fact: &Fact| {
            durable().any(|later| {
                fact.completed
                    .is_some_and(|(completed, _)| completed < later.submitted)
            })
        };
        let mut values: BTreeSet<u64> = here()
            .filter(|fact| !superseded(fact))
            .filter_map(|fact| fact.value(sector))
            .collect();
        if durable().next().is_none() {
            values.insert(sector + 1);
        }
        values
    };
    (0..SECTORS).map(sector_values).collect()
}

/// Plays the history on a file.
fn play(steps: &[Step], file: &mut SimFile, tape: &mut Tape) {
    let initial: Vec<Value> = (1..=SECTORS).map(Value).collect();
    file.reset(plain(), &[], &initial, SECTORS * 512);
    let mut ids = Vec::new();
    let mut syncs: Vec<SyncId> = Vec::new();
    for step in steps {
        match step {
            Step::Submit {
                at,
                values,
                fua: false,
            } => ids.push(file.submit(Change::Data { at: *at, values })),
            Step::Submit {
                at,
                values,
                fua: true,
            } => ids.push(file.submit_fua(Change::Data { at: *at, values })),
            Step::Complete { change, effect } => file.complete(ids[*change], *effect, tape),
            Step::SubmitSync => syncs.push(file.submit_sync()),
            Step::CompleteSync { sync, effect } => file.complete_sync(syncs[*sync], *effect, tape),
        }
    }
}

#[test]
fn some_tape_leaves_exactly_what_the_sentence_allows() {
    let mut file = SimFile::new();
    let mut tape = Tape::from_seed(0);
    let (mut runs, mut torn_histories) = (0, 0);
    for seed in 0..3000 {
        tape.restart(seed);
        let steps = history(&mut tape, 14);
        let allowed = allowed(&steps);
        let mut found = vec![BTreeSet::new(); SECTORS as usize];
        runs += every_tape(|tape| {
            play(&steps, &mut file, tape);
            let all = images(&file);
            for (_, values) in &all {
                for (set, &value) in found.iter_mut().zip(values) {
                    set.insert(value);
                }
            }
            // Sectors are independent of each other: the images are all combinations.
            let combinations: usize = (0..SECTORS as usize)
                .map(|sector| {
                    all.iter()
                        .map(|(_, values)| values[sector])
                        .collect::<BTreeSet<_>>()
                        .len()
                })
                .product();
            assert_eq!(all.len(), combinations);
        });
        torn_histories += u32::from(allowed.iter().any(|set| set.len() > 2));
        assert_eq!(found, allowed, "seed {seed}: {steps:#?}");
    }
    println!("3000 histories, {runs} tapes");
    assert!(
        torn_histories > 1000,
        "{torn_histories} histories with more than old and new"
    );
}

#[test]
fn what_is_seen_survives_a_sync_of_everything() {
    // Whatever the races: once all is completed and synced, a crash leaves what reads saw.
    let mut file = SimFile::new();
    let mut tape = Tape::from_seed(0);
    for seed in 0..1000 {
        tape.restart(seed);
        let mut steps = history(&mut tape, 12);
        let mut submitted = 0;
        let mut completed = BTreeSet::new();
        for step in &mut steps {
            match step {
                Step::Submit { .. } => submitted += 1,
                Step::Complete { change, .. } => {
                    completed.insert(*change);
                }
                Step::CompleteSync { effect, .. } => *effect = SyncEffect::Done,
                Step::SubmitSync => {}
            }
        }
        let rest = (0..submitted).filter(|change| !completed.contains(change));
        steps.extend(rest.map(|change| Step::Complete {
            change,
            effect: Effect::Done,
        }));
        play(&steps, &mut file, &mut tape);
        let before = seen(&file);
        sync(&mut file);
        assert_eq!(
            images(&file),
            [(SECTORS, before)].into(),
            "seed {seed}: {steps:#?}"
        );
    }
}
