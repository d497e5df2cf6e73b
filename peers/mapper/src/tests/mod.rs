//! Whole flows, against stores in memory.

mod flows;
mod memory_store;
mod rig;
