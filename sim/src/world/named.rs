//! Submissions by name: how an operation is called on a tape, and what a replay reads from that name: whose it was, what
//! it did, and to which guest cluster. The rest (where in the cluster, how long) are numbers of its stretch.
//!
//! So a tape makes the same operations after the weights of operations, the number of queues or the clusters that are
//! drawn more often have changed.

use model::op::{Kind as OpKind, Op};

use crate::tape::{Event, Label, Object};

/// The name of an operation: what it does, and the guest cluster where it begins.
pub(crate) fn object(op: Op, cluster: u64) -> Object {
    let clu = (op.start / cluster) as u32;
    match op.kind {
        OpKind::Read => Object::Read(clu),
        OpKind::Write { preflush: true, .. } => Object::Preflush(clu),
        OpKind::Write { fua: true, .. } => Object::Fua(clu),
        OpKind::Write { .. } => Object::Write(clu),
        OpKind::WriteZeroes { .. } => Object::Zeroes(clu),
        OpKind::Discard => Object::Discard(clu),
        OpKind::Flush => Object::Flush,
        OpKind::Promote { .. } => Object::Promote(clu),
    }
}

/// The queue of a submission, if the name tells it.
pub(super) fn client(label: &Label) -> Option<u32> {
    let queue = label.queue.filter(|_| label.event == Event::Submit);
    queue.map(u32::from)
}

/// Which operation it was: its place among the weights of the swarm.
pub(crate) fn operation(label: &Label) -> Option<usize> {
    if label.event != Event::Submit {
        return None;
    }
    Some(match label.object {
        Object::Read(_) => 0,
        Object::Write(_) => 1,
        Object::Fua(_) => 2,
        Object::Preflush(_) => 3,
        Object::Zeroes(_) => 4,
        Object::Discard(_) => 5,
        Object::Flush => 6,
        Object::Promote(_) => 7,
        _ => return None,
    })
}

/// The guest cluster where it began.
pub(crate) fn cluster(label: &Label) -> Option<u32> {
    if label.event != Event::Submit {
        return None;
    }
    match label.object {
        Object::Read(clu)
        | Object::Write(clu)
        | Object::Fua(clu)
        | Object::Preflush(clu)
        | Object::Zeroes(clu)
        | Object::Discard(clu)
        | Object::Promote(clu) => Some(clu),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;
    use crate::tape::{Choice, Kind, Span, Tape};
    use crate::world::World;
    use crate::world::log::Happening;

    /// The operations of a tape, as they were submitted, and the trace.
    fn run(profile: Profile, mut tape: Tape) -> (Vec<(u16, Object)>, u64, Tape) {
        let mut world = World::new(profile);
        world.set_logging(true);
        tape.note_spans();
        let trace = match world.run(&mut tape) {
            Ok(stats) => stats.trace,
            Err(failure) => panic!("{failure}"),
        };
        let mut cluster = 1;
        let ops = world.take_log().into_iter().filter_map(|entry| {
            match entry.what {
                Happening::Begun(shape) => cluster = shape.cluster,
                Happening::Submit { origin, op, .. } => {
                    return Some((origin.queue.0, object(op, cluster)));
                }
                _ => {}
            }
            None
        });
        (ops.collect(), trace, tape)
    }

    /// What a run would have recorded whose operations have other weights, that has more queues and other hot clusters:
    /// in each submission the numbers of queue and operation, and of the cluster if it has a name, mean something else.
    fn other_weights(spans: &[Span], choices: &[Choice]) -> Vec<Choice> {
        let mut choices = choices.to_vec();
        for (index, span) in spans.iter().enumerate() {
            if span.label.event != Event::Submit {
                continue;
            }
            let end = spans.get(index + 1).map_or(choices.len(), |next| next.at);
            for choice in &mut choices[span.at..end] {
                if matches!(choice.kind, Kind::Thread | Kind::Op) {
                    choice.n += 3;
                    choice.k = (choice.k * 7 + 1) % choice.n;
                }
            }
        }
        choices
    }

    #[test]
    fn a_tape_makes_the_same_operations_after_their_weights_have_changed() {
        let mut submitted = 0;
        for profile in [Profile::Tiny, Profile::Default] {
            for seed in 0..100 {
                let (ops, trace, tape) = run(profile, Tape::from_seed(seed));
                let moved = other_weights(tape.spans(), tape.choices());
                let (again, same, replay) = run(profile, Tape::replay_spans(&moved, tape.spans()));
                assert_eq!(again, ops, "{profile:?}, seed {seed}");
                assert_eq!(same, trace, "{profile:?}, seed {seed}");
                let changed = moved.iter().zip(tape.choices()).filter(|(a, b)| a != b);
                assert_eq!(replay.misaligned(), changed.count() as u64);
                submitted += ops.len();
            }
        }
        assert!(submitted > 2000, "{submitted}");
    }

    #[test]
    fn the_name_says_which_cluster_whatever_the_number() {
        let (mut found, mut asked) = (0, 0);
        for seed in 0..100 {
            let (_, _, mut tape) = run(Profile::Tiny, Tape::from_seed(seed));
            let mut spans = tape.spans().to_vec();
            // All that was written is written to cluster 1.
            for span in &mut spans {
                if let Object::Write(clu) = &mut span.label.object {
                    *clu = 1;
                }
            }
            let (ops, _, replay) = run(Profile::Tiny, Tape::replay_spans(tape.choices(), &spans));
            tape = replay;
            let writes = ops.iter().filter(|(_, o)| matches!(o, Object::Write(_)));
            asked += writes.clone().count();
            found += writes.filter(|(_, o)| *o == Object::Write(1)).count();
            assert!(tape.choices().iter().all(|choice| choice.k < choice.n));
        }
        assert!(asked > 100, "{asked}");
        assert!(found * 100 >= asked * 95, "{found} of {asked}");
    }

    #[test]
    fn a_name_whose_answer_was_changed_is_silent() {
        let mut label = Label {
            event: Event::Submit,
            queue: Some(1),
            object: Object::Write(3),
            ..Label::default()
        };
        label.forget(Kind::Fault);
        assert_eq!((client(&label), cluster(&label)), (Some(1), Some(3)));
        label.forget(Kind::Thread);
        assert_eq!((client(&label), operation(&label)), (None, Some(1)));
        label.forget(Kind::Arg);
        assert_eq!((operation(&label), cluster(&label)), (None, None));
    }
}
