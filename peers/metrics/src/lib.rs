//! What a stack tells of itself, for Prometheus and for whoever watches it.
//!
//! A [`Sample`] is what every role answers to a ping that asks for its measures, and what the segment shows. It is taken
//! when somebody asks, so a stack that nobody watches does no work for it. [`text`] is the sample in the text format that
//! Prometheus reads; [`serve`] is a role that answers `GET /metrics` with it.

mod config;
mod http;
mod rates;
mod sample;
mod text;

pub use config::{Config, ConfigError};
pub use http::{Error, serve};
pub use rates::{PortRates, Rate, Rates};
pub use sample::{Sample, SegmentSample};
pub use text::{CONTENT_TYPE, text};
