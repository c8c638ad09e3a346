//! What a person plans: a larger disk, a new server for a living device. Kernels below 6.16 do not offer the second, and do
//! not show the first before the device is made anew.

use std::time::Duration;

use model::op::Value;

use super::aside::updates_size;
use super::disks;
use super::judge::read_all;
use super::load::{Load, during};
use super::loads::Judged;
use super::server::{add, call, ok};
use super::trouble::{During, Outcome, Trouble, demand};

/// Calls the program; `NotOffered` with its own words if it refuses.
fn offered(arguments: &str) -> Result<String, Trouble> {
    let called = call(arguments)?;
    if called.code == Some(0) {
        return Ok(called.out);
    }
    Err(Trouble::NotOffered(format!(
        "{arguments}: exit {:?}, {}",
        called.code, called.err
    )))
}

/// The old server goes, a new one comes, under load.
pub(crate) fn quiesce() -> Outcome {
    let disk = Judged::new("quiesce", "16M", "64k", "--queues 2")?;
    let mut times = 0;
    let result = during(
        &Load::mixed(disk.sectors, 14),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            for _ in 0..3 {
                running.for_a_while(Duration::from_millis(500));
                offered(&format!("quiesce {}", disk.device.id))?;
                // Who fails for want of a server does not start one: somebody has the images now.
                let called = call(&format!("set {} --read-only", disk.device.id))?;
                let there = call(&format!("info {}", disk.device.id))?;
                let without = [&called, &there].map(|called| called.err.contains("no server"));
                demand(without == [true; 2], || {
                    format!("without a server: {called:?}, then {there:?}")
                })?;
                disk.device.recover()?;
                times += 1;
            }
            running.for_a_while(Duration::from_millis(500));
            Ok(())
        },
    );
    let found = disk.finish()?;
    result?;
    Ok(format!("{times} new servers, nothing lost; {found}"))
}

/// A disk grows under load: at once where the kernel can do that, after `del` and `add` everywhere.
pub(crate) fn resize() -> Outcome {
    let disk = Judged::new("resize", "16M", "64k", "--queues 2")?;
    let now = updates_size()?;
    // Often: each time the old server's files must be free when it says that it is aside.
    let sizes = || (17..=40).chain([300]).map(|mib: u64| mib << 11);
    let largest = 300 << 11;
    during(
        &Load::mixed(disk.sectors, 15),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            for size in sizes() {
                running.for_a_while(Duration::from_millis(50));
                let printed = ok(&format!("resize {} {}M", disk.device.id, size >> 11))?;
                demand(printed == (size * 512).to_string(), || printed.clone())?;
                let sectors = disk.target.sectors()?;
                let wanted = if now { size } else { disk.sectors };
                demand(sectors == wanted, || {
                    format!("{sectors} sectors, not {wanted}")
                })?;
            }
            running.for_a_while(Duration::from_millis(300));
            Ok(())
        },
    )?;
    let smaller = call(&format!("resize {} 16M", disk.device.id))?;
    demand(smaller.code == Some(1), || {
        format!("a disk became smaller: {smaller:?}")
    })?;
    let image = disk.image.clone();
    let found = disk.finish().during("resize")?;
    let device = add("", &[&image])?;
    let target = device.open()?;
    let sectors = target.sectors()?;
    demand(sectors == largest, || {
        format!("{sectors} sectors after add")
    })?;
    // What is new reads as zeros.
    let values = read_all(&target)?;
    let new = &values[(16 << 11)..];
    demand(new.iter().all(|value| *value == Value::ZERO), || {
        "the new part of the disk is not zeros".to_owned()
    })?;
    drop(target);
    device.del()?;
    disks::export(&image, "resized.hdd")?;
    Ok(found)
}
