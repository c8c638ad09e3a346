//! How fast it is. Printed, never asserted: `cargo test --release -p sim disk::tests::speed -- --nocapture`.

use super::*;
use crate::disk::CrashReport;
use crate::tape::Kind;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Calls `work` for a while; seconds for one call.
fn time(mut work: impl FnMut()) -> f64 {
    let (begin, mut calls) = (Instant::now(), 0_u32);
    while begin.elapsed() < Duration::from_millis(if cfg!(debug_assertions) { 20 } else { 400 }) {
        (0..64).for_each(|_| work());
        calls += 64;
    }
    begin.elapsed().as_secs_f64() / f64::from(calls)
}

#[test]
fn choices() {
    let mut tape = Tape::from_seed(0);
    let mut seed = 0;
    let run = time(|| {
        seed += 1;
        tape.restart(seed);
        for index in 0..200 {
            black_box(tape.choose(Kind::Event, 2 + index % 7));
        }
    });
    println!(
        "choice: {:.1} ns, restart included (200 choices a run)",
        run * 1e9 / 200.0
    );
}

const TINY: Geometry = Geometry {
    meta_len: 512,
    granule: 16,
    limit_sectors: 1 << 16,
};

/// What a tiny run does to its disk: 60 events and a crash. Returns how many.
fn tiny_run(file: &mut SimFile, tape: &mut Tape, out: &mut Vec<Value>) -> CrashReport {
    file.reset(TINY, &[3; 160], &[], 512 * 9);
    let mut values = [Value::ZERO; 4];
    for round in 0..6_u64 {
        for (index, value) in values.iter_mut().enumerate() {
            *value = Value::of(round as u32 + 1, index as u64);
        }
        let data = file.submit(Change::Data {
            at: 1 + 4 * round,
            values: &values,
        });
        let other = file.submit(Change::Data {
            at: 1 + 2 * round,
            values: &values[..1],
        });
        let extend = file.submit(Change::Extend {
            sectors: 9 + 4 * round,
        });
        out.clear();
        file.observe(1, 4, out, tape);
        file.complete(other, Effect::Done, tape);
        file.complete(data, Effect::Done, tape);
        file.complete(extend, Effect::Done, tape);
        let page = file.submit(Change::Bytes {
            at: 64,
            bytes: &[round as u8; 64],
        });
        let sync = (round < 5 && round % 2 == 0).then(|| file.submit_sync());
        file.complete(page, Effect::Done, tape);
        if let Some(sync) = sync {
            file.complete_sync(sync, SyncEffect::Done, tape);
        }
    }
    file.crash(tape)
}

#[test]
fn runs() {
    let (mut file, mut tape, mut out, mut seed) =
        (SimFile::new(), Tape::from_seed(0), Vec::new(), 0);
    let mut choices = 0;
    let run = time(|| {
        seed += 1;
        tape.restart(seed);
        black_box(tiny_run(&mut file, &mut tape, &mut out));
        choices += tape.choices().len() as u64;
    });
    let per_run = choices as f64 / seed as f64;
    println!(
        "tiny run of 60 disk events and a crash: {:.2} us, {per_run:.0} choices",
        run * 1e6
    );
}

/// A tiny file with a page write, two data writes and an extension pending.
fn crashing_file() -> SimFile {
    let mut file = SimFile::new();
    file.reset(TINY, &[3; 160], &[Value(1); 16], 512 * 17);
    let page = file.submit(Change::Bytes {
        at: 64,
        bytes: &[9; 64],
    });
    done(&mut file, page);
    write(&mut file, 3, &[20, 21, 22, 23]);
    write(&mut file, 17, &[30, 31, 32, 33]);
    file
}

#[test]
fn crash_images() {
    let file = crashing_file();
    let (mut copy, mut tape, mut seed) = (SimFile::new(), Tape::from_seed(0), 0);
    let drawn = time(|| {
        seed += 1;
        tape.restart(seed);
        copy.copy_from(&file);
        black_box(copy.crash(&mut tape));
    });
    println!(
        "crash image drawn (copy of the file included): {:.2} us, {:.0}/s",
        drawn * 1e6,
        1.0 / drawn
    );

    let mut images = file.crash_images(u64::MAX);
    println!(
        "  {} distinct images, {} nominal",
        images.distinct(),
        images.nominal()
    );
    let mut meta = [0; 160];
    let mut values = Vec::new();
    let mut next = |install: bool, read: bool| {
        if !images.advance() {
            images = file.crash_images(u64::MAX);
        }
        if install {
            images.install(&mut copy);
        }
        if read {
            black_box(images.view().read_bytes(0, &mut meta));
            values.clear();
            images
                .view()
                .read_values(1, images.view().len_sectors() - 1, &mut values);
        }
        black_box(&images);
    };
    for (what, install, read) in [
        ("", false, false),
        (", read whole", false, true),
        (", installed", true, false),
    ] {
        let one = time(|| next(install, read));
        println!(
            "crash image enumerated{what}: {:.3} us, {:.0}/s",
            one * 1e6,
            1.0 / one
        );
    }
    let begin = time(|| drop(black_box(file.crash_images(1))));
    println!("enumeration begun: {:.2} us", begin * 1e6);
}

#[test]
fn real_geometry() {
    let mut file = SimFile::new();
    let geometry = Geometry {
        meta_len: 1 << 20,
        granule: 512,
        limit_sectors: 1 << 30,
    };
    let mut tape = Tape::from_seed(0);
    let reset = time(|| file.reset(geometry, &[3; 8192], &[], 64 << 20));
    let values = vec![Value(7); 2048];
    let page = [5; 4096];
    let round = time(|| {
        let id = file.submit(Change::Data {
            at: 4096,
            values: &values,
        });
        file.complete(id, Effect::Done, &mut tape);
        let id = file.submit(Change::Bytes {
            at: 4096,
            bytes: &page,
        });
        file.complete(id, Effect::Done, &mut tape);
        sync(&mut file);
    });
    println!(
        "1 MiB clusters: reset {:.1} us; cluster and page written and synced {:.1} us",
        reset * 1e6,
        round * 1e6
    );
}
