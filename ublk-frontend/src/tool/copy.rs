//! `copy`: a disk into a new image, also while it is written.
//!
//! ```text
//!   server aside: a dirty bitmap starts ─▶ all of the disk, from the device ─▶ server aside: what is dirty? bitmap cleared
//!                                              ▲                                   │ much: from the device
//!                                              └───────────────────────────────────┤
//!                                                 little, or the last round: from the files, while the disk waits ─▶ done
//! ```
//! * What is written while a round copies is marked before it is acknowledged, and copied by a later one: a granule is right
//!   when its last copy began behind its last change. In the last round nothing changes.
//! * The bitmap is the image's own (`tool::cbt`): a server that is killed loses it, and the copy begins again.
//! * The device is read past the page cache, which may hold what was there before a file system wrote. It may be shorter than
//!   the image (whole blocks; or it has grown, and its kernel cannot show it): what is missing is copied in the last round.

use std::io::Write;
use std::path::{Path, PathBuf};

use ploop_core::control::files::{Change, change_bitmaps};
use ploop_core::drive::file::read_padded;
use ploop_core::format::bitmap::USUAL_GRANULARITY;
use ploop_core::format::{DirtyBitmap, Version};
use ploop_core::units::{SECTOR_BYTES, Sector, Sectors};
use serde::Serialize;

use super::ToolError;
use super::cbt::bitmaps_of;
use super::convert::{self, USUAL_CLUSTER};
use super::load::{Trust, name_of, open_stack};
use super::output::{Output, complain};
use super::progress;
use super::sink::Sink;
use super::stack::Stack;
use crate::bundle::Guid;
use crate::cli;
use crate::commands::topology::{self, with_server_aside};
use crate::commands::{folder, refused};
use crate::files::RealFile;
use crate::ublk::ctrl::disk_node;

/// Bytes read from a device at a time.
const STEP: usize = 4 << 20;
/// Reads past the page cache begin at a multiple of this, in memory and on the disk: no block is larger.
const ALIGNED: u64 = 64 << 10;
/// With so little left the disk may wait for it.
const LITTLE: u64 = 64 << 20;

/// The JSON form: bytes looked at, round by round.
#[derive(Debug, Serialize)]
struct Report {
    filename: String,
    rounds: Vec<u64>,
}

/// Copies.
pub fn run(asked: &cli::Copy, out: &mut Output<impl Write>) -> Result<(), ToolError> {
    let (target, images) = match asked.files.split_last() {
        Some((target, images)) if images.is_empty() == asked.id.is_some() => (target, images),
        _ if asked.id.is_some() => {
            return Err(refused("copy --id: give one file, the one to make"));
        }
        _ => return Err(refused("copy: give the images, then the one to make")),
    };
    let rounds = match asked.id {
        Some(id) => Live::new(id, target)?.copy(asked.rounds)?,
        None => vec![at_rest(images, target)?],
    };
    if !asked.json {
        return Ok(());
    }
    out.json(&Report {
        filename: name_of(target),
        rounds,
    })
}

/// One pass over files that nobody writes.
fn at_rest(images: &[PathBuf], target: &Path) -> Result<u64, ToolError> {
    let stack = open_stack(&stack_of(images, false), Trust::Sound)?;
    let mut sink = like(&stack, target)?;
    convert::copy(&stack, &mut sink, convert::step_of(cluster_of(&stack)))?;
    sink.finish()?;
    Ok(stack.size().bytes())
}

fn stack_of(images: &[PathBuf], raw_base: bool) -> cli::Stack {
    cli::Stack {
        inputs: images.to_vec(),
        of: cli::Reading {
            snapshot: None,
            raw_base,
        },
    }
}

fn cluster_of(stack: &Stack) -> Sectors {
    stack.cluster().unwrap_or(USUAL_CLUSTER)
}

/// A new image that is as the top of a stack is.
fn like(stack: &Stack, target: &Path) -> Result<Sink, ToolError> {
    let top = stack.levels().last().and_then(|top| top.delta.expanded());
    let version = top.map_or(Version::V2, |image| image.layout.version);
    Sink::image(target, version, cluster_of(stack), stack.size())
}

/// A copy of a disk in use.
struct Live {
    id: u32,
    bitmap: [u8; 16],
    sink: Sink,
    size: Sectors,
    /// Nothing from here on was read from the device.
    unread: Sector,
}

/// What a stop of the disk has led to.
enum Stop {
    /// This was dirty, and is to be copied.
    Go(Option<DirtyBitmap>),
    /// All is copied, so many bytes in the end.
    Done(u64),
}

impl Live {
    fn new(id: u32, target: &Path) -> Result<Live, ToolError> {
        let bitmap = Guid::random().to_bytes();
        let (sink, size) = with_server_aside(&folder()?, id, |change| {
            let stack = stack_of(change.images(), change.raw_base());
            let stack = open_stack(&stack, Trust::Sound)?;
            let made = (like(&stack, target)?, stack.size());
            drop(stack);
            start(change, bitmap)?;
            Ok(made)
        })?;
        Ok(Live {
            id,
            bitmap,
            sink,
            size,
            unread: Sector(size.0),
        })
    }

    fn copy(mut self, most: u32) -> Result<Vec<u64>, ToolError> {
        let mut rounds = Vec::new();
        let done = self.rounds(most, &mut rounds);
        if done.is_err() {
            self.stop_tracking();
        }
        done?;
        self.sink.finish()?;
        Ok(rounds)
    }

