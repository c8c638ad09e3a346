use super::guilt::{cluster_of, page_of, wrong_sector};
use super::story::Lane;
use super::*;
use crate::campaign::world;
use crate::report::Class;
use crate::tape::{Event, Kind};
use crate::world::log::{Change, Happening, State};
use crate::world::shape::Shape;
use ploop_core::IoOp;

/// Worlds on a disk that lies about its syncs.
fn lying(profile: Profile, _: bool) -> Box<dyn crate::campaign::Subject> {
    world(profile, true)
}

/// The first tapes that fail on a lying disk with this checker.
fn failing(checker: &'static str) -> impl Iterator<Item = TapeFile> {
    (0..).filter_map(move |seed| {
        let mut tape = Tape::from_seed(seed);
        let mut subject = lying(Profile::Tiny, true);
        let failure = attempt(&mut *subject, &mut tape).err()?;
        (failure.checker == checker).then(|| TapeFile {
            profile: "tiny".into(),
            seed: Some(seed),
            failure: failure.checker.into(),
            choices: tape.choices().to_vec(),
            ..TapeFile::default()
        })
    })
}

#[test]
fn noting_changes_nothing() {
    for seed in 0..40 {
        for profile in [Profile::Tiny, Profile::Default] {
            let mut tape = Tape::from_seed(seed);
            let plain = World::new(profile).run(&mut tape);
            let file = TapeFile {
                choices: tape.choices().to_vec(),
                ..TapeFile::default()
            };
            let noted = note(&file, profile, false);
            assert_eq!((noted.result, &noted.tape.choices), (plain, &file.choices));
            let again = note(&noted.tape, profile, false);
            assert_eq!(again.entries, noted.entries, "with its events by name");
            assert_eq!(again.tape, noted.tape);
        }
    }
}

#[test]
fn every_operation_and_every_io_has_a_life_that_ends() {
    for seed in 0..60 {
        let mut tape = Tape::from_seed(seed);
        let stats = World::new(Profile::Tiny)
            .run(&mut tape)
            .expect("a healthy core");
        let file = TapeFile {
            choices: tape.choices().to_vec(),
            ..TapeFile::default()
        };
        let story = explain(&file, Profile::Tiny, world, false, 0);
        assert_eq!(story.ops.len() as u64, stats.ops);
        assert_eq!(u64::from(story.counts.crashes), stats.crashes);
        assert_eq!(u64::from(story.counts.kills), stats.kills);
        assert!(story.rows.iter().all(|row| !row.guilty), "nothing is wrong");
        for life in &story.ios {
            let ended = life.completed.or(life.cut).expect("it ends");
            assert!(ended > life.begun, "{life:?}");
            if let Some(durable) = life.durable {
                assert!(life.changes && life.completed.is_some_and(|done| done <= durable));
            }
        }
        for life in &story.pages {
            assert!(life.from <= life.to && life.to < story.rows.len());
            assert!(story.lanes.contains(&Lane::Page(life.page)));
        }
    }
}

#[test]
fn the_fate_of_a_failure_ends_in_certainty() {
    for file in failing("durable").take(3) {
        let story = explain(&file, Profile::Tiny, lying, true, 50);
        assert_eq!(story.checker, "durable");
        let last = story.fates.list.last().expect("fates");
        assert_eq!((last.runs, last.failed), (50, 50), "the whole tape");
        assert!(
            story.fates.list[0].rate() < 1.0,
            "chance alone does not find it every time"
        );
        let step = story.fates.inevitable.expect("certain in the end");
        assert!(
            story
                .fates
                .list
                .iter()
                .filter(|fate| fate.step >= step)
                .all(|fate| fate.rate() > 0.9)
        );
        assert!(story.suspect.is_some());
        assert!(story.rows.iter().filter(|row| row.guilty).count() > 1);
        assert!(story.ios.iter().any(|life| life.guilty && life.changes));
    }
}

#[test]
fn the_sector_is_found_in_the_message() {
    assert_eq!(wrong_sector("sector 18: durable data lost", 4), Some(18));
    assert_eq!(
        wrong_sector("waited for: Op { kind: Discard, start: 4, len: 2 }", 4),
        Some(4)
    );
    assert_eq!(wrong_sector("cluster held twice\nsector 3", 4), None);
    assert_eq!(wrong_sector("", 4), None);
    assert_eq!(wrong_sector("top: BAT[3] = 13: must point", 4), Some(12));
}

#[test]
fn what_was_there_before_has_a_name() {
    let base = crate::world::chain::FIRST_BASE_WRITE;
    assert_eq!(
        names::plain(&format!(
            "saw write {} of sector 2, legal: write 3 | write {base}",
            base + 100
        )),
        "saw rubbish of sector 2, legal: write 3 | old data (raw base)"
    );
    assert_eq!(names::plain("a  b\nwrite 7"), "a  b\nwrite 7");
    assert_eq!(
        names::counted(1, "crashes") + &names::counted(2, "operations"),
        "1 crash2 operations"
    );
}

