//! A journal as it was written, record by record.

/// Process and number of something that was told.
pub type Id = (u32, u64);

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A server has opened a file of its chain.
    Opened {
        /// Which, the oldest is 0.
        level: usize,
        /// Its path.
        path: String,
    },
    /// A write goes out.
    Write {
        /// By this it is known again.
        id: Id,
        /// The file.
        level: usize,
        /// First byte, a multiple of 512.
        at: u64,
        /// What each sector holds then, see [`digest`](super::digest).
        contents: Vec<u64>,
        /// Durable when it ends.
        fua: bool,
    },
    /// A range becomes zeros.
    Zero {
        /// By this it is known again.
        id: Id,
        /// The file.
        level: usize,
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
    },
    /// The length is set.
    SetLen {
        /// By this it is known again.
        id: Id,
        /// The file.
        level: usize,
        /// In bytes.
        len: u64,
    },
    /// What has ended becomes durable.
    Sync {
        /// By this it is known again.
        id: Id,
        /// The file.
        level: usize,
    },
    /// The kernel has answered.
    End {
        /// What began.
        id: Id,
        /// Bytes, 0, or an errno with a minus.
        result: i64,
    },
}

/// A journal that is not one, or not a whole one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace: {why}")]
pub struct TraceError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub why: &'static str,
}

/// The records of a journal, and the byte behind each. A line that is cut at the end is left out.
///
/// # Errors
/// If a line is not a record, if the journal was given up, or if it tells of memory that the server could not see.
pub fn read(text: &[u8]) -> Result<Vec<(usize, Record)>, TraceError> {
    let mut records = Vec::new();
    let mut behind = 0;
    for (line, bytes) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
        behind += bytes.len();
        let Some(bytes) = bytes.strip_suffix(b"\n") else {
            break;
        };
        let failed = |why| TraceError { line, why };
        let text = std::str::from_utf8(bytes).map_err(|_| failed("no text"))?;
        records.push((behind, record(text).map_err(failed)?));
    }
    Ok(records)
}

fn record(line: &str) -> Result<Record, &'static str> {
    let mut words = line.split(' ');
    match words.next() {
        Some("open") => {
            let level = number(words.next())? as usize;
            words.next();
            let path = words.collect::<Vec<_>>().join(" ");
            Ok(Record::Opened { level, path })
        }
        Some("+") => begin(words),
        Some("-") => {
            let id = id(words.next())?;
            number(words.next())?;
            let result = words.next().and_then(|word| word.parse().ok());
            let result = result.ok_or("no result")?;
            Ok(Record::End { id, result })
        }
        Some("lost") => Err("it was given up here"),
        _ => Err("not a record"),
    }
}

fn begin<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<Record, &'static str> {
    let id = id(words.next())?;
    let level = number(words.next())? as usize;
    number(words.next())?;
    let what = words.next().ok_or("nothing is told")?;
    match what {
        "write" | "fua" => {
            let (at, len) = (number(words.next())?, number(words.next())?);
            let contents = words.map(|word| u64::from_str_radix(word, 16));
            let contents: Vec<u64> = contents.collect::<Result<_, _>>().map_err(|_| "no hash")?;
            let fua = what == "fua";
            match at % 512 == 0 && contents.len() as u64 * 512 == len {
                true => Ok(Record::Write {
                    id,
                    level,
                    at,
                    contents,
                    fua,
                }),
                false => Err("a write of parts of sectors"),
            }
        }
        "unseen" => Err("a write of memory that the server could not see"),
        "zero" => {
            let (at, len) = (number(words.next())?, number(words.next())?);
            Ok(Record::Zero { id, level, at, len })
        }
        "len" => {
            let len = number(words.next())?;
            Ok(Record::SetLen { id, level, len })
        }
        "sync" => Ok(Record::Sync { id, level }),
        _ => Err("something unknown is told"),
    }
}

fn number(word: Option<&str>) -> Result<u64, &'static str> {
    word.and_then(|word| word.parse().ok()).ok_or("no number")
}

fn id(word: Option<&str>) -> Result<Id, &'static str> {
    let parts = word.and_then(|word| word.split_once('.'));
    let id = parts.and_then(|(pid, number)| Some((pid.parse().ok()?, number.parse().ok()?)));
    id.ok_or("no id")
}
