use sim::fuzzing::control::Bitmaps;

#[test]
fn bitmaps_under_power_cuts() {
    let stats = super::cut_everywhere(900..1000, Bitmaps::draw);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn bitmaps_under_faults() {
    let stats = super::fail_everywhere(1000..1030, Bitmaps::draw);
    assert!(stats.faults > 500, "{stats:?}");
}