#[test]
fn pages_and_slots_are_those_of_the_core() {
    for seed in 0..20 {
        let mut tape = Tape::from_seed(seed);
        tape.choose(Kind::Geometry, 2);
        let shape = Shape::draw(Profile::Default, &mut tape);
        for cluster in 0..shape.entries {
            let (page, slot) = page_of(cluster, &shape);
            assert_eq!(cluster_of(page, slot, &shape), cluster);
        }
    }
    // A device that is opened says which slots are mapped: as many as it has pages for.
    let noted = (0..).find_map(|seed| {
        let mut tape = Tape::from_seed(seed);
        let _ = World::new(Profile::Tiny).run(&mut tape);
        let file = TapeFile {
            choices: tape.choices().to_vec(),
            ..TapeFile::default()
        };
        let noted = note(&file, Profile::Tiny, false);
        let shape = noted.entries.iter().find_map(|entry| match &entry.what {
            Happening::Begun(shape) => Some((**shape).clone()),
            _ => None,
        })?;
        let full = noted.entries.iter().find_map(|entry| match &entry.what {
            Happening::Opened(state) if state.slots.len() == shape.entries as usize => {
                Some(state.clone())
            }
            _ => None,
        })?;
        Some((shape, full))
    });
    let (shape, state): (Shape, State) = noted.expect("some image is full");
    let clusters: Vec<u32> = state
        .slots
        .keys()
        .map(|(page, slot)| cluster_of(*page, *slot, &shape))
        .collect();
    assert_eq!(clusters, (0..shape.entries).collect::<Vec<u32>>());
}

#[test]
fn a_stop_is_no_event_of_the_story() {
    let file = failing("durable").next().expect("one");
    let small = crate::shrink::shrink(
        &file,
        Profile::Tiny,
        lying,
        crate::shrink::Effort {
            runs: 3000,
            time: std::time::Duration::from_secs(60),
        },
    )
    .expect("it fails");
    assert_eq!(small.failure.class, Class::Wrong);
    let story = explain(&small.file, Profile::Tiny, lying, true, 50);
    let stops = small
        .file
        .spans
        .iter()
        .filter(|span| span.label.event == Event::Stop)
        .count();
    assert_eq!(story.fates.list.len() + stops, small.file.spans.len() + 1);
    assert!(story.counts.operations <= 8);
}

/// A story with its entries, of a run that passes.
fn passing(profile: Profile, seed: u64) -> (Noted, Story) {
    let mut tape = Tape::from_seed(seed);
    let _ = World::new(profile).run(&mut tape);
    let file = TapeFile {
        choices: tape.choices().to_vec(),
        ..TapeFile::default()
    };
    let noted = note(&file, profile, false);
    let story = Story::of(&noted, Fates::default());
    (noted, story)
}

/// The core does not say who holds a lock. The first write into a new cluster does.
#[test]
fn whoever_is_said_to_hold_a_lock_writes_the_cluster_that_it_makes() {
    let (mut known, mut unknown, mut overs) = (0, 0, 0);
    for seed in 0..400 {
        let (noted, story) = passing(Profile::Tiny, seed);
        let Some(Happening::Begun(shape)) = noted.entries.first().map(|e| e.what.clone()) else {
            panic!("no shape");
        };
        overs += story.hand_overs.len();
        // Each entry is a row.
        assert_eq!(noted.entries.len() + 1, story.rows.len());
        for life in story.pages.iter().filter(|life| life.cluster.is_some()) {
            let Happening::Pages(changes) = &noted.entries[life.to].what else {
                continue;
            };
            let made = changes.iter().find_map(|change| match change {
                Change::Slot {
                    page,
                    slot,
                    from,
                    to,
                } if Some(cluster_of(*page, *slot, &shape)) == life.cluster => {
                    let (level, entry) = to.place.filter(|_| from.place != to.place)?;
                    let top = level + 1 == u32::from(shape.levels);
                    shape.layout().host_of(entry).filter(|_| top)
                }
                _ => None,
            });
            let Some(host) = made else { continue };
            let start = shape.layout().host_sector(host).0;
            let step = noted.entries[life.from].step;
            let mut since = noted.entries.iter().skip_while(|e| e.step < step);
            let writer = since.find_map(|e| match &e.what {
                Happening::Begin {
                    op: IoOp::Write { at, buf, .. },
                    ..
                } if (start..start + shape.cluster).contains(&at.0) => {
                    Some(Lane::Client(buf.origin.queue.0, buf.origin.tag.0))
                }
                _ => None,
            });
            let (Some(writer), Some(holder)) = (writer, life.holder) else {
                unknown += u32::from(life.holder.is_none());
                continue;
            };
            // Who makes it with zeros or a promotion does not write.
            let writes = story.ops.iter().any(|op| {
                let there =
                    op.submitted <= life.to && op.finished.is_none_or(|end| end >= life.from);
                op.client == holder && there && op.name.contains("write ")
            });
            if writes {
                known += 1;
                let rows = story.rows[..=life.to].iter().map(|row| &*row.text);
                let rows: Vec<&str> = rows.collect();
                assert_eq!(holder, writer, "seed {seed}: {life:?}\n{}", rows.join("\n"));
            }
        }
    }
    println!("{known} holders known, {unknown} not; {overs} locks handed over");
    assert!(known > 100 && unknown * 20 < known && overs > 5);
}
