//! The command line: what can be asked, and how it is explained. No behaviour lives here.

mod bundle;
mod cbt;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use ploop_core::format::geometry::Version;

pub use bundle::{
    Compact, Grow, Init, Snapshot, SnapshotCreate, SnapshotDelete, SnapshotList, SnapshotMerge,
    SnapshotSwitch,
};

pub use cbt::{Cbt, CbtDump, CbtList, CbtOf, CbtStart, CbtStop, Copy};

use crate::bundle::Guid;
use crate::ring::Direct;
use crate::size::{Delay, Size};
use crate::ublk::server::ZeroCopy;

/// Thin ploop disks (the format that QEMU calls `parallels`) as files and as block devices.
///
/// `create`, `info`, `map`, `check` and `convert` work on files and, `check --repair` apart, never change their input. A file
/// that is made appears under its name only when it is complete and on stable storage, and never replaces another.
///
/// `grow`, `compact` and `cbt` change an image; `init` makes a bundle, a folder with a `DiskDescriptor.xml`, and `snapshot` changes
/// it. Nobody may have the disk open. A crash leaves the old state or the new one.
///
/// `add` makes a block device of an image; `del`, `list`, `info ID`, `recover`, `quiesce`, `resize` and `set` work on such
/// devices. They need root and a kernel with the module `ublk_drv` (Linux 6.5).
///
/// Exit status: 0 if it worked, 1 with one line on standard error if not (a mistake on the command line included).
/// `check` also knows 2 and 3.
#[derive(Debug, Parser)]
#[command(name = "ploop-ublk", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Create(Create),
    Info(Info),
    Map(Map),
    Check(Check),
    Convert(Convert),
    Init(Init),
    #[command(subcommand)]
    Snapshot(Snapshot),
    Grow(Grow),
    Compact(Compact),
    #[command(subcommand)]
    Cbt(Cbt),
    Copy(Copy),
    Add(Add),
    Del(Del),
    List(List),
    Recover(Recover),
    Quiesce(Quiesce),
    Bench(Bench),
    Resize(Resize),
    Set(Set),
    Features(Features),
    Completions(Completions),
    /// Print the manual page.
    Man,
}

/// Make a block device of an image.
///
/// Prints the path of the device, alone, when it can be used; with --json, a line with what there is to know of it. The server stays in the background unless `--foreground`
/// is given. It ends at SIGTERM or `del`: everything is written back, the image is closed, the device goes.
///
/// If the server is killed, the device stays and its users wait; `recover` gives it a new one, and no request is lost.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// The image; or the images of a stack of snapshots, oldest first: the last one is written.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// The first file is a raw disk, even if it begins like an image.
    #[arg(long)]
    pub raw_base: bool,
    /// Number of the device: N of /dev/ublkbN. If not given, the first that is free.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u32).range(..i64::from(u32::MAX)))]
    pub id: Option<u32>,
    /// Queues. One program that does I/O uses one queue; more help where several CPUs do.
    #[arg(long, short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub queues: u16,
    /// Requests of a queue that can be under way at once.
    #[arg(long, short, default_value_t = 128, value_name = "D")]
    pub depth: u16,
    /// Refuse writes.
    #[arg(long, short = 'o')]
    pub read_only: bool,
    /// Read and write the guest's own pages, without a copy (Linux 6.16).
    #[arg(long, short = 'z', value_enum, default_value = "auto")]
    pub zero_copy: ZeroCopy,
    /// Read and write the image past the page cache.
    #[arg(long, value_enum, default_value = "auto")]
    pub direct: Direct,
    /// How long a change of the index may wait to be written if nobody flushes; 0: it is on disk before the write is
    /// acknowledged.
    #[arg(long, default_value = "50ms", value_name = "TIME")]
    pub flush_delay: Delay,
    /// What to do when the file system of the image is full.
    #[arg(long, value_enum, default_value = "wait")]
    pub no_space: NoSpaceArg,
    /// How long a request may wait for space before it fails; 0, or not given: for ever.
    #[arg(long, value_name = "TIME")]
    pub no_space_limit: Option<Delay>,
    /// Another name for the device: a symbolic link, removed with it.
    #[arg(long, value_name = "PATH")]
    pub symlink: Option<PathBuf>,
    /// Serve in the foreground, and tell systemd when ready.
    ///
    /// Under systemd it ends with status 75 when it has stepped aside for a change of the files (`resize`, `snapshot`):
    /// it is to be started again.
    #[arg(long)]
    pub foreground: bool,
    /// If a device that was made with these words, or serves these images, has lost its server, serve that one instead
    /// of making a new one.
    #[arg(long)]
    pub or_recover: bool,
    /// Write to an image although a snapshot was made of it: the disk goes back to that moment, and what was written
    /// since, to the newer file, is lost.
    #[arg(long)]
    pub ignore_snapshot: bool,
    /// Append to this file a line for every write, hole, length and sync of the images, before it begins and when it has
    /// ended, with a hash of each sector. For tests: what a power cut has left can be held against it. Data is copied.
    #[arg(long, value_name = "FILE")]
    pub trace_io: Option<PathBuf>,
    /// Print one line of JSON: number, path, server, size, images.
    #[arg(long)]
    pub json: bool,
}

