//! The files of a drained device are changed, and a new device goes on with them: what the control plane does online.
//!
//! ```text
//!   drained ──close──▶ durable, whatever a power cut does ──▶ core::control::files ──▶ load, open ──▶ the rig that is `next`
//!                └ shut: who was held back has not ended  ─────────────────────────▶ comes again there, once
//! ```
//! * A request that meets the closed device on its way in, from another thread, comes again by itself: either that thread
//!   sends it to the next rig, or the one that switches has done so already.
//! * What a power cut leaves inside of an operation is the business of the drills (`sim::fuzzing::control`). Here the files
//!   are durable before, and taken for durable afterwards.

use std::sync::Arc;

use super::core::control::files::{Change, Compact, Merge, Source, change_bitmaps, grow};
use super::core::format::Version;
use super::core::load;
use super::core::units::Sectors;
use super::core::{ActionKind, Actions, CloseError, Failure};
use super::disk::Disk;
use super::image::{Image, Memory, START};
use super::kept::Kept;
use super::rig::{Io, Rig, Top, Who};
use super::trace::{self, Step};
use model::op::{End, Kind, Op};

/// How the files are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// Not at all: they are loaded anew.
    Reload,
    /// A new, empty top.
    Snapshot,
    /// The level below the top goes into the top.
    Forward,
    /// The top goes into the level below.
    Backward,
    /// So many sectors more.
    Grow(u64),
    /// The top's clusters move into its holes.
    Compact,
    /// A dirty bitmap is started.
    Start,
    /// It is removed.
    Stop,
}

impl Rig {
    /// The device that is in use.
    pub(crate) fn current(&self) -> &Rig {
        let mut rig = self;
        loop {
            if let Some(guard) = &rig.guard {
                guard.decided();
            }
            match rig.next.get() {
                Some(next) => rig = next,
                None => return rig,
            }
        }
    }

    /// Closes a drained device, changes its files, opens the next one, and sends it what had not ended. Returns that I/O.
    /// Whoever else calls the device finds the new one by [`Rig::current`].
    pub(crate) fn switch(&self, switch: Switch) -> Vec<Io> {
        let switched = self.try_switch(switch);
        switched.unwrap_or_else(|| panic!("not everything is durable\n{}", self.device.dump()))
    }

    /// The same. `None`: not everything is durable, so the device is suspended as before.
    pub(crate) fn try_switch(&self, switch: Switch) -> Option<Vec<Io>> {
        trace::note(Step::Call("switch"));
        let held = self.shut()?;
        let mut next = self.reopen(switch);
        next.number = self.number + 1;
        {
            let mut state = self.state();
            for who in &held {
                // It was held back: it has not ended, and nobody else sends it.
                assert_eq!(state.device_of(*who), Some(self.number), "{who:?} (I33)");
            }
            state.device = next.number;
            state.let_go();
        }
        if let Some(guard) = &self.guard {
            guard.decided();
        }
        assert!(self.next.set(Arc::new(next)).is_ok(), "switched twice");
        let next = self.current();
        let left = self.state().take_over(next.number);
        let list = left.into_iter();
        Some(list.flat_map(|(who, op)| next.send(who, op)).collect())
    }

    /// Closes the device for good. Returns the requests that were held back.
    fn shut(&self) -> Option<Vec<Who>> {
        self.cast(None);
        let quiesced = self.device.try_quiesce().expect("drained");
        match quiesced.close(&mut Top(self)) {
            Ok(()) => {}
            Err(CloseError::NotDurable { .. }) => return None,
            Err(failed) => panic!("{failed}"),
        }
        let mut out = Actions::new();
        quiesced.shut(&mut out);
        let ends = out.drain().map(|action| match action.kind {
            ActionKind::Finish {
                tag,
                outcome: Err(Failure::Closed),
            } => (action.queue.0, tag.0),
            kind => panic!("{kind:?} out of a device that is shut (I35)"),
        });
        Some(ends.collect())
    }

