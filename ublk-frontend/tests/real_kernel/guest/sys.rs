//! The few calls that no safe interface offers. All `unsafe` code of these tests stands here.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::trouble::Trouble;

const BLKDISCARD: Opcode = 0x1277;
const BLKROSET: Opcode = 0x125D;
const LOOP_SET_FD: Opcode = 0x4C00;
const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_SET_DIRECT_IO: Opcode = 0x4C08;
const LOOP_SET_BLOCK_SIZE: Opcode = 0x4C09;

/// Discards bytes of a block device.
pub(crate) fn discard(device: BorrowedFd<'_>, at: u64, len: u64) -> Result<(), Errno> {
    // SAFETY: BLKDISCARD reads two u64, start and length.
    unsafe { ioctl(device, Setter::<BLKDISCARD, [u64; 2]>::new([at, len])) }
}

/// As `blockdev --setro` and `--setrw`.
pub(crate) fn set_read_only(device: BorrowedFd<'_>, flag: bool) -> Result<(), Errno> {
    // SAFETY: the kernel reads an `int`, which the setter owns.
    unsafe { ioctl(device, Setter::<BLKROSET, i32>::new(flag.into())) }
}

/// One call of device-mapper: a `dm_ioctl` with what follows it, read and written in place.
pub(crate) fn device_mapper<const OPCODE: Opcode>(
    control: &File,
    call: &mut [u64; 512],
) -> Result<(), Errno> {
    // SAFETY: the kernel reads and writes as many bytes as the field `data_size` says; `dm` sets it to the array's size.
    unsafe { ioctl(control, Updater::<OPCODE, [u64; 512]>::new(call)) }
}

/// An ioctl whose argument is a number.
struct Number<const OPCODE: Opcode>(usize);

// SAFETY: the opcodes used below take their argument as a number and touch no memory of ours.
unsafe impl<const OPCODE: Opcode> rustix::ioctl::Ioctl for Number<OPCODE> {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::without_provenance_mut(self.0)
    }

    unsafe fn output_from_ptr(
        _: rustix::ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Puts a file behind a loop device, with direct I/O if it can.
pub(crate) fn attach_loop(device: &Path, file: &Path) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let both = |path: &Path| File::options().read(true).write(true).open(path);
    let (device, file) = (both(device)?, both(file)?);
    let number = usize::try_from(file.as_raw_fd()).unwrap_or(usize::MAX);
    // SAFETY: see `Number`.
    unsafe { ioctl(&device, Number::<LOOP_SET_FD>(number))? };
    // SAFETY: see `Number`.
    let _ = unsafe { ioctl(&device, Number::<LOOP_SET_DIRECT_IO>(1)) };
    Ok(())
}

/// Sets the block size of a loop device that has a file.
pub(crate) fn set_loop_block_size(device: &Path, bytes: usize) -> std::io::Result<()> {
    let device = File::options().read(true).write(true).open(device)?;
    // SAFETY: see `Number`.
    unsafe { ioctl(device.as_fd(), Number::<LOOP_SET_BLOCK_SIZE>(bytes))? };
    Ok(())
}

/// Takes it away.
pub(crate) fn detach_loop(device: &Path) -> std::io::Result<()> {
    let device = File::open(device)?;
    // SAFETY: see `Number`.
    unsafe { ioctl(device.as_fd(), Number::<LOOP_CLR_FD>(0))? };
    Ok(())
}

/// Keeps the calling thread on one processor.
pub(crate) fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor);
    // Where it fails the thread runs anywhere: slower, not wrong.
    let _ = sched_setaffinity(None, &set);
}

/// Prints what every task waits for in the kernel: those of the server, and whoever waits without being interruptible.
pub(crate) fn print_waiting() {
    for task in tasks() {
        let read = |what: &str| std::fs::read_to_string(task.join(what)).unwrap_or_default();
        let state = read("stat")
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        let program = std::fs::read_link(task.join("exe")).unwrap_or_default();
        if state == Some('D') || program.ends_with("ploop-ublk") {
            let (name, stack) = (read("comm"), read("stack"));
            println!("--- {} {} {state:?}\n{stack}", task.display(), name.trim());
        }
    }
}

/// No task waits in the kernel where no signal reaches it, at some moment of a second.
pub(crate) fn nobody_waits() -> Result<(), Trouble> {
    let state = |task: &std::path::PathBuf| {
        let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
        let rest = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        rest == Some('D')
    };
    let mut waiting = tasks();
    for _ in 0..20 {
        waiting.retain(state);
        if waiting.is_empty() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(format!("tasks wait in the kernel: {waiting:?}").into())
}

/// Tasks of all processes, as folders of /proc.
pub(crate) fn tasks() -> Vec<std::path::PathBuf> {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(Result::ok);
        let numbers =
            entries.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        numbers.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let processes = entries(Path::new("/proc"));
    processes
        .iter()
        .flat_map(|process| entries(&process.join("task")))
        .collect()
}
