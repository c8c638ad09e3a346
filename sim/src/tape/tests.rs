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
    assert_eq!(tape.choose(Kind::Arg, 10), 8);
    assert_eq!(tape.choose(Kind::Op, 4), 3);
    assert_eq!(tape.misaligned(), 2);
    tape.restart_replay(&[recorded(2)]);
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
        failure: "durable".into(),
        choices: tape.choices().to_vec(),
    }
}

#[test]
fn a_file_reads_back() {
    for tape in [sample(), TapeFile::default()] {
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
            "tape line 1, version: expected \"ploop-sim tape 1\", found \"hello\"",
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
