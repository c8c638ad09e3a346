//! The kernels that guests boot.

/// A kernel that guests boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kernel {
    /// 6.12 of bookworm-backports: the oldest that is supported.
    V6_12,
    /// 7.3 of trixie-backports: all features.
    V7_3,
}

impl Kernel {
    /// All of them.
    pub(crate) const ALL: [Kernel; 2] = [Kernel::V6_12, Kernel::V7_3];

    /// Its version line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kernel::V6_12 => "6.12",
            Kernel::V7_3 => "7.3",
        }
    }

    /// The suite that has it.
    pub(crate) fn suite(self) -> &'static str {
        match self {
            Kernel::V6_12 => "bookworm-backports",
            Kernel::V7_3 => "trixie-backports",
        }
    }
}
