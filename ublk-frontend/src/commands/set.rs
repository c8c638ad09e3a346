//! `set`: what `add` was told of a device, told anew while the disk is in use. Its server steps aside for a moment, and the next
//! one serves by the new words.
//!
//! * Delay of index write-back and what a full file system means: for every device.
//! * Where requests wait for space nobody can step aside: what a full file system means is told to the living server.
//! * Read-only, and back: the disk must not be mounted. The kernel refuses writes first, then what it has is written out; it allows
//!   them last: none arrives where it fails, but of those who had the disk open without a claim. Read-only, the images are opened for reading: others may read them, too.
//! * The record is replaced in one step; the same command once more does what is left of one that was killed.

use std::cell::RefCell;
use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use super::merge_up::no_server;
use super::served::Named;
use super::tell::{question, tell, tell_soon};
use super::topology::{begin, known, with_any_server_aside};
use super::{folder, refused};
use crate::cli::{NoSpaceArg, Set};
use crate::tool::ToolError;
use crate::tool::output::Output;
use crate::ublk::claim::Claim;
use crate::ublk::ctrl::Control;
use crate::ublk::socket::{Answer, Question};
use crate::ublk::state::{Folder, NoSpace, Record, Stale};
use crate::ublk::sys::attr;

/// What is set from now on.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    #[serde(flatten)]
    device: Named,
    flush_delay_ms: u64,
    no_space: NoSpaceArg,
    /// In seconds; `None`: for ever.
    no_space_limit: Option<u64>,
    read_only: bool,
}

/// See the module.
pub fn run(asked: &Set, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let folder = folder()?;
    let now = match apply_living(&folder, asked)? {
        Some(now) => now,
        None => apply_aside(&folder, asked)?,
    };
    if !asked.json {
        return Ok(());
    }
    let (no_space, no_space_limit) = now.no_space.word();
    out.json_line(&Report {
        device: Named::of(now.id),
        flush_delay_ms: now.flush_delay_ms,
        no_space,
        no_space_limit,
        read_only: now.read_only,
    })
}

/// Where requests wait for space nobody can step aside, and that is when people want them to wait no longer: so the server is told.
fn apply_living(folder: &Folder, asked: &Set) -> Result<Option<Record>, ToolError> {
    let _changing = begin(folder, asked.id)?;
    let old = known(folder, asked.id)?;
    let new = change(&old, asked)?;
    let only_space = Record {
        no_space: new.no_space,
        ..old.clone()
    };
    let is_living = old.no_space != NoSpace::Fail && old.no_space != new.no_space;
    if new != only_space || !is_living || asked.read_write {
        return Ok(None);
    }
    tell(folder, asked.id, Question::NoSpace(new.no_space))?;
    Ok(Some(new))
}

/// The next server serves by other words.
fn apply_aside(folder: &Folder, asked: &Set) -> Result<Record, ToolError> {
    let id = asked.id;
    let wish = asked.read_only.then_some(true);
    let wish = wish.or(asked.read_write.then_some(false));
    let held: RefCell<Option<Claim>> = RefCell::new(None);
    let before = |record: &mut Record, _: &_| -> Result<(), ToolError> {
        change(record, asked)?;
        let Some(read_only) = wish else {
            return Ok(());
        };
        // A disk without a server would be flushed for ever.
        if !matches!(question(folder, id, Question::Info)?, Some(Answer::Info(_))) {
            return Err(no_server(id));
        }
        if !read_only && was_added_read_only(id)? {
            return Err(refused(format!(
                "device {id} was added with --read-only, and the kernel keeps that as long as it lives: `del`, `add`"
            )));
        }
        let mut held = held.borrow_mut();
        let claim = held.insert(Claim::soon(id)?);
        record.retell = Stale::ReadOnly;
        if !read_only {
            return Ok(());
        }
        // Whoever dies from here on leaves a disk that the next server makes what the record says.
        folder.save(record)?;
        // First nobody writes any more, then what was written goes to the images.
        claim.set_read_only(true)?;
        claim.flush()
    };
    let done = with_any_server_aside(folder, id, known, before, |server| {
        let record = change(server.record(), asked)?;
        server.commit_record(|now| *now = record)?;
        Ok(server.record().clone())
    });
    let Some(claim) = held.into_inner() else {
        return done;
    };
    // Whatever became of the command: what the next server does is what the record says.
    let told = match known(folder, id) {
        Ok(recorded) => claim.set_read_only(recorded.read_only),
        Err(error) => Err(error),
    };
    let told = told.and_then(|()| tell_soon(folder, id, Question::Told));
    match (done, told) {
        (done, Ok(())) => done,
        (Ok(_), Err(error)) => Err(refused(format!("it is set, but {error}"))),
        (Err(first), Err(error)) => Err(refused(format!("{first}; and {error}"))),
    }
}

