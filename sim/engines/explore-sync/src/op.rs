//! Operations, and when the order of two of them matters.

use std::fmt;

/// How an object is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A lock is taken. Possible only while nobody holds it.
    Lock,
    /// Nothing is changed.
    Read,
    /// Something is changed, and perhaps read.
    Write,
}

/// What a task is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Op {
    pub(crate) object: ObjectId,
    pub(crate) access: Access,
    /// First place of the object that is touched, and the one behind the last.
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// What is done to something that the object has beside its places.
    pub(crate) aside: Option<Access>,
}

/// Which object of an execution: who made it, and the how many-th of his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ObjectId {
    pub(crate) maker: u16,
    pub(crate) number: u16,
}

impl Op {
    /// Of a task that has announced nothing.
    pub(crate) const NONE: Op = Op::of(
        ObjectId {
            maker: u16::MAX,
            number: u16::MAX,
        },
        Access::Read,
    );

    /// On the whole of an object.
    pub(crate) const fn of(object: ObjectId, access: Access) -> Op {
        Op {
            object,
            access,
            from: 0,
            to: u32::MAX,
            aside: None,
        }
    }

    /// True if the order of the two may matter.
    #[inline]
    pub(crate) fn conflicts(&self, other: &Op) -> bool {
        if self.object != other.object {
            return false;
        }
        let overlap = self.from < other.to && other.from < self.to;
        let only_read = self.access == Access::Read && other.access == Access::Read;
        let aside = match (self.aside, other.aside) {
            (Some(mine), Some(theirs)) => mine != Access::Read || theirs != Access::Read,
            _ => false,
        };
        overlap && !only_read || aside
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.access {
            Access::Lock => "lock",
            Access::Read => "read",
            Access::Write => "write",
        };
        write!(f, "{name} {}.{}", self.object.maker, self.object.number)?;
        if self.to != u32::MAX {
            write!(f, "[{}..{}]", self.from, self.to)?;
        }
        Ok(())
    }
}
