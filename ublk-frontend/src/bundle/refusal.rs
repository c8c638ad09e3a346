//! Why a descriptor is refused: which element, what it holds, what it should have been. One line.

use std::fmt;
use std::path::PathBuf;

use crate::tool::ToolError;

/// Characters of a value or a name that are shown.
const SHOWN: usize = 80;
/// Characters of what a library says, which may hold names.
const SAID: usize = 240;

/// One broken rule of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The element, or the line of the file.
    pub element: String,
    /// What it holds, cut if it is long.
    pub value: Option<String>,
    /// What it breaks.
    pub rule: Rule,
}

/// A descriptor that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {refusal}", file.display())]
pub struct BundleError {
    /// The descriptor.
    pub file: PathBuf,
    /// What is wrong with it.
    pub refusal: Refusal,
}

/// The rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// The file is too long to be a descriptor.
    #[error("at most {0} bytes")]
    Length(u64),
    /// Not UTF-8.
    #[error("must be UTF-8")]
    Utf8,
    /// A character that XML does not allow.
    #[error("a control character that XML does not allow")]
    Character,
    /// No XML: see [`Rule::syntax`].
    #[error("not well-formed XML: {0}")]
    Syntax(String),
    /// A document type declaration.
    #[error("a document type declaration has no place in a descriptor")]
    DocType,
    /// A reference to an entity that XML does not define.
    #[error("an entity that XML does not define")]
    Entity,
    /// Elements inside elements inside elements.
    #[error("nested deeper than {0} elements")]
    Depth(usize),
    /// Too many elements.
    #[error("more than {0} elements")]
    Elements(usize),
    /// Not the root of a descriptor.
    #[error("the root must be Parallels_disk_image or Virtuozzo_disk_image")]
    Root,
    /// An element that must be there is not.
    #[error("missing")]
    Missing,
    /// An element that must be there once is there twice.
    #[error("stands there twice")]
    Twice,
    /// The disk is cut into pieces.
    #[error("a disk that is split into several Storage elements is not supported")]
    Split,
    /// An element that holds a value holds elements.
    #[error("must hold text, not elements")]
    NotText,
    /// Not a number.
    #[error("must be a whole number")]
    NotANumber,
    /// Not a GUID.
    #[error("must be a GUID in braces")]
    NotAGuid,
    /// The nil GUID as the name of something.
    #[error("means \"none\", and cannot be a name")]
    Nil,
    /// An unknown kind of image.
    #[error("must be Compressed or Plain")]
    NotAType,
    /// A file name that cannot be one.
    #[error("must be the name of a file")]
    NotAFile,
    /// Two of the same name.
    #[error("is used twice")]
    Duplicate,
    /// An image that no snapshot speaks of.
    #[error("no Shot has this GUID")]
    NoShot,
    /// A snapshot without a file.
    #[error("no Image has this GUID")]
    NoImage,
    /// A parent that is not there.
    #[error("no Shot has this GUID: the chain ends in nothing")]
    Dangling,
    /// A second oldest snapshot.
    #[error("a second snapshot without a parent: {0} is the first")]
    SecondRoot(String),
    /// Nobody is the oldest.
    #[error("every snapshot has a parent: they form a cycle")]
    NoRoot,
    /// A snapshot that is its own ancestor.
    #[error("is its own ancestor")]
    Cycle,
    /// Which one is written is not said.
    #[error("missing, and several snapshots have no child: which one is written is unknown")]
    NoTop,
    /// The delta that is written has children.
    #[error("is the delta that is written, and the parent of {0}, which a write would change")]
    TopHasChild(String),
    /// The delta that is written is to be merged away.
    #[error("is the delta that is written, and marked as temporary")]
    TopTemporary,
    /// The chain is too long.
    #[error("more than {0} snapshots on top of each other")]
    TooDeep(usize),
    /// A raw image above another one.
    #[error("only the oldest image can be Plain")]
    PlainAbove,
    /// Preallocated and Plain.
    #[error("Preallocated does not go with a Plain image")]
    PlainPreallocated,
}

/// At most `most` characters of a text that came from a file.
fn cut(text: &str, most: usize) -> String {
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        shown.push_str("...");
    }
    shown
}

/// The same, on one line.
fn line(text: &str, most: usize) -> String {
    cut(text, most).replace(char::is_control, " ")
}

impl Rule {
    /// No XML, for this reason, which may quote as much of the file as it likes.
    pub fn syntax(why: impl fmt::Display) -> Rule {
        Rule::Syntax(line(&why.to_string(), SAID))
    }
}

impl Refusal {
    /// `element` breaks `rule`.
    pub fn of(element: impl AsRef<str>, rule: Rule) -> Refusal {
        Refusal {
            element: line(element.as_ref(), SHOWN),
            value: None,
            rule,
        }
    }

    /// `element` holds `value`, which breaks `rule`.
    pub fn value(element: impl AsRef<str>, value: impl fmt::Display, rule: Rule) -> Refusal {
        Refusal {
            value: Some(cut(&value.to_string(), SHOWN)),
            ..Refusal::of(element, rule)
        }
    }

    /// The error that names the file.
    pub fn in_file(self, file: impl Into<PathBuf>) -> ToolError {
        ToolError::Bundle(BundleError {
            file: file.into(),
            refusal: self,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value:?}: {}", self.element, self.rule),
            None => write!(f, "{}: {}", self.element, self.rule),
        }
    }
}
