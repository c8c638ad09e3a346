//! What a person plans: a larger disk, a new server for a living device. Kernels below 6.16 offer neither.

use std::time::Duration;

use super::load::{Load, during};
use super::loads::Judged;
use super::server::call;
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

/// A disk grows under load.
pub(crate) fn resize() -> Outcome {
    let disk = Judged::new("resize", "16M", "64k", "--queues 2")?;
    let result = during(
        &Load::mixed(disk.sectors, 15),
        &disk.judge,
        &disk.target,
        &[],
        |running| {
            running.for_a_while(Duration::from_millis(500));
            offered(&format!("resize {} 32M", disk.device.id))?;
            running.for_a_while(Duration::from_millis(500));
            Ok(())
        },
    );
    if result.is_ok() {
        let sectors = disk.target.sectors()?;
        demand(sectors == 2 * disk.sectors, || {
            format!("{sectors} sectors, not {}", 2 * disk.sectors)
        })?;
    }
    let found = disk.finish().during("resize")?;
    result?;
    Ok(found)
}
