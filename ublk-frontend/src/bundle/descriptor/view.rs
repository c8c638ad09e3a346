//! Reading a descriptor: every value is checked, and a value that is none is refused with element, value and rule.

use std::path::{Component, Path};

use ploop_core::units::Sectors;

use super::{Image, Kind, Shot, Temporary};
use crate::bundle::guid::Guid;
use crate::bundle::refusal::{Refusal, Rule};
use crate::bundle::xml::Element;

/// Longest file name in bytes, folders included.
const MOST_PATH: usize = 4095;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) size: Option<Sectors>,
    pub(super) end: Option<Sectors>,
    pub(super) block: Option<Sectors>,
    pub(super) images: Vec<Image>,
    pub(super) shots: Vec<Shot>,
    pub(super) top: Option<Guid>,
}

impl View {
    /// Reads the root element.
    pub(super) fn read(root: &Element) -> Result<View, Refusal> {
        if !matches!(root.name(), "Parallels_disk_image" | "Virtuozzo_disk_image") {
            return Err(Refusal::value("root", root.name(), Rule::Root));
        }
        let parameters = must(root, "Disk_Parameters")?;
        let data = must(root, "StorageData")?;
        let mut storages = data
            .elements()
            .filter(|element| element.name() == "Storage");
        let storage = storages
            .next()
            .ok_or_else(|| Refusal::of("StorageData/Storage", Rule::Missing))?;
        if storages.next().is_some() {
            return Err(Refusal::of("StorageData/Storage", Rule::Split));
        }
        let images = named(storage, "Image")
            .map(image)
            .collect::<Result<Vec<_>, _>>()?;
        let (mut shots, mut top) = (Vec::new(), None);
        if let Some(snapshots) = root.only("Snapshots")? {
            shots = named(snapshots, "Shot")
                .map(shot)
                .collect::<Result<Vec<_>, _>>()?;
            top = match snapshots.only("TopGUID")? {
                Some(element) => Some(guid("Snapshots/TopGUID", element)?),
                None => None,
            };
        }
        // Old descriptors do not speak of the snapshots if there are none.
        if let ([only], true) = (images.as_slice(), shots.is_empty()) {
            shots.push(Shot {
                guid: only.guid,
                parent: None,
                temporary: None,
            });
        }
        let preallocated = number(storage, "Preallocated")?;
        match preallocated {
            None | Some(0) => {}
            Some(1) if images.iter().all(|image| image.kind == Kind::Expanded) => {}
            Some(1) => {
                return Err(Refusal::value(
                    "Storage/Preallocated",
                    1,
                    Rule::PlainPreallocated,
                ));
            }
            Some(other) => {
                return Err(Refusal::value(
                    "Storage/Preallocated",
                    other,
                    Rule::NotANumber,
                ));
            }
        }
        Ok(View {
            size: number(parameters, "Disk_size")?.map(Sectors),
            end: number(storage, "End")?.map(Sectors),
            block: number(storage, "Blocksize")?.map(Sectors),
            images,
            shots,
            top,
        })
    }
}

fn named<'e>(element: &'e Element, name: &'static str) -> impl Iterator<Item = &'e Element> {
    element.elements().filter(move |inner| inner.name() == name)
}

fn must<'e>(element: &'e Element, name: &str) -> Result<&'e Element, Refusal> {
    element
        .only(name)?
        .ok_or_else(|| Refusal::of(format!("{}/{name}", element.name()), Rule::Missing))
}

fn image(element: &Element) -> Result<Image, Refusal> {
    let guid = guid("Image/GUID", must(element, "GUID")?)?;
    let kind = match element.only("Type")? {
        None => Kind::Expanded,
        Some(kind) => match kind.text()?.trim() {
            "Compressed" => Kind::Expanded,
            "Plain" => Kind::Plain,
            other => return Err(Refusal::value("Image/Type", other, Rule::NotAType)),
        },
    };
    let file = must(element, "File")?.text()?;
    let path = Path::new(&file);
    let is_file = matches!(path.components().next_back(), Some(Component::Normal(_)));
    if !is_file || file.len() > MOST_PATH || file.ends_with('/') || file.contains('\0') {
        return Err(Refusal::value("Image/File", file, Rule::NotAFile));
    }
    let file = path.to_owned();
    Ok(Image { guid, kind, file })
}

fn shot(element: &Element) -> Result<Shot, Refusal> {
    let own = guid("Shot/GUID", must(element, "GUID")?)?;
    let parent = any_guid("Shot/ParentGUID", must(element, "ParentGUID")?)?;
    let is = |name: &str| element.elements().any(|inner| inner.name() == name);
    let temporary = if is("TemporaryZero") || is("TemporaryZeroSwap") {
        Some(Temporary::Foreign)
    } else {
        is("Temporary").then_some(Temporary::Plain)
    };
    Ok(Shot {
        guid: own,
        parent: (parent != Guid::NONE).then_some(parent),
        temporary,
    })
}

/// The GUID of something.
fn guid(what: &str, element: &Element) -> Result<Guid, Refusal> {
    match any_guid(what, element)? {
        Guid::NONE => Err(Refusal::value(what, Guid::NONE, Rule::Nil)),
        guid => Ok(guid),
    }
}

fn any_guid(what: &str, element: &Element) -> Result<Guid, Refusal> {
    let text = element.text()?;
    Guid::braced(text.trim()).map_err(|_| Refusal::value(what, text, Rule::NotAGuid))
}

/// The number that an element in `element` holds, as `strtoul` with base 0 reads it, or `None` if there is no such element.
fn number(element: &Element, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(inner) = element.only(name)? else {
        return Ok(None);
    };
    let text = inner.text()?;
    let digits = text.trim();
    let value = if let Some(hex) = digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        strict(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        strict(digits, 8)
    } else {
        strict(digits, 10)
    };
    value.map(Some).ok_or_else(|| {
        Refusal::value(
            format!("{}/{name}", element.name()),
            &text,
            Rule::NotANumber,
        )
    })
}

/// A number without a sign.
fn strict(digits: &str, radix: u32) -> Option<u64> {
    let all = digits.chars().all(|c| c.is_digit(radix));
    all.then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}
