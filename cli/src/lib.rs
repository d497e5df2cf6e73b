//! The commands people type: `archipelago`, `vlmc`, `xseg`.
//!
//! ```text
//! archipelago ── configuration, supervision of the roles
//! vlmc        ── volumes, through `client`
//! xseg        ── segments, through `xseg`
//! ```
//!
//! No command does a role's work: each reads the one configuration file, and asks.

pub mod archipelago;
mod arguments;
pub mod config;
mod failure;
mod generate;
mod output;
pub mod segments;
pub mod size;
mod supervision;
pub mod volumes;
