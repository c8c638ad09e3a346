//! The kernels that guests boot.

/// A kernel that guests boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kernel {
    /// 6.12 of bookworm-backports: the oldest that is supported.
    V6_12,
    /// The newest of trixie-backports, 7.0 at least: all features.
    Newest,
}

impl Kernel {
    /// All of them.
    pub(crate) const ALL: [Kernel; 2] = [Kernel::V6_12, Kernel::Newest];

    /// What it is called here.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::V6_12 => "6.12",
            Kernel::Newest => "newest",
        }
    }

    /// Whether a version is one of these.
    pub(crate) fn is(self, version: &[u32]) -> bool {
        match self {
            Kernel::V6_12 => version.starts_with(&[6, 12]),
            Kernel::Newest => version >= &[7, 0][..],
        }
    }

    /// The suite that has it.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Kernel::V6_12 => "bookworm-backports",
            Kernel::Newest => "trixie-backports",
        }
    }
}
