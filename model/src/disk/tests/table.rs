//! Every rule by hand: a history, what a read may return after it, what a crash may leave.

use super::script::{SECTOR, play, values};
use super::*;

fn check(table: &[(&str, &str, &str)]) {
    for &(script, now, crash) in table {
        for rule in [ReadThenFlush::EndedWrites, ReadThenFlush::AnyRead] {
            let model = play(script, rule);
            assert_eq!(model.legal_now(SECTOR), values(now), "{script}: now");
            assert_eq!(
                model.legal_after_crash(SECTOR),
                values(crash),
                "{script}: after a crash"
            );
            assert_eq!(model.legal_now(0), vec![Value::ZERO], "{script}: elsewhere");
            assert_eq!(
                model.legal_after_crash(0),
                vec![Value::ZERO],
                "{script}: elsewhere"
            );
        }
    }
}

#[test]
fn linearizability() {
    check(&[
        ("", "0", "0"),
        ("+w1", "0 w1", "0 w1"),
        ("+w1 -w1 +r1 ?r1=0 +r2 -r2=w1", "w1", "0 w1"),
        ("+w1 -w1 +w2 -w2 +r1 ?r1=w1 +r2 ?r2=0", "w2", "0 w1 w2"),
        // A read that overlaps the write may see either; one that starts after a read of the new value may not go back.
        ("+w1 +r1 -r1=0 +r2 -r2=w1 +r3 ?r3=0", "w1", "0 w1"),
        ("+r1 +w1 -w1 +w2 -w2 -r1=0", "w2", "0 w1 w2"),
        ("+r1 +w1 -w1 +w2 -w2 -r1=w1", "w2", "0 w1 w2"),
        ("+r1 +r2 +w1 -r1=w1 -r2=0", "w1", "0 w1"),
        ("+w1 -w1 +r1 +w2 -w2 -r1=w1", "w2", "0 w1 w2"),
        ("+w1 -w1 +r1 +w2 -w2 ?r1=0", "w2", "0 w1 w2"),
        // Two at once: either may be last, until one is read; then it stays.
        ("+w1 +w2 -w1 -w2", "w1 w2", "0 w1 w2"),
        (
            "+w1 +w2 -w1 -w2 +r1 -r1=w1 +r2 ?r2=w2 +r3 -r3=w1",
            "w1",
            "0 w1 w2",
        ),
        (
            "+w1 +w2 -w2 +r1 -r1=w2 +r2 -r2=w1 +r3 ?r3=w2 -w1",
            "w1",
            "0 w1 w2",
        ),
        (
            "+w1 +w2 -w2 +r1 -r1=w1 +r2 ?r2=0 +r3 ?r3=w2",
            "w1",
            "0 w1 w2",
        ),
        // Read in the order w1 w2 while both were in flight: w1 never comes back.
        (
            "+w1 +w2 +r1 -r1=w1 +r2 -r2=w2 +r3 ?r3=w1 -w1 -w2",
            "w2",
            "0 w1 w2",
        ),
        (
            "+w1 -w1 +w2 -w2 +w3 +r1 ?r1=w1 +r2 -r2=w3 +r3 ?r3=w2",
            "w3",
            "0 w1 w2 w3",
        ),
        // w1 is older than w3 only by way of w2, which is forgotten later (S3).
        (
            "+w1 +w2 -w2 +w3 -w1 +r1 -r1=w2 -w3 +r2 ?r2=w1 +r3 -r3=w3",
            "w3",
            "0 w1 w2 w3",
        ),
        ("+r1 +w1 -w1 !r1", "w1", "0 w1"),
    ]);
}

#[test]
fn failed_writes_and_discards_are_open_until_read() {
    check(&[
        ("+w1 !w1", "0 w1", "0 w1"),
        ("+w1 !w1 +r1 -r1=0 +r2 ?r2=w1", "0", "0 w1"),
        ("+w1 !w1 +r1 -r1=w1 +r2 ?r2=0", "w1", "0 w1"),
        ("+w1 !w1 +w2 !w2", "0 w1 w2", "0 w1 w2"),
        ("+w1 !w1 +w2 !w2 +r1 -r1=w1 +r2 ?r2=w2", "w1", "0 w1 w2"),
        ("+w1 !w1 +w2 -w2 +r1 ?r1=w1", "w2", "0 w1 w2"),
        ("+w1 -w1 +d1 -d1", "0 w1", "0 w1"),
        ("+w1 -w1 +d1 !d1", "0 w1", "0 w1"),
        ("+w1 -w1 +d1 -d1 +r1 -r1=0 +r2 ?r2=w1", "0", "0 w1"),
        ("+w1 -w1 +d1 -d1 +r1 -r1=w1 +r2 ?r2=0", "w1", "0 w1"),
        ("+w1 -w1 +d1 +r1 -r1=w1 +r2 -r2=0 +r3 ?r3=w1", "0", "0 w1"),
        ("+w1 -w1 +d1 -d1 +w2 -w2 +r1 ?r1=0", "w2", "0 w1 w2"),
        ("+w1 -w1 +z1 !z1", "0 w1", "0 w1"),
        ("+w1 -w1 +z1 -z1 +r1 ?r1=w1", "0", "0 w1"),
    ]);
}

