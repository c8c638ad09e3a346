//! One boot: disks, QEMU, the result lines as they come, the kernel's console afterwards.
//!
//! * Emulation only (`tcg`), and `qemu64`: with a newer CPU the guest copies with `rep movsb`, which is emulated byte by
//!   byte.
//! * `nohz=off highres=off`: an emulated processor whose one-shot timer was lost would sleep for ever; a periodic one is not
//!   lost. It still happened, once in about forty boots, that a guest said nothing at all: it is booted again, and that
//!   is told. Once in a hundred, a processor slept for ever in the middle of it, and the kernel itself says that a timer did
//!   not come: the same is done.
//! * Grace periods of RCU are expedited: they are most of what `add`, `del` and `umount` wait for, and on an idle processor that is
//!   emulated each takes a timer's tick or more.
//! * A guest ends by powering off. One that said `@@DONE` and hangs while doing so is killed; one that outlives its time
//!   limit too, and that is a failure.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Missing;
use super::parts::Parts;
use crate::guest::disks::ONE_QUEUE;
use crate::line::Line;

const MEMORY: &str = "2048";
/// How long a guest that is done may take to power off.
const FAREWELL: Duration = Duration::from_secs(10);

/// What was wrong with a guest as a whole.
#[derive(Debug)]
pub(super) enum Failure {
    /// It never said anything: none of our code has run.
    Silent,
    /// A step hung, and the kernel says that one of the emulated processors has lost a timer.
    LostTimer,
    /// Something else.
    Other(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Other(error.to_string())
    }
}

/// What a guest has, besides the parts.
pub(super) struct Machine<'a> {
    /// Processors.
    pub(super) processors: u32,
    /// What they are; see QEMU's option `-cpu`.
    pub(super) model: &'a str,
    /// How its time passes; see QEMU's options `-accel` and `-icount`.
    pub(super) time: &'a [&'a str],
    /// How long it may take to say its first word.
    pub(super) first_word: Duration,
    /// Names and sizes of its disks.
    pub(super) disks: &'a [(&'a str, u64)],
    /// What the agent shall do: words without blanks, with commas between them.
    pub(super) steps: &'a str,
}

/// Time passes as on the host; processors run side by side.
pub(super) const PARALLEL: [&str; 2] = ["-accel", "tcg,thread=multi"];

/// A guest that runs.
pub(super) struct Vm {
    child: Child,
    folder: PathBuf,
    log: File,
    text: String,
    spoke: bool,
    started: Instant,
    first_word: Duration,
}

