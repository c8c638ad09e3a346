use super::*;

fn answers(tape: &mut Tape, questions: &[(Kind, u32)]) -> Vec<u32> {
    questions
        .iter()
        .map(|&(kind, n)| tape.choose(kind, n))
        .collect()
}

fn questions() -> Vec<(Kind, u32)> {
    (0..300)
        .map(|i| {
            (
                Kind::ALL[i % Kind::ALL.len()],
                [2, 3, 7, 256, 257, 70_000, u32::MAX][i % 7],
            )
        })
        .collect()
}

#[test]
fn a_seed_means_the_same_for_ever() {
    // Literals: a change here makes every recorded seed another run.
    let mut tape = Tape::from_seed(1);
    let first: Vec<u32> = (0..8).map(|_| tape.choose(Kind::Op, 1000)).collect();
    assert_eq!(first, [628, 381, 929, 294, 397, 798, 906, 916]);
}

#[test]
fn a_certain_answer_is_not_recorded() {
    let mut tape = Tape::from_seed(5);
    assert_eq!(tape.choose(Kind::Op, 0), 0);
    assert_eq!(tape.choose(Kind::Op, 1), 0);
    assert!(!tape.chance(Kind::Fault, 0, 10));
    assert!(tape.chance(Kind::Fault, 10, 10));
    assert_eq!(tape.weighted(Kind::Op, &[0, 0]), 0);
    assert!(tape.choices().is_empty());
}

#[test]
fn restart_gives_the_run_of_the_new_seed() {
    let mut tape = Tape::from_seed(1);
    let one = answers(&mut tape, &questions());
    tape.restart(2);
    let two = answers(&mut tape, &questions());
    assert_ne!(one, two);
    tape.restart(1);
    assert_eq!(answers(&mut tape, &questions()), one);
    assert_eq!(tape.choices().len(), 300);
}

#[test]
fn a_recorded_tape_replays_and_then_answers_zero() {
    let mut tape = Tape::from_seed(9);
    let original = answers(&mut tape, &questions());
    let mut replay = Tape::replay(tape.choices().to_vec());
    assert_eq!(answers(&mut replay, &questions()), original);
    assert_eq!(replay.misaligned(), 0);
    assert_eq!(replay.choices(), tape.choices());
    assert!(replay.is_exhausted());
    assert_eq!(replay.choose(Kind::Op, 9), 0);
    assert_eq!(replay.misaligned(), 0);
}

#[test]
fn other_questions_are_counted_and_clamped() {
    let recorded = |k| Choice {
        kind: Kind::Op,
        n: 10,
        k,
    };
    let mut tape = Tape::replay(vec![recorded(9), recorded(8), recorded(7)]);
    assert_eq!(tape.choose(Kind::Op, 10), 9);
    assert_eq!(
        tape.choose(Kind::Arg, 10),
        0,
        "nothing of that kind is taken"
    );
    assert_eq!(tape.choose(Kind::Op, 4), 0, "8 of 4");
    assert_eq!(tape.misaligned(), 2);
    tape.restart_replay(&[recorded(2)], &[]);
    assert_eq!((tape.choose(Kind::Op, 10), tape.misaligned()), (2, 0));
}

#[test]
fn bytes_are_taken_in_the_smallest_width() {
    let mut tape = Tape::from_bytes(&[7, 0x34, 0x12, 0x78, 0x56, 0x34, 0x12, 5]);
    assert_eq!(tape.choose(Kind::Op, 256), 7);
    assert_eq!(tape.choose(Kind::Op, 0x1_0000), 0x1234);
    assert_eq!(tape.choose(Kind::Op, u32::MAX), 0x1234_5678);
    assert_eq!(
        tape.choose(Kind::Op, 0x1_0000),
        5,
        "a truncated word is filled with zeros"
    );
    assert!(tape.is_exhausted());
    assert_eq!(answers(&mut tape, &questions()), vec![0; 300]);
}

