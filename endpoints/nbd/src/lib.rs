//! nbd: see ARCHITECTURE.md.
