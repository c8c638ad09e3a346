//! The commands that change a disk in its files: bundles and their snapshots, growing, compacting.

use std::path::PathBuf;

use clap::Subcommand;

use super::Shape;
use crate::bundle::Guid;
use crate::size::Size;

/// Make a bundle: a folder with an empty image and a `DiskDescriptor.xml`, as `ploop init` makes it.
///
/// Wherever a command takes an image, the folder can be given instead.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// The folder to make. May exist if it is empty.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Size of the virtual disk: bytes, or with K, M, G, T, P or E (1024-fold steps); a multiple of 512.
    #[arg(long, short)]
    pub size: Size,
    /// Format of the image.
    #[command(flatten)]
    pub shape: Shape,
    /// Print JSON: the folder and the image.
    #[arg(long)]
    pub json: bool,
}

/// Snapshots of a bundle, or of a disk that is in use: states that can be gone back to.
///
/// A bundle is a folder with a `DiskDescriptor.xml`. Nobody may have its disk open, unless it is named by its device. A crash leaves the old chain or the new
/// one; what else a killed change has left is taken away by the next one.
///
/// Exit status: 0 if it worked, 1 with one line on standard error if not.
#[derive(Debug, Subcommand)]
pub enum Snapshot {
    Create(SnapshotCreate),
    List(SnapshotList),
    Delete(SnapshotDelete),
    Switch(SnapshotSwitch),
    Merge(SnapshotMerge),
}