#[test]
fn answers_cover_the_range_evenly() {
    let mut tape = Tape::from_seed(3);
    let mut seen = [0_u32; 10];
    let mut yes = 0;
    let mut by_weight = [0_u32; 4];
    for _ in 0..10_000 {
        seen[tape.choose(Kind::Op, 10) as usize] += 1;
        yes += u32::from(tape.chance(Kind::Fault, 1, 4));
        by_weight[tape.weighted(Kind::Op, &[1, 0, 3, 0])] += 1;
    }
    assert!(
        seen.iter().all(|count| (850..1150).contains(count)),
        "{seen:?}"
    );
    assert!((2300..2700).contains(&yes), "{yes}");
    assert!((2300..2700).contains(&by_weight[0]), "{by_weight:?}");
    assert_eq!(by_weight[0] + by_weight[2], 10_000);
}

#[test]
fn zero_is_no_and_the_first_weight() {
    let zeros = || Tape::replay(vec![]);
    assert!(!zeros().chance(Kind::Fault, 9, 10));
    assert_eq!(zeros().weighted(Kind::Op, &[0, 0, 5, 1]), 2);
}

fn sample() -> TapeFile {
    let mut tape = Tape::from_seed(77);
    answers(&mut tape, &questions());
    (0..500).for_each(|_| assert!(tape.choose(Kind::Survive, 2) < 2));
    TapeFile {
        profile: "tiny".into(),
        seed: Some(77),
        trace: Some(0xf3),
        lies: false,
        failure: "durable".into(),
        choices: tape.choices().to_vec(),
        spans: Vec::new(),
    }
}

#[test]
fn a_file_reads_back() {
    let lying = TapeFile {
        lies: true,
        ..sample()
    };
    for tape in [sample(), lying, TapeFile::default()] {
        let mut text = Vec::new();
        tape.save(&mut text).unwrap();
        assert_eq!(TapeFile::load(&text[..]).unwrap(), tape);
    }
}

#[test]
fn a_file_is_short_and_readable() {
    let choice = |kind, n, k| Choice { kind, n, k };
    let mut choices = vec![choice(Kind::Event, 3, 0), choice(Kind::Event, 3, 2)];
    choices.extend([choice(Kind::Event, 3, 1); 4]);
    choices.push(choice(Kind::Event, 4, 1));
    choices.push(choice(Kind::Survive, 2, 1));
    let tape = TapeFile {
        profile: "two\nlines".into(),
        failure: "hang".into(),
        choices,
        ..TapeFile::default()
    };
    let mut text = Vec::new();
    tape.save(&mut text).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "ploop-sim tape 1\nprofile: two lines\nfailure: hang\nchoices: 8\nevent 3: 0 2 1*4\nevent 4: 1\nsurvive 2: 1\n"
    );
}

#[test]
fn an_error_names_line_and_field() {
    let head = "ploop-sim tape 1\nprofile: x\n";
    for (text, expected) in [
        ("", "tape line 1, version: the file is empty"),
        (
            "hello\n",
            "tape line 1, version: expected \"ploop-sim tape 2\" or \"ploop-sim tape 1\", found \"hello\"",
        ),
        (
            head,
            "tape line 3, choices: the header has no \"choices:\" line",
        ),
        (
            &format!("{head}seed: x1\n"),
            "tape line 3, seed: \"x1\": invalid digit found in string",
        ),
        (
            &format!("{head}colour: red\n"),
            "tape line 3, header: unknown key \"colour\"",
        ),
        (
            &format!("{head}choices: 1\n# no\nbanana 3: 1\n"),
            "tape line 5, kind: unknown kind \"banana\"",
        ),
        (
            &format!("{head}choices: 1\nop 3: 3\n"),
            "tape line 4, k: 3 is not one of 0..3",
        ),
        (
            &format!("{head}choices: 1\nop 1: 0\n"),
            "tape line 4, n: 1: a choice has at least 2 answers",
        ),
        (
            &format!("{head}choices: 1\nop 3: 1*4294967295\n"),
            "tape line 4, times: more than 67108864 choices",
        ),
        (
            &format!("{head}choices: 3\nop 3: 1\n"),
            "tape line 5, choices: 3 announced, 1 found",
        ),
    ] {
        assert_eq!(
            TapeFile::load(text.as_bytes()).unwrap_err().to_string(),
            expected,
            "{text:?}"
        );
    }
}

