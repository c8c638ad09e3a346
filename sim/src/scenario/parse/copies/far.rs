//! Files that are longer than any disk: `copy far FILE... : CHECK : CHECK ...`.

use ploop_core::format::Version;

use crate::scenario::copies::{Far, FarDeed, FarFile, FarImage, Outcome, Slots};
use crate::scenario::parse::copies::{number, quoted};
use crate::scenario::parse::words::{Result, Words};

/// Most slots: their table is made in memory.
const MOST_ENTRIES: u32 = 1 << 21;
/// Most sectors of a cluster with bitmaps: it is made in memory.
const MOST_CLUSTER: u32 = 1 << 22;

pub(super) fn far(words: &mut Words<'_>) -> Result<Far> {
    let mut files = Vec::new();
    loop {
        match words.next("raw, v1, v2, or : and what is done")? {
            ":" if !files.is_empty() => break,
            "raw" if files.is_empty() => {
                let sectors = words.number("sectors of the file")?;
                files.push(FarFile::Raw(sectors, data(words, sectors)?));
            }
            "v1" => files.push(FarFile::Image(image(words, Version::V1)?)),
            "v2" => files.push(FarFile::Image(image(words, Version::V2)?)),
            other => return Err(words.bad(other, "must be raw (the first file), v1 or v2")),
        }
    }
    let mut checks = Vec::new();
    loop {
        let (check, more) = check(words)?;
        checks.push(check);
        if !more {
            return Ok(Far { files, checks });
        }
    }
}

/// Sectors of a raw file that are not zeros.
fn data(words: &mut Words<'_>, sectors: u64) -> Result<Vec<u64>> {
    let mut data = Vec::new();
    while let Some(word) = words.peek().and_then(|word| word.strip_prefix('@')) {
        words.rest.next();
        let sector = words.parse(word, "must be a sector of the file")?;
        if sector >= sectors {
            return Err(words.bad(word, "must be a sector of the file"));
        }
        data.push(sector);
    }
    Ok(data)
}

fn image(words: &mut Words<'_>, version: Version) -> Result<FarImage> {
    let cluster: u32 = words.number("sectors of a cluster")?;
    let entries: u32 = words.number("a number of slots")?;
    for (value, most) in [(cluster, MOST_CLUSTER), (entries, MOST_ENTRIES)] {
        if value == 0 || value > most {
            let rule = format!("must be from 1 to {most}");
            return Err(words.bad(&value.to_string(), &rule));
        }
    }
    let mut image = FarImage {
        version,
        cluster,
        entries,
        size: u64::from(cluster) * u64::from(entries),
        start: None,
        file: None,
        slots: Vec::new(),
        extension: None,
        bitmaps: 0,
    };
    while let Some((word, (name, value))) = words
        .peek()
        .and_then(|word| Some((word, word.split_once('=')?)))
    {
        words.rest.next();
        let known = number(value).and_then(|value| named(&mut image, name, value));
        let rule = "must be size=, start=, file=, extension=, bitmaps=, or slots, as in 0-65533=1";
        known.ok_or_else(|| words.bad(word, rule))?;
    }
    Ok(image)
}

fn named(image: &mut FarImage, name: &str, value: u64) -> Option<()> {
    let small = u32::try_from(value).ok();
    match name {
        "size" => image.size = value,
        "start" => image.start = Some(small?),
        "file" => image.file = Some(value),
        "extension" => image.extension = Some(small?),
        "bitmaps" => {
            image.bitmaps = small.filter(|&count| count > 0 && image.extension.is_some())?
        }
        slots => {
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            if first > last || last >= image.entries {
                return None;
            }
            let host = small?;
            image.slots.push(Slots { first, last, host });
        }
    }
    Some(())
}

/// True: another one follows.
fn check(words: &mut Words<'_>) -> Result<((FarDeed, Outcome), bool)> {
    let deed = match words.next("what is done")? {
        "look" => FarDeed::Look,
        "read" => FarDeed::Read,
        "repair" => FarDeed::Repair,
        "grow" => FarDeed::Grow(words.number("sectors")?),
        "merge" => match words.next("up")? {
            "up" => FarDeed::Merge,
            other => return Err(words.bad(other, "must be up")),
        },
        "write" => {
            let mut sectors = vec![words.number("a sector")?];
            while let Some(sector) = words.peek().and_then(|word| word.parse().ok()) {
                words.rest.next();
                sectors.push(sector);
            }
            FarDeed::Write(sectors)
        }
        other => {
            let rule = "must be look, read, write, repair, grow or merge";
            return Err(words.bad(other, rule));
        }
    };
    let outcome = match words.rest.next() {
        None => return Ok(((deed, Outcome::Done), false)),
        Some(":") => return Ok(((deed, Outcome::Done), true)),
        Some("refused") => Outcome::Refused(quoted(words)?),
        Some("says") => Outcome::Says(quoted(words)?),
        Some("left") => Outcome::Left(quoted(words)?),
        Some(other) => return Err(words.bad(other, "must be refused, says, left, : or nothing")),
    };
    match words.rest.next() {
        None => Ok(((deed, outcome), false)),
        Some(":") => Ok(((deed, outcome), true)),
        Some(other) => Err(words.bad(other, "must be : or nothing")),
    }
}
