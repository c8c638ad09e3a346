//! Histories of one sector as short texts, so that a rule and its counter-example fit on a line each.
//!
//! `+x` submits, `-x` ends well, `!x` fails. The first letter of a name tells the operation: `w` write, `v` write with
//! preflush, `u` write with FUA, `z` write of zeros, `y` the same with FUA, `d` discard, `f` flush, `r` read. The number
//! after it tells operations apart; writes are numbered by it. `-r1=w3` is a read that returns what w3 wrote, `-r1=0` one
//! that returns zeros; `?r1=w3` the same, and the model must refuse it (the history goes on as if the read had failed).

use super::*;
use std::collections::HashMap;

/// The sector that scripts play on, beside untouched ones.
pub(super) const SECTOR: u64 = 3;

pub(super) fn play(script: &str, rule: ReadThenFlush) -> Model {
    let mut model = Model::new(5);
    model.set_read_then_flush(rule);
    let mut ids: HashMap<String, OpId> = HashMap::new();
    for word in script.split_whitespace() {
        let (sign, rest) = word.split_at(1);
        let (name, seen) = rest.split_once('=').unwrap_or((rest, ""));
        if sign == "+" {
            assert!(
                ids.insert(name.to_owned(), submit(&mut model, name))
                    .is_none(),
                "{script}: {name} twice"
            );
            continue;
        }
        let id = *ids
            .get(name)
            .unwrap_or_else(|| panic!("{script}: {word} was not submitted"));
        let seen: Vec<Value> = if name.starts_with('r') && sign != "!" {
            vec![value(seen)]
        } else {
            Vec::new()
        };
        match sign {
            "-" => {
                if let Err(violation) = model.complete(id, End::Ok, &seen) {
                    panic!("{script}: at {word}: {violation}");
                }
            }
            "!" => model
                .complete(id, End::Io, &[])
                .expect("a failure contradicts nothing"),
            "?" => {
                assert!(
                    model.clone().complete(id, End::Ok, &seen).is_err(),
                    "{script}: {word} was accepted"
                );
                model
                    .complete(id, End::Io, &[])
                    .expect("a failure contradicts nothing");
            }
            _ => panic!("{script}: what is {word}?"),
        }
    }
    model
}

/// The values that `names` stand for, ascending.
pub(super) fn values(names: &str) -> Vec<Value> {
    let mut values: Vec<Value> = names.split_whitespace().map(value).collect();
    values.sort_unstable();
    values
}

fn value(name: &str) -> Value {
    if name == "0" {
        Value::ZERO
    } else {
        Value::of(number(name), SECTOR)
    }
}

fn number(name: &str) -> u32 {
    name[1..].parse().unwrap_or(0)
}

fn submit(model: &mut Model, name: &str) -> OpId {
    let kind = match &name[..1] {
        "w" => Kind::Write {
            preflush: false,
            fua: false,
        },
        "v" => Kind::Write {
            preflush: true,
            fua: false,
        },
        "u" => Kind::Write {
            preflush: false,
            fua: true,
        },
        "z" => Kind::WriteZeroes {
            fua: false,
            unmap: true,
        },
        "y" => Kind::WriteZeroes {
            fua: true,
            unmap: false,
        },
        "d" => Kind::Discard,
        "f" => Kind::Flush,
        _ => Kind::Read,
    };
    let len = u64::from(kind != Kind::Flush);
    model.submit(
        Op {
            kind,
            start: SECTOR,
            len,
        },
        number(name),
    )
}
