//! The name of a snapshot: 128 bits, written `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`. Case does not matter.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The name of a snapshot, and of the file that holds what was written until it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(Uuid);

/// A text is not a GUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a GUID like {{01234567-89ab-cdef-0123-456789abcdef}}")]
pub struct GuidError;

impl Guid {
    /// The parent of the oldest snapshot: none.
    pub const NONE: Guid = Guid(Uuid::nil());
    /// What the delta that is written is called in every bundle of ploop and Parallels.
    pub const TOP: Guid = Guid(Uuid::from_u128(0x5fba_abe3_6958_40ff_92a7_860e_329a_ab41));

    /// A new one, different from all others.
    #[must_use]
    pub fn random() -> Guid {
        Guid(Uuid::new_v4())
    }

    /// One made of a number, for tests and generators.
    #[must_use]
    pub const fn from_u128(number: u128) -> Guid {
        Guid(Uuid::from_u128(number))
    }

    /// The sixteen bytes that stand for it in a format extension.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The other way round.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Guid {
        Guid(Uuid::from_bytes(bytes))
    }

    /// Reads the form with braces, the only one that stands in a descriptor.
    pub fn braced(text: &str) -> Result<Guid, GuidError> {
        if text.starts_with('{') {
            text.parse()
        } else {
            Err(GuidError)
        }
    }
}

impl FromStr for Guid {
    type Err = GuidError;

    /// With braces or without them, as people type it.
    fn from_str(text: &str) -> Result<Guid, GuidError> {
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or(GuidError)?,
            None => text,
        };
        // The library also reads other forms; no other tool does.
        if inner.len() != 36 {
            return Err(GuidError);
        }
        Uuid::try_parse(inner).map(Guid).map_err(|_| GuidError)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.braced())
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guid_is() {
        let text = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
        assert_eq!(Guid::TOP.to_string(), text);
        assert_eq!(Guid::braced(text), Ok(Guid::TOP));
        assert_eq!(Guid::braced(&text.to_uppercase()), Ok(Guid::TOP));
        assert_eq!(text[1..37].parse(), Ok(Guid::TOP));
        assert_ne!(Guid::random(), Guid::random());
        for wrong in [
            "",
            "{}",
            &text[..37],
            &text[1..],
            "{5fbaabe3695840ff92a7860e329aab41}",
            "{gfbaabe3-6958-40ff-92a7-860e329aab41}",
            "urn:uuid:5fbaabe3-6958-40ff-92a7-860e329aab41",
            "{{5fbaabe3-6958-40ff-92a7-860e329aab41}}",
        ] {
            assert_eq!(wrong.parse::<Guid>(), Err(GuidError), "{wrong}");
        }
        assert_eq!(Guid::braced(&text[1..37]), Err(GuidError));
    }
}
