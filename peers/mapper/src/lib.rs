//! mapper: see ARCHITECTURE.md.