/// A run of a few events: each has a queue, and a submission two arguments. `kinds` are the events' own ranges: code
/// that has changed asks other questions.
fn run(tape: &mut Tape, events: usize, arguments: usize) -> Vec<(usize, u32, Vec<u32>)> {
    const EVENTS: [Event; 3] = [Event::Submit, Event::Deliver, Event::Turn];
    tape.begin(Event::Plan);
    tape.choose(Kind::Crash, 8);
    let mut seen = Vec::new();
    for _ in 0..events {
        if tape.stops() {
            break;
        }
        tape.begin(Event::Any);
        let event = tape.weighted_event(Kind::Event, &[4, 4, 2], &EVENTS);
        let queue = tape.choose(Kind::Thread, 4);
        tape.name(|| Label {
            event: EVENTS[event],
            queue: Some(queue as u16),
            ..Label::default()
        });
        let arguments = if event == 0 { arguments } else { 0 };
        let list = (0..arguments)
            .map(|_| tape.choose(Kind::Arg, 100))
            .collect();
        seen.push((event, queue, list));
    }
    seen
}

fn noted(seed: u64, events: usize) -> (Tape, Vec<(usize, u32, Vec<u32>)>) {
    let mut tape = Tape::from_seed(seed);
    tape.note_spans();
    let seen = run(&mut tape, events, 2);
    (tape, seen)
}

#[test]
fn noting_events_changes_no_answer() {
    let (tape, seen) = noted(4, 40);
    let mut plain = Tape::from_seed(4);
    assert_eq!(run(&mut plain, 40, 2), seen);
    assert_eq!(plain.choices(), tape.choices());
    assert_eq!((plain.spans().len(), tape.spans().len()), (0, 41));
}

#[test]
fn a_tape_with_events_replays_to_the_letter_and_then_stops() {
    let (tape, seen) = noted(5, 40);
    let mut again = Tape::replay_spans(tape.choices(), tape.spans());
    assert_eq!(run(&mut again, 40, 2), seen);
    assert_eq!(
        (again.choices(), again.spans()),
        (tape.choices(), tape.spans())
    );
    assert_eq!((again.misaligned(), again.alignment()), (0, 100.0));
    let mut longer = Tape::replay_spans(tape.choices(), tape.spans());
    assert_eq!(run(&mut longer, 60, 2), seen, "it ends where the tape does");
    assert_eq!(
        longer.spans().last().map(|span| span.label.event),
        Some(Event::Stop)
    );
}

#[test]
fn a_draw_less_or_more_in_the_middle_and_the_rest_still_aligns() {
    let (tape, seen) = noted(6, 40);
    let submitted = |span: &Span| span.label.event == Event::Submit;
    let at = tape
        .spans()
        .iter()
        .skip(15)
        .find(|span| submitted(span))
        .expect("one")
        .at;
    // The tape of that event lacks its queue: its arguments are still its own, and so is all that follows.
    let mut choices = tape.choices().to_vec();
    choices.remove(at + 1);
    let mut spans = tape.spans().to_vec();
    spans
        .iter_mut()
        .filter(|span| span.at > at)
        .for_each(|span| span.at -= 1);
    let mut again = Tape::replay_spans(&choices, &spans);
    let other = run(&mut again, 40, 2);
    let differ = other.iter().zip(&seen).filter(|(a, b)| a != b).count();
    assert!(other.len() == seen.len() && differ <= 1, "{differ}");
    assert_eq!(again.alignment(), 100.0);
    // Code that draws another argument in each submission, and code that draws one less.
    for arguments in [1, 3] {
        let mut again = Tape::replay_spans(tape.choices(), tape.spans());
        let other = run(&mut again, 40, arguments);
        for (a, b) in other.iter().zip(&seen) {
            assert_eq!((a.0, a.1, a.2.first()), (b.0, b.1, b.2.first()));
        }
        assert!(again.misaligned() > 0 && again.alignment() > 80.0);
    }
    // Without the names of events, what stands close behind is found again.
    let mut plain = Tape::replay(choices);
    run(&mut plain, 40, 2);
    assert!(plain.alignment() > 60.0, "{}", plain.alignment());
}

