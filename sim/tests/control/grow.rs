use sim::fuzzing::control::Grow;

#[test]
fn grow_under_power_cuts() {
    let stats = super::cut_everywhere(0..60, Grow::draw);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn grow_under_faults() {
    let stats = super::fail_everywhere(100..130, Grow::draw);
    assert!(stats.faults > 1000, "{stats:?}");
}
