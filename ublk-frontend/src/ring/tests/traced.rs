//! A journal of the I/O of a queue tells all of it.

use super::*;
use crate::files::trace::{Record, SECTOR, Trace, digest, read as records};
use std::collections::BTreeMap;

/// What a journal says that each sector of a file holds; and how often something was told to begin.
fn told(records: &[(usize, Record)], contents: &mut Vec<u64>) -> BTreeMap<&'static str, u32> {
    let mut counts = BTreeMap::new();
    let mut open = 0i32;
    for (_, record) in records {
        let kind = match record {
            Record::Opened { .. } => continue,
            Record::Write {
                at,
                contents: new,
                fua,
                ..
            } => {
                let first = *at as usize / SECTOR;
                let end = first + new.len();
                contents.resize(contents.len().max(end), 0);
                contents[first..end].copy_from_slice(new);
                if *fua { "fua" } else { "write" }
            }
            Record::Zero { at, len, .. } => {
                let (first, end) = (*at as usize / SECTOR, (*at + *len) as usize / SECTOR);
                let there = contents.len();
                contents[first.min(there)..end.min(there)].fill(0);
                "zero"
            }
            Record::SetLen { len, .. } => {
                contents.resize(*len as usize / SECTOR, 0);
                "len"
            }
            Record::Sync { .. } => "sync",
            Record::End { result, .. } => {
                assert!(*result >= 0, "nothing fails here");
                open -= 1;
                continue;
            }
        };
        open += 1;
        *counts.entry(kind).or_default() += 1;
    }
    assert_eq!(open, 0, "all that began has ended");
    counts
}

fn contents_of(path: &Path) -> Vec<u64> {
    let bytes = std::fs::read(path).expect("read");
    bytes.chunks(SECTOR).map(digest).collect()
}

#[test]
fn the_journal_of_a_queue_explains_every_sector_of_the_file() {
    let dir = tempfile::tempdir().expect("folder");
    let (path, journal) = (dir.path().join("image"), dir.path().join("journal"));
    image(&path, 4000);
    let mut contents = contents_of(&path);
    let mut shared = share(&[&path], 1, Direct::Auto, WriteBack::Delayed(Millis(5)));
    let trace = Trace::open(&journal).expect("journal");
    let only = Arc::get_mut(&mut shared).expect("nobody has it yet");
    only.files[0].trace(trace, 0);
    let (script, expected) = random(&mut Rng(5), 0, 4000, &mut vec![0; 4000]);
    check(&serve(&shared, vec![script])[0], &expected);
    let discard = vec![
        (request(Op::Discard, 0, 4000), 0),
        (request(Op::Flush, 0, 0), 0),
    ];
    serve(&shared, vec![discard]);
    let text = std::fs::read(&journal).expect("journal");
    let counts = told(&records(&text).expect("records"), &mut contents);
    assert_eq!(contents, contents_of(&path));
    for kind in ["write", "fua", "zero", "len", "sync"] {
        assert!(counts.get(kind) > Some(&0), "no {kind}: {counts:?}");
    }
}
