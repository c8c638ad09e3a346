//! Sizes as people write and read them: `10G`, `64K`, `1048576`. Binary multiples only; whole sectors only. And times.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ploop_core::units::{SECTOR_BYTES, Sectors};

/// A size given on the command line: a multiple of 512 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub Sectors);

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Not a number with an optional suffix.
    #[error(
        "expected a whole number of bytes, or one followed by K, M, G, T, P or E (1024-fold steps)"
    )]
    NotANumber,
    /// Does not fit 64 bits.
    #[error("larger than 2^64 - 1 bytes")]
    TooLarge,
    /// Not whole sectors.
    #[error("{bytes} bytes is not a multiple of {SECTOR_BYTES}")]
    NotSectors {
        /// What was given.
        bytes: u64,
    },
}

/// The suffixes, each 1024 times the one before; the first is 1024 bytes.
const SUFFIXES: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];

impl FromStr for Size {
    type Err = SizeError;

    /// Accepts `N`, `NK`, `NKB` and `NKiB` in either case, and likewise for the other suffixes.
    fn from_str(text: &str) -> Result<Size, SizeError> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, suffix) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::NotANumber);
        }
        let shift = shift_of(suffix).ok_or(SizeError::NotANumber)?;
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
        let bytes = number.checked_mul(1 << shift).ok_or(SizeError::TooLarge)?;
        if !bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(SizeError::NotSectors { bytes });
        }
        Ok(Size(Sectors(bytes / SECTOR_BYTES)))
    }
}

/// The power of two that a suffix stands for.
fn shift_of(suffix: &str) -> Option<u32> {
    let upper = suffix.to_ascii_uppercase();
    if upper.is_empty() || upper == "B" {
        return Some(0);
    }
    let mut chars = upper.chars();
    let letter = chars.next()?;
    let step = (1..).zip(SUFFIXES).find(|(_, s)| *s == letter)?.0;
    matches!(chars.as_str(), "" | "B" | "IB").then_some(10 * step)
}

/// A time given on the command line: `50ms`, `2s`, `1m`, `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delay(pub Duration);

/// A text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a whole number followed by ms, s or m, or 0")]
pub struct DelayError;

impl FromStr for Delay {
    type Err = DelayError;

    fn from_str(text: &str) -> Result<Delay, DelayError> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| DelayError)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "" if number == 0 => 0,
            _ => return Err(DelayError),
        };
        let millis = number.checked_mul(millis).ok_or(DelayError)?;
        Ok(Delay(Duration::from_millis(millis)))
    }
}

/// Prints a number of bytes with the largest suffix that keeps it readable: `10 GiB`, `1.5 MiB`, `512 bytes`.
#[derive(Clone, Copy, Debug)]
pub struct Human(pub u64);

impl fmt::Display for Human {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let step = self.0.ilog2() / 10;
        let unit = 1u64 << (10 * step);
        let suffix = SUFFIXES[step as usize - 1];
        // Tenths, rounded down, so that nothing prints as the next unit.
        let tenths = (u128::from(self.0 % unit) * 10) / u128::from(unit);
        match tenths {
            0 => write!(f, "{} {suffix}iB", self.0 / unit),
            _ => write!(f, "{}.{tenths} {suffix}iB", self.0 / unit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(text: &str) -> Result<u64, SizeError> {
        text.parse::<Size>().map(|size| size.0.0)
    }

    #[test]
    fn suffixes_are_binary() {
        assert_eq!(sectors("512"), Ok(1));
        assert_eq!(sectors("512B"), Ok(1));
        assert_eq!(sectors("1k"), Ok(2));
        assert_eq!(sectors("64KiB"), Ok(128));
        assert_eq!(sectors("1M"), Ok(2048));
        assert_eq!(sectors("10GB"), Ok(20 << 20));
        assert_eq!(sectors("3T"), Ok(3 << 31));
        assert_eq!(sectors("0"), Ok(0));
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "", "G", "-1", "+1K", "1.5G", "1 G", "1KK", "1Q", "K1", "1Ki", "0x200", "1é",
        ] {
            assert_eq!(sectors(text), Err(SizeError::NotANumber), "{text:?}");
        }
        assert_eq!(sectors("1000"), Err(SizeError::NotSectors { bytes: 1000 }));
        assert_eq!(sectors("16E"), Err(SizeError::TooLarge));
        assert_eq!(sectors("99999999999999999999"), Err(SizeError::TooLarge));
        assert_eq!(sectors("15E"), Ok(15 << 51));
    }

    #[test]
    fn times_have_a_unit() {
        let millis = |text: &str| text.parse::<Delay>().map(|delay| delay.0.as_millis());
        assert_eq!(millis("50ms"), Ok(50));
        assert_eq!(millis("2s"), Ok(2000));
        assert_eq!(millis("3m"), Ok(180_000));
        assert_eq!(millis("0"), Ok(0));
        for text in [
            "",
            "50",
            "ms",
            "-1s",
            "1h",
            "1 s",
            "99999999999999999999s",
            "9999999999999999999m",
        ] {
            assert_eq!(millis(text), Err(DelayError), "{text:?}");
        }
    }

    #[test]
    fn human_never_rounds_up_to_the_next_unit() {
        let shown = |bytes| Human(bytes).to_string();
        assert_eq!(shown(0), "0 bytes");
        assert_eq!(shown(1023), "1023 bytes");
        assert_eq!(shown(1024), "1 KiB");
        assert_eq!(shown((1 << 20) - 1), "1023.9 KiB");
        assert_eq!(shown(3 << 19), "1.5 MiB");
        assert_eq!(shown(u64::MAX), "15.9 EiB");
    }
}
