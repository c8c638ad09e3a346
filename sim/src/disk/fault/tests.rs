use super::*;

fn faults(plan: &mut FaultPlan, ios: &[IoKind]) -> Vec<Option<Fault>> {
    let mut tape = Tape::replay(vec![]);
    ios.iter()
        .map(|&io| plan.next(io, 2048, 512, &mut tape))
        .collect()
}

#[test]
fn an_error_hits_the_nth_io_once() {
    let ios = [IoKind::Write, IoKind::Sync, IoKind::Write, IoKind::Write];
    let mut plan = FaultPlan::io_error_at(2, None);
    assert_eq!(faults(&mut plan, &ios), [None, Some(Fault::Io), None, None]);
    let mut plan = FaultPlan::io_error_at(2, Some(IoKind::Write));
    assert_eq!(faults(&mut plan, &ios), [None, None, Some(Fault::Io), None]);
    assert_eq!(plan.injected().get(IoKind::Write, FaultKind::Io), 1);
    let mut plan = FaultPlan::io_error_at(5, None);
    faults(&mut plan, &ios);
    assert!(plan.untouched());
}

#[test]
fn space_is_out_until_released_or_enough_refusals() {
    let ios = [
        IoKind::Write,
        IoKind::Read,
        IoKind::SetLen,
        IoKind::Index,
        IoKind::Write,
    ];
    let shortage = |refusals| FaultPlan {
        shortage: Some(Shortage { nth: 2, refusals }),
        ..FaultPlan::none()
    };
    let full = Some(Fault::NoSpace);
    assert_eq!(
        faults(&mut shortage(2), &ios),
        [None, None, full, full, None]
    );
    let mut plan = shortage(9);
    assert_eq!(faults(&mut plan, &ios[..3]), [None, None, full]);
    assert!(plan.is_out_of_space());
    plan.release_space();
    assert_eq!(faults(&mut plan, &ios), [None; 5]);
}

#[test]
fn a_short_io_waits_for_one_that_can_be_short() {
    let point = |fault| Point {
        fault,
        io: None,
        nth: 1,
    };
    let mut plan = FaultPlan {
        points: vec![point(FaultKind::Short)],
        ..FaultPlan::none()
    };
    assert_eq!(
        faults(&mut plan, &[IoKind::Sync, IoKind::SetLen, IoKind::Index]),
        [None, None, Some(Fault::Short(512))]
    );
    let mut plan = FaultPlan {
        points: vec![point(FaultKind::Nothing)],
        ..FaultPlan::none()
    };
    assert_eq!(
        faults(&mut plan, &[IoKind::Sync, IoKind::Read]),
        [None, Some(Fault::Short(0))]
    );
    let mut plan = FaultPlan {
        points: vec![point(FaultKind::Short)],
        ..FaultPlan::none()
    };
    assert_eq!(
        plan.next(IoKind::Write, 512, 512, &mut Tape::replay(vec![])),
        None,
        "one step cannot be cut"
    );
}

#[test]
fn drawn_plans_reach_every_fault_of_every_io() {
    let rates = FaultRates {
        io: 300,
        short: 300,
        nothing: 300,
        no_space: 300,
        unsupported: 300,
        horizon: 20,
    };
    let (mut tape, mut plan, mut counts) = (
        Tape::from_seed(0),
        FaultPlan::none(),
        FaultCounts::default(),
    );
    for seed in 0..2000 {
        tape.restart(seed);
        plan.draw(&rates, &mut tape);
        for io in IoKind::ALL.into_iter().cycle().take(32) {
            if let Some(Fault::Short(bytes)) = plan.next(io, 2048, 512, &mut tape) {
                assert!(bytes < 2048 && bytes % 512 == 0);
            }
        }
        counts.add(plan.injected());
    }
    for (io, fault, count) in counts.iter() {
        assert!(count > 0, "{} never hit {}", fault.name(), io.name());
    }
    assert_eq!(
        counts.total(),
        counts.iter().map(|(.., count)| count).sum::<u64>()
    );
}

#[test]
fn no_rates_draw_nothing_and_cost_no_choice() {
    let (mut tape, mut plan) = (Tape::from_seed(1), FaultPlan::none());
    plan.draw(&FaultRates::default(), &mut tape);
    assert!(faults(&mut plan, &IoKind::ALL).iter().all(Option::is_none));
    assert!(tape.choices().is_empty());
}
