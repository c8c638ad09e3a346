//! The mapping core of a thin-provisioned block device on ploop images (QEMU's `parallels` format).
//!
//! Pure decisions: events go in, actions come out ([`Device`]); somebody else moves bytes ([`drive`], the simulator, the
//! ublk queues). Modules import only from those to their left:
//!
//! `units < sync, verify, error < format < drive::file < delta < load < request::action + request::work < alloc <
//! writeback < cluster < bat < writeback::round < request + device < control < drive`
//!
//! A comma separates modules that do not know each other, a plus sign modules that do: the machines of `request` are
//! methods of the device. A longer name goes before a shorter one. `tidy` reads this order and enforces it.
#![forbid(unsafe_code)]

mod alloc;
mod bat;
mod cluster;
pub mod control;
pub mod delta;
pub mod device;
pub mod drive;
pub mod error;
pub mod format;
pub mod load;
pub mod request;
mod sync;
pub mod units;
pub mod verify;
mod writeback;

pub use bat::mirror::Mirror;
pub use control::close::{CloseError, ControlIo};
pub use control::suspend::Quiesced;
pub use device::{Device, Geometry, NoSpace, OpenError, Options, WriteBack};
pub use request::action::{
    Action, ActionKind, Actions, Buf, Failure, IoOp, Op, Origin, Outcome, Request, Ticket,
};
