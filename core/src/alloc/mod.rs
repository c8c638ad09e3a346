//! The host clusters of the top file: which are free, what is known of their content, and how the file grows.
//!
//! * A1 Find and take is one critical section (I16). The lowest free cluster is taken first.
//! * A2 A cluster is free only if no slot names it in memory or may name it on disk (I15, I30): `life` says where it is.
//! * A3 Zeros have provenance: a free cluster is known to be zero only if this process extended the file over it or
//!   punched it, durably so after a sync submitted later. Handing it out forgets that.
//! * A4 Header, BAT and extension clusters are never free.

pub(crate) mod holes;
pub(crate) mod life;
pub(crate) mod tail;

use std::collections::{BTreeMap, VecDeque};

use crate::format::Layout;
use crate::format::extension::place_from;
use crate::request::work::Segment;
use crate::sync::{Mutex, Rank};
use crate::units::{DstClu, Sectors};
use crate::verify::{maybe, verify};
use holes::Bitmap;
use life::{Life, Zero};
use tail::Tail;

/// Ranges of zeroed clusters that are not durably zero yet, at the most; more are merged.
const MAX_ZEROED: usize = 32;

#[derive(Debug)]
struct State {
    used: Bitmap,
    /// Behind the highest cluster ever handed out.
    high: u32,
    /// Free clusters that read as zeros now.
    zero: Bitmap,
    /// (first, behind, sync): clusters in `zero` that are durable only after that sync.
    zeroed: Vec<(u32, u32, u64)>,
    /// Used clusters that are not simply mapped.
    life: BTreeMap<u32, Life>,
    tail: Tail,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Alloc {
    state: Mutex<State>,
    layout: Layout,
    /// Clusters by which the file is extended, at least 1.
    step: u32,
    /// Clusters of the format extension: used, and no slot names them.
    pub(crate) extension: u32,
    /// Those of an extension that the header forgets, sorted: nobody's from the close on.
    forgotten: Vec<DstClu>,
}

/// What `reserve` answers.
#[derive(Debug)]
pub(crate) enum Reserve {
    /// Here is one, now `Reserved`.
    Host(Segment, DstClu, Zero),
    /// None is free: extend the file to this many hosts; the segment waits.
    Extend(u32),
    /// None is free and an extension is under way; the segment waits.
    Waiting,
    /// The format can address no more.
    Full(Segment),
}

impl Alloc {
    /// For a top file of `file_len` bytes whose clusters `used` (mapped) and `extension` (sorted) are taken. `forgotten`: the
    /// next header names no extension.
    pub(crate) fn new(
        layout: Layout,
        file_len: u64,
        used: impl Iterator<Item = DstClu>,
        extension: &[DstClu],
        forgotten: bool,
        prealloc: Sectors,
    ) -> Alloc {
        let hosts = layout.hosts_in(file_len);
        let mut bitmap = Bitmap::new(layout.first_host().0);
        for host in used.chain(extension.iter().copied()) {
            bitmap.set(host.0);
        }
        let ragged = (layout.host_sector(DstClu(hosts)).bytes() < file_len)
            .then(|| Sectors::covering(file_len));
        let state = State {
            used: bitmap,
            high: 0,
            zero: Bitmap::new(layout.first_host().0),
            zeroed: Vec::new(),
            life: BTreeMap::new(),
            tail: Tail {
                hosts,
                ragged,
                reached: hosts,
                extending: None,
                starves: false,
                waiting: VecDeque::new(),
            },
        };
        let step = (prealloc.0 / layout.cluster.0).clamp(1, u64::from(u32::MAX)) as u32;
        Alloc {
            state: Mutex::new(Rank::Holes, "host clusters", state),
            layout,
            step,
            extension: extension.len() as u32,
            forgotten: if forgotten {
                extension.to_vec()
            } else {
                Vec::new()
            },
        }
    }

