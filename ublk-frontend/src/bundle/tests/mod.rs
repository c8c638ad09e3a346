//! Bundles without a file system: descriptors of other programs, hostile ones, changes, and a crash after every step.

mod crash;
mod double;
mod edits;
mod hostile;
mod live;
mod peers;

use super::Guid;
use super::store::Bundle;

/// A short GUID for tests.
pub(super) fn guid(n: u128) -> Guid {
    Guid::from_u128(n)
}

/// `(guid, parent)`; 0 is none. The file of n is `n.hds`.
pub(super) fn text(shots: &[(u128, u128)], top: Option<u128>) -> String {
    let (mut images, mut snapshots) = (String::new(), String::new());
    if let Some(top) = top {
        snapshots += &format!("<TopGUID>{}</TopGUID>", guid(top));
    }
    for (own, parent) in shots {
        images += &format!(
            "<Image><GUID>{}</GUID><Type>Compressed</Type><File>{own}.hds</File></Image>",
            guid(*own)
        );
        snapshots += &format!(
            "<Shot><GUID>{}</GUID><ParentGUID>{}</ParentGUID></Shot>",
            guid(*own),
            guid(*parent)
        );
    }
    around(&images, &snapshots)
}

pub(super) fn around(images: &str, snapshots: &str) -> String {
    format!(
        "<Parallels_disk_image><Disk_Parameters><Disk_size>2048</Disk_size></Disk_Parameters>\
         <StorageData><Storage><Blocksize>128</Blocksize>{images}</Storage></StorageData>\
         <Snapshots>{snapshots}</Snapshots></Parallels_disk_image>"
    )
}

#[track_caller]
pub(super) fn read(text: &str) -> Bundle {
    match Bundle::parse(text.as_bytes()) {
        Ok(bundle) => bundle,
        Err(refusal) => panic!("{refusal}\n{text}"),
    }
}

/// The refusal, one line.
#[track_caller]
pub(super) fn refused(text: &[u8]) -> String {
    let line = match Bundle::parse(text) {
        Ok(bundle) => panic!("accepted: {bundle:?}"),
        Err(refusal) => refusal.to_string(),
    };
    assert!(!line.contains('\n') && line.len() < 400, "{line}");
    line
}