#[test]
fn an_event_that_is_left_out_takes_its_choices_along() {
    let (tape, mut seen) = noted(7, 40);
    let (from, to) = (tape.spans()[20].at, tape.spans()[21].at);
    let mut choices = tape.choices().to_vec();
    choices.drain(from..to);
    let mut spans = tape.spans().to_vec();
    spans.remove(20);
    spans[20..].iter_mut().for_each(|span| span.at -= to - from);
    let mut again = Tape::replay_spans(&choices, &spans);
    seen.remove(19);
    assert_eq!(run(&mut again, 40, 2), seen);
    assert_eq!(again.alignment(), 100.0);
}

#[test]
fn events_are_found_by_what_they_are_not_by_their_number() {
    const EVENTS: [Event; 3] = [Event::Submit, Event::Deliver, Event::Turn];
    let objects = [
        Object::Sync,
        Object::Index(0),
        Object::Index(1),
        Object::Index(0),
    ];
    let deliver = |tape: &mut Tape, weights: &[u32], objects: &[Object]| {
        tape.begin(Event::Any);
        let event = tape.weighted_event(Kind::Event, weights, &EVENTS);
        let picked = tape.index_named(Kind::Event, objects.len(), |index| objects[index]);
        tape.name(|| Label {
            event: Event::Deliver,
            object: objects[picked],
            ..Label::default()
        });
        (event, picked)
    };
    let seed = (0..).find(|&seed| {
        let mut tape = Tape::from_seed(seed);
        deliver(&mut tape, &[4, 4, 2], &objects) == (1, 3)
    });
    let mut tape = Tape::from_seed(seed.expect("some seed"));
    tape.note_spans();
    deliver(&mut tape, &[4, 4, 2], &objects);
    assert_eq!(tape.spans()[0].label.to_string(), "deliver index p0 #1");
    // Nothing can be submitted, and there is more in flight: still the second write of page 0.
    let more = [&[Object::Length, Object::Index(0)], &objects[..]].concat();
    let mut again = Tape::replay_spans(tape.choices(), tape.spans());
    assert_eq!(deliver(&mut again, &[0, 4, 2], &more), (1, 3));
    // Nothing is in flight: the event is left out.
    let mut again = Tape::replay_spans(tape.choices(), tape.spans());
    again.begin(Event::Any);
    assert_eq!(again.weighted_event(Kind::Event, &[4, 0, 2], &EVENTS), 0);
}

#[test]
fn chance_follows_a_prefix() {
    let (tape, seen) = noted(8, 40);
    let mut again = Tape::from_seed(0);
    let mut others = Vec::new();
    for seed in 0..10 {
        let spans = &tape.spans()[..11];
        again.restart_prefix(&tape.choices()[..tape.spans()[11].at], spans, seed);
        let other = run(&mut again, 40, 2);
        assert_eq!(other[..10], seen[..10]);
        assert_eq!(other.len(), 40);
        others.push(other);
    }
    others.dedup();
    assert_eq!(others.len(), 10);
}

#[test]
fn a_file_with_events_reads_back() {
    let (tape, _) = noted(9, 30);
    let file = TapeFile {
        profile: "tiny".into(),
        lies: false,
        failure: "durable".into(),
        choices: tape.choices().to_vec(),
        spans: tape.spans().to_vec(),
        ..TapeFile::default()
    };
    let mut text = Vec::new();
    file.save(&mut text).unwrap();
    assert_eq!(TapeFile::load(&text[..]).unwrap(), file);
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("ploop-sim tape 2\n"), "{text}");
    assert!(text.contains("\n[plan]\ncrash 8: "), "{text}");
    let broken = text.replace("[plan]", "[nonsense]");
    assert!(TapeFile::load(broken.as_bytes()).is_err());
    let old = text.replace("tape 2", "tape 1");
    assert!(
        TapeFile::load(old.as_bytes()).is_err(),
        "version 1 has no events"
    );
}
