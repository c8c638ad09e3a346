//! The life of a host cluster of the top file.
//!
//! ```text
//!   Free{zero} ──reserve──▶ Reserved ──publish──▶ Mapped ──un-map──▶ Condemned ──un-map durable──▶ Punching ─┐
//!       ▲                      │ abandon: zero = Unknown                                                      │
//!       ├──────────────────────┘                                                                              │
//!       └────────────────────────── punched: zero = After(sync); not punched: zero = Unknown ─────────────────┘
//! ```
//! Condemned clusters whose un-map never becomes durable stay condemned: that is the quarantine.

/// What is known about the content of a free cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Zero {
    /// Anything.
    Unknown,
    /// Zeros in the file now, and on the media once this sync has succeeded.
    After(u64),
    /// Zeros, durably.
    Durable,
}

/// See the module. `Mapped` and `Free` follow from the bitmaps; the others are kept one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    /// May be handed out.
    Free(Zero),
    /// Handed out; not published.
    Reserved,
    /// Named by a slot.
    Mapped,
    /// Given up; the disk may still name it.
    Condemned,
    /// Given up for good; its space is being given back.
    Punching,
}
