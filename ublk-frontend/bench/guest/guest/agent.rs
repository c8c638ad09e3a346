//! Measures. The host says what (`PLOOP_STEPS`): a quantity, the number of rounds, and the rows.
//!
//! A result line is `row/load/depth` with the figure, or `row` with what is wrong: such a row is left out from then on.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Instant;

use super::client::{Client, Content, Plan};
use super::meter::Meter;
use super::peer::Peer;
use super::random::Random;
use super::trouble::{During, Outcome, Trouble};
use super::{disks, server};
use crate::line::{Line, Verdict};
use crate::rows::{DISK, LOADS, Load, MIB, NEVER, Quantity, Row, figure_name};

/// I/Os that are not counted, in front of those that are, where that spoils nothing.
const WARM: usize = 32;

/// How often the part that nobody writes is gone through, before anything is measured.
const PASSES: usize = 3;

/// What the host wants.
struct Wanted {
    quantity: Quantity,
    rounds: u64,
    rows: Vec<Row>,
}

pub(crate) fn main() -> ExitCode {
    println!(
        "Linux {}",
        std::fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
    );
    match everything() {
        Ok(()) => {
            println!("{}", Line::Done);
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            say("guest", Instant::now(), Err(trouble));
            println!("{}", Line::GaveUp);
            ExitCode::FAILURE
        }
    }
}

fn wanted() -> Result<Wanted, Trouble> {
    let said = std::env::var("PLOOP_STEPS").unwrap_or_default();
    let mut words = said.split(',');
    let quantity = words.next().unwrap_or_default();
    let quantity = Quantity::ALL.into_iter().find(|q| q.name() == quantity);
    let rounds = words.next().and_then(|word| word.parse().ok());
    let names: Vec<&str> = words.collect();
    let rows = Row::ALL.into_iter();
    match (quantity, rounds) {
        (Some(quantity), Some(rounds)) => Ok(Wanted {
            quantity,
            rounds,
            rows: rows.filter(|row| names.contains(&row.name())).collect(),
        }),
        _ => Err(format!("nobody understands {said:?}").into()),
    }
}

fn everything() -> Result<(), Trouble> {
    let wanted = wanted()?;
    disks::prepare()?;
    let meter = Meter::new(wanted.quantity)?;
    say("meter", Instant::now(), meter.check());
    let content = Content::new(1)?;
    let mut out = BTreeSet::new();
    for round in 0..wanted.rounds {
        for &row in &wanted.rows {
            if out.contains(&row) {
                continue;
            }
            let began = Instant::now();
            let measured = measure(row, round, wanted.quantity, &meter, &content);
            if measured.is_err() {
                out.insert(row);
                server::clean_up();
            }
            say(row.name(), began, measured);
        }
    }
    Ok(())
}

fn say(name: &str, began: Instant, outcome: Outcome) {
    let (verdict, found) = match outcome {
        Ok(found) => (Verdict::Ok, found),
        Err(Trouble::Failed(why)) => (Verdict::Failed, why),
        Err(Trouble::NotOffered(why)) => (Verdict::NotOffered, why),
    };
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", Line::End(name.to_owned(), verdict, seconds, found));
}

/// One round of a row.
fn measure(row: Row, round: u64, quantity: Quantity, meter: &Meter, content: &Content) -> Outcome {
    let peer = Peer::add(row)?;
    let compared = {
        let device = peer.open()?;
        let mut client = Client::new(&device, content)?;
        all_loads(row, round, quantity, meter, &mut client)
    };
    let deleted = peer.del();
    let compared = compared?;
    deleted?;
    Ok(format!("{compared} bytes compared"))
}

/// All loads on an open device. How much was read and compared.
fn all_loads(
    row: Row,
    round: u64,
    quantity: Quantity,
    meter: &Meter,
    client: &mut Client,
) -> Result<u64, Trouble> {
    let mut random = Random::new(round + 1);
    let mut compared = 0;
    warm(row, client).during("warming up")?;
    for load in &LOADS {
        for half in 0..2 {
            let depths = quantity.depths();
            let depth = depths[depths.len().min(half + 1) - 1];
            let places = load.places(half as u64, |n| random.below(n));
            let began = Instant::now();
            let cost = one_load(load, depth, &places, meter, client)
                .during(format!("{} {} under way", load.name, depth))?;
            let per = cost as f64 / places.len() as f64;
            let figure = match quantity {
                Quantity::Instructions => per,
                Quantity::Iops => 1e9 / per,
            };
            let name = figure_name(row, load.name, depth);
            say(&name, began, Ok(format!("{figure:.1}")));
            if row.keeps() {
                compared += compare(load, &places, client).during(load.name)?;
            }
        }
    }
    Ok(compared)
}

/// Every buffer of a server has been used before something is measured: its memory is taken when it is first touched, and
/// that is no cost of an I/O. Reads of what was never written do it; where nothing is kept, only writes do.
fn warm(row: Row, client: &mut Client) -> Result<(), Trouble> {
    let pass = (0..NEVER / MIB).map(|i| (DISK - NEVER + i * MIB, 0));
    let places: Vec<(u64, u64)> = std::iter::repeat_n(pass, PASSES).flatten().collect();
    client.run(&Plan {
        write: !row.keeps(),
        size: MIB,
        depth: 32,
        places: &places,
        flush: false,
    })
}

fn one_load(
    load: &Load,
    depth: u64,
    places: &[(u64, u64)],
    meter: &Meter,
    client: &mut Client,
) -> Result<u64, Trouble> {
    let plan = |places, flush| Plan {
        write: load.write,
        size: load.size,
        depth,
        places,
        flush,
    };
    let warm = match load.is_first_touch() {
        true => &[],
        false => &places[..places.len().min(WARM)],
    };
    let client = std::cell::RefCell::new(client);
    meter.measure(
        || client.borrow_mut().run(&plan(warm, false)),
        || {
            client
                .borrow_mut()
                .run(&plan(places, load.is_first_touch()))
        },
    )
}

/// Compares what a load has read; what it has written is read first.
fn compare(load: &Load, places: &[(u64, u64)], client: &mut Client) -> Result<u64, Trouble> {
    let plan = Plan {
        write: false,
        size: load.size,
        depth: 4,
        places,
        flush: false,
    };
    if load.write {
        client.run(&plan)?;
    }
    client.compare(&plan)
}
