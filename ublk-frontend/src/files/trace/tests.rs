use super::*;
use crate::files::RealFile;
use crate::files::trace::read::Record;
use ploop_core::drive::DeltaFile;

#[test]
fn zeros_and_nothing_else_have_the_hash_of_zeros() {
    assert_eq!(digest(&[0; SECTOR]), 0);
    let mut seen = std::collections::BTreeSet::from([0]);
    for byte in 0..SECTOR {
        for bit in 0..8 {
            let mut sector = [0; SECTOR];
            sector[byte] = 1 << bit;
            assert!(seen.insert(digest(&sector)), "bit {bit} of byte {byte}");
        }
    }
    // The order of words counts.
    let (mut one, mut other) = ([0; SECTOR], [0; SECTOR]);
    (one[0], one[8], other[0], other[8]) = (1, 2, 2, 1);
    assert_ne!(digest(&one), digest(&other));
}

#[test]
fn all_that_changes_a_file_is_told_in_order() {
    let dir = tempfile::tempdir().expect("folder");
    let (path, journal) = (dir.path().join("f"), dir.path().join("journal"));
    std::fs::write(&path, [7; 2048]).expect("written");
    let mut file = RealFile::open_write(&path).expect("open");
    file.trace(Trace::open(&journal).expect("journal"), 3);
    let sector = [9; SECTOR];
    file.write_all_at(512, &sector).expect("written");
    // A part of a sector is told with the rest of it.
    file.write_all_at(508, &[1; 8]).expect("written");
    file.zero_at(1024, 512, true).expect("zeros");
    file.set_len(4096).expect("longer");
    file.sync().expect("durable");
    let (mut first, mut second) = ([7; SECTOR], sector);
    first[508..].fill(1);
    second[..4].fill(1);
    let text = std::fs::read(&journal).expect("journal");
    let records = read(&text).expect("records");
    assert_eq!(records.last().map(|(behind, _)| *behind), Some(text.len()));
    let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
    let id = |number| (std::process::id(), number);
    let level = 3;
    let write = |number, at, contents| Record::Write {
        id: id(number),
        level,
        at,
        contents,
        fua: false,
    };
    let end = |number, result| Record::End {
        id: id(number),
        result,
    };
    let name = path.display().to_string();
    assert_eq!(
        records,
        [
            Record::Opened { level, path: name },
            write(0, 512, vec![digest(&sector)]),
            end(0, 512),
            write(1, 0, vec![digest(&first), digest(&second)]),
            end(1, 1024),
            Record::Zero {
                id: id(2),
                level,
                at: 1024,
                len: 512
            },
            end(2, 0),
            Record::SetLen {
                id: id(3),
                level,
                len: 4096
            },
            end(3, 0),
            Record::Sync { id: id(4), level },
            end(4, 0),
        ]
    );
}

#[test]
fn what_fails_is_told_as_failed() {
    let dir = tempfile::tempdir().expect("folder");
    let (path, journal) = (dir.path().join("f"), dir.path().join("journal"));
    std::fs::write(&path, [7; 512]).expect("written");
    let mut file = RealFile::open_read(&path).expect("open");
    file.trace(Trace::open(&journal).expect("journal"), 0);
    file.write_at(0, &[1; 512]).expect_err("read only");
    let records = read(&std::fs::read(&journal).expect("journal")).expect("records");
    let result = -i64::from(libc::EBADF);
    assert!(
        matches!(records.last(), Some((_, Record::End { result: r, .. })) if *r == result),
        "{records:?}"
    );
}

#[test]
fn a_journal_that_is_not_whole_is_refused() {
    let whole = b"open 0 1:2 /a b\n+ 1.0 0 5 sync\n- 1.0 6 0\n";
    assert_eq!(read(whole).expect("records").len(), 3);
    let cut = read(&whole[..whole.len() - 1]).expect("the last line is left out");
    assert_eq!(cut.len(), 2);
    for (text, why) in [
        ("+ 1.0 0 5 sync\n\nlost\n", "not a record"),
        ("lost\n", "it was given up here"),
        (
            "+ 1.0 0 5 unseen 0 512\n",
            "a write of memory that the server could not see",
        ),
        ("+ 1.0 0 5 write 0 1024 a\n", "a write of parts of sectors"),
        ("+ 1 0 5 sync\n", "no id"),
        ("+ 1.0 0 5 what\n", "something unknown is told"),
        ("- 1.0 0\n", "no result"),
    ] {
        let error = read(text.as_bytes()).expect_err(text);
        assert_eq!(error.why, why, "{text}");
    }
}
