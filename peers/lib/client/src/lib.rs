//! Asking peers on behalf of tools and endpoints.
//!
//! [`Client`] asks one question at a time: create, snapshot, info, … [`Device`] moves data of one volume with many requests under
//! way, from and to buffers in the segment. Both bind a dynamic port, so they need no configuration beyond the [`Stack`].
//!
//! [`serve_control`] is the control port that every endpoint has.
//!
//! Every error is a [`Failure`]: its kind to act on, its message to show.

mod check;
mod client;
mod control;
mod data;
mod device;
pub mod keeping;
mod listener;
mod nodes;
mod settling;
mod stack;

pub use client::Client;
pub use control::{Endpoint, serve_control};
pub use device::{Completion, Completions, Device, DeviceInfo, Io, Sender};
pub use listener::Listener;
pub use protocol::Failure;
pub use settling::await_the_dead;
pub use stack::Stack;
