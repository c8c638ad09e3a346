use sim::fuzzing::control::Merge;

#[test]
fn merge_forward_under_power_cuts() {
    let stats = super::cut_everywhere(200..300, Merge::draw_forward);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn merge_backward_under_power_cuts() {
    let stats = super::cut_everywhere(300..400, Merge::draw_backward);
    assert!(stats.cuts > 600, "{stats:?}");
}

#[test]
fn merge_under_faults() {
    let mut stats = super::fail_everywhere(400..430, Merge::draw_forward);
    stats.add(&super::fail_everywhere(430..460, Merge::draw_backward));
    assert!(stats.faults > 1000, "{stats:?}");
}
