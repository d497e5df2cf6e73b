//! protocol: see ARCHITECTURE.md.
