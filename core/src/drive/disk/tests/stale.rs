//! Slots that were kept for an image that went on without them.

use super::*;
use crate::bat::visible::{Kept, VisibleMap};
use crate::device::OpenError;
use crate::units::Clu;

/// A device that was killed before it had mapped anything.
#[derive(Debug)]
struct Nothing;

impl VisibleMap for Nothing {
    fn set(&self, _clu: Clu, _entry: u32) {}
    fn get(&self, _clu: Clu) -> u32 {
        0
    }
    fn set_poisoned(&self) {}
    fn is_poisoned(&self) -> bool {
        false
    }
}

#[test]
fn an_image_that_was_closed_since_is_not_recovered_from_older_slots() {
    let file = image(Version::V2, 4, 400);
    let mut disk = open(std::slice::from_ref(&file), Options::default());
    disk.write(Sector(0), &[1; 512], true).expect("writes");
    let recover = || {
        let chain = vec![load::load(&file, "image").expect("loads")];
        Device::open_kept(
            chain,
            Options::default(),
            Kept::Recovered(Box::new(Nothing)),
        )
    };
    assert!(recover().is_ok(), "killed now, it would be an un-map");
    disk.close().expect("closes");
    match recover() {
        Err(OpenError::Recovered {
            clu: 0,
            entry: 0,
            rule,
            ..
        }) => assert!(rule.contains("closed"), "{rule}"),
        other => panic!("{other:?}"),
    }
    let before = file.0.borrow().clone();
    assert!(recover().is_err());
    assert!(*file.0.borrow() == before, "nothing is written");
}
