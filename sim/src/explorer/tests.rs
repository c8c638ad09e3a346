//! Every configuration, completely; the counts stand in a snapshot.

use super::{Effort, configurations, explore};
use std::fmt::Write;

#[test]
fn every_configuration_is_complete() {
    let mut table = String::new();
    for known in configurations() {
        let explored = explore(known.name, &Effort::default()).expect("it is there");
        if let Some(failure) = explored.receipt.failure {
            panic!("{}: {failure:?}\n{}", known.name, failure.story);
        }
        assert!(explored.receipt.complete, "{}", known.name);
        let crashes = explored.crashes;
        writeln!(
            table,
            "{}: {}, {} states; {} moments ({} known), {} nominal, {} distinct, {} unread, {} visited",
            known.name,
            explored.receipt,
            explored.states.len(),
            crashes.moments,
            crashes.known_moments,
            crashes.nominal,
            crashes.distinct,
            crashes.unread,
            crashes.visited,
        )
        .expect("a string");
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_configuration_that_is_not_there() {
    assert!(explore("nothing", &Effort::default()).is_none());
}
