//! The command line: what can be asked, and how it is explained. No behaviour lives here.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use ploop_core::format::geometry::Version;

use crate::size::Size;

/// Thin ploop disks (the format that QEMU calls `parallels`) as files.
///
/// No command changes its input: images are opened for reading only. A file that is made appears under its name only
/// when it is complete and on stable storage, and never replaces another.
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

/// Show what an image's header says.
///
/// Works on images whose block table is damaged; says so then.
#[derive(Debug, clap::Args)]
pub struct Info {
    /// The image, or a raw file.
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
    /// the first may be one.
    #[arg(required = true, value_name = "IN")]
    pub inputs: Vec<PathBuf>,
    /// The first file is a raw disk, even if it begins like an image.
    ///
    /// To be used where whoever wrote the raw disk is not trusted: he could have put an image's signature into its
    /// first sector.
    #[arg(long)]
    pub raw_base: bool,
}

/// Check an image for damage and lost space, without changing it.
///
/// Exit status: 0 the image is clean; 1 it could not be checked; 2 it is damaged, or was not closed properly; 3 it
/// only holds space that nothing refers to. As `qemu-img check`, except that lost space in the middle of the file is
/// found, too.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The image.
    pub image: PathBuf,
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
    /// The stack of files.
    #[command(flatten)]
    pub stack: Stack,
    /// The file to make. Must not exist.
    #[arg(required = true, value_name = "OUT")]
    pub output: PathBuf,
    /// Format of OUT. If not given: an image if IN is one raw file, else raw.
    #[arg(long, value_enum)]
    pub to: Option<OutFormat>,
    /// Read what can be read of a damaged image; what cannot reads as zeros. Every loss is reported.
    #[arg(long)]
    pub salvage: bool,
    /// Format of the new image.
    #[command(flatten)]
    pub shape: Shape,
}

/// What `convert` makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutFormat {
    /// The bytes of the disk, with holes.
    Raw,
    /// A ploop image.
    Ploop,
}
