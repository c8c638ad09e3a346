//! The commands on devices: what the user types, turned into a server, a question to one, or a word to the driver.

pub mod add;
pub mod bench;
pub mod del;
pub mod detach;
pub mod features;
pub mod list;
pub mod manual;
pub mod merge;
mod merge_down;
mod merge_live;
mod merge_up;
pub mod recover;
pub mod resize;
pub mod rollback;
mod served;
pub mod set;
pub mod show;
pub mod snapshot;
pub mod tell;
pub mod topology;

use std::path::{Path, PathBuf};

use crate::tool::ToolError;
use crate::ublk::state::{FOLDER, Folder};

/// Says where the folder of the records is.
const FOLDER_VARIABLE: &str = "PLOOP_UBLK_STATE_DIR";

/// The folder of the records.
pub(crate) fn folder() -> Result<Folder, ToolError> {
    let path =
        std::env::var_os(FOLDER_VARIABLE).map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
    Folder::open(&path)
}

/// The folder of the records, if there is one and we may look into it.
pub(crate) fn existing_folder() -> Result<Option<Folder>, ToolError> {
    let path =
        std::env::var_os(FOLDER_VARIABLE).map_or_else(|| PathBuf::from(FOLDER), PathBuf::from);
    match path.read_dir() {
        Ok(_) => Folder::open(&path).map(Some),
        // There is none, or it is somebody else's: whose devices those are holds the lock of their images.
        Err(_) => Ok(None),
    }
}

/// The number of a device, however it is given: `3`, `/dev/ublkb3`.
#[must_use]
pub fn device_number(name: &Path) -> Option<u32> {
    let text = name.to_str()?;
    let digits = text.strip_prefix("/dev/ublkb").unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

pub(crate) fn refused(why: impl Into<String>) -> ToolError {
    ToolError::Refused(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_by_number_or_node() {
        let number = |name: &str| device_number(Path::new(name));
        assert_eq!(number("3"), Some(3));
        assert_eq!(number("/dev/ublkb12"), Some(12));
        for other in [
            "",
            "./3",
            "3.img",
            "-1",
            "+1",
            "99999999999",
            "/dev/ublkb",
            "/dev/ublkb1p1",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}
