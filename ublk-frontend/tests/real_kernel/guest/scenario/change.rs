//! What becomes of a scenario's changes of the chain: the commands that do the same to a device.
//!
//! | line | on a device |
//! |---|---|
//! | `snapshot`, `merge up`, `merge down` | `snapshot create --id`, `snapshot merge --id [--up]`, while requests go on |
//! | `bitmap ...` | `cbt start --id`, `cbt dump --clear --id`, `cbt stop --id` |
//! | `write-back ...` | `set --flush-delay` |
//! | `read-only` | `set --read-only`, all is read, `set --read-write` |
//! | `reload` | `del`, both checkers, `add` |
//! | `compact`, `repair` | `del`; a lost cluster and perhaps the mark; `compact`, `check --repair`; `add` |
//! | `index`, `rollback`, a merge with a raw base | left out: nobody moves clusters under a device; a list of images has no names to go back to (a bundle does: step `rollback`); a raw disk is not merged up, and is never what is written |

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use ploop_core::WriteBack;
use sim::world::switch::Switch;

use super::super::server::ok;
use super::super::trouble::{Outcome, Trouble};
use super::SCALE;
use super::play::Play;

/// The mark of an image that is in use, and where it stands.
const IN_USE: (u64, u32) = (44, 0x746F_6E59);

impl Play<'_> {
    /// Does it, or leaves it out.
    pub(super) fn change(&mut self, switch: &Switch) -> Result<(), Trouble> {
        match switch {
            Switch::Grow(more) => self.grow(more * SCALE),
            Switch::Snapshot => self.snapshot(),
            Switch::Forward => self.merge(true),
            Switch::Backward => self.merge(false),
            Switch::StartBitmap(granularity) => {
                let bytes = u64::from(*granularity) * SCALE * 512;
                self.tell("cbt start", &format!("--granularity {bytes}"))
            }
            Switch::ClearBitmap => self.tell("cbt dump", "--clear"),
            Switch::StopBitmap => self.tell("cbt stop", ""),
            Switch::WriteBack(write_back) => {
                let delay = match write_back {
                    WriteBack::Delayed(delay) => delay.0,
                    WriteBack::Immediate => 0,
                };
                self.built.delay = delay;
                self.set(&format!("--flush-delay {delay}ms"))
            }
            Switch::ReadOnly => {
                self.clients.settle()?;
                self.set("--read-only")?;
                let (_, target) = self.target()?;
                self.judge.read_everything(&target, self.size)?;
                drop(target);
                self.set("--read-write")
            }
            Switch::Reload => self.closed(|_| Ok(String::new())),
            Switch::Compact => self.closed(|top| ok(&format!("compact {top}"))),
            Switch::Repair { marked } => {
                let (marked, cluster) = (*marked, self.scenario.shape.cluster * SCALE * 512);
                self.changed = true;
                self.closed(|top| {
                    lose_a_cluster(top, cluster, marked)?;
                    ok(&format!("check --repair {top}"))
                })
            }
            Switch::Index { .. } => self.closed_and_left_out("index"),
            Switch::Rollback => {
                // From here on the author's disk is another one.
                self.as_written = false;
                self.closed_and_left_out("rollback")
            }
        }
    }

    /// A command with the number of the device.
    fn tell(&mut self, command: &str, words: &str) -> Result<(), Trouble> {
        self.target()?;
        let (device, _) = self.up.as_ref().ok_or("no device")?;
        ok(&format!("{command} --id {} {words}", device.id)).map(drop)
    }

    fn set(&mut self, words: &str) -> Result<(), Trouble> {
        self.target()?;
        let (device, _) = self.up.as_ref().ok_or("no device")?;
        ok(&format!("set {} {words}", device.id)).map(drop)
    }

    /// The next image of the chain.
    fn snapshot(&mut self) -> Result<(), Trouble> {
        let folder = self.built.images[0].parent().map(PathBuf::from);
        let name = format!("s{}.hdd", self.snapshots);
        let new = folder.unwrap_or_default().join(name);
        self.snapshots += 1;
        self.tell("snapshot create", &format!("--file {}", new.display()))?;
        self.built.images.push(new);
        Ok(())
    }

    /// The top and the level below become one.
    fn merge(&mut self, up: bool) -> Result<(), Trouble> {
        let is_on_raw = self.scenario.shape.raw_base && self.built.images.len() == 2;
        if is_on_raw {
            return self.closed_and_left_out("merge with a raw base");
        }
        self.target()?;
        let (device, _) = self.up.as_ref().ok_or("no device")?;
        let flag = if up { "--up" } else { "" };
        let printed = ok(&format!("snapshot merge --id {} {flag}", device.id))?;
        self.built.images = printed.split_whitespace().map(PathBuf::from).collect();
        Ok(())
    }

    /// Something is done to the top when nobody has it.
    fn closed(&mut self, what: impl FnOnce(&str) -> Outcome) -> Result<(), Trouble> {
        self.clients.settle()?;
        self.target()?;
        self.close()?;
        let top = self.built.images.last().ok_or("no image")?;
        what(&top.display().to_string()).map(drop)
    }

    pub(super) fn closed_and_left_out(&mut self, what: &'static str) -> Result<(), Trouble> {
        self.closed(|_| Ok(String::new()))?;
        self.leave_out(what)
    }
}

/// A cluster that no slot leads to, and perhaps the mark of one who was killed.
fn lose_a_cluster(top: &str, cluster: u64, marked: bool) -> Result<(), Trouble> {
    let file = File::options().read(true).write(true).open(top)?;
    let len = file.metadata()?.len();
    file.set_len(len.next_multiple_of(cluster) + cluster)?;
    if marked {
        file.write_all_at(&IN_USE.1.to_le_bytes(), IN_USE.0)?;
    }
    file.sync_all().map_err(Trouble::from)
}
