//! A line that works on copies: `copy EDIT... : CHECK : CHECK ...`.

mod far;

use ploop_core::format::{InUse, Version};

use crate::disk::fault::FaultKind;
use crate::scenario::copies::{Amount, Check, Deed, Edit, Field, Link, OnCopies, Outcome, Under};
use crate::scenario::parse::words::{Result, Words};

/// Options of an open that may be said here.
const OPTIONS: [&str; 4] = ["queues", "depth", "page-bytes", "granule"];

/// How the lowest level and the others are called in a chain of files.
const RAW: &str = "raw:";
/// Most files of a chain.
const MOST_LINKS: usize = 300;
/// The same bytes so often at the most.
const MOST_COPIES: usize = 1 << 16;

pub(super) fn on_copies(words: &mut Words<'_>, levels: u8) -> Result<OnCopies> {
    let mut edits = Vec::new();
    if words.peek() == Some("far") {
        words.rest.next();
        return Ok(OnCopies {
            edits,
            checks: Vec::new(),
            far: Some(far::far(words)?),
        });
    }
    loop {
        match words.next("an edit, or : and what is done")? {
            ":" => break,
            word => edits.push(edit(word, words, levels)?),
        }
    }
    let mut checks = Vec::new();
    loop {
        let (check, more) = check(words)?;
        checks.push(check);
        if !more {
            let far = None;
            return Ok(OnCopies { edits, checks, far });
        }
    }
}

/// Decimal, or hexadecimal behind 0x.
pub(in crate::scenario::parse) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `name[3]` or `name`.
fn indexed(name: &str) -> Option<(&str, Option<u64>)> {
    match name.split_once('[') {
        None => Some((name, None)),
        Some((name, rest)) => Some((name, Some(number(rest.strip_suffix(']')?)?))),
    }
}

fn amount(text: &str) -> Option<Amount> {
    if let Some(("bat", Some(slot))) = indexed(text) {
        return Some(Amount::Slot(slot));
    }
    if let Some(more) = text.strip_prefix('+') {
        return Some(Amount::More(i64::try_from(number(more)?).ok()?));
    }
    if let Some(less) = text.strip_prefix('-') {
        return Some(Amount::More(-i64::try_from(number(less)?).ok()?));
    }
    number(text).map(Amount::Is)
}

/// `C0FFEE`, or `C0FFEE*20` for so many of them.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let (text, count) = text.split_once('*').unwrap_or((text, "1"));
    let count = count.parse().ok().filter(|count| *count <= MOST_COPIES)?;
    let digits = text.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let once: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    once.map(|once| once.repeat(count))
}

fn edit(word: &str, words: &mut Words<'_>, levels: u8) -> Result<Edit> {
    match word {
        "stale" => return Ok(Edit::Stale),
        "dense" => return Ok(Edit::Dense),
        _ => {}
    }
    if word == "of" {
        let level: usize = words.number("a level")?;
        if level >= usize::from(levels) {
            return Err(words.bad(&level.to_string(), "there is no such level"));
        }
        return Ok(Edit::Of(level));
    }
    let known = word
        .split_once('=')
        .and_then(|(name, value)| named(name, value, usize::from(levels)));
    let rule = "must be an edit, as in sectors=99, bat[3]=+1, in-use=yes, length=-512, chain=1,0, kept[3]=7";
    known.ok_or_else(|| words.bad(word, rule))
}

fn named(name: &str, value: &str, levels: usize) -> Option<Edit> {
    match name {
        "version" => {
            return Some(Edit::Version(match value {
                "1" => Some(Version::V1),
                "2" => Some(Version::V2),
                "none" => None,
                _ => return None,
            }));
        }
        "in-use" => {
            let mark = match value {
                "yes" => InUse::InUse,
                "no" => InUse::Closed0,
                "v2.1" => InUse::ClosedV21,
                other => InUse::Other(u32::try_from(number(other)?).ok()?),
            };
            let field = Field::named(name, None)?;
            return Some(Edit::Field(field, Amount::Is(mark.raw().into())));
        }
        "length" => return amount(value).map(Edit::Length),
        "chain" => return chain(value, levels).map(Edit::Chain),
        "writes" => {
            let bytes = |word: &str| word.parse().ok().filter(|&bytes: &usize| bytes > 0);
            let turns: Option<Vec<usize>> = value.split(',').map(bytes).collect();
            return turns.map(Edit::Writes);
        }
        _ => {}
    }
    if let Some(option) = OPTIONS.into_iter().find(|option| *option == name) {
        return number(value).map(|value| Edit::Option(option, value));
    }
    match indexed(name)? {
        ("at", Some(at)) => bytes(value).map(|bytes| Edit::Bytes(at, bytes)),
        ("kept", Some(slot)) => {
            let slot = u32::try_from(slot).ok()?;
            let entry = u32::try_from(number(value)?).ok()?;
            Some(Edit::Kept(slot, entry))
        }
        (name, index) => Some(Edit::Field(Field::named(name, index)?, amount(value)?)),
    }
}

