//! volume: see ARCHITECTURE.md.