#[test]
fn zeros_of_several_sources() {
    check(&[
        ("+w1 -w1 +d1 -d1 +d2 -d2 +r1 -r1=0 +r2 ?r2=w1", "0", "0 w1"),
        // r1 saw d1, before w2 was read: then d2 came last, though it ended before d1.
        (
            "+u9 -u9 +w1 +r1 +d1 +w2 -w2 -w1 +d2 -r1=0 +r2 -d2 -r2=w2 -d1 +r3 -r3=0 +r4 ?r4=w2",
            "0",
            "u9 w1 w2 0",
        ),
        // The zeros may be the initial ones or d1's; w1 was in flight all the time and may still come.
        ("+w1 +d1 -d1 +r1 -r1=0", "0 w1", "0 w1"),
        ("+w1 +d1 -d1 +r1 -r1=0 +r2 -r2=w1 +r3 ?r3=0", "w1", "0 w1"),
        // Zeros, w1, zeros: the discard came after w1, and comes but once.
        (
            "+w1 +d1 +r1 -r1=0 +r2 -r2=w1 +r3 -r3=0 +r4 ?r4=w1",
            "0",
            "0 w1",
        ),
        (
            "+w1 +d1 +r1 -r1=0 +r2 -r2=w1 +r3 -r3=0 -w1 +w2 +r4 -r4=w2 +r5 ?r5=0",
            "w2",
            "0 w1 w2",
        ),
        (
            "+w1 +d1 +d2 +w2 +r1 -r1=w1 +r2 -r2=0 +r3 -r3=w2 +r4 -r4=0 +r5 ?r5=w1 +r6 ?r6=w2",
            "0",
            "0 w1 w2",
        ),
        (
            "+w1 +d1 +w2 +r1 -r1=w1 +r2 -r2=0 +r3 -r3=w2 +r4 ?r4=0",
            "w2",
            "0 w1 w2",
        ),
    ]);
}

#[test]
fn flushes_and_fua_supersede() {
    check(&[
        ("+w1 -w1 +f1 -f1", "w1", "w1"),
        ("+w1 -w1 +f1", "w1", "0 w1"),
        ("+w1 -w1 +f1 !f1", "w1", "0 w1"),
        ("+f1 +w1 -w1 -f1", "w1", "0 w1"),
        ("+w1 +f1 -w1 -f1", "w1", "0 w1"),
        ("+w1 -w1 +f1 +w2 -w2 -f1", "w2", "w1 w2"),
        ("+w1 -w1 +f1 +w2 -f1", "w1 w2", "w1 w2"),
        // The flush submitted first may be acknowledged last.
        ("+w1 -w1 +f1 +w2 -w2 +f2 -f2", "w2", "w2"),
        ("+w1 -w1 +f1 +w2 -w2 +f2 -f2 -f1", "w2", "w2"),
        ("+w1 -w1 +f1 +w2 -w2 +f2 !f2 -f1", "w2", "w1 w2"),
        // FUA, at its own end and only then.
        ("+u1 -u1", "u1", "u1"),
        ("+u1", "0 u1", "0 u1"),
        ("+u1 !u1", "0 u1", "0 u1"),
        ("+w1 -w1 +u2 -u2", "u2", "u2"),
        ("+w1 -w1 +u2 -u2 +w3 -w3", "w3", "u2 w3"),
        ("+w1 +u2 -u2 -w1", "w1 u2", "w1 u2"),
        ("+w1 +u2 -w1 -u2", "w1 u2", "w1 u2"),
        ("+w1 -w1 +y1 -y1", "0", "0"),
        ("+w1 -w1 +z1 -z1 +f1 -f1", "0", "0"),
        ("+w1 -w1 +z1 -z1", "0", "0 w1"),
        // Preflush covers what was before it, not the write itself; a failed one covers nothing.
        ("+w1 -w1 +v2 -v2", "v2", "w1 v2"),
        ("+w1 -w1 +v2 !v2", "w1 v2", "0 w1 v2"),
        ("+w1 +v2 -w1 -v2", "w1 v2", "0 w1 v2"),
        // Two at once, then a flush: both stay possible until one is read and flushed.
        ("+w1 +w2 -w1 -w2 +f1 -f1", "w1 w2", "w1 w2"),
        ("+w1 +w2 -w1 -w2 +f1 -f1 +r1 -r1=w2", "w2", "w1 w2"),
        ("+w1 +w2 -w1 -w2 +f1 -f1 +r1 -r1=w2 +f2 -f2", "w2", "w2"),
        // Superseded by a chain, each by its successor.
        ("+w1 -w1 +w2 -w2 +w3 -w3 +f1 -f1", "w3", "w3"),
        ("+w1 -w1 +w2 -w2 +f1 -f1 +w3 !w3", "w2 w3", "w2 w3"),
        // Read, then overwritten before it ended: no read returns it, but only w3 supersedes it.
        ("+w1 +r1 -r1=w1 +w2 -w2 -w1 +f1 -f1", "w2", "w1 w2"),
        ("+w1 +r1 -r1=w1 +w2 -w2 -w1 +w3 -w3 +f1 -f1", "w3", "w3"),
        (
            "+w1 +r1 -r1=w1 +w2 -w2 -w1 +r2 ?r2=w1 +w3 +r3 ?r3=w1",
            "w2 w3",
            "0 w1 w2 w3",
        ),
        // w2, read, is the only proof that w1 is older than something read; w1 ends after w2 was superseded (S2).
        (
            "+w1 +r1 -r1=w1 +w2 -w2 +r2 -r2=w2 +w3 -w3 -w1 +f1 -f1",
            "w3",
            "w3",
        ),
        // In flight at the crash is never superseded.
        ("+w1 +w2 -w2 +f1 -f1", "w1 w2", "w1 w2"),
    ]);
}

