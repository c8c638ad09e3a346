//! Engines are functions of seeds; mutants are tapes that run; a hunt learns.

use super::corpus::Kept;
use super::*;
use crate::campaign::{Runner, Subject, world};
use crate::profile::Profile;
use crate::report::{Class, Failure, RunStats};
use crate::tape::{Choice, Event, Kind, Label, Object, Span, Tape};
use std::collections::BTreeSet;

/// A tape of stretches whose choices say where they stood.
fn tape(spans: u32) -> Kept {
    let mut kept = Kept::default();
    for span in 0..spans {
        let at = kept.choices.len();
        let label = if span == 0 { Event::Shape } else { Event::Any }.into();
        kept.spans.push(Span { at, label });
        for _ in 0..=span % 3 {
            let (kind, n, k) = (Kind::Arg, 1000, span);
            kept.choices.push(Choice { kind, n, k });
        }
    }
    kept
}

#[test]
fn mutants_are_well_formed() {
    let (one, other) = (tape(12), tape(30));
    let mut different = BTreeSet::new();
    for seed in 0..3000 {
        let mutant = mutate(&one, &other, seed);
        assert_eq!(mutant, mutate(&one, &other, seed));
        assert!(mutant.spans.is_sorted_by_key(|span| span.at));
        assert!(
            mutant
                .spans
                .iter()
                .all(|span| span.at <= mutant.choices.len())
        );
        assert_eq!(
            mutant.spans[0].label.event,
            Event::Shape,
            "it is not ordinary"
        );
        assert!(mutant.choices.iter().all(|choice| choice.k < choice.n));
        let shown: Vec<u32> = mutant.choices.iter().map(|choice| choice.k).collect();
        different.insert((shown, mutant.spans.len()));
    }
    assert!(different.len() > 2000, "{}", different.len());
    let nothing = Kept::default();
    assert_eq!(mutate(&nothing, &nothing, 1), nothing);
}

#[test]
fn a_way_is_a_function_of_the_seed_and_all_come_up() {
    let mut ways = BTreeSet::new();
    for seed in 0..1000 {
        let way = Engine::Portfolio.way(seed);
        assert_eq!(way, Engine::Portfolio.way(seed));
        ways.insert(format!("{way:?}"));
        assert_eq!(Engine::Swarm.way(seed), Way::Chance);
    }
    // Chance, uniform, four depths, mutants.
    assert_eq!(ways.len(), 7, "{ways:?}");
    for engine in Engine::ALL {
        assert_eq!(engine.name().parse(), Ok(engine));
    }
    assert!("dfs".parse::<Engine>().is_err());
}

/// Traces of the first runs of a hunt.
fn hunt(engine: Engine, runs: u64) -> Vec<u64> {
    let (mut runner, mut hunt) = (Runner::new(world, false), Hunt::default());
    runner.watch(true, true);
    let traces = (0..runs).map(|seed| {
        let result = runner.run_way(Profile::Tiny, seed, engine.way(seed), Some(&mut hunt));
        result.map_or(0, |stats| stats.trace)
    });
    traces.collect()
}

#[test]
fn every_engine_is_a_function_of_its_seeds_and_an_order_of_its_own() {
    let mut seen = Vec::new();
    for engine in Engine::ALL {
        let traces = hunt(engine, 60);
        assert_eq!(traces, hunt(engine, 60), "{engine}");
        seen.push(traces);
    }
    for (at, traces) in seen.iter().enumerate() {
        assert!(!seen[..at].contains(traces), "engine {at}");
    }
}

#[test]
fn a_run_of_any_engine_is_its_tape() {
    for engine in Engine::ALL {
        let (mut runner, mut hunt) = (Runner::new(world, false), Hunt::default());
        runner.watch(true, true);
        for seed in 0..150 {
            let way = engine.way(seed);
            let result = runner.run_way(Profile::Tiny, seed, way, Some(&mut hunt));
            let confirmed = runner.confirm(Profile::Tiny, &result);
            assert_eq!(confirmed, Ok(()), "{engine}: seed {seed}, {way:?}");
        }
    }
}

/// A world with a way that is easily lost: five doors in a row, each of sixteen, and something to see behind each.
struct Doors;

impl Subject for Doors {
    fn run(&mut self, tape: &mut Tape) -> Result<RunStats, Failure> {
        tape.begin(Event::Shape);
        for door in 0..5 {
            tape.begin(Event::Any);
            let picked = tape.choose(Kind::Event, 16);
            let object = Object::Index(door);
            let event = if picked == 11 {
                Event::Deliver
            } else {
                Event::Tick
            };
            tape.name(|| Label {
                event,
                object,
                ..Label::default()
            });
            if picked != 11 {
                return Ok(RunStats::default());
            }
        }
        Err(Failure {
            class: Class::Wrong,
            checker: "doors",
            message: "behind the last".into(),
            trace: 0,
        })
    }
}

/// Runs until the last door is open.
fn doors(engine: Engine, base: u64, limit: u64) -> u64 {
    let (mut runner, mut hunt) = (Runner::new(|_, _| Box::new(Doors), false), Hunt::default());
    runner.watch(true, true);
    let mut runs = base..base + limit;
    let failed = runs.position(|seed| {
        let way = engine.way(seed);
        let result = runner.run_way(Profile::Tiny, seed, way, Some(&mut hunt));
        result.is_err()
    });
    failed.map_or(limit, |at| at as u64)
}

#[test]
fn what_is_new_is_followed() {
    // By chance: one run in a million.
    for base in [0, 1 << 40, 2 << 40] {
        assert_eq!(doors(Engine::Swarm, base, 20_000), 20_000);
        let guided = doors(Engine::Fuzz, base, 20_000);
        assert!(guided < 5_000, "{guided}");
    }
}
