pub mod files;
pub mod size;
