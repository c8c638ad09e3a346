//! The rules of the house, as tests. Each complaint names the place and what to do instead.
//!
//! | file | rules |
//! |---|---|
//! | `order` | modules of the core import only to the left, as the head of `core/src/lib.rs` says |
//! | `crates` | packages know only the packages they may; the core has no features; engine packages are the core |
//! | `words` | what must not stand in the code: unfinished work, skipped tests, unsafe code, clocks, threads, hash order |
//! | `shape` | every file has a head and is short; every lock of the core has a rank and a label |
//! | `reasons` | a reason why a branch of the core is not reached is about a line that is there |
//!
//! Each rule has tests of its own on bad text. What clippy can see better, `core/clippy.toml` says.

mod crates;
mod order;
mod reasons;
mod shape;
mod source;
mod words;

use crates::Manifest;
use source::{HOUSES, Source};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources() -> Vec<Source> {
    let sources = source::read_workspace(&root());
    for house in HOUSES {
        assert!(
            sources.iter().any(|source| source.house() == house),
            "no source was found in {house}"
        );
    }
    sources
}

fn manifest(path: &str) -> Manifest {
    let text =
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    Manifest::new(path, &text)
}

#[track_caller]
fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn each(rule: impl Fn(&Source) -> Vec<String>) -> Vec<String> {
    sources().iter().flat_map(rule).collect()
}

#[test]
fn sources_stand_in_the_houses() {
    none(each(|source| {
        let known = HOUSES.contains(&source.house());
        let what = format!("sources stand in {HOUSES:?} and nowhere else");
        (!known)
            .then(|| source.complain(0, what))
            .into_iter()
            .collect()
    }));
}

#[test]
fn modules_of_the_core_import_to_the_left() {
    let sources = sources();
    let core: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with("core/src/"))
        .collect();
    let lib = core
        .iter()
        .find(|source| source.path == "core/src/lib.rs")
        .expect("the core has a root");
    match order::Order::read(lib) {
        Ok(order) => none(order.check(&core)),
        Err(why) => panic!("{why}"),
    }
}

#[test]
fn no_banned_word() {
    none(each(words::check));
}

#[test]
fn files_are_short() {
    none(each(|source| shape::length(source, shape::LONGER)));
    for (path, _) in shape::LONGER {
        assert!(
            root().join(path).is_file(),
            "{path} is gone: take it out of LONGER in sim/tests/tidy/shape.rs"
        );
    }
}

#[test]
fn files_have_a_head() {
    none(each(shape::head));
}

#[test]
fn libraries_forbid_unsafe_code() {
    none(each(shape::forbids_unsafe));
}

#[test]
fn locks_have_rank_and_label() {
    none(shape::locks(&sources().iter().collect::<Vec<_>>()));
}

#[test]
fn reasons_are_about_lines_that_are_there() {
    let path = "corpus/coverage.txt";
    let text = fs::read_to_string(root().join(path)).expect("reasons");
    none(reasons::stale(path, &text, &sources()));
}

/// Each mutant that survives has its reason, on the page that people read.
#[test]
fn survivors_have_reasons() {
    let page = fs::read_to_string(root().join("corpus/mutants.md")).expect("the page");
    let without = page.lines().filter(|line| line.contains("no reason yet"));
    none(without.map(str::to_owned).collect());
}

/// A mark that is noted as true or false must be asked for both ways, or one of them is never missed.
#[test]
fn marks_noted_both_ways_are_asked_for_both_ways() {
    let sources = sources();
    let mut noted: Vec<&str> = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("core/src/"))
    {
        for (at, what) in source.code.match_indices("maybe!(") {
            if !source.is_test(at) {
                let rest = source.code[at + what.len()..].trim_start();
                let end = rest.find(',').unwrap_or(rest.len());
                noted.push(rest[..end].trim());
            }
        }
    }
    let verify = sources
        .iter()
        .find(|source| source.path == "core/src/verify.rs")
        .expect("the core has marks");
    let (_, list) = verify
        .code
        .split_once("BOTH_WAYS: &[Mark] = &[")
        .expect("a list");
    let (list, _) = list.split_once(']').expect("its end");
    let mut asked: Vec<&str> = list
        .split(',')
        .filter_map(|mark| mark.trim().strip_prefix("Mark::"))
        .collect();
    noted.sort_unstable();
    noted.dedup();
    asked.sort_unstable();
    assert_eq!(noted, asked);
    assert!(noted.contains(&"FlushPages"), "{noted:?}");
}

#[test]
fn packages_know_only_whom_they_may() {
    none(
        crates::packages()
            .flat_map(|path| crates::direction(&manifest(path)))
            .collect(),
    );
    none(
        crates::packages()
            .flat_map(|path| crates::house_rules(&manifest(path)))
            .collect(),
    );
    none(crates::workspace(&manifest("Cargo.toml")));
    none(crates::fuzz(&manifest("fuzz/Cargo.toml")));
}

#[test]
fn engine_packages_are_the_core() {
    let core = manifest("core/Cargo.toml");
    none(crates::core(&core));
    for engine in ["explore", "loom", "shuttle"] {
        let path = format!("sim/engines/{engine}/Cargo.toml");
        none(crates::engine(&manifest(&path), &core, engine));
    }
}
