//! A composer whose client, store and mapper are played by the test, in one thread.

mod cases;
mod maps;
mod model;
mod pressure;
mod store;
mod world;
