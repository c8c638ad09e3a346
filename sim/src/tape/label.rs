//! Names of the stretches of a tape: one stretch an event, named by what happened (queue, what, to which object, the
//! how manyth of its like). A person reads them; a replay finds the same event again by them after the code or the
//! tape has changed.
//!
//! ```text
//! [submit q1 write c3]    [deliver q0 index p1]    [submit>deliver q0 data 1.0 #1 fault]    [cut]
//! ```
//! `a>b`: the tape asked for `a`, which could not be, and `b` came in its place.

use super::Kind;
use std::fmt;
use std::str::FromStr;

/// What a stretch of the tape is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// An event of the device's life, not named yet.
    #[default]
    Any,
    /// Shape of the image and of the device.
    Shape,
    /// The files of the chain.
    Chain,
    /// The weights of the workload.
    Swarm,
    /// The faults to come.
    Faults,
    /// How a power cycle ends.
    Plan,
    /// A client submits an operation.
    Submit,
    /// The completion of an I/O is delivered.
    Deliver,
    /// The end of a batch.
    Turn,
    /// Time passes.
    Tick,
    /// The device is suspended.
    Suspend,
    /// The device goes on.
    Resume,
    /// Nothing more is submitted in this power cycle.
    Stop,
    /// The power is cut.
    Cut,
    /// The server is killed.
    Kill,
    /// The chain is changed.
    Switch,
    /// A cluster is copied as tracking says.
    Copy,
    /// The whole disk is read.
    Read,
    /// The image is closed.
    Close,
}

impl Event {
    const ALL: [Event; 19] = [
        Event::Any,
        Event::Shape,
        Event::Chain,
        Event::Swarm,
        Event::Faults,
        Event::Plan,
        Event::Submit,
        Event::Deliver,
        Event::Turn,
        Event::Tick,
        Event::Suspend,
        Event::Resume,
        Event::Stop,
        Event::Cut,
        Event::Kill,
        Event::Switch,
        Event::Copy,
        Event::Read,
        Event::Close,
    ];

    /// The name in a tape file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Event::Any => "any",
            Event::Shape => "shape",
            Event::Chain => "chain",
            Event::Swarm => "swarm",
            Event::Faults => "faults",
            Event::Plan => "plan",
            Event::Submit => "submit",
            Event::Deliver => "deliver",
            Event::Turn => "turn",
            Event::Tick => "tick",
            Event::Suspend => "suspend",
            Event::Resume => "resume",
            Event::Stop => "stop",
            Event::Cut => "cut",
            Event::Kill => "kill",
            Event::Switch => "switch",
            Event::Copy => "copy",
            Event::Read => "read",
            Event::Close => "close",
        }
    }

    /// True for an event of a power cycle: it may be left out, and come in any number. The others stand where the run
    /// says, whatever the tape holds.
    #[must_use]
    pub fn is_ordinary(self) -> bool {
        matches!(
            self,
            Event::Any
                | Event::Submit
                | Event::Deliver
                | Event::Turn
                | Event::Tick
                | Event::Suspend
                | Event::Resume
                | Event::Copy
        )
    }

    fn from_name(name: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == name)
    }
}

/// What an event is about: an operation of a client and its first guest cluster, or an I/O and its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// Nothing in particular.
    #[default]
    None,
    /// A read of this guest cluster and on.
    Read(u32),
    /// A write.
    Write(u32),
    /// A FUA write.
    Fua(u32),
    /// A write that flushes first.
    Preflush(u32),
    /// Write zeroes.
    Zeroes(u32),
    /// Discard.
    Discard(u32),
    /// Promote.
    Promote(u32),
    /// Flush.
    Flush,
    /// Reading for a request (queue, tag).
    Fetch(u16, u16),
    /// Filling a hole for a request.
    Hole(u16, u16),
    /// Writing data of a request.
    Data(u16, u16),
    /// Zeroing from this sector of the file on.
    Zero(u32),
    /// Copying to this sector.
    Copy(u32),
    /// Extending the file.
    Length,
    /// Writing this page of the index.
    Index(u32),
    /// Punching a hole at this sector.
    Punch(u32),
    /// A sync.
    Sync,
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Object::None => Ok(()),
            Object::Read(c) => write!(f, "read c{c}"),
            Object::Write(c) => write!(f, "write c{c}"),
            Object::Fua(c) => write!(f, "fua c{c}"),
            Object::Preflush(c) => write!(f, "preflush c{c}"),
            Object::Zeroes(c) => write!(f, "zeroes c{c}"),
            Object::Discard(c) => write!(f, "discard c{c}"),
            Object::Promote(c) => write!(f, "promote c{c}"),
            Object::Flush => f.write_str("flush"),
            Object::Fetch(q, t) => write!(f, "fetch {q}.{t}"),
            Object::Hole(q, t) => write!(f, "hole {q}.{t}"),
            Object::Data(q, t) => write!(f, "data {q}.{t}"),
            Object::Zero(s) => write!(f, "zero s{s}"),
            Object::Copy(s) => write!(f, "copy s{s}"),
            Object::Length => f.write_str("length"),
            Object::Index(p) => write!(f, "index p{p}"),
            Object::Punch(s) => write!(f, "punch s{s}"),
            Object::Sync => f.write_str("sync"),
        }
    }
}

