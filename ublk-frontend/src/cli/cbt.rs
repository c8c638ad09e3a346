//! The commands about changed blocks: dirty bitmaps in the image, and copying a disk that is written meanwhile.

use std::path::PathBuf;

use clap::Subcommand;

use crate::bundle::Guid;
use crate::size::Size;

/// Changed block tracking: dirty bitmaps, kept in the image, that say what was written since they were started.
///
/// A bitmap counts as long as the image is always closed properly, by software that keeps it; after a crash or a kill there is
/// none any more, and whoever relies on it starts over.
///
/// It stays with its file: the new file of a snapshot has none, nor has a copy. `grow` and `resize` keep it, and what is new
/// is dirty; `compact`, `check --repair` and a merge keep it unless they change what the file by itself shows.
///
/// A disk in use is named by its device; it waits for the moment that this takes.
///
/// Exit status: 0 if it worked, 1 with one line on standard error if not.
#[derive(Debug, Subcommand)]
pub enum Cbt {
    Start(CbtStart),
    Stop(CbtStop),
    List(CbtList),
    Dump(CbtDump),
}

/// Whose bitmaps.
#[derive(Clone, Debug, clap::Args)]
pub struct CbtOf {
    /// The image; or a bundle: the file that is written.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub image: Option<PathBuf>,
    /// A disk in use: number of the device.
    #[arg(long, value_name = "N")]
    pub id: Option<u32>,
}

/// Start a bitmap: from now on what is written is dirty. Prints its GUID.
#[derive(Debug, clap::Args)]
#[command(name = "start")]
pub struct CbtStart {
    /// The image or the device.
    #[command(flatten)]
    pub of: CbtOf,
    /// The bitmap's name. If not given, a random one.
    #[arg(long, value_name = "GUID")]
    pub name: Option<Guid>,
    /// What a bit stands for: a power of two, 512 bytes at least.
    #[arg(long, short, default_value = "64K", value_name = "SIZE")]
    pub granularity: Size,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Remove a bitmap.
#[derive(Debug, clap::Args)]
#[command(name = "stop")]
pub struct CbtStop {
    /// The image or the device.
    #[command(flatten)]
    pub of: CbtOf,
    /// The bitmap. May be left out if there is only one.
    #[arg(long, value_name = "GUID")]
    pub name: Option<Guid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// List the bitmaps that count: GUID, granularity, and how much is dirty.
#[derive(Debug, clap::Args)]
#[command(name = "list")]
pub struct CbtList {
    /// The image or the device.
    #[command(flatten)]
    pub of: CbtOf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Print what is dirty: a line for each range, its first sector and how many, in sectors of 512 bytes.
///
/// The JSON form has bytes.
#[derive(Debug, clap::Args)]
#[command(name = "dump")]
pub struct CbtDump {
    /// The image or the device.
    #[command(flatten)]
    pub of: CbtOf,
    /// The bitmap. May be left out if there is only one.
    #[arg(long, value_name = "GUID")]
    pub name: Option<Guid>,
    /// From now on nothing is dirty: what is written next is told by the next dump.
    #[arg(long)]
    pub clear: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Copy a disk into a new image, also one that is in use and written meanwhile.
///
/// A disk in use is copied in rounds: all of it, then what was written in the meantime, until little is left; that is copied
/// while the disk waits. The new image is the disk of that moment. It appears only when it is complete.
///
/// Exit status: 0 if it worked, 1 with one line on standard error if not.
#[derive(Debug, clap::Args)]
pub struct Copy {
    /// The images of the disk, oldest first, or a bundle; then the image to make. With `--id`, only that.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A disk in use: number of the device.
    #[arg(long, value_name = "N")]
    pub id: Option<u32>,
    /// Most rounds before the disk has to wait for the rest.
    #[arg(long, default_value_t = 8, value_name = "N", requires = "id")]
    pub rounds: u32,
    /// Print JSON: the bytes of each round.
    #[arg(long)]
    pub json: bool,
}
