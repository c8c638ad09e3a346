//! What keeps two requests on one guest cluster from harming each other: in-flight counts and cluster locks.

pub(crate) mod lock;
