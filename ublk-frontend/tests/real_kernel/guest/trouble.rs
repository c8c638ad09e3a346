//! How a step ends other than well.

use std::fmt;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) enum Trouble {
    /// Something is wrong.
    Failed(String),
    /// This kernel or this server does not offer what the step is about.
    NotOffered(String),
}

/// What a step found, in one line.
pub(crate) type Outcome = Result<String, Trouble>;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Failed(what) | Trouble::NotOffered(what)) = self;
        f.write_str(what)
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Trouble {
        Trouble::Failed(what)
    }
}

impl From<&str> for Trouble {
    fn from(what: &str) -> Trouble {
        Trouble::Failed(what.to_owned())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Trouble {
        Trouble::Failed(error.to_string())
    }
}

impl From<rustix::io::Errno> for Trouble {
    fn from(error: rustix::io::Errno) -> Trouble {
        Trouble::Failed(std::io::Error::from(error).to_string())
    }
}

/// Says what was being done when something went wrong.
pub(crate) trait During<T> {
    /// See the trait.
    fn during(self, what: impl fmt::Display) -> Result<T, Trouble>;
}

impl<T, E: Into<Trouble>> During<T> for Result<T, E> {
    fn during(self, what: impl fmt::Display) -> Result<T, Trouble> {
        self.map_err(|error| match error.into() {
            Trouble::Failed(why) => Trouble::Failed(format!("{what}: {why}")),
            Trouble::NotOffered(why) => Trouble::NotOffered(format!("{what}: {why}")),
        })
    }
}

/// A failure unless `good`.
pub(crate) fn demand(good: bool, otherwise: impl FnOnce() -> String) -> Result<(), Trouble> {
    if good {
        Ok(())
    } else {
        Err(Trouble::Failed(otherwise()))
    }
}
