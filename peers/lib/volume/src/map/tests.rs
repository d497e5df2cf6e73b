mod model;
mod session;
mod world;
