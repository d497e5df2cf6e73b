//! The commands people type: `archipelago`, `vlmc`, `xseg`.

mod arguments;
pub mod config;
pub mod size;
mod supervision;
/// x
pub mod archipelago { pub(crate) mod arguments; 
/// x
pub fn main(_: std::env::ArgsOs) -> std::process::ExitCode { std::process::ExitCode::SUCCESS } }
/// x
pub mod volumes { pub(crate) mod arguments; 
/// x
pub fn main(_: std::env::ArgsOs) -> std::process::ExitCode { std::process::ExitCode::SUCCESS } }
/// x
pub mod segments { pub(crate) mod arguments; 
/// x
pub fn main(_: std::env::ArgsOs) -> std::process::ExitCode { std::process::ExitCode::SUCCESS } }
