//! The story as text: one line an event, the legend behind it.

use super::names;
use super::story::Story;
use std::io::{self, Write};

/// Writes it.
pub fn write(story: &Story, out: &mut dyn Write) -> io::Result<()> {
    if story.checker.is_empty() {
        writeln!(out, "{}", story.verdict)?;
    } else {
        writeln!(out, "FAILED [{}] {}", story.checker, story.verdict)?;
    }
    let seed = story
        .seed
        .map_or(String::new(), |seed| format!(", seed {seed}"));
    writeln!(
        out,
        "profile {}{seed}, trace {}",
        story.profile, story.trace
    )?;
    let counts: Vec<String> = story
        .counts
        .rows()
        .iter()
        .map(|(name, count)| names::counted(*count, name))
        .collect();
    writeln!(out, "{}", counts.join(", "))?;
    if let Some(suspect) = &story.suspect {
        writeln!(out, "the sector that is wrong: {suspect}")?;
    }
    writeln!(out)?;
    let mut step = 0;
    for row in &story.rows {
        let fate = story.fates.after(row.step).filter(|_| row.step != step);
        let rate = fate.map_or(String::new(), |fate| format!("{:.0}%", 100.0 * fate.rate()));
        let number = if row.step == step {
            String::new()
        } else {
            row.step.to_string()
        };
        step = row.step;
        let mark = if row.guilty { '*' } else { ' ' };
        let lane = row.lane.map_or(String::new(), |lane| lane.name());
        writeln!(out, "{number:>4} {rate:>4} {mark} {lane:10} {}", row.text)?;
        if story.fates.inevitable == Some(row.step) && is_last_of_step(story, row) {
            writeln!(out, "---------- from here on it was inevitable ----------")?;
        }
    }
    legend(story, out)
}

fn is_last_of_step(story: &Story, row: &super::story::Row) -> bool {
    let last = story.rows.iter().rfind(|other| other.step == row.step);
    last.is_some_and(|last| std::ptr::eq(last, row))
}

fn legend(story: &Story, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    for (sign, meaning) in [
        (
            "12",
            "number of the event on the tape; lines without one belong to it",
        ),
        (
            "34%",
            "of the continuations of the tape up to here, chosen by chance, so many fail in the same way",
        ),
        (
            "*",
            "touched the sector that is wrong: its data, its slot, or a host cluster that was ever its own",
        ),
        ("w3", "what write number 3 wrote; 0 is zeros"),
        (
            "#5",
            "an I/O: it begins (in flight, any part of it may survive), is done (volatile), is durable (after a sync or FUA)",
        ),
        ("client 0.1", "the client that uses tag 1 of queue 0"),
        (
            "host 7",
            "a cluster of the top file; file 0 is the base of the chain",
        ),
    ] {
        writeln!(out, "  {sign:11}{meaning}")?;
    }
    if let Some((before, after)) = story.fates.largest_rise() {
        writeln!(out, "  {}", names::rise(before, after))?;
    }
    if story.fates.every > 1 {
        let every = story.fates.every;
        writeln!(out, "  only every {every}th step was continued by chance")?;
    }
    if !story.fates.list.is_empty() && story.fates.inevitable.is_none() {
        writeln!(out, "  no step makes it certain")?;
    }
    Ok(())
}
