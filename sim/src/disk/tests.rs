//! Tests of the simulated disk: every crash rule by hand, then against a naive reference, then its speed.

mod bytes;
mod lengths;
mod naive;
mod power;
mod rules;
mod sampling;
mod speed;

use super::{Change, CrashImages, Effect, Geometry, IoId, SimFile, SyncEffect};
use crate::tape::{Choice, Tape};
use model::op::Value;
use std::collections::BTreeSet;

/// A crash image of a file without a metadata area: length in sectors and the values of all sectors inside it.
type Image = (u64, Vec<u64>);

/// A file of these sectors, without a metadata area.
fn file(values: &[u64]) -> SimFile {
    let mut file = SimFile::new();
    let values: Vec<Value> = values.iter().copied().map(Value).collect();
    file.reset(plain(), &[], &values, values.len() as u64 * 512);
    file
}

fn plain() -> Geometry {
    Geometry {
        meta_len: 0,
        granule: 512,
        limit_sectors: 1 << 20,
    }
}

/// A tape that gives the simplest answers.
fn calm() -> Tape {
    Tape::replay(vec![])
}

/// A tape that gives these answers.
fn answers(answers: &[(crate::tape::Kind, u32, u32)]) -> Tape {
    Tape::replay(
        answers
            .iter()
            .map(|&(kind, n, k)| Choice { kind, n, k })
            .collect(),
    )
}

fn submit(file: &mut SimFile, at: u64, values: &[u64]) -> IoId {
    let values: Vec<Value> = values.iter().copied().map(Value).collect();
    file.submit(Change::Data {
        at,
        values: &values,
    })
}

fn submit_fua(file: &mut SimFile, at: u64, values: &[u64]) -> IoId {
    let values: Vec<Value> = values.iter().copied().map(Value).collect();
    file.submit_fua(Change::Data {
        at,
        values: &values,
    })
}

fn done(file: &mut SimFile, id: IoId) {
    file.complete(id, Effect::Done, &mut calm());
}

fn write(file: &mut SimFile, at: u64, values: &[u64]) {
    let id = submit(file, at, values);
    done(file, id);
}

fn sync(file: &mut SimFile) {
    let id = file.submit_sync();
    file.complete_sync(id, SyncEffect::Done, &mut calm());
}

fn content(read: impl Fn(u64) -> Value, len: u64) -> Image {
    assert!(
        (len..len + 4).all(|sector| read(sector) == Value::ZERO),
        "content beyond the end"
    );
    (len, (0..len).map(|sector| read(sector).0).collect())
}

fn image_of(images: &CrashImages<'_>) -> Image {
    content(
        |sector| images.view().read_value(sector),
        images.view().len_sectors(),
    )
}

fn seen(file: &SimFile) -> Vec<u64> {
    content(|sector| file.read_value(sector), file.len_sectors()).1
}

/// All crash images; checks on the way that none comes twice and that the count was announced.
fn images(file: &SimFile) -> BTreeSet<Image> {
    let mut images = file.crash_images(1 << 20);
    let (distinct, nominal) = (images.distinct(), images.nominal());
    let mut all = BTreeSet::new();
    while images.advance() {
        assert!(all.insert(image_of(&images)), "an image came twice");
    }
    assert_eq!(all.len() as u128, distinct);
    assert!(nominal >= distinct, "{nominal} < {distinct}");
    all
}

/// The crash images are these contents, all of the file's own length.
#[track_caller]
fn assert_images(file: &SimFile, expected: &[&[u64]]) {
    let expected: BTreeSet<Image> = expected
        .iter()
        .map(|values| (values.len() as u64, values.to_vec()))
        .collect();
    assert_eq!(images(file), expected);
}

/// Runs `run` with every tape there is.
fn every_tape(mut run: impl FnMut(&mut Tape)) -> u32 {
    let mut tape = calm();
    let mut runs = 0;
    loop {
        run(&mut tape);
        runs += 1;
        let mut log = tape.choices().to_vec();
        while log.last().is_some_and(|choice| choice.k + 1 == choice.n) {
            log.pop();
        }
        let Some(last) = log.last_mut() else {
            return runs;
        };
        last.k += 1;
        tape.restart_replay(&log, &[]);
    }
}

fn set(images: &[Image]) -> BTreeSet<Image> {
    images.iter().cloned().collect()
}
