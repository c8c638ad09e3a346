//! Opening: a chain of loaded deltas becomes pages, host clusters and queues. Nothing is written.

use crate::alloc::Alloc;
use crate::bat::level::{self, Levels, NO_LEVEL};
use crate::bat::page::{HeaderCopy, MdPage, Page};
use crate::bat::table::Table;
use crate::bat::visible::{Kept, Nowhere, VisibleMap};
use crate::cluster::lock::{ClusterLocks, SHADOWS};
use crate::delta::{Body, Expanded, ExtensionState, LoadedDelta, chain};
use crate::device::options::{OpenError, Options, WriteBack, check_granule};
use crate::device::{Device, Geometry, recover};
use crate::format::{Header, Layout, Version};
use crate::request::cbt::Cbt;
use crate::request::flush::Flushes;
use crate::request::mark::Mark;
use crate::request::starve::Starved;
use crate::request::table::Queue;
use crate::request::track::Tracking;
use crate::sync::Clock;
use crate::units::{Clu, PageId, Sector, Sectors};
use crate::writeback::dirty::DirtySet;
use crate::writeback::gate::Gate;
use crate::writeback::state::State;

impl Device {
    /// Whether a chain can be opened like that. What [`Device::open_kept`] demands beyond: a top that is going to be written
    /// is settled, so that no slot is built on that a power cut takes back, or is recovered.
    pub fn check(chain: &[LoadedDelta], options: &Options) -> Result<(), OpenError> {
        options.check()?;
        chain::validate(chain, options.write)?;
        let top = chain.last().filter(|_| options.write);
        match top.and_then(|top| Some((&top.name, &top.expanded()?.layout))) {
            Some((name, layout)) => check_granule(name, layout, options.granule),
            None => Ok(()),
        }
    }

    /// Opens a chain of loaded deltas, oldest first. Nothing is written before the first modifying request.
    pub fn open(chain: Vec<LoadedDelta>, options: Options) -> Result<Device, OpenError> {
        Device::open_kept(chain, options, Kept::Nowhere)
    }

    /// As [`Device::open`], for a device whose visible slots are kept where a killed server does not lose them.
    pub fn open_kept(
        mut chain: Vec<LoadedDelta>,
        options: Options,
        kept: Kept,
    ) -> Result<Device, OpenError> {
        Device::check(&chain, &options)?;
        let (visible, recovering): (Box<dyn VisibleMap>, bool) = match kept {
            Kept::From(map) if options.write => (map, false),
            Kept::Recovered(map) if options.write => (map, true),
            _ => (Box::new(Nowhere), false),
        };
        let recovered = if recovering {
            recover::apply(&mut chain, &*visible)?
        } else {
            Vec::new()
        };
        let cbt = take_bitmaps(&mut chain, &options, recovering);
        let Some(top) = chain.last() else {
            unreachable!("validated: not empty")
        };
        let settled = top.expanded().is_none_or(|image| image.settled);
        if options.write && !recovering && !settled {
            let file = top.name.clone();
            return Err(OpenError::NotSettled { file });
        }
        let layout = match &top.body {
            Body::Expanded(image) => image.layout,
            Body::Raw => raw_layout(top.file_len),
        };
        let table = Table::new(&layout, options.page_bytes, options.granule);
        let levels = Levels::new(&chain, layout.cluster);
        let pages = (0..table.pages())
            .map(|id| Page::new(load_page(PageId(id), &table, &chain)))
            .collect();
        let image = top.expanded().filter(|_| options.write);
        let mapped = image
            .into_iter()
            .flat_map(|image| image.bat.iter().filter_map(|&entry| layout.host_of(entry)));
        let extension = image.map_or(&[][..], |image| &image.reserved);
        let delay = match options.write_back {
            WriteBack::Immediate => None,
            WriteBack::Delayed(delay) => Some(delay),
        };
        let given_up = recovered
            .iter()
            .filter_map(|slot| layout.host_of(slot.file));
        let device = Device {
            alloc: Alloc::new(
                layout,
                top.file_len,
                mapped.chain(given_up),
                extension,
                image.is_some_and(|image| image.extension_astray),
                options.prealloc,
            ),
            table,
            levels,
            pages,
            gate: Gate::new(recovering && visible.is_poisoned()),
            dirty: DirtySet::new(delay),
            mark: Mark::new(recovering),
            flushes: Flushes::new(),
            starved: Starved::new(),
            queues: (0..options.queues)
                .map(|_| Queue::new(options.depth))
                .collect(),
            clock: Clock::new(),
            visible,
            tracking: Tracking::new(),
            cbt,
            forgets_extension: image.is_some_and(|image| image.extension_astray),
            options,
        };
        if recovering {
            device.owe(&recovered);
        } else {
            device.keep_all(image);
        }
        Ok(device)
    }

