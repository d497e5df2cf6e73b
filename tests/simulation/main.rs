//! The real peers in one thread, under a scheduler that a seed determines: see `README.md` beside this file.
#![expect(clippy::panic, reason = "a seed that fails ends the test")]

mod actions;
mod client;
mod collecting;
mod contention;
mod dice;
mod flight;
mod minimise;
mod model;
mod node;
mod object;
mod plan;
mod run;
mod saved;
mod seeds;
mod server;
mod settle;
mod store;
mod tell;
mod world;