impl Vm {
    /// Boots. Logs and disks go to `folder`.
    pub(super) fn boot(
        parts: &Parts,
        initramfs: &[u8],
        folder: &Path,
        machine: &Machine<'_>,
    ) -> Result<Vm, Missing> {
        let _ = std::fs::remove_dir_all(folder);
        std::fs::create_dir_all(folder)?;
        let initrd = folder.join("initramfs");
        std::fs::write(&initrd, initramfs)?;
        let mut command = parts.qemu.command();
        command
            .args(machine.time)
            .args(["-cpu", machine.model, "-m", MEMORY, "-smp"])
            .arg(machine.processors.to_string())
            .args([
                "-nic",
                "none",
                "-display",
                "none",
                "-no-reboot",
                "-no-user-config",
            ])
            .arg("-kernel")
            .arg(&parts.vmlinuz)
            .arg("-initrd")
            .arg(&initrd)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 loglevel=5 panic=-1 oops=panic mitigations=off nohz=off highres=off rcupdate.rcu_expedited=1 PLOOP_STEPS={}",
                machine.steps
            ));
        command
            .arg("-serial")
            .arg(format!("file:{}", folder.join("console.log").display()));
        let log = folder.join("guest.log");
        File::create(&log)?;
        command
            .arg("-chardev")
            .arg(format!("file,id=results,path={}", log.display()))
            .args([
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtconsole,chardev=results",
            ]);
        for (name, bytes) in machine.disks {
            let path = folder.join(name);
            File::create(&path)?.set_len(*bytes)?;
            let path = path.display();
            command.arg("-drive").arg(format!(
                "file={path},format=raw,if=none,id={name},cache=unsafe,discard=unmap"
            ));
            // Two flushes at once on two queues may end in either order, and `dm-log-writes` logs them, and what they cover,
            // as they end: the disk whose log is replayed has one queue.
            let queues = if *name == ONE_QUEUE {
                ",num-queues=1"
            } else {
                ""
            };
            command
                .arg("-device")
                .arg(format!("virtio-blk-pci,drive={name}{queues}"));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("qemu.log"))?)
            .stderr(File::create(folder.join("qemu.err"))?)
            .spawn()?;
        Ok(Vm {
            child,
            folder: folder.to_owned(),
            log: File::open(log)?,
            text: String::new(),
            spoke: false,
            started: Instant::now(),
            first_word: machine.first_word,
        })
    }

    /// Hands every result line to `each` as it comes, with what the guest has used of this machine's processors so far, until
    /// it is gone.
    ///
    /// # Errors
    /// What was wrong with the guest as a whole.
    pub(super) fn watch(
        mut self,
        limit: Duration,
        mut each: impl FnMut(Line, Duration),
    ) -> Result<(), Failure> {
        let (mut done, mut gave_up) = (None, false);
        let ended = loop {
            let used = processor_time(self.child.id());
            let ended = self.child.try_wait()?;
            self.read(|line| {
                if line == Line::Done {
                    done = Some(Instant::now());
                }
                gave_up |= line == Line::GaveUp;
                each(line, used);
            })?;
            if ended.is_some()
                || gave_up
                || self.started.elapsed() > limit
                || done.is_some_and(|at| at.elapsed() > FAREWELL)
            {
                break ended;
            }
            if !self.spoke && self.started.elapsed() > self.first_word {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return Err(Failure::Silent);
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        if ended.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let logs = self.folder.display();
        complaints(&self.folder.join("console.log")).map_err(Failure::Other)?;
        match (done, ended) {
            (Some(_), _) => Ok(()),
            (None, Some(status)) => {
                let said =
                    std::fs::read_to_string(self.folder.join("qemu.err")).unwrap_or_default();
                let said = said.lines().last().unwrap_or("").to_owned();
                Err(Failure::Other(format!(
                    "the guest ended early ({status}, {said}); logs in {logs}"
                )))
            }
            (None, None) if lost_timer(&self.folder) => Err(Failure::LostTimer),
            (None, None) if gave_up => Err(Failure::Other(format!(
                "a step hung, and the guest was ended; logs in {logs}"
            ))),
            (None, None) => Err(Failure::Other(format!(
                "the guest was not done after {limit:?}; logs in {logs}"
            ))),
        }
    }

    /// New whole lines of the results.
    fn read(&mut self, mut each: impl FnMut(Line)) -> std::io::Result<()> {
        let mut new = Vec::new();
        self.log.read_to_end(&mut new)?;
        self.spoke |= !new.is_empty();
        self.text.push_str(&String::from_utf8_lossy(&new));
        while let Some((line, rest)) = self.text.split_once('\n') {
            if let Some(line) = Line::parse(line.trim_end()) {
                each(line);
            }
            self.text = rest.to_owned();
        }
        Ok(())
    }
}

/// Time that a process has used of all processors, in itself and in the kernel.
fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name, which may hold blanks: the 12th and 13th word are ticks.
    let words = stat.rsplit_once(')').map_or("", |(_, words)| words);
    let ticks = words.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|word| word.parse::<u64>().ok()).sum();
    let a_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs_f64(ticks as f64 / a_second as f64)
}

/// True if a kernel thread that does nothing but sleep was not woken: no program of ours can do that.
pub(super) fn lost_timer(folder: &Path) -> bool {
    let console = std::fs::read(folder.join("console.log")).unwrap_or_default();
    String::from_utf8_lossy(&console).contains("rcu_preempt kthread timer wakeup didn't happen")
}

/// What a kernel says when something is wrong with it.
const COMPLAINTS: [&str; 9] = [
    "Kernel panic",
    "Oops",
    "BUG: ",
    "kernel BUG",
    "corruption",
    "blocked for more than",
    "soft lockup",
    "WARNING: ",
    "general protection",
];

/// The kernel complained: its first such line.
fn complaints(console: &Path) -> Result<(), String> {
    let bytes =
        std::fs::read(console).map_err(|error| format!("{}: {error}", console.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let bad = text
        .lines()
        .find(|line| COMPLAINTS.iter().any(|word| line.contains(word)));
    match bad {
        Some(line) => Err(format!(
            "the guest's kernel complains: {} ({})",
            line.trim(),
            console.display()
        )),
        None => Ok(()),
    }
}
