//! Reports are put together without loss, and nothing that does not belong together is.

use super::*;
use crate::campaign::{Mix, Plan, run, world};
use crate::report::Failure;
use crate::search::Engine;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A folder of a test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(format!("sim-shards-{name}"));
        fs::create_dir_all(&path).expect("folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plan(index: u64, count: u64) -> Plan {
    Plan {
        seeds: Seeds::Range {
            first: 5,
            last: 304,
        },
        shard: Shard { index, count },
        mix: Mix::Only(Profile::Tiny),
        engine: Engine::Swarm,
        time: None,
        until_unseen: None,
        failures: 1,
        lies: false,
        jobs: 1,
        patience: Duration::from_secs(60),
        make: world,
    }
}

fn outcome(index: u64, count: u64) -> Outcome {
    let plan = plan(index, count);
    let campaign = Campaign::of(&plan, "program".into());
    let summary = run(&plan, |_| {});
    assert_eq!(summary.found, []);
    Outcome::of(campaign, plan.shard, &summary, vec!["Poisoned".into()], &[])
}

fn failed(mut outcome: Outcome, seed: u64, message: &str, tape: Option<&str>) -> Outcome {
    outcome.failures = vec![Failed {
        class: Class::Wrong,
        checker: "linear".into(),
        message: message.into(),
        profile: "tiny".into(),
        seed,
        engine: "swarm".into(),
        tape: tape.map(str::to_owned),
    }];
    outcome
}

#[test]
fn shards_add_up_to_the_campaign() {
    let whole = run(&plan(0, 1), |_| {});
    let (here, there) = (Folder::new(), Folder::new());
    for index in 0..4 {
        let mut one = outcome(index, 4);
        if index == 2 {
            one.unseen = vec!["Starved".into()];
        }
        one.save(if index < 3 { &here.0 } else { &there.0 })
            .expect("saved");
    }
    let folders = [here.0.clone(), there.0.clone()];
    // One that was copied is one.
    fs::copy(
        here.0.join("shard-1-of-4.json"),
        there.0.join("shard-1-of-4.json"),
    )
    .expect("copied");
    let merged = merge(&folders).expect("merged");
    assert_eq!(merged.totals, whole.totals);
    assert_eq!(merged.saturation, whole.saturation);
    assert!(merged.saturation.runs() > 5, "{:?}", merged.saturation);
    assert_eq!(
        (merged.shards, merged.missing.len(), merged.blind.len()),
        (4, 0, 0)
    );
    assert_eq!((merged.unseen.len(), merged.sorts.len()), (0, 0));
    fs::remove_file(there.0.join("shard-3-of-4.json")).expect("removed");
    assert_eq!(merge(&folders).expect("merged").missing, [3]);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (one, folder) = (outcome(0, 2), Folder::new());
    let folders = [folder.0.clone()];
    let merged = || merge(&folders);
    assert!(matches!(merged(), Err(MergeError::Nothing(_))));
    one.save(&folder.0).expect("saved");
    let other = |change: fn(&mut Outcome)| {
        let mut other = outcome(1, 2);
        change(&mut other);
        other.save(&folder.0).expect("saved");
        let error = merged().expect_err("must be refused");
        assert!(error.to_string().len() < 500, "{error}");
        error
    };
    let wrong = [
        other(|o| o.campaign.program = "another".into()),
        other(|o| o.campaign.seeds = "6..=304".into()),
        other(|o| o.campaign.profile = None),
        other(|o| o.campaign.engine = "urw".into()),
        other(|o| o.campaign.until_unseen_ppm = Some(10)),
        other(|o| o.campaign.failures = 9),
    ];
    assert!(
        wrong
            .iter()
            .all(|error| matches!(error, MergeError::Other { .. }))
    );
    assert!(matches!(
        other(|o| o.campaign.version = 5),
        MergeError::Value {
            field: "version",
            ..
        }
    ));
    assert!(matches!(
        other(|o| o.totals[0].0 = "huge".into()),
        MergeError::Value { .. }
    ));
    fs::write(folder.0.join("shard-1-of-2.json"), b"{}").expect("written");
    assert!(matches!(merged(), Err(MergeError::Form { .. })));
    let twice = Folder::new();
    failed(one, 7, "x", None).save(&twice.0).expect("saved");
    fs::remove_file(folder.0.join("shard-1-of-2.json")).expect("removed");
    let both = [folder.0.clone(), twice.0.clone()];
    assert!(matches!(merge(&both), Err(MergeError::Twice { .. })));
}

#[test]
fn failures_of_one_sort_are_one_with_the_shortest_tape() {
    let folder = Folder::new();
    let tape = |name: &str, len: usize| fs::write(folder.0.join(name), vec![0; len]).expect("tape");
    tape("a.tape", 30);
    tape("b.tape", 20);
    let list = [
        (
            0,
            "sector 17: lost: saw zeros, legal: write 1 | write 2",
            Some("a.tape"),
        ),
        (
            1,
            "sector 2: lost: saw old data, legal: write 3",
            Some("b.tape"),
        ),
        (2, "sector 2: foreign: saw zeros, legal: write 3", None),
    ];
    for (index, message, tape) in list {
        let one = failed(outcome(index, 3), index, message, tape);
        one.save(&folder.0).expect("saved");
    }
    let sorts = merge(std::slice::from_ref(&folder.0))
        .expect("merged")
        .sorts;
    let found: Vec<_> = sorts
        .iter()
        .map(|sort| (sort.first.seed, sort.shards))
        .collect();
    assert_eq!(found, [(2, 1), (1, 2)]);
    assert_eq!(sorts[1].tape, Some(folder.0.join("b.tape")));
}

#[test]
fn a_failing_shard_reports_its_tape() {
    let folder = Folder::new();
    let plan = Plan {
        make: |_, _| Box::new(Sick),
        ..plan(1, 2)
    };
    let summary = run(&plan, |_| {});
    let tape = summary.found[0].save(&folder.0).expect("saved");
    let campaign = Campaign::of(&plan, "program".into());
    let outcome = Outcome::of(
        campaign,
        plan.shard,
        &summary,
        Vec::new(),
        std::slice::from_ref(&tape),
    );
    outcome.save(&folder.0).expect("saved");
    let merged = merge(std::slice::from_ref(&folder.0)).expect("merged");
    assert_eq!((merged.missing, merged.sorts.len()), (vec![0], 1));
    assert_eq!(merged.sorts[0].tape, tape);
    assert_eq!(merged.sorts[0].first.seed, 6, "the first run of shard 1");
    // 150 runs are its share: one failed, and it stopped.
    assert_eq!((merged.failing, &merged.undone[..]), (1, &[(1, 149)][..]));
}

struct Sick;

impl crate::campaign::Subject for Sick {
    fn run(&mut self, tape: &mut crate::tape::Tape) -> Result<RunStats, Failure> {
        tape.choose(crate::tape::Kind::Other, 3);
        Err(Failure {
            class: Class::Wrong,
            checker: "fake",
            message: "on demand".into(),
            trace: 1,
        })
    }
}