/// Measure reads or writes of an image, without a block device: one queue of the server on io_uring.
///
/// With `--write` the image is written to: what was there is lost.
#[derive(Clone, Debug, clap::Args)]
pub struct Bench {
    /// The image; or the images of a stack of snapshots, oldest first: the last one is written.
    #[arg(required = true, value_name = "IMAGE")]
    pub images: Vec<PathBuf>,
    /// Number of requests.
    #[arg(long, short, default_value_t = 75_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,
    /// Requests under way at once.
    #[arg(long, short, default_value_t = 64, value_name = "D", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub depth: u16,
    /// Bytes of a request.
    #[arg(long, short, default_value = "4K", value_name = "SIZE")]
    pub size: Size,
    /// Bytes from the start of a request to that of the next one. If not given, the size of a request.
    #[arg(long, value_name = "SIZE", conflicts_with = "random")]
    pub step: Option<Size>,
    /// Write. What was in the image is lost.
    #[arg(long, short)]
    pub write: bool,
    /// Anywhere on the disk, not one behind the other.
    #[arg(long)]
    pub random: bool,
    /// A flush after so many requests; 0: none.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub flush_interval: u64,
    /// Read and write the image past the page cache.
    #[arg(long, value_enum, default_value = "auto")]
    pub direct: Direct,
    /// How long a change of the index may wait to be written if nobody flushes; 0: until it is, its write is not
    /// acknowledged.
    #[arg(long, default_value = "50ms", value_name = "TIME")]
    pub flush_delay: Delay,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to do when the file system of the image is full.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum NoSpaceArg {
    /// Requests wait until there is space; `info` says so.
    #[default]
    Wait,
    /// Requests fail with "no space left".
    Fail,
}

/// Remove a device: write everything back, close the image, take the device away.
///
/// A device in use is not removed without `--force`.
#[derive(Debug, clap::Args)]
pub struct Del {
    /// Number of the device.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub id: Option<u32>,
    /// All devices of this program.
    #[arg(long, short)]
    pub all: bool,
    /// Even if it is mounted or open: what its users have not written is lost.
    #[arg(long, short)]
    pub force: bool,
    /// Print one line of JSON: number and path of the device; with --all, a list.
    #[arg(long)]
    pub json: bool,
}

/// List the devices of this program.
#[derive(Debug, clap::Args)]
pub struct List {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Give a device a new server after its own was killed, or after `quiesce`.
///
/// The image is checked first. What the users of the device were waiting for goes on.
#[derive(Debug, clap::Args)]
pub struct Recover {
    /// Number of the device.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub id: Option<u32>,
    /// All devices of this program that need it.
    #[arg(long, short)]
    pub all: bool,
    /// Serve in the foreground, and tell systemd when ready.
    #[arg(long)]
    pub foreground: bool,
    /// Print one line of JSON, as `add` does; with --all, a list.
    #[arg(long)]
    pub json: bool,
}

/// Close the image and end the server; the device stays and its users wait for `recover` (Linux 6.16).
///
/// For a change of this program without unmounting.
#[derive(Debug, clap::Args)]
pub struct Quiesce {
    /// Number of the device.
    pub id: u32,
    /// Print one line of JSON: number and path of the device.
    #[arg(long)]
    pub json: bool,
}

/// List what this kernel's ublk driver can do.
#[derive(Debug, clap::Args)]
pub struct Features {
    /// Print one line of JSON: the names, and the word.
    #[arg(long)]
    pub json: bool,
}

/// Make a device larger while it is in use.
///
/// Its image grows, and the kernel is told (Linux 6.16; an older one shows the new size after `del` and `add`). If it fails
/// half way, the same command once more does what is left. Prints the new size in bytes.
#[derive(Debug, clap::Args)]
pub struct Resize {
    /// Number of the device.
    pub id: u32,
    /// New size: bytes, or with K, M, G, T, P or E.
    pub size: Size,
    /// Print one line of JSON: number, path, the new size, and whether the kernel shows it.
    #[arg(long)]
    pub json: bool,
}

/// Change what `add` was told of a device while it is in use; requests wait for a moment.
///
/// What is not named stays as it is. It holds until the device goes. If it is killed, the same command once more does what is left.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["flush_delay", "no_space", "no_space_limit", "read_only", "read_write"]))]
pub struct Set {
    /// Number of the device.
    pub id: u32,
    /// How long a change of the index may wait to be written if nobody flushes; 0: it is on disk before the write is
    /// acknowledged.
    #[arg(long, value_name = "TIME")]
    pub flush_delay: Option<Delay>,
    /// What to do when the file system of the image is full.
    #[arg(long, value_enum)]
    pub no_space: Option<NoSpaceArg>,
    /// How long a request may wait for space before it fails; 0: for ever.
    #[arg(long, value_name = "TIME")]
    pub no_space_limit: Option<Delay>,
    /// Refuse writes, and open the images for reading only. Nobody may have the disk mounted; whoever has it open otherwise, a virtual
    /// machine for one, sees his writes fail.
    #[arg(long, conflicts_with = "read_write")]
    pub read_only: bool,
    /// Take writes again. Not of a device that was added read-only. Nobody may have the disk mounted.
    #[arg(long)]
    pub read_write: bool,
    /// Print one line of JSON: number, path, and what is set now.
    #[arg(long)]
    pub json: bool,
}

/// Print completions for a shell.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Make an empty image.
///
/// The file holds the header and an empty block table only; space is taken as the disk is written. Version 2 images
/// are byte for byte what `qemu-img create -f parallels` makes.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The image to make. Must not exist.
    pub image: PathBuf,
    /// Size of the virtual disk: bytes, or with K, M, G, T, P or E (1024-fold steps); a multiple of 512.
    #[arg(long, short)]
    pub size: Size,
    /// Format of the new image.
    #[command(flatten)]
    pub shape: Shape,
    /// Print one line of JSON: name, sizes and version.
    #[arg(long)]
    pub json: bool,
}

/// The format of a new image.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Shape {
    /// Cluster size: the unit in which space is taken. A multiple of 512; ploop itself wants a power of two from 32K
    /// to 64M.
    #[arg(long, short, default_value = "1M")]
    pub cluster: Size,
    /// Format version: 2 (`WithouFreSpacExt`) holds larger disks, 1 (`WithoutFreeSpace`) is for old readers.
    #[arg(long, value_enum, default_value = "2")]
    pub version: VersionArg,
}