    /// Takes the lowest free cluster for `segment`, or lets the segment wait. `synced`: the last successful sync.
    pub(crate) fn reserve(&self, segment: Segment, synced: u64) -> Reserve {
        let mut state = self.state.lock();
        state.zeroed.retain(|(_, _, after)| *after > synced);
        let host = state.used.first_clear();
        if host < state.tail.hosts {
            maybe!(HoleReused, host < state.high);
            state.high = state.high.max(host + 1);
            let zero = state.zero_of(host, synced);
            state.used.set(host);
            state.zero.clear(host);
            state.life.insert(host, Life::Reserved);
            return Reserve::Host(segment, DstClu(host), zero);
        }
        if self
            .layout
            .entry_of(DstClu(state.tail.hosts.max(host)))
            .is_none()
        {
            return Reserve::Full(segment);
        }
        if state.tail.starves && segment.kind.is_promotion() {
            return Reserve::Full(segment);
        }
        state.tail.waiting.push_back(segment);
        if state.tail.extending.is_some() {
            return Reserve::Waiting;
        }
        let to = self.limit(state.tail.hosts.max(host).saturating_add(self.step));
        state.tail.extending = Some(to);
        state.tail.reached = state.tail.reached.max(to);
        Reserve::Extend(to)
    }

    /// The largest number of hosts up to `hosts` that the format can address.
    fn limit(&self, hosts: u32) -> u32 {
        let (mut low, mut high) = (0, hosts);
        if self.layout.entry_of(DstClu(hosts - 1)).is_some() {
            return hosts;
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.layout.entry_of(DstClu(middle - 1)) {
                Some(_) => low = middle,
                None => high = middle,
            }
        }
        low.max(1)
    }

    /// First host cluster.
    pub(crate) fn first_host(&self) -> DstClu {
        self.layout.first_host()
    }

    /// Length of the file that holds `hosts` whole clusters.
    pub(crate) fn len_of(&self, hosts: u32) -> Sectors {
        Sectors(self.layout.host_sector(DstClu(hosts)).0)
    }

    /// First sector of a host cluster.
    pub(crate) fn sector(&self, host: DstClu) -> crate::units::Sector {
        self.layout.host_sector(host)
    }

    /// The raw entry that names a host cluster. Every cluster that was handed out has one.
    pub(crate) fn entry(&self, host: DstClu) -> u32 {
        match self.layout.entry_of(host) {
            Some(entry) => entry,
            None => unreachable!("host cluster {} cannot be named", host.0),
        }
    }

    /// The host cluster that a raw entry of the top names.
    pub(crate) fn host(&self, entry: u32) -> DstClu {
        match self.layout.host_of(entry) {
            Some(host) => host,
            None => unreachable!("entry {entry} is not on the grid of a writable image"),
        }
    }

    /// The file now holds `hosts` clusters; the new ones read as zeros, durably so after sync `after`. Returns whoever
    /// waited.
    pub(crate) fn extended(&self, hosts: u32, after: u64) -> VecDeque<Segment> {
        let mut state = self.state.lock();
        verify!(
            state.tail.extending == Some(hosts),
            "an extension ended that was not under way"
        );
        state.tail.extending = None;
        state.tail.starves = false;
        let first = state.tail.hosts + u32::from(state.tail.ragged.is_some());
        for host in first..hosts {
            if !state.used.get(host) {
                state.zero.set(host);
            }
        }
        state.note_zeroed(first, hosts, after);
        state.tail.ragged = None;
        state.tail.hosts = hosts;
        std::mem::take(&mut state.tail.waiting)
    }

    /// The extension under way found no space. A smaller one that may still fit, if there is one.
    pub(crate) fn reduce(&self) -> Option<u32> {
        let mut state = self.state.lock();
        let least = state.used.first_clear().max(state.tail.hosts) + 1;
        state.tail.extending.filter(|to| *to > least)?;
        state.tail.extending = Some(least);
        Some(least)
    }

