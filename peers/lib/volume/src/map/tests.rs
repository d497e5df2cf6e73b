mod model;
mod partial;
mod session;
mod world;
