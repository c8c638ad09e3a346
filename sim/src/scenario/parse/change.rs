//! Lines that change the chain, and what goes wrong in a change; lines about tracking.

use crate::disk::fault::FaultKind;
use crate::scenario::parse::chain::write_back;
use crate::scenario::parse::words::{Result, Words};
use crate::scenario::{Step, Track};
use crate::world::switch::Switch;
use crate::world::trouble::Trouble;

/// A change of the chain, and what goes wrong in it.
pub(super) fn changed(switch: Switch, words: &mut Words<'_>) -> Result<Step> {
    let trouble = match words.rest.next() {
        None => Trouble::None,
        Some("cut") => Trouble::Cut(words.number("a number of calls")?),
        Some("cancel")
            if matches!(switch, Switch::Forward | Switch::Backward | Switch::Compact) =>
        {
            Trouble::Cancel(words.number("a number of steps")?)
        }
        Some("fail") => {
            let kind = match words.next("io, short or nospace")? {
                "io" => FaultKind::Io,
                "short" => FaultKind::Short,
                "nospace" => FaultKind::NoSpace,
                other => return Err(words.bad(other, "must be io, short or nospace")),
            };
            match words.number("which call, from 1")? {
                0 => return Err(words.bad("0", "must be at least 1")),
                nth => Trouble::Fault(kind, nth),
            }
        }
        Some(other) => return Err(words.bad(other, "must be cut, fail, cancel or nothing")),
    };
    Ok(Step::Switch(switch, trouble))
}

/// A change of the chain that has a line of its own.
pub(super) fn change(word: &str, words: &mut Words<'_>) -> Result<Switch> {
    Ok(match word {
        "rollback" => Switch::Rollback,
        "read-only" => Switch::ReadOnly,
        "index" => {
            let every = match words.number("one cluster in so many")? {
                0 => return Err(words.bad("0", "must be at least 1")),
                every => every,
            };
            let level = match words.peek() {
                Some("of") => {
                    words.rest.next();
                    Some(words.number("a level")?)
                }
                _ => None,
            };
            Switch::Index { level, every }
        }
        "repair" => Switch::Repair {
            marked: words.peek() == Some("marked") && words.rest.next().is_some(),
        },
        "bitmap" => match words.next("start, clear or stop")? {
            "start" => Switch::StartBitmap(words.number("sectors of a bit")?),
            "clear" => Switch::ClearBitmap,
            "stop" => Switch::StopBitmap,
            other => return Err(words.bad(other, "must be start, clear or stop")),
        },
        _ => {
            let value = words.next("immediate or delayed:50")?;
            Switch::WriteBack(write_back(value, value, words)?)
        }
    })
}

/// A line about tracking.
pub(super) fn track(words: &mut Words<'_>) -> Result<Track> {
    Ok(
        match words.next("start, next, marked, clear, same or stop")? {
            "start" => Track::Start,
            "next" => match words.next("a cluster, none or refused")? {
                "none" => Track::Next(None),
                "refused" => Track::Refused,
                clu => Track::Next(Some(
                    words.parse(clu, "must be a cluster, none or refused")?,
                )),
            },
            "marked" => Track::Marked(words.number("a number of clusters")?),
            "clear" => Track::Clear,
            "same" => Track::Same,
            "stop" => Track::Stop,
            other => {
                let rule = "must be start, next, marked, clear, same or stop";
                return Err(words.bad(other, rule));
            }
        },
    )
}
