use sim::fuzzing::control::{Compact, Index};

#[test]
fn compact_under_power_cuts() {
    let stats = super::cut_everywhere(500..600, Compact::draw);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn compact_under_faults() {
    let stats = super::fail_everywhere(600..630, Compact::draw);
    assert!(stats.faults > 500, "{stats:?}");
}

#[test]
fn update_index_under_power_cuts() {
    let stats = super::cut_everywhere(700..800, Index::draw);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn update_index_under_faults() {
    let stats = super::fail_everywhere(800..830, Index::draw);
    assert!(stats.faults > 500, "{stats:?}");
}