/// Take a snapshot: what is written from now on goes into a new file.
///
/// Of a bundle, prints the snapshot's GUID. Of a disk in use that is a list of images, prints the images, oldest first, as
/// they are to be given to `add` the next time.
#[derive(Debug, clap::Args)]
#[command(name = "create")]
pub struct SnapshotCreate {
    /// The bundle.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub bundle: Option<PathBuf>,
    /// A disk in use: number of the device.
    #[arg(long, value_name = "N")]
    pub id: Option<u32>,
    /// The new file, if the disk in use is a list of images. Must not exist.
    #[arg(long, value_name = "NEW.hdd", requires = "id")]
    pub file: Option<PathBuf>,
    /// The snapshot's name. If not given, a random one.
    #[arg(long, value_name = "GUID", conflicts_with = "file")]
    pub guid: Option<Guid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// List the snapshots: a tree, the oldest first. The one marked with `*` is what is written.
#[derive(Debug, clap::Args)]
pub struct SnapshotList {
    /// The bundle.
    pub bundle: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Delete a snapshot.
///
/// If nothing stands on it, its file is removed. If one other does, what that one lacks is kept: the two files become one.
/// If several do, it is marked as temporary, as ploop does it, and goes when only one is left.
///
/// With --id, of a disk in use: it goes on while clusters are copied, and waits for a moment.
#[derive(Debug, clap::Args)]
pub struct SnapshotDelete {
    /// The bundle.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub bundle: Option<PathBuf>,
    /// The snapshot.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub guid: Option<Guid>,
    /// A disk in use: number of the device. It serves a bundle.
    #[arg(long, value_name = "N", requires = "named")]
    pub id: Option<u32>,
    /// The snapshot, of a disk in use.
    #[arg(long = "guid", id = "named", value_name = "GUID", requires = "id")]
    pub named: Option<Guid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Go back to a snapshot: what was written since the last one is dropped. The snapshot stays.
///
/// With --id, a disk in use: the device stays and holds what it held then; its size is that of then. Nobody may have it mounted;
/// stop a virtual machine that has it open. Requests that arrive meanwhile wait, and are issued to the disk that has gone back.
#[derive(Debug, clap::Args)]
pub struct SnapshotSwitch {
    /// The bundle.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub bundle: Option<PathBuf>,
    /// The snapshot.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub guid: Option<Guid>,
    /// A disk in use: number of the device. It serves a bundle.
    #[arg(long, value_name = "N", requires = "to")]
    pub id: Option<u32>,
    /// The snapshot that a disk in use goes back to.
    #[arg(long, value_name = "GUID", requires = "id")]
    pub to: Option<Guid>,
    /// Keep what was written since the last snapshot as a snapshot, too; its GUID is printed.
    #[arg(long)]
    pub save: bool,
    /// The name of that snapshot. If not given, a random one. With it, a command that was cut can be given again: what is done
    /// already is not done twice.
    #[arg(long = "guid", value_name = "GUID", requires = "save")]
    pub saved: Option<Guid>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Merge a snapshot with the one below it: that one's name goes, what the disk shows stays.
///
/// Nothing else may stand on the one below. A merge that was cut can be asked for again, and goes on.
///
/// With --id, a disk in use goes on while clusters are copied, and waits for a moment at the end. --guid or --file names the
/// upper one of any two that are merged; if neither does, it is what is written. An interrupt gives it up: the disk is as before,
/// and another time copies again. Of a list of images, the upper one goes down into the lower one, and the images that are left
/// are printed; of a bundle, the way that copies less is taken.
///
/// What is written goes down in rounds: a new file is put on top of it, it is copied, and what was written meanwhile is next, until
/// there is so little that the disk can wait for it. If that is cut, the disk has one file more; the same command ends it.
///
/// With --up, what only the lower one has is copied into the upper one, and the lower one leaves the disk. Of a list of images, that
/// file stays where it is.
#[derive(Debug, clap::Args)]
pub struct SnapshotMerge {
    /// The bundle.
    #[arg(required_unless_present = "id", conflicts_with = "id")]
    pub bundle: Option<PathBuf>,
    /// A disk in use: number of the device.
    #[arg(long, value_name = "N")]
    pub id: Option<u32>,
    /// The upper one of the two. If not given, what is written is merged with the last snapshot.
    #[arg(conflicts_with = "id")]
    pub guid: Option<Guid>,
    /// The upper one of the two, of a bundle in use.
    #[arg(
        long = "guid",
        value_name = "GUID",
        requires = "id",
        conflicts_with_all = ["file", "bundle"]
    )]
    pub upper: Option<Guid>,
    /// The upper one of the two, of any disk in use: its file.
    #[arg(long, value_name = "IMAGE", requires = "id", conflicts_with = "bundle")]
    pub file: Option<PathBuf>,
    /// The lower one goes up into the upper one.
    #[arg(long, requires = "id", conflicts_with = "bundle")]
    pub up: bool,
    /// The upper one goes down into the lower one, even if that copies more.
    #[arg(long, requires = "id", conflicts_with_all = ["up", "bundle"])]
    pub down: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// The lower one must be this, whatever others do meanwhile.
    #[arg(skip)]
    pub lower: Option<Guid>,
}

impl SnapshotMerge {
    /// Of a bundle in use: `lower`, and `upper` right above it, or what is written if none is named.
    #[must_use]
    pub(crate) fn of(id: u32, lower: Guid, upper: Option<Guid>) -> SnapshotMerge {
        SnapshotMerge {
            bundle: None,
            id: Some(id),
            guid: None,
            upper,
            file: None,
            up: false,
            down: false,
            json: false,
            lower: Some(lower),
        }
    }
}

/// Make a disk larger; nobody may have it open.
///
/// What is new reads as zeros. Of a bundle, the delta that is written grows. A crash leaves the old size or the new one.
///
/// Exit status: 0 if it worked, 1 with one line on standard error if not.
#[derive(Debug, clap::Args)]
pub struct Grow {
    /// The image, or the bundle.
    pub image: PathBuf,
    /// New size: bytes, or with K, M, G, T, P or E (1024-fold steps); a multiple of 512.
    pub size: Size,
    /// Print JSON: the sizes before and after, and how many clusters had to move.
    #[arg(long)]
    pub json: bool,
}

/// Make an image as short as it can be: clusters move into holes, and the file ends behind the last one.
///
/// Of a bundle, all images that are not raw. Nobody may have them open. A crash leaves a sound image with the same content.
///
/// Exit status: 0 if it worked, 1 with one line on standard error if not.
#[derive(Debug, clap::Args)]
#[command(visible_alias = "defrag")]
pub struct Compact {
    /// The image, or the bundle.
    pub image: PathBuf,
    /// Print JSON: the lengths of each file before and after.
    #[arg(long)]
    pub json: bool,
}
