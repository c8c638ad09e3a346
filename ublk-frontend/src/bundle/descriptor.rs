//! `DiskDescriptor.xml`: what it says, and the changes that are made to it.
//!
//! * A descriptor in memory is the document and what was read of it; every change is made to the document and read again,
//!   so that the two never differ.
//! * Only values are checked here: that a GUID is one, that what must be there is there once. Whether the snapshots form a
//!   tree is asked of [`Tree`](super::tree::Tree).
//! * What nobody here knows is kept.

mod view;

use std::path::PathBuf;

use ploop_core::units::Sectors;

use super::guid::Guid;
use super::refusal::{Refusal, Rule};
use super::xml::{Document, Element};
use view::View;

/// A descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    document: Document,
    view: View,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Whose file.
    pub guid: Guid,
    /// What is in it.
    pub kind: Kind,
    /// As it is written: from the folder of the descriptor on, or absolute.
    pub file: PathBuf,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Compressed`: an image.
    Expanded,
    /// `Plain`: a raw disk; ploop says so of the images above a raw disk, too.
    Plain,
}

/// A snapshot, or the delta that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// Its name.
    pub guid: Guid,
    /// The one below; `None` for the oldest.
    pub parent: Option<Guid>,
    /// Whether it is to go.
    pub temporary: Option<Temporary>,
}

/// Why a snapshot is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temporary {
    /// It was deleted, or its merge with the one above has begun: what it held alone may be gone.
    Plain,
    /// Another program's merge, which only that program can end (`TemporaryZero`, `TemporaryZeroSwap`).
    Foreign,
}

/// What a new descriptor says.
#[derive(Clone, Copy, Debug)]
pub struct NewDisk<'a> {
    /// Size of the disk.
    pub size: Sectors,
    /// Cluster size.
    pub cluster: Sectors,
    /// The image.
    pub file: &'a str,
    /// Informational.
    pub heads: u32,
    /// Informational.
    pub cylinders: u32,
}

impl Descriptor {
    /// Reads a descriptor.
    pub fn parse(bytes: &[u8]) -> Result<Descriptor, Refusal> {
        let document = Document::parse(bytes)?;
        let view = View::read(&document.root)?;
        Ok(Descriptor { document, view })
    }

    /// The descriptor of a new disk: one image, which is the top.
    pub fn new(disk: &NewDisk<'_>) -> Result<Descriptor, Refusal> {
        let (heads, cylinders) = (disk.heads.max(1), disk.cylinders.max(1));
        let track = disk.size.0 / (u64::from(heads) * u64::from(cylinders));
        let text = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Parallels_disk_image Version="1.0">
  <Disk_Parameters>
    <Disk_size>{size}</Disk_size>
    <Cylinders>{cylinders}</Cylinders>
    <Heads>{heads}</Heads>
    <Sectors>{track}</Sectors>
    <Padding>0</Padding>
  </Disk_Parameters>
  <StorageData>
    <Storage>
      <Start>0</Start>
      <End>{size}</End>
      <Blocksize>{cluster}</Blocksize>
      <Image>
        <GUID>{top}</GUID>
        <Type>Compressed</Type>
        <File>{file}</File>
      </Image>
    </Storage>
  </StorageData>
  <Snapshots>
    <TopGUID>{top}</TopGUID>
    <Shot>
      <GUID>{top}</GUID>
      <ParentGUID>{none}</ParentGUID>
    </Shot>
  </Snapshots>
</Parallels_disk_image>
"#,
            size = disk.size.0,
            cluster = disk.cluster.0,
            top = Guid::TOP,
            none = Guid::NONE,
            file = quick_xml::escape::escape(disk.file),
        );
        Descriptor::parse(text.as_bytes())
    }

    /// The text.
    #[must_use]
    pub fn print(&self) -> String {
        self.document.print()
    }

    /// `Disk_size`: size of the disk. What the images say counts.
    #[must_use]
    pub fn size(&self) -> Option<Sectors> {
        self.view.size
    }

    /// `End`: the first sector behind the disk. What the images say counts.
    #[must_use]
    pub fn end(&self) -> Option<Sectors> {
        self.view.end
    }

    /// `Blocksize`: the cluster size.
    #[must_use]
    pub fn block(&self) -> Option<Sectors> {
        self.view.block
    }

    /// The files, in the order of the descriptor.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.view.images
    }

    /// The snapshots, in the order of the descriptor.
    #[must_use]
    pub fn shots(&self) -> &[Shot] {
        &self.view.shots
    }

    /// `TopGUID`, if it is there.
    #[must_use]
    pub fn top(&self) -> Option<Guid> {
        self.view.top
    }

    /// The same with something changed: printed and read again, so that what is in memory is what will be in the file.
    fn changed(&self, change: impl FnOnce(&mut Element)) -> Result<Descriptor, Refusal> {
        let mut document = self.document.clone();
        change(&mut document.root);
        Descriptor::parse(document.print().as_bytes())
    }

    /// With `TopGUID` and the `Shot` of an only image, which old descriptors leave out.
    pub fn with_top(&self, top: Guid) -> Result<Descriptor, Refusal> {
        let (shots, named) = (self.shots().to_vec(), self.top().is_some());
        self.changed(|root| {
            if root.first_mut("Snapshots").is_none() {
                root.add(Element::holding("Snapshots", Vec::new()));
            }
            if let Some(snapshots) = root.first_mut("Snapshots") {
                if snapshots.first_mut("Shot").is_none() {
                    for shot in &shots {
                        snapshots.add(shot_element(shot.guid, shot.parent));
                    }
                }
                if !named {
                    snapshots.add_first(Element::with_text("TopGUID", &top.to_string()));
                }
            }
        })
    }

    /// With this `TopGUID` in place of another.
    pub fn with_top_named(&self, top: Guid) -> Result<Descriptor, Refusal> {
        self.changed(|root| {
            let snapshots = root.first_mut("Snapshots");
            if let Some(element) = snapshots.and_then(|s| s.first_mut("TopGUID")) {
                element.set_text(&top.to_string());
            }
        })
    }

    /// With another file and its snapshot.
    pub fn with_image(&self, image: &Image, parent: Option<Guid>) -> Result<Descriptor, Refusal> {
        let file = image
            .file
            .to_str()
            .ok_or_else(|| Refusal::value("File", image.file.display(), Rule::NotAFile))?;
        let kind = match image.kind {
            Kind::Expanded => "Compressed",
            Kind::Plain => "Plain",
        };
        let element = Element::holding(
            "Image",
            vec![
                Element::with_text("GUID", &image.guid.to_string()),
                Element::with_text("Type", kind),
                Element::with_text("File", file),
            ],
        );
        self.changed(|root| {
            if let Some(storage) = storage_mut(root) {
                storage.add(element);
            }
            if let Some(snapshots) = root.first_mut("Snapshots") {
                snapshots.add(shot_element(image.guid, parent));
            }
        })
    }

    /// Without a file and its snapshot.
    pub fn without(&self, guid: Guid) -> Result<Descriptor, Refusal> {
        self.changed(|root| {
            if let Some(storage) = storage_mut(root) {
                storage.remove(|element| element.name() == "Image" && is_of(element, guid));
            }
            if let Some(snapshots) = root.first_mut("Snapshots") {
                snapshots.remove(|element| element.name() == "Shot" && is_of(element, guid));
            }
        })
    }

    /// With another name for a snapshot wherever it is named, `TopGUID` too.
    pub fn renamed(&self, from: Guid, to: Guid) -> Result<Descriptor, Refusal> {
        self.changed(|root| {
            if let Some(storage) = storage_mut(root) {
                for image in storage.elements_mut().filter(|e| e.name() == "Image") {
                    rename(image, "GUID", from, to);
                }
            }
            if let Some(snapshots) = root.first_mut("Snapshots") {
                rename(snapshots, "TopGUID", from, to);
                for shot in snapshots.elements_mut().filter(|e| e.name() == "Shot") {
                    rename(shot, "GUID", from, to);
                    rename(shot, "ParentGUID", from, to);
                }
            }
        })
    }

    /// After the file of `upper` was merged into that of its parent `lower`: the file of `lower` is that of `upper` now, and
    /// `lower` is gone.
    pub fn merged(&self, lower: Guid, upper: Guid) -> Result<Descriptor, Refusal> {
        let below = self
            .shots()
            .iter()
            .find(|shot| shot.guid == lower)
            .and_then(|shot| shot.parent);
        self.changed(|root| {
            if let Some(storage) = storage_mut(root) {
                storage.remove(|element| element.name() == "Image" && is_of(element, upper));
                for image in storage.elements_mut().filter(|e| e.name() == "Image") {
                    rename(image, "GUID", lower, upper);
                }
            }
            if let Some(snapshots) = root.first_mut("Snapshots") {
                snapshots.remove(|element| element.name() == "Shot" && is_of(element, lower));
                for shot in snapshots.elements_mut().filter(|e| e.name() == "Shot") {
                    rename(shot, "ParentGUID", lower, below.unwrap_or(Guid::NONE));
                }
            }
        })
    }

    /// After what `upper` lacked was copied from its parent `lower` into its own file: `lower` and its file are gone. If that
    /// was a raw disk, no image is `Plain` any more.
    pub fn merged_up(&self, lower: Guid, upper: Guid) -> Result<Descriptor, Refusal> {
        let parent_of = |guid| {
            let mut shots = self.shots().iter();
            shots.find(|shot| shot.guid == guid)?.parent
        };
        let below = parent_of(lower);
        debug_assert_eq!(parent_of(upper), Some(lower));
        self.changed(|root| {
            if let Some(storage) = storage_mut(root) {
                storage.remove(|element| element.name() == "Image" && is_of(element, lower));
                let images = storage.elements_mut().filter(|e| e.name() == "Image");
                let kinds = images.filter_map(|image| image.first_mut("Type"));
                kinds
                    .filter(|_| below.is_none())
                    .for_each(|kind| kind.set_text("Compressed"));
            }
            if let Some(snapshots) = root.first_mut("Snapshots") {
                snapshots.remove(|element| element.name() == "Shot" && is_of(element, lower));
                for shot in snapshots.elements_mut().filter(|e| e.name() == "Shot") {
                    rename(shot, "ParentGUID", lower, below.unwrap_or(Guid::NONE));
                }
            }
        })
    }

    /// With the mark of a snapshot that is to go.
    pub fn marked_temporary(&self, guid: Guid) -> Result<Descriptor, Refusal> {
        self.changed(|root| {
            let Some(snapshots) = root.first_mut("Snapshots") else {
                return;
            };
            let shot = snapshots
                .elements_mut()
                .find(|element| element.name() == "Shot" && is_of(element, guid));
            if let Some(shot) = shot
                && shot.first_mut("Temporary").is_none()
            {
                shot.add(Element::empty("Temporary"));
            }
        })
    }

    /// With another size of the disk.
    pub fn resized(&self, size: Sectors) -> Result<Descriptor, Refusal> {
        let text = size.0.to_string();
        self.changed(|root| {
            if let Some(parameters) = root.first_mut("Disk_Parameters") {
                match parameters.first_mut("Disk_size") {
                    Some(element) => element.set_text(&text),
                    None => parameters.add_first(Element::with_text("Disk_size", &text)),
                }
                let mut number = |name| {
                    let element = parameters.first_mut(name)?;
                    element.text().ok()?.trim().parse::<u64>().ok()
                };
                let per_cylinder = number("Heads")
                    .zip(number("Sectors"))
                    .and_then(|(heads, sectors)| heads.checked_mul(sectors));
                if let (Some(per_cylinder), Some(cylinders)) =
                    (per_cylinder, parameters.first_mut("Cylinders"))
                {
                    let count = size.0.checked_div(per_cylinder).unwrap_or(1).max(1);
                    cylinders.set_text(&count.to_string());
                }
            }
            if let Some(end) = storage_mut(root).and_then(|storage| storage.first_mut("End")) {
                end.set_text(&text);
            }
        })
    }
}

fn storage_mut(root: &mut Element) -> Option<&mut Element> {
    root.first_mut("StorageData")?.first_mut("Storage")
}

fn shot_element(guid: Guid, parent: Option<Guid>) -> Element {
    let parent = parent.unwrap_or(Guid::NONE);
    Element::holding(
        "Shot",
        vec![
            Element::with_text("GUID", &guid.to_string()),
            Element::with_text("ParentGUID", &parent.to_string()),
        ],
    )
}

/// The GUID that the element in `element` holds, if it holds one.
fn guid_in(element: &Element, name: &str) -> Option<Guid> {
    let text = element.only(name).ok()??.text().ok()?;
    Guid::braced(text.trim()).ok()
}

fn is_of(element: &Element, guid: Guid) -> bool {
    guid_in(element, "GUID") == Some(guid)
}

fn rename(element: &mut Element, name: &str, from: Guid, to: Guid) {
    if guid_in(element, name) == Some(from)
        && let Some(inner) = element.first_mut(name)
    {
        inner.set_text(&to.to_string());
    }
}
