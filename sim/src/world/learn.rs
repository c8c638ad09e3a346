//! After a change of the chain: what it is now, and what of it may be relied on.

use model::op::Value;
use ploop_core::delta::ExtensionState;
use ploop_core::format::Version;
use ploop_core::load;

use crate::check;
use crate::check::bitmaps::Knows;
use crate::disk::Geometry;
use crate::report::Failure;
use crate::world::Run;
use crate::world::change::{Plan, bitmaps_of};
use crate::world::switch::Switch;

fn refused(error: String) -> Failure {
    check::failure("control", error)
}

impl Run<'_> {
    /// Learns what the chain is now that it was changed: levels, sizes, layouts, what the lower levels show; and what the model
    /// must know.
    pub(super) fn learn(&mut self, switch: Switch, plan: &Plan) -> Result<(), Failure> {
        let size = self.relearn(switch)?;
        if size != plan.size {
            return Err(refused(format!(
                "{switch:?}: {size} sectors, not {}",
                plan.size
            )));
        }
        if switch == Switch::Rollback {
            let world = &mut *self.world;
            world.model.roll_back(&world.content.below);
        }
        if let Switch::WriteBack(write_back) = switch {
            self.shape.options.write_back = write_back;
        }
        Ok(())
    }

    /// Reads it from the files. Returns the size of the disk.
    pub(super) fn relearn(&mut self, switch: Switch) -> Result<u64, Failure> {
        let loaded = load::load(&self.world.top, "top").map_err(|e| refused(e.to_string()))?;
        let layout = loaded
            .expanded()
            .map(|image| image.layout)
            .ok_or_else(|| refused("the top is no image".to_owned()))?;
        let limit = self.shape.limit();
        self.layout = layout;
        self.shape.version = layout.version;
        let new = matches!(switch, Switch::Snapshot | Switch::Rollback);
        self.shape.packed &= layout.version == Version::V1 && !new;
        self.shape.entries = layout.entries;
        let old = std::mem::replace(&mut self.shape.size, layout.size.0);
        self.shape.levels = self.world.lowers.len() as u8 + 1;
        self.shape.raw_base &= !self.world.lowers.is_empty();
        let world = &mut *self.world;
        world.model.grow(layout.size.0.saturating_sub(old));
        world.top.relay(Geometry {
            meta_len: layout.data_start.bytes(),
            granule: self.shape.options.granule,
            limit_sectors: limit.max(self.shape.limit()) + world.top.len_sectors(),
        });
        let mut below = vec![Value::ZERO; self.shape.size as usize];
        for (level, file) in world.lowers.iter().enumerate() {
            let raw = level == 0 && self.shape.raw_base;
            world
                .images
                .lay_over(file.view(), raw, self.shape.cluster, &mut below);
        }
        world.content.below = below;
        Ok(self.shape.size)
    }

    /// What the extension of the top is now, and its dirty bitmaps, which count from now on. `failed`: a try has; if that was a
    /// sync, what is read as done may not be durable.
    pub(super) fn learn_extension_of(
        &mut self,
        switch: Switch,
        plan: &Plan,
        failed: bool,
    ) -> Result<(), Failure> {
        let world = &mut *self.world;
        let loaded = load::load(&world.top, "top").map_err(|e| refused(e.to_string()))?;
        let kept = &mut world.content.kept;
        kept.learn(&world.top.view(), &loaded, failed);
        let valid = loaded
            .expanded()
            .is_some_and(|image| image.extension == ExtensionState::Valid);
        let since = &mut world.content.since;
        match switch {
            // Another file is the top.
            Switch::Snapshot | Switch::Rollback | Switch::Backward => since.knows = Knows::Nobody,
            _ => {}
        }
        if plan.bitmap.is_some() {
            let now = bitmaps_of(&world.top);
            check::bitmaps::changed(plan.bitmap, &plan.bitmaps, &now, !failed)?;
            since.knows = match valid {
                true => Knows::Device,
                false => Knows::Nobody,
            };
            if valid {
                since.relearn();
            }
            since.next(&plan.content);
        }
        Ok(())
    }
}
