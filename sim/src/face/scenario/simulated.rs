//! A scenario on a device made of simulated files.

use model::disk::Model;

use crate::check::failure;
use crate::disk::SyncEffect;
use crate::face::bench::{Bench, Shared, handles};
use crate::face::judge::Examiner;
use crate::face::scenario::{Host, Played, play_on, sectors_of};
use crate::face::{Device, File, OnFiles};
use crate::report::{Failure, RunStats};
use crate::scenario::{Scenario, ScenarioError};
use crate::tape::Tape;
use crate::world::crash::Survivor;

/// All images of a power cut are examined if there are so many at the most.
const MOST: u64 = 4096;

/// Plays a scenario on a device made of simulated files: without faults, with every crash image of each power cut.
///
/// # Errors
/// Something is wrong.
pub fn play<D: OnFiles>(scenario: &Scenario) -> Result<Played, ScenarioError> {
    let size = sectors_of(scenario) * D::BLOCK;
    let made = Simulated::<D>::new(size);
    let mut host = made.map_err(|failure| ScenarioError::Failed {
        line: None,
        failure,
    })?;
    play_on(scenario, &mut host)
}

struct Simulated<D: OnFiles> {
    bench: Shared,
    files: Vec<File>,
    device: Option<D>,
    examiner: Examiner<D>,
    stats: RunStats,
}

fn opened<D: OnFiles>(files: &[File]) -> Result<D, Failure> {
    D::open(files).map_err(|error| failure("open", error.to_string()))
}

impl<D: OnFiles> Simulated<D> {
    fn new(size: u64) -> Result<Simulated<D>, Failure> {
        let bench = Bench::new();
        bench.borrow_mut().reset::<D>();
        let files = handles(&bench);
        D::create(&files, size).map_err(|error| failure("create", error.to_string()))?;
        bench.borrow_mut().settle();
        Ok(Simulated {
            device: Some(opened(&files)?),
            bench,
            files,
            examiner: Examiner::new(),
            stats: RunStats::default(),
        })
    }

    /// What is left of the files after a cut.
    fn crash(&self, survivor: Survivor) {
        let bench = &mut *self.bench.borrow_mut();
        let mut simple = Tape::replay(Vec::new());
        for file in &mut bench.files {
            let _report = match survivor {
                Survivor::Drawn => file.crash(&mut bench.tape),
                Survivor::KeepNone => file.crash(&mut simple),
                Survivor::Seed(seed) => file.crash(&mut Tape::from_seed(seed)),
                Survivor::KeepAll => {
                    let sync = file.submit_sync();
                    file.complete_sync(sync, SyncEffect::Done, &mut simple);
                    file.crash(&mut simple)
                }
            };
        }
    }

    /// The device is gone before its files are what is left of them, and opened on that.
    fn die(&mut self, survivor: Survivor) -> Result<(), Failure> {
        self.bench.borrow_mut().lost = true;
        self.device = None;
        self.crash(survivor);
        self.bench.borrow_mut().lost = false;
        self.device = Some(opened(&self.files)?);
        Ok(())
    }
}

impl<D: OnFiles> Host for Simulated<D> {
    fn scale(&self) -> u64 {
        D::BLOCK
    }

    fn device(&mut self) -> Result<&mut dyn Device, Failure> {
        match &mut self.device {
            Some(device) => Ok(device),
            None => Err(failure("open", "no device is open".to_owned())),
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        let closed = self.device.take().map_or(Ok(()), OnFiles::close);
        closed.map_err(|error| failure("outcome", format!("the close failed: {error}")))?;
        self.device = Some(opened(&self.files)?);
        Ok(())
    }

    fn cut(&mut self, survivor: Survivor, model: &Model) -> Result<bool, Failure> {
        let mut fallen = model.clone();
        fallen.crash();
        let (examiner, stats) = (&self.examiner, &mut self.stats);
        examiner.cut(&mut self.bench.borrow_mut(), &fallen, MOST, stats)?;
        self.die(survivor)?;
        Ok(true)
    }

    fn kill(&mut self) -> Result<bool, Failure> {
        self.die(Survivor::KeepAll)?;
        Ok(true)
    }

    fn images(&self) -> u64 {
        self.stats.crash_images
    }
}