    /// Shape of the device.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        let entries = (0..self.table.pages())
            .map(|page| self.table.entries_of(PageId(page)).1 as u32)
            .sum();
        Geometry {
            size: self.table.size(),
            cluster: self.table.cluster(),
            entries,
            pages: self.table.pages(),
            levels: self.levels.count(),
        }
    }
}

/// The dirty bitmaps of a top that is going to be written. `unseen`: changes may have been made by a device that is
/// gone, and nobody marked them.
fn take_bitmaps(chain: &mut [LoadedDelta], options: &Options, unseen: bool) -> Cbt {
    let top = chain.last_mut().and_then(LoadedDelta::expanded_mut);
    match top {
        Some(image) if options.write && !unseen && image.extension == ExtensionState::Valid => {
            Cbt::new(std::mem::take(&mut image.bitmaps), image.reserved.clone())
        }
        _ => Cbt::new(Vec::new(), Vec::new()),
    }
}

/// A raw file, read-only: clusters of 1 MiB that map to themselves.
fn raw_layout(file_len: u64) -> Layout {
    let cluster = Sectors(2048);
    let size = Sectors::covering(file_len);
    Layout {
        version: Version::V2,
        cluster,
        entries: size.0.div_ceil(cluster.0).min(u64::from(u32::MAX)) as u32,
        size,
        data_start: Sector(0),
        phase: Sectors::ZERO,
    }
}

/// The header as the first write makes it, but for the mark.
fn header_to_write(image: &Expanded) -> Header {
    let mut header = image.header;
    if image.extension_astray {
        header.ext_off = Sector(0);
    }
    header
}

/// A page's part of the merged map: for each guest cluster the newest delta that has it.
fn load_page(id: PageId, table: &Table, chain: &[LoadedDelta]) -> MdPage {
    let (first, count) = table.entries_of(id);
    let (at, image_len) = table.bytes_of(id);
    let mut map = vec![0; count].into_boxed_slice();
    let mut level = vec![NO_LEVEL; count].into_boxed_slice();
    let mut flight = vec![0; count].into_boxed_slice();
    for slot in 0..count {
        let clu = Clu(first.0 + slot as u32);
        for (number, delta) in chain.iter().enumerate() {
            if let Some(entry) = level::mapped(delta, clu, table.cluster()) {
                if level[slot] != NO_LEVEL && number + 1 == chain.len() {
                    flight[slot] = SHADOWS;
                }
                map[slot] = entry;
                level[slot] = number as u8;
            }
        }
    }
    let image: Option<&Expanded> = chain.last().and_then(LoadedDelta::expanded);
    let header = image.filter(|_| id.0 == 0).map(|image| {
        Box::new(HeaderCopy {
            bytes: header_to_write(image).to_bytes(),
            first: 0,
            latest: 0,
            riding: None,
        })
    });
    let known = header.as_ref().map_or(0, |header| header.bytes.len()) + 4 * count;
    let slack = image.map_or_else(Vec::new, |image| {
        let mut slack = vec![0; image_len.saturating_sub(known)];
        let from = (at + known as u64).saturating_sub(image.layout.bat_end()) as usize;
        for (to, byte) in slack.iter_mut().zip(image.bat_slack.iter().skip(from)) {
            *to = *byte;
        }
        slack
    });
    MdPage {
        id,
        first,
        map,
        level,
        flight,
        locks: ClusterLocks::default(),
        state: State::Clean,
        records: Vec::new(),
        header,
        slack: slack.into_boxed_slice(),
        changes: 0,
        want: 0,
        waiters: Vec::new(),
        queued: false,
        awaiting: false,
        failing: false,
        shorts: 0,
    }
}