/// The record as it is to be.
fn change(old: &Record, asked: &Set) -> Result<Record, ToolError> {
    let mut new = old.clone();
    if let Some(delay) = asked.flush_delay {
        new.flush_delay_ms = u64::try_from(delay.0.as_millis()).unwrap_or(u64::MAX);
    }
    match asked.no_space {
        Some(NoSpaceArg::Fail) => new.no_space = NoSpace::Fail,
        Some(NoSpaceArg::Wait) => new.no_space = NoSpace::Wait { seconds: None },
        None => {}
    }
    if let Some(limit) = asked.no_space_limit {
        let NoSpace::Wait { seconds } = &mut new.no_space else {
            return Err(refused(format!(
                "--no-space-limit: device {} does not wait for space; give --no-space wait, too",
                old.id
            )));
        };
        *seconds = whole_seconds(limit.0)?;
    }
    new.read_only = asked.read_only || (old.read_only && !asked.read_write);
    Ok(new)
}

/// Of `--no-space-limit`; 0 is none.
pub(super) fn whole_seconds(limit: Duration) -> Result<Option<u64>, ToolError> {
    match (limit.as_secs(), limit.subsec_nanos()) {
        (0, 0) => Ok(None),
        (seconds, 0) => Ok(Some(seconds)),
        _ => Err(refused("--no-space-limit: whole seconds, or 0: for ever")),
    }
}

/// The kernel was told so when the disk was made.
fn was_added_read_only(id: u32) -> Result<bool, ToolError> {
    let mut control = Control::open().map_err(|error| refused(error.to_string()))?;
    let params = control
        .params(id)
        .map_err(|error| refused(error.to_string()))?;
    Ok(params.basic.attrs & attr::READ_ONLY != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::ublk::state::tests::record;
    use clap::Parser;

    fn changed(words: &str) -> Result<Record, String> {
        let line = format!("ploop-ublk set 3 {words}");
        let asked = Cli::try_parse_from(line.split_whitespace()).expect("words");
        let Command::Set(asked) = asked.command else {
            panic!("another command");
        };
        change(&record(3), &asked).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_named_stays() {
        let old = record(3);
        let now = changed("--flush-delay 0").expect("set");
        assert_eq!(
            now,
            Record {
                flush_delay_ms: 0,
                ..old.clone()
            }
        );
        let now = changed("--flush-delay 2s --no-space fail").expect("set");
        assert_eq!((now.flush_delay_ms, now.no_space), (2000, NoSpace::Fail));
        let now = changed("--no-space-limit 5s").expect("set");
        assert_eq!(now.no_space, NoSpace::Wait { seconds: Some(5) });
        let now = changed("--no-space wait --no-space-limit 0").expect("set");
        assert_eq!(now.no_space, NoSpace::Wait { seconds: None });
        assert!(changed("--read-only").expect("set").read_only);
        assert!(!changed("--read-write").expect("set").read_only);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |words| changed(words).expect_err(words);
        assert!(refused("--no-space fail --no-space-limit 5s").contains("does not wait"));
        assert!(refused("--no-space-limit 1500ms").contains("whole seconds"));
        for words in ["", "--read-only --read-write", "--json"] {
            let line = format!("ploop-ublk set 3 {words}");
            let parsed = Cli::try_parse_from(line.split_whitespace());
            assert!(parsed.is_err(), "{words:?}");
        }
    }
}