    /// The extension under way is going to wait for space. Promotions do not wait with it: they are returned. False: nobody is
    /// left, and the extension is over.
    pub(crate) fn extend_starves(&self) -> (Vec<Segment>, bool) {
        let mut state = self.state.lock();
        let waiting = std::mem::take(&mut state.tail.waiting);
        let mut promotions = Vec::new();
        let mut others = VecDeque::new();
        for segment in waiting {
            if segment.kind.is_promotion() {
                promotions.push(segment);
            } else {
                others.push_back(segment);
            }
        }
        let left = !others.is_empty();
        state.tail.waiting = others;
        state.tail.starves = left;
        if !left {
            state.tail.extending = None;
        }
        (promotions, left)
    }

    /// The extension under way failed. Returns whoever waited.
    pub(crate) fn extend_failed(&self) -> VecDeque<Segment> {
        let mut state = self.state.lock();
        state.tail.extending = None;
        state.tail.starves = false;
        std::mem::take(&mut state.tail.waiting)
    }

    /// A reserved cluster is not needed: it was, or may have been, written to.
    pub(crate) fn abandoned(&self, host: DstClu) {
        let mut state = self.state.lock();
        state.expect(host, Life::Reserved);
        state.life.remove(&host.0);
        state.used.clear(host.0);
    }

    /// A reserved cluster is named by a slot now.
    pub(crate) fn published(&self, entry: u32) {
        let host = self.host(entry);
        let mut state = self.state.lock();
        state.expect(host, Life::Reserved);
        state.life.remove(&host.0);
    }

    /// A mapped cluster was given up.
    pub(crate) fn condemned(&self, entry: u32) {
        let host = self.host(entry);
        let mut state = self.state.lock();
        state.expect(host, Life::Mapped);
        state.life.insert(host.0, Life::Condemned);
    }

    /// Nothing on disk names a condemned cluster any more: its space is about to be given back.
    pub(crate) fn punching(&self, host: DstClu) {
        let mut state = self.state.lock();
        state.expect(host, Life::Condemned);
        state.life.insert(host.0, Life::Punching);
    }

    /// The punch ended: the cluster is free. `zero_after`: the punch succeeded, and the zeros are durable after that sync.
    /// Returns one of those who wait for the file to grow, if any: here is a cluster.
    pub(crate) fn punched(&self, host: DstClu, zero_after: Option<u64>) -> Option<Segment> {
        let mut state = self.state.lock();
        state.expect(host, Life::Punching);
        state.life.remove(&host.0);
        state.used.clear(host.0);
        if let Some(after) = zero_after {
            state.zero.set(host.0);
            state.note_zeroed(host.0, host.0 + 1, after);
        }
        state.tail.waiting.pop_front()
    }

    /// True if no extension or punch is under way.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.tail.extending.is_none() && !state.life.values().any(|life| *life == Life::Punching)
    }

    /// Behind the last host cluster of the file (one that its end cuts counts if it has a life), and (host, life) of all that
    /// are not simply mapped or used by the format, in order.
    pub(crate) fn inspect(&self, synced: u64) -> (u32, Vec<(u32, Life)>) {
        let state = self.state.lock();
        let hosts = state.tail.hosts;
        // A mapped cluster that the end of the file cuts has a life, too.
        let end = hosts + u32::from(state.used.get(hosts) || state.life.contains_key(&hosts));
        let life =
            (self.layout.first_host().0..end).map(|host| (host, state.life_of(host, synced)));
        (
            end,
            life.filter(|(_, life)| *life != Life::Mapped).collect(),
        )
    }

    /// The length to which the file can be cut: behind the highest cluster that is not free. `None`: as it is.
    pub(crate) fn keep(&self) -> Option<Sectors> {
        let end = self.end_without(&self.forgotten);
        let state = self.state.lock();
        if let Some(len) = state.tail.ragged {
            return (state.tail.reached > state.tail.hosts).then_some(len);
        }
        let keep = end.0.min(state.tail.hosts);
        (keep < state.tail.reached).then(|| self.len_of(keep))
    }

