//! What runs, where, in which order, and for how long at most. The host shows it as tests; the agent runs it.

use crate::guest::trouble::Outcome;
use crate::guest::{
    aside, blocks, bundle, copy, endings, errors, filesystems, fua, harness, json, kill, leftovers,
    loads, manners, merge, planned, power, rollback, scenario, service, space,
};
pub(crate) use crate::kernel::Kernel;

/// One step of a guest.
pub(crate) struct Step {
    /// Its name, without blanks and commas.
    pub(crate) name: &'static str,
    /// Where it runs.
    pub(crate) kernels: &'static [Kernel],
    /// Seconds that it may take; a step that takes longer hangs.
    pub(crate) limit: u64,
    /// Does it.
    pub(crate) run: fn() -> Outcome,
}

const fn step(
    name: &'static str,
    kernels: &'static [Kernel],
    limit: u64,
    run: fn() -> Outcome,
) -> Step {
    Step {
        name,
        kernels,
        limit,
        run,
    }
}

const BOTH: &[Kernel] = &Kernel::ALL;
const OLD: &[Kernel] = &[Kernel::V6_12];
const NEW: &[Kernel] = &[Kernel::Newest];

/// All steps, in order.
pub(crate) const STEPS: &[Step] = &[
    step("harness-on-kernel-loop", OLD, 60, harness::sound),
    step("harness-finds-a-lie", OLD, 60, harness::lie),
    step("power-cut-on-kernel-loop", NEW, 120, power::sound),
    step("manners", BOTH, 60, manners::manners),
    step("links", BOTH, 60, leftovers::links),
    step("killed-at-start", BOTH, 60, leftovers::killed_at_start),
    step("damaged-record", BOTH, 60, leftovers::damaged),
    step("number-of-another", BOTH, 60, leftovers::foreign),
    step("parameters", BOTH, 60, manners::parameters),
    step("json", BOTH, 60, json::json),
    step("ext4", BOTH, 120, filesystems::ext4),
    step(
        "ext4-64k-clusters",
        OLD,
        120,
        filesystems::ext4_small_clusters,
    ),
    step("fua-alone", BOTH, 60, fua::alone),
    step("xfs", NEW, 120, filesystems::xfs),
    step("load-mixed", BOTH, 120, loads::mixed),
    step("load-cached-and-copied", NEW, 120, loads::cached_and_copied),
    step("load-on-snapshot", BOTH, 120, loads::snapshot),
    step("load-sequential", NEW, 120, loads::sequential),
    step("load-trim", OLD, 120, loads::trim),
    step("cross-queue", BOTH, 120, loads::cross_queue),
    step("two-devices", OLD, 120, loads::two_devices),
    step("scenarios", BOTH, 480, scenario::all),
    step("kill-under-load", BOTH, 180, kill::under_load),
    step("kill-under-ext4", OLD, 120, kill::under_ext4),
    step("kill-then-flush", BOTH, 60, kill::then_flush),
    step("kill-then-del", BOTH, 60, kill::then_del),
    step("no-leak", OLD, 180, kill::no_leak),
    step("no-leak-without-copy", NEW, 180, kill::no_leak_without_copy),
    step("terminated", BOTH, 120, endings::terminated),
    step("aborted", BOTH, 120, endings::aborted),
    step("recover-at-once", BOTH, 120, endings::recovered_at_once),
    step("cut", BOTH, 60, endings::cut),
    step("direct-4096", NEW, 60, blocks::direct),
    step("load-lent-by-hand", NEW, 60, loads::lent_by_hand),
    step("no-space-waits", BOTH, 120, space::waits),
    step("set-while-full", BOTH, 60, space::set_while_full),
    step("no-space-limit", BOTH, 60, space::limited),
    step("no-space-fails", OLD, 120, space::fails),
    step("io-error", OLD, 60, errors::io_error),
    step("lower-lost", NEW, 60, errors::lower_lost),
    step("resize", BOTH, 60, planned::resize),
    step("snapshots-under-load", BOTH, 120, aside::under_load),
    step("snapshots-under-ext4", BOTH, 120, aside::under_ext4),
    step("copy-under-ext4", BOTH, 120, copy::under_ext4),
    step("change-killed", BOTH, 120, aside::killed),
    step("bundle", BOTH, 120, bundle::served),
    step("rollback", BOTH, 120, rollback::switched),
    step("set", BOTH, 60, rollback::set),
    step("merge-live", BOTH, 240, merge::list),
    step("merge-live-bundle", BOTH, 240, merge::bundle),
    step("service", OLD, 120, service::service),
    step("service-bundle", BOTH, 120, service::bundled),
    step("recover-all", OLD, 60, service::recover_all),
    step("power-cut", BOTH, 480, power::cuts),
    step("power-cut-without-copy", NEW, 240, power::without_copy),
    step("quiesce", BOTH, 60, planned::quiesce),
];
