//! A broken promise of the disk, in one clear line.

use crate::op::Value;
use std::fmt;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A read returned a value that had been overwritten, or that no order of the operations explains any more (I18, I19).
    StaleRead,
    /// A read returned zeros where no order of the operations explains zeros (I19, I20).
    LostData,
    /// The value was never written to this sector (I20).
    ForeignData,
    /// The value belongs to a write that was not submitted yet: the harness itself is broken.
    FutureValue,
    /// After a crash: an older value than the promise allows (I24, I25).
    LostDurable,
    /// An operation beyond the end of the disk was acknowledged.
    OutOfRange,
    /// A read returned another number of sectors than it was asked for.
    WrongLength,
    /// The operation is not in flight: completed twice, or completed after the crash (I33).
    NotInFlight,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Guest sector (the first of the operation, if the kind is not about one sector).
    pub sector: u64,
    /// What was broken.
    pub kind: Kind,
    /// What was seen there.
    pub seen: Value,
    /// What would have been right, in ascending order.
    pub legal: Vec<Value>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::StaleRead => "stale read",
            Kind::LostData => "data lost",
            Kind::ForeignData => "foreign data",
            Kind::FutureValue => "value of a write not yet submitted",
            Kind::LostDurable => "durable data lost in a crash",
            Kind::OutOfRange => {
                return write!(
                    f,
                    "sector {}: acknowledged beyond the end of the disk",
                    self.sector
                );
            }
            Kind::WrongLength => {
                return write!(f, "sector {}: a read of the wrong length", self.sector);
            }
            Kind::NotInFlight => {
                return write!(f, "sector {}: ended, but was not in flight", self.sector);
            }
        };
        write!(
            f,
            "sector {}: {what}: saw {}, legal:",
            self.sector,
            Shown(self.seen, self.sector)
        )?;
        for (i, &value) in self.legal.iter().enumerate() {
            write!(
                f,
                "{} {}",
                if i == 0 { "" } else { " |" },
                Shown(value, self.sector)
            )?;
        }
        if self.legal.is_empty() {
            write!(f, " nothing")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

/// A value as a person reads it, beside the sector where it was expected.
struct Shown(Value, u64);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shown(value, sector) = *self;
        if value == Value::ZERO {
            return write!(f, "zeros");
        }
        write!(f, "write {}", value.write())?;
        let owner = value.0 & 0xffff_ffff;
        if owner != sector & 0xffff_ffff {
            write!(f, " of sector {owner}")
        } else {
            Ok(())
        }
    }
}
