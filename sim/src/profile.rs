//! Profiles: the shape of the worlds that a campaign draws. Faults and crashes are on in every one.

use std::fmt;
use std::str::FromStr;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// Two or three metadata pages of a few slots, eight operations and now and then a few more on two queues; the most runs a second.
    Tiny,
    /// Up to four queues, chains of up to three deltas, some dozens of operations, several crashes.
    Default,
    /// Real geometry (4096-byte pages, 512-byte tearing), hundreds of operations.
    Big,
    /// As `Default`, with several kinds of faults in every run.
    Faults,
}

impl Profile {
    /// All of them.
    pub const ALL: &'static [Profile] = &[
        Profile::Tiny,
        Profile::Default,
        Profile::Big,
        Profile::Faults,
    ];
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Profile::Tiny => "tiny",
            Profile::Default => "default",
            Profile::Big => "big",
            Profile::Faults => "faults",
        })
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(name: &str) -> Result<Profile, String> {
        let found = Profile::ALL
            .iter()
            .find(|profile| profile.to_string() == name);
        found
            .copied()
            .ok_or_else(|| format!("profile {name:?}: must be tiny, default, big or faults"))
    }
}