    /// Behind the highest cluster that is not free, `others` (sorted) not counted.
    pub(crate) fn end_without(&self, others: &[DstClu]) -> DstClu {
        let state = self.state.lock();
        let (mut end, first) = (state.used.end(), self.layout.first_host().0);
        while let Some(last) = end.checked_sub(1).filter(|last| *last >= first) {
            if state.used.get(last) && others.binary_search(&DstClu(last)).is_err() {
                break;
            }
            end = last;
        }
        DstClu(end)
    }

    /// Where an extension may be written that comes behind everything but `others`.
    pub(crate) fn extension_place(&self, others: &[DstClu]) -> DstClu {
        place_from(&self.layout, self.end_without(others))
    }

    /// The length that the file must have for what is not free, `others` (sorted) not counted.
    pub(crate) fn len_without(&self, others: &[DstClu]) -> Sectors {
        let end = self.end_without(others);
        let state = self.state.lock();
        match state.tail.ragged {
            Some(len) if end.0 >= state.tail.hosts => len,
            _ => self.len_of(end.0.min(state.tail.hosts)),
        }
    }

    /// True if the file may be longer than this.
    pub(crate) fn may_reach_beyond(&self, len: Sectors) -> bool {
        let state = self.state.lock();
        let whole = self.len_of(state.tail.reached);
        state.tail.ragged.map_or(whole, |cut| cut.max(whole)) > len
    }

    /// Clusters given up whose un-map is not durable.
    pub(crate) fn quarantined(&self) -> usize {
        self.state
            .lock()
            .life
            .values()
            .filter(|life| **life == Life::Condemned)
            .count()
    }

    /// Number of free host clusters in the file.
    pub(crate) fn free(&self) -> u64 {
        let state = self.state.lock();
        state.used.clear_below(state.tail.hosts)
    }

    /// Bytes of memory of the bitmaps.
    pub(crate) fn bytes(&self) -> usize {
        let state = self.state.lock();
        state.used.bytes() + state.zero.bytes()
    }
}

impl State {
    /// Where a host cluster is in its life. What the format itself uses counts as mapped.
    fn life_of(&self, host: u32, synced: u64) -> Life {
        match self.life.get(&host) {
            Some(life) => *life,
            None if self.used.get(host) => Life::Mapped,
            None => Life::Free(self.zero_of(host, synced)),
        }
    }

    fn expect(&self, host: DstClu, life: Life) {
        let is = self.life_of(host.0, 0);
        verify!(
            is == life,
            "host cluster {} is {is:?} where it must be {life:?}",
            host.0
        );
    }
    fn zero_of(&self, host: u32, synced: u64) -> Zero {
        if !self.zero.get(host) {
            return Zero::Unknown;
        }
        let after = self
            .zeroed
            .iter()
            .filter(|(from, to, _)| (*from..*to).contains(&host));
        match after
            .map(|(_, _, after)| *after)
            .filter(|after| *after > synced)
            .max()
        {
            Some(after) => Zero::After(after),
            None => Zero::Durable,
        }
    }

    fn note_zeroed(&mut self, from: u32, to: u32, after: u64) {
        if from >= to {
            return;
        }
        if self.zeroed.len() >= MAX_ZEROED {
            // Later than needed is safe: one range with the latest sync replaces them all.
            let low = self
                .zeroed
                .iter()
                .map(|zeroed| zeroed.0)
                .fold(from, u32::min);
            let high = self.zeroed.iter().map(|zeroed| zeroed.1).fold(to, u32::max);
            self.zeroed.clear();
            self.zeroed.push((low, high, after));
        } else {
            self.zeroed.push((from, to, after));
        }
    }
}
