//! tests: see ARCHITECTURE.md.