    /// A request came to a device that is closed. It has not ended.
    pub(crate) fn closed(&self, who: Who) -> Vec<Io> {
        if let Some(guard) = &self.guard {
            guard.decided();
        }
        // Nobody else has sent it, and there is somewhere to send it to.
        let Some(next) = self.next.get() else {
            return Vec::new();
        };
        let mut state = self.state();
        let Some(op) = state.take_over_one(who, self.number, next.number) else {
            return Vec::new();
        };
        drop(state);
        next.send(who, op)
    }

    fn reopen(&self, switch: Switch) -> Rig {
        let mut state = self.state();
        assert!(
            state.disk.is_durable(),
            "closed, and a power cut would still take something (I31)"
        );
        super::closed::read(state.disk.top(), state.changed.as_ref());
        // One that was given up has not happened.
        let switch = match (switch, &state.changed) {
            (Switch::Start, Some(_)) | (Switch::Stop, None) => Switch::Reload,
            (switch, _) => switch,
        };
        let image = change(&state.disk, switch);
        let old = state.model.sectors();
        let more = image.initial.len() as u64 - old;
        let expected = match switch {
            Switch::Grow(more) => more,
            _ => 0,
        };
        assert_eq!(more, expected, "{switch:?}: the size of the disk");
        state.model.grow(more);
        state.disk = Disk::new(&image);
        match switch {
            Switch::Start => state.changed = Some((self.number + 1, Default::default())),
            // It stays with the file that was the top, or is not the top's.
            Switch::Stop | Switch::Snapshot | Switch::Backward => state.changed = None,
            Switch::Grow(_) => {
                let changed = state.changed.iter_mut();
                changed.for_each(|(_, changed)| changed.extend(old..old + more));
            }
            Switch::Reload | Switch::Forward | Switch::Compact => {}
        }
        // All of it reads as before (I23).
        let read = Op {
            kind: Kind::Read,
            start: 0,
            len: image.initial.len() as u64,
        };
        let id = state.model.submit(read, 0);
        if let Err(violation) = state.model.complete(id, End::Ok, &image.initial) {
            panic!("after {switch:?}: {violation}");
        }
        drop(state);
        let kept = Kept::new(image.clusters, image.cluster, false);
        let guard = self.guard.as_ref().map(|_| super::guard::Guard::new());
        Rig::of(&image, self.options, kept, guard, Arc::clone(&self.state))
    }
}

/// Changes the files, each of which nobody has open.
fn change(disk: &Disk, switch: Switch) -> Image {
    let cluster = disk.cluster();
    let mut files: Vec<Memory> = disk.files().iter().cloned().map(Memory::new).collect();
    let top = files.pop().expect("a top");
    let loaded = load::load(&top, "top").expect("a sound image");
    let size = loaded.expanded().expect("an image").layout.size;
    match switch {
        Switch::Reload => files.push(top),
        Switch::Snapshot => {
            let new = Memory::default();
            load::new_image(&new, Version::V2, Sectors(cluster), size).expect("a fresh image");
            files.extend([top, new]);
        }
        Switch::Forward | Switch::Backward => {
            let below = files.pop().expect("a level below");
            let forward = switch == Switch::Forward;
            {
                let (lower, upper) = (source(&below, "below"), source(&top, "top"));
                let merge = match forward {
                    true => Merge::forward(lower, upper),
                    false => Merge::backward(lower, upper),
                };
                let mut merge = merge.expect("they fit together");
                while !merge.step(1).expect("merged").finished {}
            }
            files.push(if forward { top } else { below });
        }
        Switch::Grow(more) => {
            grow(&top, "top", Sectors(size.0 + more)).expect("grown");
            files.push(top);
        }
        Switch::Compact => {
            let mut compact = Compact::new(&top, "top").expect("a sound image");
            while !compact.step(1).expect("compacted").finished {}
            drop(compact);
            files.push(top);
        }
        Switch::Start | Switch::Stop => {
            let change = match (switch, START) {
                (Switch::Stop, Change::Start { id, .. }) => Change::Stop { id },
                (_, start) => start,
            };
            change_bitmaps(&top, "top", change).expect("changed");
            files.push(top);
        }
    }
    Image::load(cluster, files.into_iter().map(Memory::bytes).collect())
}

fn source<'a>(file: &'a Memory, name: &'a str) -> Source<'a> {
    Source {
        file,
        name,
        raw: false,
    }
}
