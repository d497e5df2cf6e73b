//! fuse: see ARCHITECTURE.md.
