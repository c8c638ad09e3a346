//! What there is: the geometry, and the images of the chain.

use ploop_core::format::{InUse, Version};
use ploop_core::units::{Millis, Sectors};
use ploop_core::{NoSpace, Options, WriteBack};

use crate::scenario::parse::words::{Result, Words};
use crate::world::chain::{Owner, Plan};
use crate::world::extension::Bitmap;
use crate::world::shape::Shape;

/// Most sectors of a disk: a scenario is small.
const MOST_SECTORS: u64 = 1 << 16;

pub(super) fn default_shape() -> Shape {
    Shape {
        version: Version::V2,
        packed: false,
        cluster: 2,
        entries: 8,
        size: 16,
        levels: 1,
        raw_base: false,
        options: Options {
            queues: 2,
            depth: 2,
            write: true,
            write_back: WriteBack::Delayed(Millis(50)),
            prealloc: Sectors(2),
            no_space: NoSpace::Wait { retry: Millis(30) },
            page_bytes: 96,
            granule: 16,
        },
    }
}

pub(super) fn geometry(words: &mut Words<'_>) -> Result<Shape> {
    let mut shape = default_shape();
    let (mut size, mut prealloc) = (None, None);
    while let Some(word) = words.rest.next() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = |least: u64, most: u64| match value.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(words.bad(word, &format!("must be a number from {least} to {most}"))),
        };
        let options = &mut shape.options;
        match key {
            "cluster" => shape.cluster = number(1, 4096)?,
            "entries" => shape.entries = number(1, MOST_SECTORS)? as u32,
            "size" => size = Some(number(1, MOST_SECTORS)?),
            "version" if value == "1" => shape.version = Version::V1,
            "version" if value == "2" => shape.version = Version::V2,
            "packed" if value.is_empty() => shape.packed = true,
            "queues" => options.queues = number(1, 64)? as u16,
            "depth" => options.depth = number(1, 256)? as u16,
            "prealloc" => prealloc = Some(number(1, MOST_SECTORS)?),
            "page-bytes" => options.page_bytes = number(72, 1 << 18)? as u32,
            "granule" => options.granule = number(8, 512)? as u32,
            "write-back" => options.write_back = write_back(word, value, words)?,
            "no-space" => options.no_space = no_space(word, value, words)?,
            _ => return Err(words.bad(word, "unknown")),
        }
    }
    let geometry_rule = |token: &str, problem: &str| Err(words.bad(token, problem));
    let options = shape.options;
    if !options.granule.is_power_of_two() || !options.page_bytes.is_multiple_of(options.granule) {
        return geometry_rule("granule", "must be a power of two that divides page-bytes");
    }
    if shape.packed && shape.version != Version::V1 {
        return geometry_rule("packed", "only with version=1");
    }
    let most = u64::from(shape.entries) * shape.cluster;
    shape.size = size.unwrap_or(most);
    if most > MOST_SECTORS || shape.size > most || shape.size <= most - shape.cluster {
        return geometry_rule("size", "must end in the last of all entries' clusters");
    }
    shape.options.prealloc = Sectors(prealloc.unwrap_or(shape.cluster));
    Ok(shape)
}

pub(super) fn write_back(word: &str, value: &str, words: &Words<'_>) -> Result<WriteBack> {
    let rule = "must be immediate or delayed:50";
    match value.split_once(':') {
        None if value == "immediate" => Ok(WriteBack::Immediate),
        Some(("delayed", delay)) => Ok(WriteBack::Delayed(Millis(words.parse(delay, rule)?))),
        _ => Err(words.bad(word, rule)),
    }
}

fn no_space(word: &str, value: &str, words: &Words<'_>) -> Result<NoSpace> {
    let rule = "must be fail or wait:30";
    match value.split_once(':') {
        None if value == "fail" => Ok(NoSpace::Fail),
        Some(("wait", retry)) => Ok(NoSpace::Wait {
            retry: Millis(words.parse(retry, rule)?),
        }),
        _ => Err(words.bad(word, rule)),
    }
}

/// Guest clusters (`0-3 5`) and what else stands in an image.
pub(super) fn plan(words: &mut Words<'_>, shape: &Shape, top: bool) -> Result<Plan> {
    let mut plan = Plan::default();
    while let Some(word) = words.rest.next() {
        match word {
            "-" => plan.hosts.push(Owner::Free),
            shorter if !top && shorter.starts_with("size=") => {
                let rule = "must be fewer sectors than the disk has";
                match words.parse(shorter.trim_start_matches("size="), rule)? {
                    size if (1..shape.size).contains(&size) => plan.size = Some(size),
                    _ => return Err(words.bad(shorter, rule)),
                }
            }
            "ragged" if top && shape.cluster > 1 => plan.ragged = true,
            "in-use" if top => plan.in_use = InUse::InUse,
            "bitmap" if top && plan.bitmap == Bitmap::Mixed => plan.hosts.push(Owner::Bitmap),
            "extension" | "extension=clean" | "extension=dirty" | "extension=mixed" if top => {
                plan.bitmap = match word {
                    "extension=dirty" => Bitmap::Dirty,
                    "extension=mixed" => Bitmap::Mixed,
                    _ => Bitmap::Clean,
                };
                if plan.in_use == InUse::Closed0 {
                    plan.in_use = InUse::ClosedV21;
                }
                plan.hosts.push(Owner::Extension);
            }
            range => {
                let rule = "must be guest clusters, as in 3 or 0-3";
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let (first, last): (u32, u32) =
                    (words.parse(first, rule)?, words.parse(last, rule)?);
                if last < first || last >= shape.entries {
                    return Err(words.bad(
                        range,
                        &format!("must be some of {} guest clusters", shape.entries),
                    ));
                }
                for clu in first..=last {
                    if plan.hosts.contains(&Owner::Guest(clu)) {
                        return Err(words.bad(range, "mapped twice"));
                    }
                    plan.hosts.push(Owner::Guest(clu));
                }
            }
        }
    }
    if let Some(size) = plan.size {
        let beyond = |host: &&Owner| match host {
            Owner::Guest(clu) => u64::from(*clu) * shape.cluster >= size,
            _ => false,
        };
        if let Some(Owner::Guest(clu)) = plan.hosts.iter().find(beyond) {
            return Err(words.bad(&clu.to_string(), "beyond the size of the image"));
        }
    }
    for owner in [Owner::Extension, Owner::Bitmap] {
        if plan.hosts.iter().filter(|&&host| host == owner).count() > 1 {
            return Err(words.bad("extension", "must stand once"));
        }
    }
    if plan.bitmap == Bitmap::Mixed && !plan.hosts.contains(&Owner::Bitmap) {
        return Err(words.bad("extension=mixed", "needs a place for its `bitmap`"));
    }
    Ok(plan)
}