/// `0,raw:1,2*5` or `none`.
fn chain(text: &str, levels: usize) -> Option<Vec<Link>> {
    let mut chain = Vec::new();
    if text == "none" {
        return Some(chain);
    }
    for word in text.split(',') {
        let raw = word.starts_with(RAW);
        let word = word.strip_prefix(RAW).unwrap_or(word);
        let (file, count) = word.split_once('*').unwrap_or((word, "1"));
        let (file, count): (usize, usize) = (file.parse().ok()?, count.parse().ok()?);
        if file >= levels || chain.len() + count > MOST_LINKS {
            return None;
        }
        chain.extend(std::iter::repeat_n(Link { file, raw }, count));
    }
    Some(chain)
}

fn deed(words: &mut Words<'_>) -> Result<Deed> {
    Ok(match words.next("what is done")? {
        "open" => Deed::Open,
        "read" => Deed::Read,
        "look" => Deed::Look,
        "repair" => Deed::Repair,
        "compact" => Deed::Compact,
        "create" => Deed::Create {
            v1: match words.next("v1 or v2")? {
                "v1" => true,
                "v2" => false,
                other => return Err(words.bad(other, "must be v1 or v2")),
            },
            cluster: words.number("sectors of a cluster")?,
            size: words.number("sectors of the disk")?,
        },
        "grow" => Deed::Grow(words.number("sectors")?),
        "merge" => Deed::Merge(match words.next("up or down")? {
            "up" => true,
            "down" => false,
            other => return Err(words.bad(other, "must be up or down")),
        }),
        "index" => Deed::Index(match words.number("one cluster in so many")? {
            0 => return Err(words.bad("0", "must be at least 1")),
            every => every,
        }),
        "bitmap" => match words.next("start, clear or stop")? {
            "start" => Deed::StartBitmap(words.number("sectors of a bit")?),
            "clear" => Deed::ClearBitmap,
            "stop" => Deed::StopBitmap,
            other => return Err(words.bad(other, "must be start, clear or stop")),
        },
        "point" => Deed::Point(
            words.number("a guest cluster")?,
            words.number("a host cluster")?,
        ),
        other => {
            let rule = "must be open, read, look, create, repair, grow, compact, merge, index, bitmap or point";
            return Err(words.bad(other, rule));
        }
    })
}

/// True: another one follows.
fn check(words: &mut Words<'_>) -> Result<(Check, bool)> {
    let deed = deed(words)?;
    let is_session = matches!(deed, Deed::Open | Deed::Read);
    let (mut under, mut outcome) = (Under::Nothing, Outcome::Done);
    loop {
        let plain = (under, &outcome) == (Under::Nothing, &Outcome::Done);
        let ends = matches!(under, Under::Ends(_)) && outcome == Outcome::Done;
        let Some(word) = words.rest.next() else {
            let check = Check {
                deed,
                under,
                outcome,
            };
            return Ok((check, false));
        };
        match word {
            ":" => {
                let check = Check {
                    deed,
                    under,
                    outcome,
                };
                return Ok((check, true));
            }
            "fail" if plain => under = faults(words)?,
            "applied" if is_session && under == Under::Faults(FaultKind::Io, 1) => {
                under = Under::Applied;
            }
            "ends" if plain && is_session => {
                under = Under::Ends(words.number("a byte of the file")?);
            }
            "cut" if plain && !is_session => under = Under::Cuts,
            "cancel" if plain && matches!(deed, Deed::Merge(_) | Deed::Compact) => {
                under = Under::Cancels;
            }
            "refused" if plain || ends => outcome = Outcome::Refused(quoted(words)?),
            "says" if outcome == Outcome::Done => outcome = Outcome::Says(quoted(words)?),
            "left" if plain => outcome = Outcome::Left(quoted(words)?),
            other => {
                let rule = "must be fail, cut, cancel, ends, refused, says, left, : or nothing";
                return Err(words.bad(other, rule));
            }
        }
    }
}

fn faults(words: &mut Words<'_>) -> Result<Under> {
    let word = words.next("io, short, nothing, nospace or unsupported")?;
    let (name, refusals) = word.split_once(':').unwrap_or((word, "1"));
    let kind = match name {
        "io" => FaultKind::Io,
        "short" => FaultKind::Short,
        "nothing" => FaultKind::Nothing,
        "nospace" => FaultKind::NoSpace,
        "unsupported" => FaultKind::Unsupported,
        other => {
            let rule = "must be io, short, nothing, nospace or unsupported";
            return Err(words.bad(other, rule));
        }
    };
    let refusals = words.parse(refusals, "must be a number of refusals, as in nospace:3")?;
    Ok(Under::Faults(kind, refusals))
}

/// Words in quotes; between them single spaces.
pub(in crate::scenario::parse) fn quoted(words: &mut Words<'_>) -> Result<String> {
    let first = words.next("words in quotes")?;
    let Some(mut text) = first.strip_prefix('"').map(str::to_owned) else {
        return Err(words.bad(first, "must be words in quotes"));
    };
    while !text.ends_with('"') || text.is_empty() {
        let next = words.next("the end of the quoted words")?;
        text.push(' ');
        text.push_str(next);
    }
    text.pop();
    match text.is_empty() {
        true => Err(words.bad(first, "must be words in quotes")),
        false => Ok(text),
    }
}
