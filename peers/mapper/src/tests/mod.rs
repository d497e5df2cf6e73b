//! Whole flows, against stores in memory.

mod beside;
mod checking;
mod collecting;
mod crashes;
mod flows;
mod legacy;
mod memory_store;
mod nodes;
mod originals;
mod redelivery;
mod rig;
