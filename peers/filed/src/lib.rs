//! filed: see ARCHITECTURE.md.