/// A format version on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VersionArg {
    /// `WithoutFreeSpace`: the block table counts sectors.
    #[value(name = "1")]
    V1,
    /// `WithouFreSpacExt`: the block table counts clusters.
    #[value(name = "2")]
    V2,
}

impl From<VersionArg> for Version {
    fn from(arg: VersionArg) -> Version {
        match arg {
            VersionArg::V1 => Version::V1,
            VersionArg::V2 => Version::V2,
        }
    }
}

/// Show what an image's header says, or what a device does.
///
/// Works on images whose block table is damaged; says so then.
#[derive(Debug, clap::Args)]
pub struct Info {
    /// The image, or a raw file; or a bundle: the files of its disk, the top first; or a device: its number, or /dev/ublkbN.
    pub image: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// List the extents of the virtual disk: which come from which file, which are zeros.
///
/// Several images are a stack of snapshots, oldest first. The JSON form is that of `qemu-img map --output=json`:
/// `depth` 0 is the top (last) file.
#[derive(Debug, clap::Args)]
pub struct Map {
    /// The stack of files.
    #[command(flatten)]
    pub stack: Stack,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Files that make up one disk.
#[derive(Debug, clap::Args)]
pub struct Stack {
    /// The files of the disk, oldest first. A file that does not begin with an image's signature is a raw disk; only
    /// the first may be one. Or a bundle, alone.
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// Which disk of theirs.
    #[command(flatten)]
    pub of: Reading,
}

/// How the files of a disk are read.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Reading {
    /// The disk as it was when this snapshot of the bundle was taken.
    #[arg(long, value_name = "GUID")]
    pub snapshot: Option<Guid>,
    /// The first file is a raw disk, even if it begins like an image.
    ///
    /// To be used where whoever wrote the raw disk is not trusted: he could have put an image's signature into its
    /// first sector.
    #[arg(long)]
    pub raw_base: bool,
}

/// Check an image for damage and lost space; with `--repair`, mend it.
///
/// Without `--repair` nothing is changed. Repair keeps what can be read: of two entries that share a cluster one gets a copy,
/// only entries that lead nowhere are given up, lost space is freed, a format extension stays. The mark of an image that was
/// not closed goes only if the image is sound then. A crash on the way leaves a part mended.
///
/// Exit status: 0 the image is clean; 1 it could not be checked; 2 it is damaged, or was not closed properly; 3 it
/// only holds space that nothing refers to; with `--repair`, what is left counts. As `qemu-img check`, except that lost space in the middle of the file is
/// found, too.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The image; or a bundle: the files of its disk, the top first.
    pub image: PathBuf,
    /// Mend it. Nobody may have it open.
    #[arg(long, short)]
    pub repair: bool,
    /// Print JSON, with the keys of `qemu-img check --output=json`.
    #[arg(long)]
    pub json: bool,
}

