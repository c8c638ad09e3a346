//! What runs inside a guest.
//!
//! | file | is |
//! |---|---|
//! | `init` | process 1 |
//! | `agent` | runs steps, one result line each |
//! | `sys`, `buffer`, `dm` | what the kernel offers by ioctl; memory for O_DIRECT; device-mapper |
//! | `disks` | the guest's own disks, and how images leave it |
//! | `target`, `judge`, `load` | operations on a block device; the model that judges them; clients that make them |
//! | `server` | `ploop-ublk` as a user calls it, and its process |
//! | `files` | files on a mounted file system |
//! | `harness` `manners` `json` `filesystems` `fua` `loads` `scenario` `kill` `leftovers` `aside` `merge` `copy` `blocks` `service` `space` `errors` `planned` `power` `rollback` | the steps |

pub(crate) mod agent;
pub(crate) mod aside;
pub(crate) mod blocks;
mod buffer;
pub(crate) mod bundle;
pub(crate) mod copy;
pub(crate) mod deleted;
pub(crate) mod disks;
mod dm;
pub(crate) mod endings;
pub(crate) mod errors;
mod files;
pub(crate) mod filesystems;
pub(crate) mod fua;
pub(crate) mod harness;
pub(crate) mod init;
pub(crate) mod json;
mod judge;
pub(crate) mod kill;
pub(crate) mod leftovers;
mod load;
pub(crate) mod loads;
pub(crate) mod manners;
pub(crate) mod merge;
pub(crate) mod planned;
pub(crate) mod power;
mod random;
pub(crate) mod rollback;
pub(crate) mod scenario;
mod server;
pub(crate) mod service;
pub(crate) mod space;
mod sys;
mod target;
pub(crate) mod trouble;