#[test]
fn what_may_not_have_happened_supersedes_nothing_until_read_and_flushed() {
    check(&[
        ("+w1 !w1 +f1 -f1", "0 w1", "0 w1"),
        ("+w1 !w1 +f1 -f1 +r1 -r1=w1", "w1", "0 w1"),
        ("+w1 !w1 +r1 -r1=w1 +f1 -f1", "w1", "w1"),
        ("+w1 !w1 +r1 -r1=w1 +f1 !f1", "w1", "0 w1"),
        ("+w1 !w1 +r1 +f1 -r1=w1 -f1", "w1", "0 w1"),
        ("+w1 !w1 +r1 -r1=0 +f1 -f1", "0", "0"),
        ("+w1 -w1 +f1 -f1 +d1 -d1", "0 w1", "0 w1"),
        ("+w1 -w1 +d1 -d1 +f1 -f1", "0 w1", "0 w1"),
        ("+w1 -w1 +d1 -d1 +r1 -r1=0 +f1 -f1", "0", "0"),
        ("+w1 -w1 +d1 -d1 +d2 -d2 +r1 -r1=0 +f1 -f1", "0", "0"),
        ("+w1 -w1 +d1 -d1 +r1 -r1=w1 +f1 -f1", "w1", "w1"),
        ("+u1 !u1 +f1 -f1", "0 u1", "0 u1"),
        ("+w1 -w1 +u2 !u2 +f1 -f1", "w1 u2", "w1 u2"),
    ]);
}

/// Where the two rules differ: values read while their write was in flight.
#[test]
fn reads_of_writes_in_flight() {
    for (script, ended, any) in [
        ("+w1 +r1 -r1=w1 +f1 -f1", "0 w1", "w1"),
        ("+w1 +r1 -r1=w1 +f1 -w1 -f1", "0 w1", "w1"),
        ("+w1 +r1 -r1=w1 -w1 +f1 -f1", "w1", "w1"),
        ("+w1 +r1 -r1=w1 +w2 -w2 +r2 -r2=w2 +f1 -f1", "w1 w2", "w2"),
        ("+w1 +r1 -r1=w1 +w2 -w2 +r2 -r2=w2 -w1 +f1 -f1", "w2", "w2"),
        // w2 is older than w1 only by way of w3, in flight and read on both sides of the start of w1.
        (
            "+w2 +w3 +r1 -r1=w3 +w1 +r3 -w2 +r2 -r2=w3 -r3=w1 -w1 +f1 -f1",
            "w1 w3",
            "w1",
        ),
        (
            "+w2 +w3 +r1 -r1=w3 +w1 -w2 +r2 -r2=w3 +r3 -r3=w1 -w1 +f1 -f1",
            "w1 w3",
            "w1",
        ),
    ] {
        let legal = |rule| play(script, rule).legal_after_crash(SECTOR);
        assert_eq!(legal(ReadThenFlush::EndedWrites), values(ended), "{script}");
        assert_eq!(legal(ReadThenFlush::AnyRead), values(any), "{script}");
    }
}