/// Copy a disk into a new file, as raw bytes or as an image.
///
/// Zeros take no space in the new file. An image that was not closed properly but is sound is read with a warning; a
/// damaged one is refused unless `--salvage` is given.
#[derive(Debug, clap::Args)]
pub struct Convert {
    /// The files of the disk, oldest first, or a bundle, alone; then the file to make, OUT, which must not exist. A file that does
    /// not begin with an image's signature is a raw disk; only the first may be one.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Which disk of theirs.
    #[command(flatten)]
    pub of: Reading,
    /// Format of OUT. If not given: an image if it is made of one raw file, or if `--cluster` or `--version` is given; else raw.
    #[arg(long, value_enum)]
    pub to: Option<OutFormat>,
    /// Read what can be read of a damaged image; what cannot reads as zeros. Every loss is reported.
    #[arg(long)]
    pub salvage: bool,
    /// Cluster size of a new image. If not given, 1M.
    #[arg(long, short, value_name = "SIZE")]
    pub cluster: Option<Size>,
    /// Format version of a new image. If not given, 2.
    #[arg(long, value_enum)]
    pub version: Option<VersionArg>,
    /// Print one line of JSON: name, format and sizes of OUT.
    #[arg(long)]
    pub json: bool,
}

/// What `convert` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutFormat {
    /// The bytes of the disk, with holes.
    Raw,
    /// A ploop image.
    Ploop,
}

#[cfg(test)]
mod tests;