    fn rounds(&mut self, most: u32, rounds: &mut Vec<u64>) -> Result<(), ToolError> {
        let mut dirty = None;
        loop {
            rounds.push(self.take_from_device(dirty.as_ref())?);
            match self.stop(rounds.len() as u32 >= most)? {
                Stop::Go(next) => dirty = next,
                Stop::Done(bytes) => {
                    rounds.push(bytes);
                    return Ok(());
                }
            }
        }
    }

    /// The server steps aside: either what is dirty is taken down, or it is copied and that was all.
    fn stop(&mut self, last: bool) -> Result<Stop, ToolError> {
        let id = self.bitmap;
        with_server_aside(&folder()?, self.id, |change| {
            let stack = stack_of(change.images(), change.raw_base());
            let stack = open_stack(&stack, Trust::Sound)?;
            if stack.size() != self.size {
                return Err(refused(format!(
                    "device {}: its size has changed: copy it anew",
                    self.id
                )));
            }
            let top = change.top()?.to_owned();
            let found = bitmaps_of(&RealFile::open_read(&top)?)?;
            let found = found.into_iter().find(|bitmap| bitmap.id() == id);
            let Some(dirty) = found else {
                drop(stack);
                complain(
                    "note",
                    format_args!(
                        "device {}: its server was killed: the copy begins again",
                        self.id
                    ),
                );
                if last {
                    return Err(refused(format!(
                        "device {}: its changes are not known",
                        self.id
                    )));
                }
                start(change, id)?;
                return Ok(Stop::Go(None));
            };
            let little = last || dirty.dirty().bytes() <= LITTLE;
            if little {
                let rest = (self.unread, Sector(self.size.0).since(self.unread));
                for (start, len) in dirty.ranges().chain([rest]) {
                    from_files(&stack, &mut self.sink, start, len)?;
                }
            }
            drop(stack);
            let then = match little {
                true => Change::Stop { id },
                false => Change::Clear { id },
            };
            track(change, then)?;
            Ok(match little {
                true => Stop::Done(dirty.dirty().bytes()),
                false => Stop::Go(Some(dirty)),
            })
        })
    }

    /// Copies what is dirty, or everything, as a client of the disk. Returns how many bytes.
    fn take_from_device(&mut self, dirty: Option<&DirtyBitmap>) -> Result<u64, ToolError> {
        let device = RealFile::open_read(&disk_node(self.id))?;
        let failed = ToolError::io(device.path(), "read");
        device.set_direct(true).map_err(&failed)?;
        let total = dirty.map_or(self.size, DirtyBitmap::dirty);
        let bar = progress::bytes(total.bytes());
        let mut memory = vec![0; STEP + 2 * ALIGNED as usize];
        let skew = memory.as_ptr().align_offset(ALIGNED as usize);
        let buf = &mut memory[skew..];
        let all = std::iter::once((Sector(0), self.size));
        let ranges: Vec<_> = match dirty {
            Some(dirty) => dirty.ranges().collect(),
            None => all.collect(),
        };
        for (start, len) in ranges {
            let (mut at, end) = (start.bytes(), start.after(len).bytes());
            while at < end {
                let here = (end - at).min(STEP as u64);
                let from = at / ALIGNED * ALIGNED;
                let until = (at + here).next_multiple_of(ALIGNED);
                let piece = &mut buf[..(until - from) as usize];
                let there = read_padded(&device, from, piece).map_err(&failed)? as u64;
                if from + there < until.min(self.size.bytes()) {
                    self.unread = self.unread.min(Sector((from + there) / SECTOR_BYTES));
                }
                let piece = &piece[(at - from) as usize..][..here as usize];
                self.sink.put(Sector(at / SECTOR_BYTES), piece)?;
                at += here;
                bar.inc(here);
            }
        }
        bar.finish_and_clear();
        Ok(total.bytes())
    }

    /// The copy has failed: nobody needs the bitmap.
    fn stop_tracking(&self) {
        let id = self.bitmap;
        let stopped = folder().and_then(|folder| {
            with_server_aside(&folder, self.id, |change| {
                track(change, Change::Stop { id })
            })
        });
        if let Err(error) = stopped {
            let name = Guid::from_bytes(id);
            complain(
                "note",
                format_args!("the dirty bitmap {name} is left: {error}"),
            );
        }
    }
}

fn start(change: &mut topology::Change<'_>, id: [u8; 16]) -> Result<(), ToolError> {
    track(
        change,
        Change::Start {
            id,
            granularity: USUAL_GRANULARITY,
        },
    )
}

fn track(change: &mut topology::Change<'_>, what: Change) -> Result<(), ToolError> {
    let top = RealFile::open_write(change.top()?)?;
    change_bitmaps(&top, &name_of(top.path()), what)?;
    drop(top);
    change.commit(change.images().to_vec())
}

fn from_files(
    stack: &Stack,
    sink: &mut Sink,
    start: Sector,
    len: Sectors,
) -> Result<(), ToolError> {
    let (mut at, end) = (start, start.after(len));
    let mut buf = vec![0; STEP.min(len.bytes() as usize)];
    while at < end {
        let here = end.since(at).bytes().min(STEP as u64) as usize;
        let piece = &mut buf[..here];
        if !stack.read(at, piece)? {
            piece.fill(0);
        }
        sink.put(at, piece)?;
        at = at.after(Sectors::whole_in(here as u64));
    }
    Ok(())
}