impl Object {
    fn parse(word: &str, place: &str) -> Option<Object> {
        let number = |mark: char| place.strip_prefix(mark)?.parse().ok();
        let origin = || {
            let (queue, tag) = place.split_once('.')?;
            Some((queue.parse().ok()?, tag.parse().ok()?))
        };
        Some(match word {
            "read" => Object::Read(number('c')?),
            "write" => Object::Write(number('c')?),
            "fua" => Object::Fua(number('c')?),
            "preflush" => Object::Preflush(number('c')?),
            "zeroes" => Object::Zeroes(number('c')?),
            "discard" => Object::Discard(number('c')?),
            "promote" => Object::Promote(number('c')?),
            "fetch" => origin().map(|(q, t)| Object::Fetch(q, t))?,
            "hole" => origin().map(|(q, t)| Object::Hole(q, t))?,
            "data" => origin().map(|(q, t)| Object::Data(q, t))?,
            "zero" => Object::Zero(number('s')?),
            "copy" => Object::Copy(number('s')?),
            "index" => Object::Index(number('p')?),
            "punch" => Object::Punch(number('s')?),
            _ => return None,
        })
    }

    /// Objects that are one word.
    fn alone(word: &str) -> Option<Object> {
        match word {
            "flush" => Some(Object::Flush),
            "length" => Some(Object::Length),
            "sync" => Some(Object::Sync),
            _ => None,
        }
    }
}

/// The name of one stretch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Label {
    /// What the tape asked for; [`Event::Any`] where it had no say.
    pub asked: Event,
    /// What happened.
    pub event: Event,
    /// On which queue.
    pub queue: Option<u16>,
    /// To what.
    pub object: Object,
    /// So many of the same name stood before it, to be picked as well.
    pub nth: u16,
    /// A fault was injected.
    pub fault: bool,
}

impl Label {
    /// An answer of this kind in the stretch was changed: what of a submission's name tells such an answer goes.
    pub fn forget(&mut self, kind: Kind) {
        match kind {
            _ if self.event != Event::Submit => {}
            Kind::Thread => self.queue = None,
            Kind::Op | Kind::Arg => self.object = Object::None,
            _ => {}
        }
    }
}

impl From<Event> for Label {
    fn from(event: Event) -> Label {
        Label {
            event,
            ..Label::default()
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.asked != Event::Any && self.asked != self.event {
            write!(f, "{}>", self.asked.name())?;
        } else if self.asked == Event::Any && self.event.is_ordinary() && self.event != Event::Any {
            // The run asked, not the tape.
            f.write_str(">")?;
        }
        f.write_str(self.event.name())?;
        if let Some(queue) = self.queue {
            write!(f, " q{queue}")?;
        }
        if self.object != Object::None {
            write!(f, " {}", self.object)?;
        }
        if self.nth > 0 {
            write!(f, " #{}", self.nth)?;
        }
        if self.fault {
            f.write_str(" fault")?;
        }
        Ok(())
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Label, String> {
        let bad = || format!("not the name of an event: {text:?}");
        let mut words = text.split_whitespace().peekable();
        let first = words.next().ok_or_else(bad)?;
        let (asked, event) = match first.split_once('>') {
            Some(("", event)) => (Some(Event::Any), event),
            Some((asked, event)) => (Some(Event::from_name(asked).ok_or_else(bad)?), event),
            None => (None, first),
        };
        let event = Event::from_name(event).ok_or_else(bad)?;
        let own = if event.is_ordinary() {
            event
        } else {
            Event::Any
        };
        let mut label = Label {
            asked: asked.unwrap_or(own),
            event,
            ..Label::default()
        };
        while let Some(word) = words.next() {
            if word == "fault" {
                label.fault = true;
            } else if let Some(number) = word.strip_prefix('#') {
                label.nth = number.parse().map_err(|_| bad())?;
            } else if let Some(object) = Object::alone(word) {
                label.object = object;
            } else if let Some(queue) = word.strip_prefix('q').and_then(|q| q.parse().ok()) {
                label.queue = Some(queue);
            } else {
                let place = words.next().unwrap_or("");
                label.object = Object::parse(word, place).ok_or_else(bad)?;
            }
        }
        Ok(label)
    }
}

/// A stretch of the log: from `at` to where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of its first choice. Stretches may be empty.
    pub at: usize,
    /// What it is.
    pub label: Label,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back() {
        let label = Label {
            asked: Event::Deliver,
            event: Event::Deliver,
            queue: Some(1),
            object: Object::Data(1, 3),
            nth: 2,
            fault: true,
        };
        assert_eq!(label.to_string(), "deliver q1 data 1.3 #2 fault");
        let labels = [
            label,
            Label::default(),
            Label {
                asked: Event::Submit,
                ..label
            },
            Label {
                asked: Event::Any,
                ..label
            },
            Label {
                event: Event::Cut,
                ..Label::default()
            },
            Label {
                asked: Event::Submit,
                event: Event::Submit,
                queue: Some(0),
                object: Object::Flush,
                ..Label::default()
            },
        ];
        for label in labels {
            assert_eq!(label.to_string().parse(), Ok(label), "{label}");
        }
        for bad in [
            "",
            "nonsense",
            "submit q0 write",
            "submit q0 write x3",
            "submit #x",
        ] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_event_has_a_name_of_its_own() {
        for event in Event::ALL {
            assert_eq!(Event::from_name(event.name()), Some(event));
        }
    }
}
