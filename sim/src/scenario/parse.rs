//! Reads a scenario. Whatever is wrong is told with its line and token; nothing is skipped, nothing guessed.

mod chain;
mod change;
mod copies;
mod words;

use model::op::{End, Kind, Op};
use ploop_core::units::{Millis, QueueId, Tag};
use ploop_core::{Failure as CoreFailure, Origin};

use crate::disk::fault::IoKind;
use crate::scenario::{Line, Place, Scenario, Step, Wanted};
use crate::world::chain::{Level, Owner, Plan};
use crate::world::crash::Survivor;
use crate::world::flight::Applied;
use crate::world::stage::{Ending, Pick, Sort};
use crate::world::switch::Switch;
use crate::world::trouble::Trouble;
use chain::{default_shape, geometry, plan};
use change::{change, changed, track};
use copies::on_copies;
use words::{Result, Words, bad};

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// The first line that is no step, and the token that is wrong.
    pub fn parse(text: &str) -> Result<Scenario> {
        let mut scenario = Scenario {
            shape: default_shape(),
            lowers: Vec::new(),
            top: Plan::default(),
            seed: None,
            steps: Vec::new(),
        };
        let mut seen = Seen::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("");
            let mut words = Words {
                line: index + 1,
                rest: line.split_whitespace(),
            };
            let Some(word) = words.rest.next() else {
                continue;
            };
            if scenario.header(word, &mut words, &mut seen)? {
                if !scenario.steps.is_empty() {
                    return Err(words.bad(word, "must stand before all that happens"));
                }
            } else {
                let step = scenario.step(word, &mut words)?;
                scenario.steps.push(Line {
                    number: index + 1,
                    step,
                });
            }
            words.end()?;
        }
        Ok(scenario)
    }

    /// A line that says what there is. False: it says what happens.
    fn header(&mut self, word: &str, words: &mut Words<'_>, seen: &mut Seen) -> Result<bool> {
        match word {
            "geometry" => {
                if seen.geometry || seen.chain {
                    return Err(words.bad(word, "must stand first, and once"));
                }
                seen.geometry = true;
                self.shape = geometry(words)?;
            }
            "base" => {
                if seen.top {
                    return Err(words.bad(word, "must stand before `top`"));
                }
                seen.chain = true;
                let level = self.base(words)?;
                self.lowers.push(level);
                self.shape.levels += 1;
            }
            "top" => {
                if seen.top {
                    return Err(words.bad(word, "must stand once"));
                }
                (seen.chain, seen.top) = (true, true);
                self.top = plan(words, &self.shape, true)?;
            }
            "seed" => self.seed = Some(words.number("a seed")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn base(&mut self, words: &mut Words<'_>) -> Result<Level> {
        match words.next("raw or image")? {
            "image" => Ok(Level::Image(plan(words, &self.shape, false)?)),
            "raw" if self.lowers.is_empty() => {
                self.shape.raw_base = true;
                let plan = plan(words, &self.shape, false)?;
                let data: Vec<u32> = plan
                    .hosts
                    .iter()
                    .filter_map(|owner| match owner {
                        Owner::Guest(clu) => Some(*clu),
                        _ => None,
                    })
                    .collect();
                let clusters = data.iter().max().map_or(1, |last| last + 1);
                Ok(Level::Raw { clusters, data })
            }
            "raw" => Err(words.bad("raw", "must be the first base")),
            other => Err(words.bad(other, "must be raw or image")),
        }
    }

    fn step(&self, word: &str, words: &mut Words<'_>) -> Result<Step> {
        Ok(match word {
            "deliver" => deliver(words)?,
            "turn" => {
                let queue: u16 = words.number("a queue")?;
                if queue >= self.shape.options.queues {
                    return Err(words.bad(&queue.to_string(), "there is no such queue"));
                }
                Step::Turn(QueueId(queue))
            }
            "settle" => Step::Settle,
            "tick" => Step::Tick(Millis(words.number("milliseconds")?)),
            "suspend" => Step::Suspend(true),
            "resume" => Step::Suspend(false),
            "close" => match words.rest.next() {
                None => Step::Close(None),
                Some("cut") => Step::Close(Some(words.number("a number of calls")?)),
                Some(other) => return Err(words.bad(other, "must be cut or nothing")),
            },
            "kill" => Step::Kill,
            "snapshot" => changed(Switch::Snapshot, words)?,
            "compact" => changed(Switch::Compact, words)?,
            "reload" => Step::Switch(Switch::Reload, Trouble::None),
            "grow" => match words.number("sectors")? {
                0 => return Err(words.bad("0", "must be at least one sector")),
                more => changed(Switch::Grow(more), words)?,
            },
            "rollback" | "index" | "repair" | "bitmap" | "write-back" | "read-only" => {
                let switch = change(word, words)?;
                changed(switch, words)?
            }
            "track" => Step::Track(track(words)?),
            "copy" => Step::Copies(on_copies(words, self.levels_now())?),
            "merge" => {
                let switch = match words.next("up or down")? {
                    "up" => Switch::Forward,
                    "down" => Switch::Backward,
                    other => return Err(words.bad(other, "must be up or down")),
                };
                changed(switch, words)?
            }
            "cut" => Step::Cut(match words.rest.next() {
                None => Survivor::Seed(1),
                Some("keep-all") => Survivor::KeepAll,
                Some("keep-none") => Survivor::KeepNone,
                Some("seed") => Survivor::Seed(words.number("a seed")?),
                Some(other) => {
                    return Err(words.bad(other, "must be keep-all, keep-none, seed or nothing"));
                }
            }),
            "ended" => {
                let from = self.client(words)?;
                Step::Ended(
                    from,
                    match words.next("ok, io or nospace")? {
                        "ok" => End::Ok,
                        "io" => End::Io,
                        "nospace" => End::NoSpace,
                        other => return Err(words.bad(other, "must be ok, io or nospace")),
                    },
                )
            }
            "waits" => Step::Waits(self.client(words)?),
            "expect" => {
                let (start, len) = self.range(words)?;
                let mut wanted = vec![content(words)?];
                while let Some(word) = words.rest.next() {
                    if word != "|" {
                        return Err(words.bad(word, "must be | or the end of the line"));
                    }
                    wanted.push(content(words)?);
                }
                Step::Expect { start, len, wanted }
            }
            "mapped" => {
                let (sector, _) = self.range(words)?;
                let place = match words.next("top, no or a level")? {
                    "top" => Place::Top,
                    "no" => Place::No,
                    level => Place::Lower(words.parse(level, "must be top, no or a level")?),
                };
                Step::Mapped(sector, place)
            }
            client if client.starts_with('q') => {
                let from = self.client_named(client, words)?;
                Step::Submit(from, self.op(words)?)
            }
            other => return Err(words.bad(other, "unknown step")),
        })
    }

    fn op(&self, words: &mut Words<'_>) -> Result<Op> {
        let name = words.next("an operation")?;
        if name == "flush" {
            let kind = Kind::Flush;
            return Ok(Op {
                kind,
                start: 0,
                len: 0,
            });
        }
        if !["read", "write", "zeroes", "discard", "promote"].contains(&name) {
            let rule = "must be read, write, zeroes, discard, promote or flush";
            return Err(words.bad(name, rule));
        }
        let (start, len) = match words.peek() {
            // A barrier as old kernels send it.
            Some("nothing") if name == "write" => {
                words.rest.next();
                (0, 0)
            }
            _ => self.range(words)?,
        };
        if name == "promote" {
            let below = self.levels_now() - 1;
            if below == 0 {
                return Err(words.bad(name, "there is nothing below the top"));
            }
            let lowest = match words.rest.next() {
                None => below - 1,
                Some("from") => words.number("a level")?,
                Some(other) => return Err(words.bad(other, "must be from or nothing")),
            };
            if lowest >= below {
                return Err(words.bad(&lowest.to_string(), "must be a level below the top"));
            }
            let kind = Kind::Promote { lowest };
            return Ok(Op { kind, start, len });
        }
        let (mut fua, mut preflush, mut unmap) = (false, false, false);
        for flag in words.rest.by_ref() {
            match (name, flag) {
                ("write" | "zeroes", "fua") => fua = true,
                ("write", "preflush") => preflush = true,
                ("zeroes", "unmap") => unmap = true,
                _ => {
                    let line = words.line;
                    return Err(bad(line, flag, &format!("{name} has no such flag")));
                }
            }
        }
        let kind = match name {
            "read" => Kind::Read,
            "write" => Kind::Write { preflush, fua },
            "zeroes" => Kind::WriteZeroes { fua, unmap },
            _ => Kind::Discard,
        };
        Ok(Op { kind, start, len })
    }

    /// `4+2`, or `4` for one sector. Inside the disk.
    fn range(&self, words: &mut Words<'_>) -> Result<(u64, u64)> {
        let word = words.next("sectors, as in 4+2")?;
        let rule = "must be sectors of the disk, as in 4+2";
        let (start, len) = match word.split_once('+') {
            None => (words.parse(word, rule)?, 1),
            Some((start, len)) => (words.parse(start, rule)?, words.parse(len, rule)?),
        };
        let size = self.size_now();
        if len == 0 || start >= size || len > size - start {
            return Err(words.bad(word, &format!("must be inside the disk of {size} sectors")));
        }
        Ok((start, len))
    }

    /// The size of the disk after the steps so far.
    fn size_now(&self) -> u64 {
        let grown = self.steps.iter().map(|line| match line.step {
            Step::Switch(Switch::Grow(more), _) => more,
            _ => 0,
        });
        grown.fold(self.shape.size, u64::saturating_add)
    }

    /// The levels of the chain after the steps so far.
    fn levels_now(&self) -> u8 {
        let mut levels = self.shape.levels;
        for line in &self.steps {
            match line.step {
                Step::Switch(Switch::Snapshot, _) => levels += 1,
                Step::Switch(Switch::Forward | Switch::Backward, _) => {
                    levels = (levels - 1).max(1);
                }
                _ => {}
            }
        }
        levels
    }

    fn client(&self, words: &mut Words<'_>) -> Result<Origin> {
        let word = words.next("a client, as in q0.t1")?;
        self.client_named(word, words)
    }

    fn client_named(&self, word: &str, words: &Words<'_>) -> Result<Origin> {
        let origin = client(word, words)?;
        let options = &self.shape.options;
        if origin.queue.0 >= options.queues || origin.tag.0 >= options.depth {
            return Err(words.bad(word, "there is no such queue and tag"));
        }
        Ok(origin)
    }
}

fn client(word: &str, words: &Words<'_>) -> Result<Origin> {
    let parts = word
        .strip_prefix('q')
        .and_then(|rest| rest.split_once(".t"))
        .and_then(|(queue, tag)| Some((queue.parse().ok()?, tag.parse().ok()?)));
    match parts {
        Some((queue, tag)) => Ok(Origin {
            queue: QueueId(queue),
            tag: Tag(tag),
        }),
        None => Err(words.bad(word, "must be a client, as in q0.t1")),
    }
}

/// What has been said already.
#[derive(Default)]
struct Seen {
    geometry: bool,
    chain: bool,
    top: bool,
}

fn content(words: &mut Words<'_>) -> Result<Wanted> {
    let rule = "must be w1 (the first write), zero or base";
    match words.next("a content: w1, zero or base")? {
        "zero" => Ok(Wanted::Zero),
        "base" => Ok(Wanted::Base),
        word => match word.strip_prefix('w') {
            Some(number) => Ok(Wanted::Write(words.parse(number, rule)?)),
            None => Err(words.bad(word, rule)),
        },
    }
}

fn deliver(words: &mut Words<'_>) -> Result<Step> {
    let mut word = words.next("which I/O")?;
    if word == "all" {
        return Ok(Step::DeliverAll);
    }
    let newest = word == "newest";
    if newest {
        word = words.next("which I/O")?;
    }
    let sort = match word {
        "any" => Sort::Any,
        "hole" => Sort::Hole,
        "read" => Sort::Io(IoKind::Read),
        "write" => Sort::Io(IoKind::Write),
        "zero" => Sort::Io(IoKind::Zero),
        "copy" => Sort::Io(IoKind::Copy),
        "setlen" => Sort::Io(IoKind::SetLen),
        "index" => Sort::Io(IoKind::Index),
        "punch" => Sort::Io(IoKind::Punch),
        "sync" => Sort::Io(IoKind::Sync),
        other => {
            let kinds =
                "must be read, write, zero, copy, setlen, index, punch, sync, hole, any or all";
            return Err(words.bad(other, kinds));
        }
    };
    let mut pick = Pick {
        sort,
        of: None,
        newest,
    };
    let mut next = words.rest.next();
    if next == Some("of") {
        let word = words.next("a client, as in q0.t1")?;
        pick.of = Some(client(word, words)?);
        next = words.rest.next();
    }
    let ending = match next {
        None => Ending::Done,
        Some("short") => Ending::Short(words.number("a number of bytes")?),
        Some("fail") => Ending::Failed {
            failure: match words.next("io, nospace or unsupported")? {
                "io" => CoreFailure::Io,
                "nospace" => CoreFailure::NoSpace,
                "unsupported" => CoreFailure::Unsupported,
                other => return Err(words.bad(other, "must be io, nospace or unsupported")),
            },
            applied: match words.rest.next() {
                None => Applied::Nothing,
                Some("applied") => Applied::All,
                Some("drawn") => Applied::Drawn,
                Some(other) => {
                    return Err(words.bad(other, "must be applied, drawn or nothing"));
                }
            },
        },
        Some(other) => return Err(words.bad(other, "must be of, short, fail or nothing")),
    };
    Ok(Step::Deliver(pick, ending))
}
