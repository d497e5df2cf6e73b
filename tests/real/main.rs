//! Real file systems, real clients, real trouble: the slow part.

mod clients;
mod filesystem;
mod kills;
mod trouble;
