//! Scenarios on a device that is there: a plain file, a block device, an export of an NBD server. It is overwritten.
//!
//! Its power cannot be cut and its server not be killed from here: such steps become a close, and are counted as left out.

mod file;
mod nbd;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use model::disk::Model;

use crate::check::failure;
use crate::face::Device;
use crate::face::scenario::{Host, Played, play_on, sectors_of};
use crate::report::Failure;
use crate::scenario::{Scenario, ScenarioError};
use crate::world::crash::Survivor;

/// Why a place is refused at first.
const OVERWRITTEN: &str =
    "something may stand there that would be destroyed; to allow that, add --overwrite";

/// Where a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or a block device. A file that is not there is made.
    File(PathBuf),
    /// An NBD server behind a socket of the file system; its default export.
    NbdUnix(PathBuf),
    /// An NBD server at `HOST:PORT`; its default export.
    NbdTcp(String),
}

impl FromStr for Place {
    type Err = String;

    /// `file:PATH`, `nbd:SOCKET` (a path with a slash in it) or `nbd:HOST:PORT`.
    fn from_str(text: &str) -> Result<Place, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Place::File(path.into())),
            Some(("nbd", path)) if path.contains('/') => Ok(Place::NbdUnix(path.into())),
            Some(("nbd", at)) if at.contains(':') => Ok(Place::NbdTcp(at.to_owned())),
            _ => Err("must be file:PATH, nbd:SOCKET (with a slash in it) or nbd:HOST:PORT".into()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "file:{}", path.display()),
            Place::NbdUnix(path) => write!(f, "nbd:{}", path.display()),
            Place::NbdTcp(at) => write!(f, "nbd:{at}"),
        }
    }
}

/// A device that is open, and its block in sectors.
struct Opened {
    device: Box<dyn Device>,
    block: u64,
}

impl Place {
    /// Opens it; there must be room for so many sectors.
    fn open(&self, sectors: u64, overwrite: bool) -> Result<Opened, String> {
        match self {
            Place::File(path) => {
                let device = file::RealFile::open(path, sectors, overwrite)?;
                let device = Box::new(device);
                Ok(Opened { device, block: 1 })
            }
            Place::NbdUnix(_) | Place::NbdTcp(_) => {
                if !overwrite {
                    return Err(OVERWRITTEN.to_owned());
                }
                let client = match self {
                    Place::NbdUnix(path) => nbd::Client::unix(path),
                    Place::NbdTcp(at) => nbd::Client::tcp(at),
                    Place::File(_) => return Err("no server".to_owned()),
                };
                let client = client.map_err(|error| error.to_string())?;
                let block = client.block();
                client.must_hold(sectors * block)?;
                let device = Box::new(client);
                Ok(Opened { device, block })
            }
        }
    }
}

/// Opens a device that is there, for whoever wants to do more with it than play scenarios. Unless `overwrite`, only where
/// nothing can be lost.
///
/// # Errors
/// It cannot be used.
pub fn connect(place: &Place, sectors: u64, overwrite: bool) -> Result<Box<dyn Device>, String> {
    Ok(place.open(sectors, overwrite)?.device)
}

/// Plays a scenario there. Unless `overwrite`, only where nothing can be lost: a file that is not there, or is empty.
///
/// # Errors
/// It cannot be used, or something is wrong.
pub fn play_at(
    place: &Place,
    scenario: &Scenario,
    overwrite: bool,
) -> Result<Played, ScenarioError> {
    let sectors = sectors_of(scenario);
    let opened = place.open(sectors, overwrite);
    let opened =
        opened.map_err(|problem| ScenarioError::Unusable(format!("{place}: {problem}")))?;
    let block = opened.block;
    let mut host = Real {
        place,
        sectors,
        device: Some(opened.device),
        block,
    };
    play_on(scenario, &mut host)
}

struct Real<'a> {
    place: &'a Place,
    sectors: u64,
    device: Option<Box<dyn Device>>,
    block: u64,
}

impl Host for Real<'_> {
    fn scale(&self) -> u64 {
        self.block
    }

    fn device(&mut self) -> Result<&mut dyn Device, Failure> {
        match &mut self.device {
            Some(device) => Ok(&mut **device),
            None => Err(failure("open", "no device is open".to_owned())),
        }
    }

    fn reopen(&mut self) -> Result<(), Failure> {
        let flushed = self.device()?.flush();
        flushed.map_err(|error| failure("outcome", format!("the flush failed: {error}")))?;
        self.device = None;
        let opened = self.place.open(self.sectors, true);
        let opened =
            opened.map_err(|problem| failure("open", format!("the second time: {problem}")))?;
        self.device = Some(opened.device);
        Ok(())
    }

    fn cut(&mut self, _survivor: Survivor, _model: &Model) -> Result<bool, Failure> {
        Ok(false)
    }

    fn kill(&mut self) -> Result<bool, Failure> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        let file = |path: &str| Ok(Place::File(path.into()));
        assert_eq!("file:a:b".parse(), file("a:b"));
        assert_eq!("nbd:/run/x".parse(), Ok(Place::NbdUnix("/run/x".into())));
        assert_eq!("nbd:./x".parse(), Ok(Place::NbdUnix("./x".into())));
        assert_eq!("nbd:[::1]:1".parse(), Ok(Place::NbdTcp("[::1]:1".into())));
        for bad in ["", "disk.img", "file:", "nbd:", "nbd:socket", "/dev/sda"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
