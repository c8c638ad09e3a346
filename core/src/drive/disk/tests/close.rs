//! Closing: once, truthfully, and again where that makes sense.

use super::*;
use crate::control::close::CloseError;

/// Calls that fail, by name, and how.
#[derive(Clone, Default)]
struct Plan(Rc<RefCell<Vec<(&'static str, io::ErrorKind)>>>);

impl Plan {
    fn set(&self, plan: &[(&'static str, io::ErrorKind)]) {
        *self.0.borrow_mut() = plan.to_vec();
    }

    fn check(&self, call: &str) -> io::Result<()> {
        match self.0.borrow().iter().find(|(name, _)| *name == call) {
            Some((_, kind)) => Err((*kind).into()),
            None => Ok(()),
        }
    }
}

#[derive(Clone)]
struct Planned(Memory, Plan);

impl DeltaFile for Planned {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, buf: &[u8]) -> io::Result<usize> {
        self.1.check(if at == 0 { "index" } else { "write" })?;
        self.0.write_at(at, buf)
    }
    fn zero_at(&self, at: u64, len: u64, punch: bool) -> io::Result<()> {
        self.0.zero_at(at, len, punch)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.check("set_len")?;
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.check("sync")
    }
}

fn planned() -> (Memory, Plan, Disk) {
    let (file, plan) = (image(Version::V2, 4, 400), Plan::default());
    let loaded = load::load(&file, "memory").expect("loads");
    let boxed: Box<dyn DeltaFile> = Box::new(Planned(file.clone(), plan.clone()));
    let disk = Disk::open(vec![loaded], vec![boxed], Options::default()).expect("opens");
    (file, plan, disk)
}

fn mark(file: &Memory) -> [u8; 4] {
    file.0.borrow()[44..48].try_into().expect("four bytes")
}

#[test]
fn a_second_close_leaves_the_next_users_file_alone() {
    let file = image(Version::V2, 4, 400);
    let mut first = open(std::slice::from_ref(&file), Options::default());
    first.write(Sector(0), &[1; 512], false).expect("writes");
    first.close().expect("closes");
    let mut second = open(std::slice::from_ref(&file), Options::default());
    second.write(Sector(40), &[2; 512], true).expect("writes");
    let before = file.0.borrow().clone();
    assert_eq!(first.close(), Ok(()));
    assert!(
        *file.0.borrow() == before,
        "the first user cut or unmarked it"
    );
}

#[test]
fn an_image_that_was_left_open_is_closed_even_if_nothing_was_written() {
    let file = image(Version::V2, 4, 400);
    let mut killed = open(std::slice::from_ref(&file), Options::default());
    killed.write(Sector(0), &[1; 512], true).expect("writes");
    drop(killed);
    assert_ne!(mark(&file), [0; 4]);
    let read_only = Options {
        write: false,
        ..Options::default()
    };
    let before = file.0.borrow().clone();
    open(std::slice::from_ref(&file), read_only)
        .close()
        .expect("closes");
    assert!(*file.0.borrow() == before, "not by one who only reads");
    let mut next = open(std::slice::from_ref(&file), Options::default());
    next.close().expect("closes");
    assert_eq!(mark(&file), [0; 4]);
    let closed = file.0.borrow().clone();
    let mut last = open(std::slice::from_ref(&file), Options::default());
    let mut data = [0; 512];
    last.read(Sector(0), &mut data).expect("reads");
    assert_eq!(data, [1; 512]);
    last.close().expect("closes");
    assert!(*file.0.borrow() == closed, "nothing to close");
}

#[test]
fn a_close_whose_sync_failed_never_clears_the_mark_later() {
    let (file, plan, mut disk) = planned();
    disk.write(Sector(0), &[1; 512], false).expect("writes");
    disk.flush().expect("flushes");
    plan.set(&[("sync", io::ErrorKind::StorageFull)]);
    let failed = Err(CloseError::Failed {
        step: "the sync before the tail is cut",
        failure: Failure::Io,
    });
    assert_eq!(disk.close(), failed);
    let marked = mark(&file);
    assert_ne!(marked, [0; 4]);
    // The kernel tells a failed write-back once; the next sync says "ok" and means nothing.
    plan.set(&[]);
    assert_eq!(disk.close(), failed);
    assert_eq!(mark(&file), marked);
}

#[test]
fn a_close_without_space_can_be_tried_again() {
    let (file, plan, mut disk) = planned();
    disk.write(Sector(0), &[1; 512], false).expect("writes");
    plan.set(&[("index", io::ErrorKind::StorageFull)]);
    let result = disk.close();
    assert!(
        matches!(
            result,
            Err(CloseError::NotDurable {
                dirty: 1,
                poisoned: false,
                ..
            })
        ),
        "{result:?}"
    );
    assert_ne!(mark(&file), [0; 4]);
    let mut data = [0; 512];
    assert_eq!(disk.read(Sector(0), &mut data), Err(Failure::Closed));
    plan.set(&[]);
    assert_eq!(disk.close(), Ok(()));
    assert_eq!(mark(&file), [0; 4]);
    let mut again = open(std::slice::from_ref(&file), Options::default());
    again.read(Sector(0), &mut data).expect("reads");
    assert_eq!(data, [1; 512]);
}

#[test]
fn no_space_for_the_mark_fails_the_write_and_nothing_else() {
    let (file, plan, mut disk) = planned();
    let before = file.0.borrow().clone();
    plan.set(&[("index", io::ErrorKind::FileTooLarge)]);
    let data = [1; 512];
    assert_eq!(disk.write(Sector(0), &data, false), Err(Failure::NoSpace));
    assert!(*file.0.borrow() == before);
    plan.set(&[]);
    disk.write(Sector(0), &data, false).expect("writes");
    disk.close().expect("closes");
    assert_eq!(mark(&file), [0; 4]);
}

#[test]
fn a_sync_that_fails_for_lack_of_space_poisons_the_file() {
    let (_, plan, mut disk) = planned();
    disk.write(Sector(0), &[1; 512], true).expect("writes");
    // The slot is durable: this is one synchronous write.
    plan.set(&[("sync", io::ErrorKind::StorageFull)]);
    assert_eq!(disk.write(Sector(0), &[2; 512], true), Err(Failure::Io));
    plan.set(&[]);
    assert_eq!(disk.flush(), Err(Failure::Io));
    // Nothing has to be written for these, and they promise all the same.
    let zeros = disk.write_zeroes(Sector(8), Sectors(2), true, false);
    assert_eq!(zeros, Err(Failure::Io));
    assert_eq!(disk.write(Sector(0), &[], true), Err(Failure::Io));
    assert_eq!(disk.write(Sector(0), &[], false), Ok(()));
    let result = disk.close();
    assert!(
        matches!(result, Err(CloseError::NotDurable { poisoned: true, .. })),
        "{result:?}"
    );
}

#[test]
fn bitmaps_that_find_no_space_are_given_up_and_the_image_is_closed() {
    use crate::control::files::{Change, change_bitmaps};
    let (file, plan) = (image(Version::V2, 4, 400), Plan::default());
    let change = Change::Start {
        id: [1; 16],
        granularity: 1,
    };
    change_bitmaps(&file, "memory", change).expect("starts");
    for (kind, closes) in [
        (io::ErrorKind::StorageFull, true),
        (io::ErrorKind::Other, false),
    ] {
        plan.set(&[]);
        let loaded = load::load(&file, "memory").expect("loads");
        let boxed: Box<dyn DeltaFile> = Box::new(Planned(file.clone(), plan.clone()));
        let mut disk = Disk::open(vec![loaded], vec![boxed], Options::default()).expect("opens");
        disk.write(Sector(0), &[1; 512], true).expect("writes");
        plan.set(&[("write", kind)]);
        let kept = file.0.borrow().clone();
        assert_eq!(disk.close().is_ok(), closes, "{kind:?}");
        if closes {
            assert_eq!(mark(&file), [0; 4]);
            assert_eq!(file.0.borrow()[56..64], [0; 8]);
            // One cluster of data, behind the place of the extension that was found.
            assert_eq!(file.0.borrow().len(), 3 * 2048);
            *file.0.borrow_mut() = kept;
            file.0.borrow_mut()[44..48].copy_from_slice(b"v2.1");
        } else {
            assert_eq!(mark(&file), *b"Ynot");
        }
    }
}
