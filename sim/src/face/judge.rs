//! The power cut: crash images of the files, a device opened on each, all of it read and compared.

use std::marker::PhantomData;

use model::disk::Model;
use model::op::Value;

use crate::check::failure;
use crate::disk::fault::FaultPlan;
use crate::face::bench::{Bench, Shared, handles};
use crate::face::{OnFiles, perform};
use crate::report::{Failure, RunStats};

/// All images of a cut in a random run are examined if there are so many at the most, and the device has one file.
pub(super) const MOST: u64 = 64;
/// Else so many are drawn.
const DRAWN: u32 = 4;

/// Opens devices on copies of files that nobody else uses.
pub(super) struct Examiner<D> {
    spare: Shared,
    device: PhantomData<D>,
}

/// What was examined.
#[derive(Clone, Copy, Debug)]
pub(super) struct Examined {
    pub(super) images: u64,
    /// These were all that there can be.
    pub(super) complete: bool,
}

impl<D: OnFiles> Examiner<D> {
    pub(super) fn new() -> Examiner<D> {
        let spare = Bench::new();
        spare.borrow_mut().reset::<D>();
        Examiner {
            spare,
            device: PhantomData,
        }
    }

    /// Examines what a power cut may leave of the files on `bench`: all of it, up to so many images.
    pub(super) fn cut(
        &self,
        bench: &mut Bench,
        model: &Model,
        most: u64,
        stats: &mut RunStats,
    ) -> Result<Examined, Failure> {
        let mut examined = Examined {
            images: 0,
            complete: false,
        };
        if let [file] = &bench.files[..] {
            let mut list = file.crash_images(most);
            examined.complete = list.distinct() <= u128::from(most);
            while examined.complete && list.advance() {
                list.install(&mut self.spare.borrow_mut().files[0]);
                examined.images += 1;
                let which = || format!("crash image {} of {}", examined.images, list.distinct());
                self.examine(model, stats).map_err(|f| named(f, which()))?;
            }
        }
        let drawn = if examined.complete { 0 } else { DRAWN };
        for _ in 0..drawn {
            for index in 0..bench.files.len() {
                let mut spare = self.spare.borrow_mut();
                spare.files[index].copy_from(&bench.files[index]);
                spare.files[index].crash(&mut bench.tape);
            }
            examined.images += 1;
            let which = || "a drawn crash image".to_owned();
            self.examine(model, stats).map_err(|f| named(f, which()))?;
        }
        Ok(examined)
    }

    /// Examines the files as they are, which is what a cut has left.
    pub(super) fn survivor(
        &self,
        bench: &Bench,
        model: &Model,
        stats: &mut RunStats,
    ) -> Result<(), Failure> {
        for (spare, file) in self.spare.borrow_mut().files.iter_mut().zip(&bench.files) {
            spare.copy_from(file);
        }
        self.examine(model, stats)
            .map_err(|f| named(f, "the image that the power cut left".to_owned()))
    }

    fn examine(&self, model: &Model, stats: &mut RunStats) -> Result<(), Failure> {
        self.spare.borrow_mut().faults = FaultPlan::none();
        let files = handles(&self.spare);
        D::check(&files).map_err(|problem| failure("check", problem))?;
        let opened = D::open(&files);
        let mut device = opened.map_err(|error| failure("open", error.to_string()))?;
        let seen = perform::read_all(&mut device, model.sectors());
        let seen: Vec<Value> = seen.map_err(|error| failure("read", error.to_string()))?;
        stats.crash_images += 1;
        stats.sectors_compared += seen.len() as u64;
        model
            .check_all_after_crash(&seen)
            .map_err(|violation| failure("durable", violation.to_string()))
    }
}

/// The words of the violation stay the last ones: the shrinker knows failures by them.
fn named(mut failure: Failure, image: String) -> Failure {
    failure.message = format!("{image}: {}", failure.message);
    failure
}
