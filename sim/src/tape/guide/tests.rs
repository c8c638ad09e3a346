//! Policies on toy programs: threads that each make so many steps.

use super::*;
use std::collections::BTreeMap;

/// Plays threads of so many steps to their end: which thread made which step.
fn play(lengths: &[u32], mut pick: impl FnMut(&[Candidate]) -> usize) -> Vec<usize> {
    let mut left = lengths.to_vec();
    let mut order = Vec::new();
    loop {
        let candidates: Vec<Candidate> = (0..left.len())
            .filter(|&thread| left[thread] > 0)
            .map(|thread| Candidate {
                lane: thread as u64,
                event: 0,
                then: None,
                left: left[thread],
            })
            .collect();
        if candidates.is_empty() {
            return order;
        }
        let thread = candidates[pick(&candidates)].lane as usize;
        left[thread] -= 1;
        order.push(thread);
    }
}

fn guided(policy: Policy, seed: u64, lengths: &[u32]) -> Vec<usize> {
    let mut guide = Guide::new(policy, seed);
    let steps = lengths.iter().sum();
    play(lengths, |candidates| guide.pick(candidates, steps))
}

/// A fair coin at each step.
fn walked(seed: u64, lengths: &[u32]) -> Vec<usize> {
    let mut stream = Guide::new(Policy::Uniform, seed);
    play(lengths, |candidates| {
        stream.below(candidates.len() as u64) as usize
    })
}

/// How far the frequencies of interleavings are from all being the same: chi-square over the degrees of freedom.
fn unevenness(all: u64, runs: u64, mut play: impl FnMut(u64) -> Vec<usize>) -> f64 {
    let mut seen: BTreeMap<Vec<usize>, u64> = BTreeMap::new();
    for seed in 0..runs {
        *seen.entry(play(seed)).or_insert(0) += 1;
    }
    let expected = runs as f64 / all as f64;
    let unseen = (all - seen.len() as u64) as f64 * expected;
    let off = seen
        .values()
        .map(|&count| (count as f64 - expected).powi(2) / expected);
    (off.sum::<f64>() + unseen) / (all - 1) as f64
}

#[test]
fn a_uniform_walk_comes_to_all_interleavings_alike() {
    // 8 over 2 interleavings: a fair coin at each step lets the short thread end early too often.
    let lengths = [6, 2];
    let uniform = unevenness(28, 28_000, |seed| guided(Policy::Uniform, seed, &lengths));
    let fair = unevenness(28, 28_000, |seed| walked(seed, &lengths));
    assert!(uniform < 2.0, "{uniform}");
    assert!(fair > 20.0 * uniform, "{fair} against {uniform}");
}

/// Runs until one is wanted.
fn schedules(
    limit: u64,
    mut play: impl FnMut(u64) -> Vec<usize>,
    wanted: fn(&[usize]) -> bool,
) -> u64 {
    (0..limit)
        .position(|seed| wanted(&play(seed)))
        .map_or(limit, |at| at as u64 + 1)
}

/// Medians of ten searches by a fair coin and by priorities of this depth.
fn medians(lengths: &[u32], depth: u32, limit: u64, wanted: fn(&[usize]) -> bool) -> [u64; 2] {
    let median = |mut found: Vec<u64>| {
        found.sort_unstable();
        found[found.len() / 2]
    };
    let bases = || (0..10).map(|base| base << 32);
    let policy = Policy::Priorities { depth };
    [
        median(
            bases()
                .map(|base| schedules(limit, |seed| walked(base + seed, lengths), wanted))
                .collect(),
        ),
        median(
            bases()
                .map(|base| schedules(limit, |seed| guided(policy, base + seed, lengths), wanted))
                .collect(),
        ),
    ]
}

#[test]
fn priorities_find_what_needs_a_few_events_in_order() {
    // The first thread makes all of its 12 steps before the second makes its 2nd: depth 2.
    let wanted = |order: &[usize]| {
        let second = order.iter().enumerate().filter(|(_, thread)| **thread == 1);
        let at = second.map(|(at, _)| at).nth(1).unwrap_or(0);
        order[..at].iter().filter(|thread| **thread == 0).count() == 12
    };
    let [fair, priorities] = medians(&[12, 12], 2, 20_000, wanted);
    assert!(priorities * 50 < fair, "{priorities} against {fair}");
}

#[test]
fn priorities_below_the_depth_are_blind() {
    // Three changes of threads in the right places: A A B B A A B B.
    let wanted = |order: &[usize]| order == [0, 0, 1, 1, 0, 0, 1, 1];
    let [_, shallow] = medians(&[4, 4], 2, 5_000, wanted);
    let [_, deep] = medians(&[4, 4], 4, 5_000, wanted);
    assert_eq!(shallow, 5_000);
    assert!(deep < 1_000, "{deep}");
}

#[test]
fn a_guide_is_a_function_of_its_seed() {
    for policy in [Policy::Uniform, Policy::Priorities { depth: 3 }] {
        let orders: Vec<Vec<usize>> = (0..50)
            .map(|seed| guided(policy, seed, &[5, 5, 5]))
            .collect();
        let again: Vec<Vec<usize>> = (0..50)
            .map(|seed| guided(policy, seed, &[5, 5, 5]))
            .collect();
        assert_eq!(orders, again);
        assert!(orders.iter().any(|order| *order != orders[0]));
    }
}

#[test]
fn decisions_are_answers_to_the_questions_that_follow() {
    let candidates = [
        Candidate {
            lane: 1,
            event: 0,
            then: Some((Kind::Thread, 2, 1)),
            left: 1,
        },
        Candidate {
            lane: 2,
            event: 1,
            then: Some((Kind::Event, 3, 2)),
            left: 1,
        },
    ];
    let weights = [3, 4, 0, 2];
    let mut guide = Guide::new(Policy::Uniform, 1);
    let mut picked = [0; 3];
    for _ in 0..1000 {
        guide.decide(&weights, 2, &candidates, 10);
        match guide.answer(Kind::Event, 9) {
            Some(0) => {
                assert_eq!(
                    guide.answer(Kind::Event, 3),
                    None,
                    "another question comes first"
                );
                assert_eq!(guide.answer(Kind::Thread, 2), Some(1));
                picked[0] += 1;
            }
            Some(3) => {
                assert_eq!(guide.answer(Kind::Event, 3), Some(2));
                picked[1] += 1;
            }
            Some(7 | 8) => {
                assert_eq!(guide.answer(Kind::Time, 60), None);
                picked[2] += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(
        picked[2] > 150 && picked[2] < 300,
        "two of nine: {picked:?}"
    );
    assert!(picked[0] > 250 && picked[1] > 250, "{picked:?}");
}
