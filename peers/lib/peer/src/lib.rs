//! What runs a peer: a process, or a thread, that binds a port of the segment and answers requests.
//!
//! A peer is a state machine with one owner thread: [`Peer::handle`] takes one [`Event`], changes the peer's own state, and
//! says what is to be done through [`Effects`]. It never blocks and never reads a clock, so the same code runs as a process, as a
//! thread, and in a simulation. [`run`] is the loop around it; [`tasks`] lets a peer write long conversations with others
//! as straight code.
//!
//! Every role answers `ping` with its [`status`] as JSON: the loop does that, the peer adds what only it knows.

mod answer;
mod clock;
mod common;
mod desk;
mod effects;
mod event_loop;
pub mod latency;
pub mod logging;
pub mod measures;
pub mod node;
pub mod slots;
pub mod status;
mod stop;
pub mod stores;
pub mod tasks;

pub use answer::{Answer, failure_of, fill_result};
pub use clock::{Clock, SystemClock};
pub use common::Common;
pub use desk::{Clerk, Desk, tell_and_linger};
pub use effects::Effects;
pub use event_loop::{Error, Event, Peer, Stepper, run, run_at_desk, run_with_clock, try_run_at_desk};
pub use stop::Stop;
