use sim::fuzzing::control::Repair;

#[test]
fn repair_under_power_cuts() {
    let stats = super::cut_everywhere(900..1050, Repair::draw);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn repair_under_faults() {
    let stats = super::fail_everywhere(1100..1130, Repair::draw);
    assert!(stats.faults > 500, "{stats:?}");
}
