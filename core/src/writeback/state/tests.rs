use super::*;

#[test]
fn the_whole_transition_table() {
    let due = |n| Millis(n);
    let states = [
        State::Clean,
        State::Delayed { due: due(1) },
        State::Dirty,
        State::Writeback,
        State::Parked,
    ];
    let events = [
        Event::Change { due: due(2) },
        Event::ChangeNow,
        Event::Wanted,
        Event::Due,
        Event::Start,
        Event::DoneClean,
        Event::DoneLater { due: due(2) },
        Event::DoneWanted,
        Event::Failed { due: due(2) },
        Event::NoSpace,
        Event::Retry,
    ];
    let mut table = String::new();
    for event in events {
        for state in states {
            let next = state
                .on(event)
                .map_or("-".to_owned(), |next| format!("{next:?}"));
            table += &format!("{event:?} | {state:?} | {next}\n");
        }
    }
    insta::assert_snapshot!(table);
}
