use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary folder");
    let path = dir.path().join("f");
    (dir, path)
}

fn whole(file: &RealFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("length") as usize];
    assert_eq!(file.read_at(0, &mut bytes).expect("read"), bytes.len());
    bytes
}

#[test]
fn zeroing_keeps_the_length_and_the_neighbours() {
    for punch in [false, true] {
        let (_dir, path) = scratch();
        std::fs::write(&path, vec![7u8; 20_000]).expect("write");
        let file = RealFile::open_write(&path).expect("open");
        file.zero_at(4096, 8192, punch).expect("zero");
        file.zero_at(18_000, 1 << 40, punch)
            .expect("zero over the end");
        file.zero_at(1 << 40, 4096, punch)
            .expect("zero beyond the end");
        let mut expected = vec![7u8; 20_000];
        expected[4096..4096 + 8192].fill(0);
        expected[18_000..].fill(0);
        assert_eq!(whole(&file), expected);
    }
}

#[test]
fn zeros_are_written_where_the_file_system_has_no_holes() {
    let (_dir, path) = scratch();
    std::fs::write(&path, vec![7u8; 200_000]).expect("write");
    let file = RealFile::open_write(&path).expect("open");
    file.write_zeros(100, 150_000).expect("zeros");
    let mut expected = vec![7u8; 200_000];
    expected[100..150_100].fill(0);
    assert_eq!(whole(&file), expected);
}

#[test]
fn locks_are_given_up_while_somebody_has_the_file_still() {
    let (_dir, path) = scratch();
    std::fs::write(&path, b"x").expect("write");
    let writer = RealFile::open_write(&path).expect("writer");
    // As a ring has it: the same open file, not the same descriptor.
    let kept = rustix::io::dup(&writer).expect("a second descriptor");
    RealFile::open_write(&path).expect_err("locked");
    writer.give_up_locks();
    RealFile::open_write(&path).expect("free");
    drop((writer, kept));
}

#[test]
fn a_writer_excludes_everybody_and_readers_share() {
    let (_dir, path) = scratch();
    std::fs::write(&path, b"x").expect("write");
    let reader = RealFile::open_read(&path).expect("first reader");
    let second = RealFile::open_read(&path).expect("second reader");
    assert_eq!(reader.id(), second.id());
    assert!(matches!(
        RealFile::open_write(&path),
        Err(OpenError::Locked { writing: true, .. })
    ));
    drop((reader, second));
    let _writer = RealFile::open_write(&path).expect("writer");
    assert!(matches!(
        RealFile::open_read(&path),
        Err(OpenError::Locked { writing: false, .. })
    ));
}

#[test]
fn a_file_system_without_locks_is_told_from_a_lock_of_somebody_else() {
    assert_eq!(is_held(Ok(())), Some(true));
    assert_eq!(is_held(Err(Errno::WOULDBLOCK)), None);
    for without in [Errno::OPNOTSUPP, Errno::NOLCK, Errno::NOSYS, Errno::INVAL] {
        assert_eq!(is_held(Err(without)), Some(false));
    }
    let (_dir, path) = scratch();
    std::fs::write(&path, b"x").expect("write");
    assert!(RealFile::open_read(&path).expect("open").is_locked());
}

#[test]
fn a_file_that_was_refused_or_dropped_leaves_no_lock() {
    let (_dir, path) = scratch();
    std::fs::write(&path, b"x").expect("write");
    let reader = RealFile::open_read(&path).expect("reader");
    assert!(RealFile::open_write(&path).is_err());
    // A child that was forked has the descriptor still.
    let _child = rustix::io::fcntl_dupfd_cloexec(&reader.fd, 0).expect("dup");
    drop(reader);
    drop(RealFile::open_write(&path).expect("writer"));
    RealFile::open_read(&path).expect("reader");
}

#[test]
fn a_reader_cannot_write() {
    let (_dir, path) = scratch();
    std::fs::write(&path, b"x").expect("write");
    let reader = RealFile::open_read(&path).expect("open");
    assert!(reader.write_at(0, b"y").is_err());
    assert!(reader.set_len(0).is_err());
    assert_eq!(std::fs::read(&path).expect("read"), b"x");
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let (dir, path) = scratch();
    assert!(matches!(
        RealFile::open_read(dir.path()),
        Err(OpenError::Kind {
            kind: "directory",
            ..
        })
    ));
    assert!(matches!(
        RealFile::open_read(Path::new("/dev/null")),
        Err(OpenError::Kind {
            kind: "character device",
            ..
        })
    ));
    assert!(matches!(
        RealFile::open_read(&path),
        Err(OpenError::Os { .. })
    ));
    let pipe = dir.path().join("pipe");
    fs::mknodat(fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("mkfifo");
    assert!(matches!(
        RealFile::open_read(&pipe),
        Err(OpenError::Kind { kind: "pipe", .. })
    ));
    assert!(matches!(
        RealFile::open_write(&pipe),
        Err(OpenError::Kind { kind: "pipe", .. })
    ));
}

#[test]
fn holes_are_skipped_and_data_is_not() {
    let (_dir, path) = scratch();
    std::fs::write(&path, b"").expect("write");
    let file = RealFile::open_write(&path).expect("open");
    file.set_len(8 << 20).expect("length");
    file.write_all_at(4 << 20, &[1; 4096]).expect("write");
    let found = file
        .next_data(0..8 << 20)
        .expect("seek")
        .expect("there is data");
    assert!(found > 0 && found <= 4 << 20, "{found}");
    assert_eq!(
        file.next_data((4 << 20) + 5..8 << 20).expect("seek"),
        Some((4 << 20) + 5)
    );
    assert_eq!(file.next_data(0..1 << 20).expect("seek"), None);
    assert_eq!(file.next_data(8 << 20..9 << 20).expect("seek"), None);
    assert_eq!(file.next_data(0..0).expect("seek"), None);
}

#[test]
fn a_block_device_has_the_length_that_it_has() {
    let (_dir, path) = scratch();
    std::fs::write(&path, vec![7u8; 8192]).expect("write");
    // A regular file, taken for a device: making a real one needs rights that a test may not have.
    let mut file = RealFile::open_write(&path).expect("open");
    file.device = true;
    file.set_len(4096).expect("shorter is granted");
    file.set_len(8192).expect("as it is");
    let longer = file.set_len(8193).expect_err("longer is not possible");
    assert_eq!(longer.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        ploop_core::drive::failure(&longer),
        ploop_core::Failure::NoSpace
    );
    assert_eq!(whole(&file), vec![7u8; 8192]);
}

#[test]
fn a_lock_ends_with_its_file_even_while_a_copy_of_the_descriptor_lives() {
    let (_dir, path) = scratch();
    std::fs::write(&path, b"x").expect("write");
    let file = RealFile::open_write(&path).expect("open");
    // What a child has between fork and exec.
    let copy = file.fd.try_clone().expect("copy");
    drop(file);
    RealFile::open_write(&path).expect("nobody uses it");
    drop(copy);
}
